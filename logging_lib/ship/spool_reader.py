"""The reader of a spool in batches, with the checkpoint of acknowledged lines; it deletes acknowledged segments."""

from __future__ import annotations

import errno
import fcntl
import os
import weakref
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import orjson

from logging_lib.logger.event import build_dead_letter
from logging_lib.logger.jsonlines import MAX_LINE
from logging_lib.logger.segments import DEAD_LETTERS, has_writer, list_segments
from logging_lib.logger.spool import append_line
from logging_lib.normalize.errors import NormalizeError
from logging_lib.normalize.parsing import parse

STATE, LOCK = ".ship.json", ".ship.lock"
_CHUNK = 4 << 20
_MAX_NUMBER = 1e11  # events, or seconds since 1970: the year 5138


class SpoolItem(NamedTuple):
    """One line of a segment, from ``offset`` to ``end`` in bytes; ``fault`` says why it cannot be sent.

    ``is_lax`` says that it is JSON only by the rules of the pipelines, for example because of ``NaN``.
    """

    data: bytes
    segment: str
    offset: int
    end: int
    fault: str = ""
    is_lax: bool = False

    @property
    def line(self) -> bytes:
        """The line to send; one that is not strictly JSON is sent as the text of an object, as by log shippers."""
        return orjson.dumps({"message": self.data.decode()}) if self.is_lax else self.data

    @property
    def is_dead_letter(self) -> bool:
        """Whether it is a dead letter, which is delivered, too, but skipped if it is refused again."""
        return self.segment == DEAD_LETTERS


@dataclass
class ShipperState:
    """The persistent state of a spool's shipper, in ``.ship.json``; times are seconds since 1970."""

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
    """Load the state of a spool's shipper; return a new one if the file is missing or damaged."""
    try:
        known = orjson.loads((directory / STATE).read_bytes())
        state = replace(ShipperState(), **known)
    except (OSError, ValueError, TypeError):
        return ShipperState()
    return state if _is_plausible(state) else ShipperState()


def _is_plausible(state: ShipperState) -> bool:
    """Return whether a state from a file has the types of one that the shipper wrote, and numbers in range."""
    for name, default in asdict(ShipperState()).items():
        value = getattr(state, name)
        if isinstance(default, dict):
            if not isinstance(value, dict) or not all(map(_is_count, value.values())):
                return False
        elif isinstance(default, str):
            if not isinstance(value, str):
                return False
        else:
            is_number = _is_count(value) or (isinstance(default, float) and isinstance(value, float))
            if not is_number or not 0 <= value < _MAX_NUMBER:
                return False
    return True


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


_open_readers: weakref.WeakSet[SpoolReader] = weakref.WeakSet()


def _unlock_all() -> None:
    for backlog in list(_open_readers):
        backlog.unlock()


os.register_at_fork(
    after_in_child=_unlock_all
)  # otherwise the child would hold the lock after its parent ended


