"""The spool: segment files, one writer a process, one ``os.write`` a line, nothing buffered in memory.

When a call returns, its line is in the kernel's page cache: it survives the death of the process (kill -9), not
the loss of the host (see ``fsync``).
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import socket
import threading
import time
import weakref
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

from logging_lib.capture.health import dropped_line
from logging_lib.capture.segments import folder_bytes, has_writer, segment_name, segments, volatile

Fsync = Literal["never", "interval", "always"]

_log = logging.getLogger("logging_lib")
_open_spools: weakref.WeakSet[Spool] = weakref.WeakSet()
_LOOK_SECONDS = 1.0
_SWEEP_SECONDS = 60.0
_MANY = 1 << 20


class _BudgetReachedError(OSError):
    """The folder holds as much as it may."""


def append(fd: int, line: bytes) -> None:
    """Append one whole line to a file that is open for reading and appending.

    Where a part of a line is at its end, the new one begins on a line of its own: the torn one reads as a dead
    letter.

    Raises:
        OSError: it could not be written whole.
    """
    end = os.fstat(fd).st_size
    whole = b"\n" + line if end and os.pread(fd, 1, end - 1) != b"\n" else line
    if os.write(fd, whole) != len(whole):
        raise OSError(errno.ENOSPC, "short write")


class Spool:
    """Append lines to ``<directory>/<host>-<pid>-<start>-<seq>.jsonl``; the folder has mode 0700, the files 0600.

    Safe under threads, under fork (the child opens a segment of its own) and with several processes of one host
    in one directory. The open segment is held by an ``flock``, so that a reader can distinguish it from a closed
    or abandoned one. ``write`` never raises and never waits: a line that could not be written is counted in
    ``dropped`` by reason, reported once on the stdlib logger ``logging_lib``, and logged as an ``ml.health``
    event as soon as writing works again.

    Args:
        directory: the folder; it is created when the first line is written.
        rotate_bytes: a segment is closed before it grows beyond this.
        rotate_seconds: a segment older than this is closed at the next write.
        budget_bytes: what the folder may hold, of all processes; beyond it new events are dropped. It is checked
            once a second and after each 64th of it, so each process can exceed it by a 64th.
        fsync: when lines are forced to the disk: ``never`` leaves it to the kernel (about 30 s); ``interval``
            does it in the first call after ``fsync_seconds``; ``always`` in each call, before it returns.
        fsync_seconds: for ``interval``, in seconds.
        delete_closed_after: for a shipper that does not delete (Filebeat): delete segments without a writer that
            were not changed for this many seconds. Default: never, since ``logging-lib ship`` deletes them.
        clock: returns seconds, monotonic.

    Attributes:
        directory: the folder's absolute path.
        written: lines that this process wrote.
        dropped: lines that could not be written, by reason.
        path: the open segment's file, or None.
        on_open: functions that are called with the spool when this process opens its first segment.

    Raises:
        ValueError: an option is out of its range.
    """

    def __init__(
        self,
        directory: str | Path,
        *,
        rotate_bytes: int = 64 << 20,
        rotate_seconds: float = 3600.0,
        budget_bytes: int = 1 << 30,
        fsync: Fsync = "never",
        fsync_seconds: float = 1.0,
        delete_closed_after: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if fsync not in ("never", "interval", "always"):
            raise ValueError(f"fsync: expected 'never', 'interval' or 'always', found {fsync!r}")
        for name, value in (("rotate_bytes", rotate_bytes), ("rotate_seconds", rotate_seconds),
                            ("budget_bytes", budget_bytes), ("fsync_seconds", fsync_seconds)):  # fmt: skip
            if value <= 0:
                raise ValueError(f"{name}: expected more than 0, found {value!r}")
        self.directory = Path(directory).absolute()
        self.written = 0
        self.dropped: Counter[str] = Counter()
        self.path: Path | None = None
        self.on_open: list[Callable[[Spool], None]] = []
        """Called when this process opens its first segment: so after a fork in the child, too."""
        self._rotate_bytes, self._rotate_seconds = rotate_bytes, rotate_seconds
        self._budget = budget_bytes
        self._fsync, self._fsync_seconds = fsync, fsync_seconds
        self._delete_after = delete_closed_after
        self._clock = clock
        self._fd = -1
        self._warned = False
        self._begin()
        _open_spools.add(self)

    def _begin(self) -> None:
        """The state of a process that has written nothing yet."""
        self._lock = threading.RLock()  # a signal handler or a destructor may log while we hold it
        self.written, self.dropped, self.path = 0, Counter(), None
        self._start, self._seq = time.time_ns(), 0
        self._left = -1  # bytes that may be written without looking; negative: look first
        self._torn = False  # a part of a line is at the segment's end
        self._due = 0.0  # when to look at the latest
        self._opened = self._synced = self._swept = self._full_until = 0.0
        self._reported: Counter[str] = Counter()
        self._reported_at = self._clock()
        self._seen = 0  # ``written`` at the last look
        self._closed_bytes = 0

    def write(self, line: bytes) -> bool:
        """Append one line, which ends in a newline; return whether it was written."""
        size = len(line)
        try:
            if size <= self._left and self._clock() < self._due:
                if os.write(self._fd, line) == size:
                    self._left -= size
                    self.written += 1
                    return True
                self._torn = True
        except OSError:
            pass  # said below, where it fails again
        return self._write_and_look(line)

    def write_all(self, lines: Sequence[bytes]) -> int:
        """Append many lines, with one ``os.write`` for about a megabyte of them; return how many were written."""
        kept, start = 0, 0
        while start < len(lines):
            end, size = start, 0
            while end < len(lines) and (size < _MANY or end == start):
                size += len(lines[end])
                end += 1
            kept += self._write_many(lines[start:end], size)
            start = end
        return kept

    def _write_many(self, lines: Sequence[bytes], size: int) -> int:
        done = 0
        with self._lock:
            try:
                if size <= self._left and self._clock() < self._due:
                    self._left -= size
                    written = os.write(self._fd, b"".join(lines))
                    while done < len(lines) and written >= len(lines[done]):
                        written -= len(lines[done])
                        done += 1
                    self._torn = self._torn or written > 0
                    self.written += done
            except OSError:
                pass  # said below, where it fails again
            # One by one where there is something to look at first: whether there is room, a next segment to begin.
            return done + sum(self._write_and_look(line) for line in lines[done:])

    def _write_and_look(self, line: bytes) -> bool:
        with self._lock:
            self._left = -1  # until all is well again, the other threads come here as well
            try:
                now = self._clock()
                room = self._look(now, len(line))
                self._append(line)
                self.written += 1
                self._seen = self.written
                self._after(now)
            except Exception as error:  # noqa: BLE001 - a folder's name that the system refuses, say
                self._drop(error)
                return False
            self._left = -1 if self._fsync == "always" else room - len(line)
            self._due = now + min(_LOOK_SECONDS, self._fsync_seconds)
            return True

    def _look(self, now: float, size: int) -> int:
        """See that there is a segment to write to; the bytes that fit before the next look."""
        if now < self._full_until:
            raise _BudgetReachedError
        if self.path is not None:
            state = os.fstat(self._fd)
            if not state.st_nlink:
                self._count("deleted", self.written - self._seen)
                self.path = None
            elif state.st_size and (
                state.st_size + size > self._rotate_bytes or now - self._opened >= self._rotate_seconds
            ):
                self.path = None
        if self.path is None:
            self._open(now)
        if self._delete_after is not None and now - self._swept >= _SWEEP_SECONDS:
            self._swept = now
            self._sweep(self._delete_after)
        room = self._budget - folder_bytes(self.directory)
        if room < size:
            self._full_until = now + _LOOK_SECONDS
            raise _BudgetReachedError
        return min(room, self._rotate_bytes - os.fstat(self._fd).st_size, max(self._budget // 64, size))

    def _append(self, line: bytes) -> None:
        # Not by the file's last byte, as ``append`` does: another thread may be in the middle of its line.
        whole = b"\n" + line if self._torn else line
        if (kept := os.write(self._fd, whole)) != len(whole):
            self._torn = self._torn or kept > 0
            raise OSError(errno.ENOSPC, "short write")
        self._torn = False

    def _after(self, now: float) -> None:
        """What is due once a line was kept: the report of what was not, and the disk."""
        missed = self.dropped - self._reported
        if missed and (now - self._reported_at >= _LOOK_SECONDS or not self._reported):
            interval = max(1, round(now - self._reported_at))
            self._reported, self._reported_at = self.dropped.copy(), now
            self._append(dropped_line(time.time_ns(), interval=interval, dropped=missed))
        if self._fsync == "always" or (
            self._fsync == "interval" and now - self._synced >= self._fsync_seconds
        ):
            self._synced = now
            os.fsync(self._fd)

    def _open(self, now: float) -> None:
        """Begin the next segment. It gets its name only once it is locked: no reader sees it without a writer."""
        self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        name = segment_name(socket.gethostname(), os.getpid(), self._start, self._seq)
        hidden, path = self.directory / f".{name}.new", self.directory / name
        new = os.open(hidden, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            self._hold(new)
            hidden.rename(path)
            if self._fsync != "never":
                _sync_folder(self.directory)
        except OSError:
            os.close(new)
            raise
        self._seq += 1
        if self._fd < 0:
            self._fd = new
        else:
            self._replace(new)
        self.path, self._opened, self._synced, self._torn = path, now, now, False
        if self._seq == 1:
            self._first()

    def _replace(self, new: int) -> None:
        # The descriptor's number stays ours for good and changes its file in one step: another thread may be
        # about to write to it. What it writes meanwhile goes to the old segment, whose lock lasts until then.
        old = os.dup(self._fd)
        self._closed_bytes += os.fstat(old).st_size
        os.dup2(new, self._fd, inheritable=False)
        os.close(new)
        try:
            if self._fsync != "never":
                os.fsync(old)
        finally:
            os.close(old)

    def _first(self) -> None:
        if not self._warned and (kind := volatile(self.directory)):
            self._warned = True
            _log.warning(
                "the spool %s lies on %s, which does not survive the loss of the host or container; "
                "put it on a disk or a mounted volume",
                self.directory,
                kind,
            )
        for begin in self.on_open:
            try:
                begin(self)
            except Exception as error:  # noqa: BLE001 - no thread can be started, say: the spool is no worse for it
                _log.warning(
                    "the spool %s is not shipped or reported on in the background: %r", self.directory, error
                )

    def _hold(self, fd: int) -> None:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if not self._warned:
                self._warned = True
                _log.warning(
                    "no locks on the file system of %s (%s): it cannot be shipped", self.directory, error
                )

    def _sweep(self, age: float) -> None:
        oldest = time.time() - age
        for path in segments(self.directory):
            if path != self.path and path.stat().st_mtime < oldest and not has_writer(path):
                path.unlink(missing_ok=True)

    def _drop(self, error: Exception) -> None:
        if isinstance(error, _BudgetReachedError):
            self._count("disk_budget", 1)
        elif isinstance(error, OSError) and error.errno:
            self._count(os.strerror(error.errno), 1)
        else:
            self._count(type(error).__name__, 1)

    def _count(self, reason: str, events: int) -> None:
        if not self.dropped[reason]:
            _log.warning(
                "cannot write to the spool %s: %s; such events are dropped and counted",
                self.directory,
                reason,
            )
        if events:
            self.dropped[reason] += events

    @property
    def bytes_written(self) -> int:
        """Bytes that this process wrote here."""
        return self._closed_bytes + (os.fstat(self._fd).st_size if self._fd >= 0 else 0)

    def open(self) -> None:
        """Begin a segment now, if there is none yet; it never raises."""
        with self._lock:
            if self.path is None:
                try:
                    self._open(self._clock())
                except Exception as error:  # noqa: BLE001 - as in ``write``; nothing was lost by it
                    _log.warning("cannot open the spool %s: %s", self.directory, error)

    def close(self) -> None:
        """Close the segment; a later write opens the next one."""
        with self._lock:
            self._left, self.path = -1, None
            if self._fd >= 0:
                nothing = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)  # a write to it fails, and looks
                self._replace(nothing)

    # structlog calls the method of the log level; a line of bytes is all that our renderer gives.
    def msg(self, line: bytes) -> None:
        """Append one line; structlog calls it by the name of the log level."""
        self.write(line)

    debug = info = warning = error = critical = exception = log = msg

    def _forget(self) -> None:
        """In a forked child: the parent's segment stays the parent's, and so does its lock."""
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = -1
        self._begin()


def _sync_folder(directory: Path) -> None:
    fd = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _forget_all() -> None:
    for spool in list(_open_spools):
        spool._forget()


os.register_at_fork(after_in_child=_forget_all)

_by_directory: dict[Path, Spool] = {}


def shared(spool: str | Path | Spool) -> Spool:
    """The process's one spool in a directory: several models write to the same segments.

    A ``Spool`` is taken as it is, and is from then on the one of its directory.
    """
    if isinstance(spool, Spool):
        _by_directory[spool.directory] = spool
        return spool
    key = Path(spool).absolute()
    return _by_directory.get(key) or _by_directory.setdefault(key, Spool(key))


def _no_shipper(spool: Spool, url: str) -> None:
    raise RuntimeError("import logging_lib to ship in the background")


attach_shipper: Callable[[Spool, str], None] = _no_shipper
"""Ships a spool in the background; ``logging_lib`` puts ``ship.background.attach`` here: capture knows no ship."""
