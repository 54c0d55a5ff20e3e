"""What the runner remembers between runs: incidents, and messages that could not be delivered."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import IO, Protocol

from pydantic import BaseModel, ConfigDict, ValidationError

from logging_lib.watch.incidents import Incident, Incidents
from logging_lib.watch.messages import Message


class StateError(Exception):
    """The state cannot be read, or another runner has it; the message says which and the remedy."""


class Undelivered(BaseModel):
    """A message that no server took yet. ``since`` is when it was first tried."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    action: str
    message: Message
    since: datetime
    attempts: int
    reason: str


class WatchState(BaseModel):
    """The state of one watch."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    incidents: tuple[Incident, ...] = ()
    undelivered: tuple[Undelivered, ...] = ()

    def by_key(self) -> Incidents:
        return {incident.key: incident for incident in self.incidents}

    def with_incidents(self, incidents: Incidents) -> WatchState:
        ordered = tuple(incidents[key] for key in sorted(incidents))
        return self.model_copy(update={"incidents": ordered})


class StateStore(Protocol):
    """Where states live. Each watch has its own, so that runners can share the work later."""

    def watch_ids(self) -> list[str]:
        """The watches of which something is remembered."""
        ...

    def load(self, watch_id: str) -> WatchState: ...

    def save(self, watch_id: str, state: WatchState) -> None:
        """Remember; durable when it returns, where the store is durable at all."""
        ...


class MemoryState:
    """Forgets at the end of the process: for backtests, tests and dry runs."""

    def __init__(self, states: dict[str, WatchState] | None = None) -> None:
        self._states = dict(states or {})

    def watch_ids(self) -> list[str]:
        return sorted(self._states)

    def load(self, watch_id: str) -> WatchState:
        return self._states.get(watch_id, WatchState())

    def save(self, watch_id: str, state: WatchState) -> None:
        self._states[watch_id] = state


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid")

    version: int = 1
    watches: dict[str, WatchState] = {}


class FileState(MemoryState):
    """One JSON file, replaced as a whole at each save. Use ``FileState.locked`` where runs may overlap.

    Raises:
        StateError: when the file is not a state of this version.
    """

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)
        content = _File()
        if self._path.exists():
            try:
                content = _File.model_validate_json(self._path.read_bytes())
            except (OSError, ValidationError) as error:
                raise StateError(
                    f"{self._path}: is no state of the watch runner ({_first_line(error)}). Move it away to "
                    "start afresh; what is still wrong will then be reported once more."
                ) from error
            if content.version != 1:
                raise StateError(f"{self._path}: has version {content.version}, this runner writes version 1")
        super().__init__(content.watches)

    @classmethod
    @contextlib.contextmanager
    def locked(cls, path: str | Path) -> Iterator[FileState]:
        """The state, held against other runners on this machine until the block ends.

        Raises:
            StateError: when another runner holds it.
        """
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.with_name(path.name + ".lock").open("w") as lock:
            _lock(lock, path)
            yield cls(path)

    def save(self, watch_id: str, state: WatchState) -> None:
        super().save(watch_id, state)
        content = _File(watches=self._states).model_dump_json(indent=1)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=self._path.parent, prefix=self._path.name, suffix=".tmp")
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            Path(name).replace(self._path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise


def _lock(file: IO[str], path: Path) -> None:
    try:
        import fcntl
    except ImportError:  # Windows: two runners on one file are not kept apart
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise StateError(
            f"{path}: another run holds this state; let it end, or give another --state"
        ) from error


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0]
