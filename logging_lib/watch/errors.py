"""Define the errors of watches, and problems with their file and JSON path."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import reduce

from logging_lib._util.errors import LoggingLibError
from logging_lib.store.validators import child_path


def json_path(*parts: str | int) -> str:
    """Write a path as JSON path: ``json_path("actions", 0, "a.b")`` is ``$.actions[0]['a.b']``."""
    return reduce(child_path, parts, "$")


@dataclass(frozen=True, slots=True)
class WatchProblem:
    """One problem of a watch file; ``message`` includes the remedy."""

    file: str
    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.file}: {self.path}: {self.message}"


class WatchError(LoggingLibError, ValueError):
    """Raised if watch files are refused. ``problems`` has all problems, not only the first."""

    def __init__(self, problems: Iterable[WatchProblem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(map(str, self.problems)))


class RunError(Exception):
    """Raised if one run of a watch failed; the message says where and why. Other watches continue."""


class StateError(LoggingLibError):
    """Raised if the runner's state cannot be read or written, or another runner has it.

    The message says which, and the remedy."""
