"""What of a spool is not yet acknowledged: reading it in batches, the checkpoint, deleting what is settled."""

from __future__ import annotations

import errno
import fcntl
import os
import weakref
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from logging_lib.logger.event import build_dead_letter
from logging_lib.logger.jsonlines import MAX_LINE
from logging_lib.logger.segments import DEAD_LETTERS, has_writer, list_segments
from logging_lib.logger.spool import append_line

STATE, LOCK = ".ship.json", ".ship.lock"
_CHUNK = 4 << 20


class SpoolItem(NamedTuple):
    """One line of a segment, from ``offset`` to ``end`` in bytes; ``fault`` says why it cannot be sent."""

    data: bytes
    segment: str
    offset: int
    end: int
    fault: str = ""

    @property
    def is_dead_letter(self) -> bool:
        """Whether it is a dead letter: it is delivered, too, but refused again it is only passed over."""
        return self.segment == DEAD_LETTERS


@dataclass
class ShipperState:
    """What outlives a shipper, in ``.ship.json``; times are seconds since 1970."""

    offsets: dict[str, int] = field(default_factory=dict)
    shipped: int = 0
    dead_lettered: int = 0
    duplicates: int = 0
    retries: int = 0
    rate: float = 0.0
    receiver: str = ""
    last_error: str = ""
    last_error_at: float = 0.0
    updated: float = 0.0


def load_state(directory: Path) -> ShipperState:
    """The state of the shipper of a spool; a new one where there is none or it is damaged."""
    try:
        found = orjson.loads((directory / STATE).read_bytes())
        state = replace(ShipperState(), **found)
        return state if all(isinstance(at, int) for at in state.offsets.values()) else ShipperState()
    except (OSError, ValueError, TypeError, AttributeError):
        return ShipperState()


_open_readers: weakref.WeakSet[SpoolReader] = weakref.WeakSet()


def _unlock_all() -> None:
    for backlog in list(_open_readers):
        backlog.unlock()


os.register_at_fork(after_in_child=_unlock_all)  # or the child would hold the lock when its parent is dead


