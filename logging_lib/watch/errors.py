"""What can be wrong with a watch, said with its file and JSON path."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import reduce

from logging_lib.store.validators import child_path


def json_path(*parts: str | int) -> str:
    """``json_path("actions", 0, "a.b")`` is ``$.actions[0]['a.b']``."""
    return reduce(child_path, parts, "$")


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
