"""What can be wrong with a watch, said with its file and JSON path."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

_PLAIN_KEY = re.compile(r"[A-Za-z_][\w-]*")


def json_path(*parts: str | int) -> str:
    """``json_path("actions", 0, "a.b")`` is ``$.actions[0]['a.b']``."""
    path = "$"
    for part in parts:
        if isinstance(part, int):
            path += f"[{part}]"
        elif _PLAIN_KEY.fullmatch(part):
            path += f".{part}"
        else:
            path += f"[{part!r}]"
    return path


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with a watch file; ``message`` names the remedy."""

    file: str
    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.file}: {self.path}: {self.message}"


class WatchError(ValueError):
    """Watch files that are refused. ``problems`` holds all that was found, not only the first."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(map(str, self.problems)))


class RunError(Exception):
    """One run of a watch failed; the message says where and why. Other watches go on."""
