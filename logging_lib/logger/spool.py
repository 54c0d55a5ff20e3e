"""The spool of events: segment files with one writer per process, one ``os.write`` per line, no buffer in memory.

When a call returns, its line is in the kernel's page cache: it survives the death of the process (kill -9), but not
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

import orjson

from logging_lib.logger.event import build_dead_letter
from logging_lib.logger.health import render_dropped_event
from logging_lib.logger.jsonlines import MAX_LINE
from logging_lib.logger.segments import (
    directory_size,
    find_volatile_filesystem,
    format_segment_name,
    has_writer,
    list_segments,
)

Fsync = Literal["never", "interval", "always"]

_log = logging.getLogger("logging_lib")
_open_spools: weakref.WeakSet[Spool] = weakref.WeakSet()
_CHECK_SECONDS = 1.0
_SWEEP_SECONDS = 60.0
_WRITE_BYTES = 1 << 20


class _BudgetReachedError(OSError):
    """The error of a write to a folder that has reached its budget."""


def append_line(fd: int, line: bytes) -> None:
    """Append one whole line to a file that is open for reading and appending.

    If the file ends in an incomplete line, a newline is written first; the torn line is then read as a dead letter.

    Raises:
        OSError: the line could not be written completely.
    """
    end = os.fstat(fd).st_size
    text = b"\n" + line if end and os.pread(fd, 1, end - 1) != b"\n" else line
    if os.write(fd, text) != len(text):
        raise OSError(errno.ENOSPC, "short write")


class Spool:
    """A writer of lines to ``<directory>/<host>-<pid>-<start>-<seq>.jsonl``, folder mode 0700, file mode 0600.

    It is safe with threads, with fork (the child opens its own segment) and with several processes of one host in
    one directory. The open segment is locked by ``flock``, so that a reader can distinguish it from a closed or
    abandoned one. ``write`` never raises and never waits: events that could not be written are counted in
    ``dropped`` by reason, reported once on the stdlib logger ``logging_lib``, and logged as an ``ml.health`` event
    as soon as writing works again.

    Args:
        directory: the folder; it is created with the first line.
        rotate_bytes: a segment is closed before it exceeds this size, in bytes.
        rotate_seconds: a segment that is older than this is closed at the next write.
        budget_bytes: the size that the folder may reach, over all processes; beyond it new events are dropped. It
            is checked once a second and after each 64th of the budget is written, so each process can exceed it by
            that much.
        fsync: when lines are forced to the disk: ``never`` leaves it to the kernel (about 30 s); ``interval``
            does so in the first call after ``fsync_seconds``; ``always`` in each call, before it returns.
        fsync_seconds: the interval for ``interval``, in seconds.
        delete_closed_after: delete segments that have no writer and were not changed for this many seconds; use it
            with a shipper that does not delete them (Filebeat). Default: never; ``logging-lib ship`` deletes them
            itself.
        clock: returns seconds, monotonic.

    Attributes:
        directory: the folder's absolute path.
        written: the number of lines that this process wrote.
        dropped: the number of lines that could not be written, by reason.
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
        """Functions to call when this process, or its child after a fork, opens its first segment."""
        self._rotate_bytes, self._rotate_seconds = rotate_bytes, rotate_seconds
        self._budget = budget_bytes
        self._fsync, self._fsync_seconds = fsync, fsync_seconds
        self._delete_after = delete_closed_after
        self._clock = clock
        self._fd = -1
        self._warned = False
        self._reset()
        _open_spools.add(self)

    def _reset(self) -> None:
        """Reset to the state of a process that has written nothing yet."""
        self._lock = threading.RLock()  # a signal handler or a destructor may log while we hold it
        self.written, self.dropped, self.path = 0, Counter(), None
        self._start, self._seq = time.time_ns(), 0
        self._room = -1  # how many bytes may be written before the next check; negative: check first
        self._has_torn_line = False  # whether the segment ends in an incomplete line
        self._check_at = 0.0  # the latest time of the next check
        self._opened_at = self._synced_at = self._swept_at = self._full_until = 0.0
        self._reported: Counter[str] = Counter()
        self._reported_at = self._clock()
        self._written_at_check = 0  # ``written`` at the last check
        self._closed_bytes = 0

    def write(self, line: bytes) -> bool:
        """Append one line, which ends in a newline; return whether it was written.

        A line that is longer than ``MAX_LINE``, which no reader accepts, is counted as dropped; a dead letter with
        its beginning is written in its place.
        """
        size = len(line)
        if size > MAX_LINE:
            return self._refuse(line)
        try:
            if size <= self._room and self._clock() < self._check_at:
                written_bytes = os.write(self._fd, line)
                if written_bytes == size:
                    self._room -= size
                    self.written += 1
                    return True
                self._has_torn_line, self._room = True, -1  # the next line begins with a newline
                if written_bytes == size - 1:  # only the newline is missing, and the next line adds it
                    self.written += 1
                    return True
        except OSError:
            pass  # the write below fails again and reports the error
        return self._write_checked(line)

    def write_all(self, lines: Sequence[bytes]) -> int:
        """Append lines with one ``os.write`` per megabyte; return how many were written."""
        written, start = 0, 0
        while start < len(lines):
            end, size = start, 0
            while end < len(lines) and (size < _WRITE_BYTES or end == start):
                size += len(lines[end])
                end += 1
            if size > MAX_LINE and max(map(len, lines[start:end])) > MAX_LINE:
                written += sum(map(self.write, lines[start:end]))
            else:
                written += self._write_many(lines[start:end], size)
            start = end
        return written

    def _write_many(self, lines: Sequence[bytes], size: int) -> int:
        whole_lines = 0
        with self._lock:
            try:
                if size <= self._room and self._clock() < self._check_at:
                    self._room -= size
                    written_bytes = os.write(self._fd, b"".join(lines))
                    while whole_lines < len(lines) and written_bytes >= len(lines[whole_lines]):
                        written_bytes -= len(lines[whole_lines])
                        whole_lines += 1
                    if written_bytes:
                        self._has_torn_line, self._room = True, -1
                        whole_lines += written_bytes == len(lines[whole_lines]) - 1  # as in ``write``
                    self.written += whole_lines
            except OSError:
                pass  # the write below fails again and reports the error
            # Write the others one by one: the remaining room must be checked, or a new segment opened, first.
            return whole_lines + sum(self._write_checked(line) for line in lines[whole_lines:])

    def _refuse(self, line: bytes) -> bool:
        message = f"the line is longer than {MAX_LINE} bytes, with all its texts cut"
        event = build_dead_letter(error_type="too_large", message=message, original=line[:-1], stage="spool")
        with self._lock:
            self._count_dropped("too_large", 1)
        self.write(orjson.dumps(event, option=orjson.OPT_APPEND_NEWLINE))
        return False

    def _write_checked(self, line: bytes) -> bool:
        with self._lock:
            self._room = -1  # until this write succeeds, the other threads take this path, too
            try:
                now = self._clock()
                room = self._check_segment(now, len(line))
                self._append(line)
                self.written += 1
                self._written_at_check = self.written
                self._finish_write(now)
            except Exception as error:  # noqa: BLE001 - such as a folder name that the system refuses
                self._count_error(error)
                return False
            self._room = -1 if self._fsync == "always" else room - len(line)
            self._check_at = now + min(_CHECK_SECONDS, self._fsync_seconds)
            return True

    def _check_segment(self, now: float, size: int) -> int:
        """Ensure that a segment is open; return the bytes that may be written before the next check."""
        if now < self._full_until:
            raise _BudgetReachedError
        if self.path is not None:
            state = os.fstat(self._fd)
            if not _is_file_at(self.path, state):  # the folder may be moved, or the file have another link
                reason = "moved" if state.st_nlink else "deleted"
                self._count_dropped(reason, self.written - self._written_at_check)
                self.path = None
            elif state.st_size and (
                state.st_size + size > self._rotate_bytes or now - self._opened_at >= self._rotate_seconds
            ):
                self.path = None
        if self.path is None:
            self._open(now)
        if self._delete_after is not None and now - self._swept_at >= _SWEEP_SECONDS:
            self._swept_at = now
            self._delete_old_segments(self._delete_after)
        room = self._budget - directory_size(self.directory)
        if room < size:
            self._full_until = now + _CHECK_SECONDS
            raise _BudgetReachedError
        return min(room, self._rotate_bytes - os.fstat(self._fd).st_size, max(self._budget // 64, size))

    def _append(self, line: bytes) -> None:
        # The file's last byte, which ``append_line`` reads, does not tell this here: another thread may be in the
        # middle of its line.
        text = b"\n" + line if self._has_torn_line else line
        written_bytes = os.write(self._fd, text)
        if written_bytes < len(text) - 1:
            self._has_torn_line = self._has_torn_line or written_bytes > 0
            raise OSError(errno.ENOSPC, "short write")
        self._has_torn_line = written_bytes < len(text)  # as in ``write``

    def _finish_write(self, now: float) -> None:
        """Report the dropped events and sync the file, if that is due, after a successful write."""
        unreported = self.dropped - self._reported
        if unreported and (now - self._reported_at >= _CHECK_SECONDS or not self._reported):
            interval = max(1, round(now - self._reported_at))
            self._reported, self._reported_at = self.dropped.copy(), now
            self._append(render_dropped_event(time.time_ns(), interval=interval, dropped=unreported))
        if self._fsync == "always" or (
            self._fsync == "interval" and now - self._synced_at >= self._fsync_seconds
        ):
            self._synced_at = now
            os.fsync(self._fd)

    def _open(self, now: float) -> None:
        """Open the next segment, which gets its name only once it is locked: no reader sees it without a writer."""
        self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        name = format_segment_name(socket.gethostname(), os.getpid(), self._start, self._seq)
        hidden, path = self.directory / f".{name}.new", self.directory / name
        fd = os.open(hidden, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            self._lock_segment(fd)
            hidden.rename(path)
            if self._fsync != "never":
                _sync_directory(self.directory)
        except OSError:
            os.close(fd)
            raise
        self._seq += 1
        if self._fd < 0:
            self._fd = fd
        else:
            self._replace_file(fd)
        self.path, self._opened_at, self._synced_at, self._has_torn_line = path, now, now, False
        if self._seq == 1:
            self._announce_open()

    def _replace_file(self, new_fd: int) -> None:
        # The descriptor keeps its number and changes its file in one step, because another thread may be about to
        # write to it. Until then the lines go to the old segment, which stays locked.
        old_fd = os.dup(self._fd)
        self._closed_bytes += os.fstat(old_fd).st_size
        os.dup2(new_fd, self._fd, inheritable=False)
        os.close(new_fd)
        try:
            if self._fsync != "never":
                os.fsync(old_fd)
        finally:
            os.close(old_fd)

    def _announce_open(self) -> None:
        if not self._warned and (kind := find_volatile_filesystem(self.directory)):
            self._warned = True
            _log.warning(
                "the spool %s lies on %s, which does not survive the loss of the host or container; "
                "put it on a disk or a mounted volume",
                self.directory,
                kind,
            )
        for callback in self.on_open:
            try:
                callback(self)
            except Exception as error:  # noqa: BLE001 - such as a thread that cannot start; the spool still works
                _log.warning(
                    "the spool %s is not shipped or reported on in the background: %r", self.directory, error
                )

    def _lock_segment(self, fd: int) -> None:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if not self._warned:
                self._warned = True
                _log.warning(
                    "no locks on the file system of %s (%s): it cannot be shipped", self.directory, error
                )

    def _delete_old_segments(self, age: float) -> None:
        oldest = time.time() - age
        for path in list_segments(self.directory):
            if path != self.path and path.stat().st_mtime < oldest and not has_writer(path):
                path.unlink(missing_ok=True)

    def _count_error(self, error: Exception) -> None:
        if isinstance(error, _BudgetReachedError):
            self._count_dropped("disk_budget", 1)
        elif isinstance(error, OSError) and error.errno:
            self._count_dropped(os.strerror(error.errno), 1)
        else:
            self._count_dropped(type(error).__name__, 1)

    def _count_dropped(self, reason: str, events: int) -> None:
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
        """The number of bytes that this process wrote here."""
        return self._closed_bytes + (os.fstat(self._fd).st_size if self._fd >= 0 else 0)

    def open(self) -> None:
        """Open a segment now if none is open; it never raises."""
        with self._lock:
            if self.path is None:
                try:
                    self._open(self._clock())
                except Exception as error:  # noqa: BLE001 - as in ``write``; no event was lost
                    _log.warning("cannot open the spool %s: %s", self.directory, error)

    def close(self) -> None:
        """Close the segment; a later write opens another one."""
        with self._lock:
            self._room, self.path = -1, None
            if self._fd >= 0:
                # A write to it fails, and so leads to the checks.
                null_fd = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
                self._replace_file(null_fd)

    # structlog calls the method of the log level with the line that our renderer returns.
    def msg(self, line: bytes) -> None:
        """Append one line; structlog calls it by the name of the log level."""
        self.write(line)

    debug = info = warning = error = critical = exception = log = msg

    def _reset_after_fork(self) -> None:
        """Reset the state in a forked child; the parent keeps its segment and its lock."""
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = -1
        self._reset()


def _is_file_at(path: Path, state: os.stat_result) -> bool:
    try:
        return os.path.samestat(path.stat(), state)
    except (FileNotFoundError, NotADirectoryError):
        return False


def _sync_directory(directory: Path) -> None:
    fd = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _reset_all() -> None:
    for spool in list(_open_spools):
        spool._reset_after_fork()


os.register_at_fork(after_in_child=_reset_all)

_by_directory: dict[Path, Spool] = {}


def get_spool(spool: str | Path | Spool) -> Spool:
    """Return the spool that this process uses for a directory, so that several models write to the same segments.

    A ``Spool`` is returned unchanged, and becomes the one that is used for its directory.
    """
    if isinstance(spool, Spool):
        _by_directory[spool.directory] = spool
        return spool
    key = Path(spool).absolute()
    return _by_directory.get(key) or _by_directory.setdefault(key, Spool(key))
