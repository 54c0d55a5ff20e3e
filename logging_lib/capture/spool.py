"""The spool: one append-only file a process, one ``os.write`` a line, nothing buffered in memory.

When a call returns, its line is in the kernel's page cache: it survives the death of the process (kill -9), not
the loss of the host.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
import weakref
from collections import Counter
from pathlib import Path
from typing import Any

_log = logging.getLogger("logging_lib")
_open_spools: weakref.WeakSet[Spool] = weakref.WeakSet()


class Spool:
    """Appends lines to ``<directory>/<host>-<pid>-<start>.jsonl``, mode 0600.

    Safe under threads, under fork (the child opens a file of its own) and with several processes in one
    directory. ``write`` never raises: what could not be kept is counted in ``dropped`` by reason, and said once.
    """

    def __init__(self, directory: str | Path) -> None:
        self.directory = Path(directory)
        self.written = 0
        self.dropped: Counter[str] = Counter()
        self.path: Path | None = None
        self._fd = -1
        self._torn = False
        self._lock = threading.Lock()
        _open_spools.add(self)

    def write(self, line: bytes) -> bool:
        """Append one line, which ends in a newline. True where it was kept."""
        try:
            if self._fd < 0:
                self._open()
            if not self._torn and os.write(self._fd, line) == len(line):
                self.written += 1
                return True
            return self._after_a_short_write(line)
        except OSError as error:
            return self._drop(error)

    def _after_a_short_write(self, line: bytes) -> bool:
        # A part of a line is in the file. The next one starts on a line of its own; the torn one reads as a
        # dead letter, and its event is written again whole.
        with self._lock:
            self._torn = True
            whole = b"\n" + line
            if os.write(self._fd, whole) != len(whole):
                raise OSError(28, "short write")
            self._torn = False
            self.written += 1
            return True

    def _open(self) -> None:
        with self._lock:
            if self._fd >= 0:
                return
            self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            name = f"{socket.gethostname()}-{os.getpid()}-{time.time_ns():x}.jsonl"
            path = self.directory / name
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
            self._fd = os.open(path, flags, 0o600)
            self.path = path

    def _drop(self, error: OSError) -> bool:
        reason = os.strerror(error.errno) if error.errno else type(error).__name__
        if not self.dropped[reason]:
            _log.warning(
                "cannot write to the spool %s: %s; such events are dropped and counted",
                self.directory,
                reason,
            )
        self.dropped[reason] += 1
        return False

    def close(self) -> None:
        """Close the file; a later write opens a new one."""
        with self._lock:
            fd, self._fd = self._fd, -1
            if fd >= 0:
                os.close(fd)

    # structlog calls the method of the log level; a line of bytes is all that our renderer gives.
    def msg(self, line: bytes) -> None:
        self.write(line)

    debug = info = warning = error = critical = exception = log = msg

    def _forget(self) -> None:
        """In a forked child: the parent's file stays the parent's."""
        self._lock = threading.Lock()
        if self._fd >= 0:
            os.close(self._fd)
        self._fd, self._torn, self.path = -1, False, None
        self.written = 0
        self.dropped = Counter()


def _forget_all() -> None:
    for spool in list(_open_spools):
        spool._forget()


os.register_at_fork(after_in_child=_forget_all)

_by_directory: dict[Path, Spool] = {}


def shared(directory: str | Path) -> Spool:
    """The process's one spool in a directory: several models write to the same file."""
    key = Path(directory).absolute()
    return _by_directory.setdefault(key, Spool(key))


class SpoolLoggerFactory:
    """A structlog logger factory whose loggers append to the spool in a directory."""

    def __init__(self, directory: str | Path) -> None:
        self._spool = shared(directory)

    def __call__(self, *args: Any) -> Spool:
        return self._spool