class SpoolReader:
    """The reading end of a spool. One process at a time: see ``lock``."""

    def __init__(self, directory: str | Path) -> None:
        self.directory = Path(directory)
        self.state = load_state(self.directory)
        self._lock = -1
        _open_readers.add(self)

    def lock(self) -> bool:
        """Become the spool's shipper. False where another one is, or there is no such folder yet.

        Raises:
            OSError: the folder cannot be written, or its file system has no locks.
        """
        if self._lock >= 0:
            return True
        try:
            fd = os.open(self.directory / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            return False
        except OSError:
            os.close(fd)
            raise
        self._lock = fd
        self.state = load_state(self.directory)  # what the one before us left
        return True

    @property
    def is_locked(self) -> bool:
        """Whether this process is the spool's shipper."""
        return self._lock >= 0

    def unlock(self) -> None:
        """Let another shipper work."""
        fd, self._lock = self._lock, -1
        if fd >= 0:
            os.close(fd)

    def read(self, events: int, size: int) -> list[SpoolItem]:
        """The next lines that nobody acknowledged, at most so many and about so many bytes.

        Dead letters come first. Segments that are closed and settled are deleted on the way.
        """
        found: list[SpoolItem] = []
        for path in (self.directory / DEAD_LETTERS, *list_segments(self.directory)):
            try:
                # Asked first: what is read after that is all there will be. Dead letters are never closed.
                closed = path.name != DEAD_LETTERS and not has_writer(path)
                items = self._read_items(path, closed, events - len(found), size)
            except FileNotFoundError:
                self.state.offsets.pop(path.name, None)  # the next dead letters begin a new file
                continue
            if items:
                found += items
                size -= items[-1].end - items[0].offset
                if len(found) >= events or size <= 0:
                    break
            elif closed and self.state.offsets.get(path.name, 0) >= path.stat().st_size:
                path.unlink(missing_ok=True)
                self.state.offsets.pop(path.name, None)
        return found

    def _read_items(self, path: Path, closed: bool, events: int, size: int) -> list[SpoolItem]:
        start = self.state.offsets.get(path.name, 0)
        with path.open("rb") as file:
            file.seek(start)
            chunk = file.read(max(min(size, _CHUNK), MAX_LINE + 1))
            last = chunk.rfind(b"\n") + 1
            if not last and chunk:
                if len(chunk) > MAX_LINE:
                    end = start + len(chunk)
                    while (more := file.readline(_CHUNK)) and not more.endswith(b"\n"):
                        end += len(more)
                    return (
                        [SpoolItem(chunk, path.name, start, end + len(more), "too_large")]
                        if more or closed
                        else []
                    )
                return [SpoolItem(chunk, path.name, start, start + len(chunk), "torn")] if closed else []
        items = list(_split_lines(chunk[:last], path.name, start, events))
        if last and not items:  # blank lines: nothing to answer for
            self.state.offsets[path.name] = start + last
        return items

    def acknowledge(
        self, items: Sequence[SpoolItem], *, refused: Mapping[int, str], duplicates: int = 0, now_ns: int
    ) -> None:
        """Record that the receiver has answered for these items, which follow the last settled ones.

        Those with a fault, and those that ``refused`` gives a reason for by their index, become dead letters
        first; those that are dead letters already do not again.

        Raises:
            OSError: the dead letters or the checkpoint cannot be written. A checkpoint that finds the disk full is
            passed over: a crash before the next one means that these are sent again.
        """
        bad = {n: refused.get(n, "") for n, item in enumerate(items) if item.fault or n in refused}
        letters = [(items[n], reason) for n, reason in bad.items() if not items[n].is_dead_letter]
        if letters:
            self._write_dead_letters(letters, now_ns)
        state = self.state
        for item in items:
            state.offsets[item.segment] = item.end
        state.dead_lettered += len(letters)
        state.duplicates += duplicates
        state.shipped += len(items) - len(bad)
        try:
            self.save(now_ns / 1e9)
        except OSError as error:  # on a full disk only going on makes room: settled segments are deleted
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise

    def save(self, now: float) -> None:
        """Replace the state's file in one step."""
        self.state.updated = now
        new = self.directory / f"{STATE}.new"
        fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            made = orjson.dumps(asdict(self.state))
            if os.write(fd, made) != len(made):
                raise OSError(errno.ENOSPC, "short write")
        finally:
            os.close(fd)
        new.rename(self.directory / STATE)

    def _write_dead_letters(self, letters: Sequence[tuple[SpoolItem, str]], now_ns: int) -> None:
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        fd = os.open(self.directory / DEAD_LETTERS, flags, 0o600)
        try:
            for item, reason in letters:
                event = build_dead_letter(
                    error_type=item.fault or "refused",
                    message=_FAULTS.get(item.fault) or reason,
                    original=item.data,
                    stage="spool" if item.fault else "ship",
                    now_ns=now_ns,
                )
                event["log"] = {"file": {"path": item.segment}, "offset": item.offset}
                event["ml"]["deadletter"]["size"] = item.end - item.offset
                append_line(fd, orjson.dumps(event, option=orjson.OPT_APPEND_NEWLINE))
        finally:
            os.close(fd)

    def measure_backlog(self) -> tuple[int, int, float | None]:
        """What is not acknowledged: events, bytes, and the time of the oldest (seconds since 1970)."""
        events = size = 0
        oldest: float | None = None
        for path in (self.directory / DEAD_LETTERS, *list_segments(self.directory)):
            try:
                with path.open("rb") as file:
                    file.seek(self.state.offsets.get(path.name, 0))
                    first = True
                    while chunk := file.read(MAX_LINE):
                        if first:
                            oldest = _earlier_of(oldest, _read_time(chunk))
                        first = False
                        events += chunk.count(b"\n")
                        size += len(chunk)
            except FileNotFoundError:
                continue
        return events, size, oldest


_FAULTS = {
    "torn": "a part of a line: its writer was stopped while it wrote",
    "too_large": f"the line is longer than {MAX_LINE} bytes",
    "not_json": "the line is not a JSON object",
}


def _split_lines(chunk: bytes, segment: str, start: int, events: int) -> Iterator[SpoolItem]:
    end = start
    for data in chunk.split(b"\n")[:-1]:
        begin, end = end, end + len(data) + 1
        if data.strip():
            yield SpoolItem(data, segment, begin, end, _find_fault(data))
            events -= 1
            if events <= 0:
                return


def _find_fault(data: bytes) -> str:
    if len(data) > MAX_LINE:
        return "too_large"
    try:
        return "" if isinstance(orjson.loads(data), dict) else "not_json"
    except orjson.JSONDecodeError:
        return "not_json"


def _read_time(chunk: bytes) -> float | None:
    try:
        event: Any = orjson.loads(chunk[: chunk.index(b"\n")])
        return datetime.fromisoformat(event["@timestamp"]).timestamp()
    except (ValueError, KeyError, TypeError):
        return None


def _earlier_of(one: float | None, other: float | None) -> float | None:
    return min(one, other) if one is not None and other is not None else (one if other is None else other)