class SpoolReader:
    """A reader of a spool, for one process at a time: see ``lock``."""

    def __init__(self, directory: str | Path) -> None:
        self.directory = Path(directory)
        self.state = load_state(self.directory)
        self._lock = -1
        _open_readers.add(self)

    def lock(self) -> bool:
        """Become the spool's shipper; return False if there is another one, or the folder does not exist yet.

        Raises:
            OSError: the folder cannot be written, or its file system has no locks.
        """
        if self.is_locked:
            return True
        self.unlock()
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
        self.state = load_state(self.directory)  # as the previous shipper left it
        return True

    @property
    def is_locked(self) -> bool:
        """Whether this process is the spool's shipper, which ends when the spool's folder is moved."""
        if self._lock < 0:
            return False
        try:
            return os.path.samestat((self.directory / LOCK).stat(), os.fstat(self._lock))
        except OSError:
            return False

    def unlock(self) -> None:
        """Release the lock for another shipper."""
        fd, self._lock = self._lock, -1
        if fd >= 0:
            os.close(fd)

    def read(self, events: int, size: int) -> list[SpoolItem]:
        """Read the next unacknowledged lines: up to ``events`` lines and about ``size`` bytes.

        Dead letters come first. Closed segments whose lines are all acknowledged are deleted.
        """
        items: list[SpoolItem] = []
        for path in (self.directory / DEAD_LETTERS, *list_segments(self.directory)):
            try:
                # Check this first: a closed segment does not grow any more. Dead letters are never closed.
                closed = path.name != DEAD_LETTERS and not has_writer(path)
                segment_items = self._read_items(path, closed, events - len(items), size)
            except FileNotFoundError:
                self.state.offsets.pop(path.name, None)  # the next dead letters start a new file
                continue
            if segment_items:
                items += segment_items
                size -= segment_items[-1].end - segment_items[0].offset
                if len(items) >= events or size <= 0:
                    break
            elif closed and self.find_start(path) == path.stat().st_size:
                path.unlink(missing_ok=True)
                self.state.offsets.pop(path.name, None)
        return items

    def _read_items(self, path: Path, closed: bool, events: int, size: int) -> list[SpoolItem]:
        with path.open("rb") as file:
            start = file.seek(self._find_start(file, path.name))
            chunk = file.read(max(min(size, _CHUNK), MAX_LINE + 1))
            end_of_lines = chunk.rfind(b"\n") + 1
            if not end_of_lines and chunk:
                if len(chunk) > MAX_LINE:
                    end = start + len(chunk)
                    while (rest := file.readline(_CHUNK)) and not rest.endswith(b"\n"):
                        end += len(rest)
                    return (
                        [SpoolItem(chunk, path.name, start, end + len(rest), "too_large")]
                        if rest or closed
                        else []
                    )
                fault = "torn" if _find_fault(chunk) else ""  # complete except for its newline
                return [SpoolItem(chunk, path.name, start, start + len(chunk), fault)] if closed else []
        items = list(_split_lines(chunk[:end_of_lines], path.name, start, events))
        if end_of_lines and not items:  # only blank lines, so nothing to acknowledge
            self.state.offsets[path.name] = start + end_of_lines
        return items

    def find_start(self, path: Path) -> int:
        """Find the byte behind the last acknowledged line of a file.

        Raises:
            OSError: the file cannot be read.
        """
        with path.open("rb") as file:
            return self._find_start(file, path.name)

    def _find_start(self, file: BinaryIO, name: str) -> int:
        # An offset that does not fit the file belongs to another one: the file was shortened, or the state edited.
        # It is better to send a line twice than never.
        start = self.state.offsets.get(name, 0)
        size = os.fstat(file.fileno()).st_size
        if start in (0, size):
            return start
        is_behind_line = start < size and os.pread(file.fileno(), 1, start - 1) == b"\n"
        return start if is_behind_line else 0

    def acknowledge(
        self, items: Sequence[SpoolItem], *, refused: Mapping[int, str], duplicates: int = 0, now_ns: int
    ) -> None:
        """Record that the receiver has answered for these items, which follow the last acknowledged ones.

        Items with a fault, and those with a reason in ``refused`` by their index, first become dead letters, unless
        they are dead letters already.

        Raises:
            OSError: the dead letters or the checkpoint cannot be written. On a full disk the checkpoint is skipped
                instead; after a crash before the next one, these items are sent again.
        """
        reasons = {n: refused.get(n, "") for n, item in enumerate(items) if item.fault or n in refused}
        letters = [(items[n], reason) for n, reason in reasons.items() if not items[n].is_dead_letter]
        if letters:
            self._write_dead_letters(letters, now_ns)
        state = self.state
        for item in items:
            state.offsets[item.segment] = item.end
        state.dead_lettered += len(letters)
        state.duplicates += duplicates
        state.shipped += len(items) - len(reasons)
        try:
            self.save(now_ns / 1e9)
        except (
            OSError
        ) as error:  # continue on a full disk: shipping makes room, because acknowledged segments are deleted
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise

    def save(self, now: float) -> None:
        """Replace the state's file atomically."""
        self.state.updated = now
        new_path = self.directory / f"{STATE}.new"
        fd = os.open(new_path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            content = orjson.dumps(asdict(self.state))
            if os.write(fd, content) != len(content):
                raise OSError(errno.ENOSPC, "short write")
        finally:
            os.close(fd)
        new_path.rename(self.directory / STATE)

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
        """Return the unacknowledged events and bytes, and the time of the oldest event (seconds since 1970)."""
        events = size = 0
        oldest: float | None = None
        for path in (self.directory / DEAD_LETTERS, *list_segments(self.directory)):
            try:
                with path.open("rb") as file:
                    file.seek(self._find_start(file, path.name))
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
            fault = _find_fault(data)
            is_lax = fault == "not_json" and _is_foreign(data)
            yield SpoolItem(data, segment, begin, end, "" if is_lax else fault, is_lax)
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


def _is_foreign(data: bytes) -> bool:
    """Return whether ``normalize`` can read a line that is not strictly JSON, such as one of another logger."""
    try:
        ml = parse(data)[0].get("ml")
    except NormalizeError:
        return False
    return not (isinstance(ml, dict) and "schema_version" in ml)


def _read_time(chunk: bytes) -> float | None:
    try:
        event: Any = orjson.loads(chunk[: chunk.index(b"\n")])
        return datetime.fromisoformat(event["@timestamp"]).timestamp()
    except (ValueError, KeyError, TypeError):
        return None


def _earlier_of(first: float | None, second: float | None) -> float | None:
    return (
        min(first, second)
        if first is not None and second is not None
        else (first if second is None else second)
    )
