"""The parts of a run: processes that are killed and started again, a store, and small disks."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from logging_lib.store.connection import Connection, ConnectionSettings
from logging_lib.store.port import StoreError
from tests.elasticsearch_server import Server

_STOP_SECONDS, _RESTART_SECONDS = 30.0, 2.0
_DISK_BYTES = 64 << 20


class ProcessPart:
    """A part that is one process with its children; ``watch_over`` restarts it after it ended.

    Args:
        command: the command that starts it.
        log: the file for its output.
        environment: variables in addition to this process's own.
    """

    def __init__(self, command: Sequence[object], log: Path, environment: Mapping[str, str]) -> None:
        self._command = [str(part) for part in command]
        self._log, self._environment = log, {**os.environ, **environment}
        self._process: subprocess.Popen[bytes] | None = None
        self._resume_at: float | None = None
        self.starts = 0
        self.crashes = 0
        """The number of times it ended without being killed or stopped."""

    @property
    def pid(self) -> int | None:
        return None if self._process is None else self._process.pid

    def start(self) -> None:
        with self._log.open("ab") as output:
            self._process = subprocess.Popen(
                self._command, env=self._environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                start_new_session=True,
            )  # fmt: skip
        self.starts += 1

    def kill(self, seconds: float) -> None:
        """Kill it by signal 9; after ``seconds`` it may start again."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        self._resume_at = time.monotonic() + seconds

    def watch_over(self) -> None:
        """Start it if it is down and should not stay down, as systemd would."""
        if self._resume_at is not None:
            if time.monotonic() < self._resume_at:
                return
            self._resume_at = None
            self.start()
        elif self._process is not None and self._process.poll() is not None:
            self.crashes += 1
            self._resume_at = time.monotonic() + _RESTART_SECONDS

    def stop(self) -> None:
        """End it and its children."""
        process, self._process, self._resume_at = self._process, None, None
        if process is None:
            return
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_STOP_SECONDS)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def children(self) -> list[int]:
        """List the processes that it started."""
        if self._process is None:
            return []
        try:
            text = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text()
        except OSError:
            return []
        return [int(pid) for pid in text.split()]


class StorePart:
    """A real Elasticsearch that is killed and started again, or accepts no events, as with a full disk."""

    def __init__(self) -> None:
        self._server = Server()
        self.url = self._server.url
        self._starting: threading.Thread | None = None
        self._is_blocked = False
        self._unblock_at = 0.0
        self.failure: Exception | None = None
        """The reason why a start failed, if one did."""

    def __enter__(self) -> StorePart:
        self._server.__enter__()
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self._starting is not None:
            self._starting.join()
        self._server.__exit__(*exc_info)

    def connect(self) -> Connection:
        return Connection(ConnectionSettings(self.url), timeout=60)

    def kill(self, seconds: float) -> bool:
        """Kill it by signal 9; after ``seconds`` it begins to start again. Return False if it is down."""
        if self._starting is not None and self._starting.is_alive():
            return False
        self._server.kill()
        self._starting = threading.Thread(target=self._restart, args=(seconds,), daemon=True)
        self._starting.start()
        return True

    def _restart(self, seconds: float) -> None:
        time.sleep(seconds)
        try:
            self._server.start()
        except Exception as error:  # noqa: BLE001 - the run ends with it
            self.failure = error

    def fill(self, seconds: float) -> bool:
        """Set the block that Elasticsearch sets when its disk is full; after ``seconds`` it is removed.

        Return False if it cannot be set now.
        """
        self._is_blocked = self._set_block(True)
        self._unblock_at = time.monotonic() + seconds
        return self._is_blocked

    def watch_over(self) -> None:
        """Remove the block in time, even if that takes several attempts."""
        if self._is_blocked and time.monotonic() >= self._unblock_at:
            self._is_blocked = not self._set_block(None)

    def _set_block(self, value: bool | None) -> bool:
        settings = {"index.blocks.read_only_allow_delete": value}
        try:
            with Connection(ConnectionSettings(self.url), timeout=5) as connection:
                connection.call("PUT", "/logs-ml.*/_settings?expand_wildcards=all", settings)
        except StoreError:
            return False
        return True

    @property
    def is_disrupted(self) -> bool:
        return self._is_blocked or (self._starting is not None and self._starting.is_alive())


class Disk:
    """A folder on its own small file system or, if none can be mounted, a folder whose writers get a limit on the
    size of their files.

    Args:
        folder: the folder to create.
        writers: returns the ids of the processes that write to it.
    """

    def __init__(self, folder: Path, writers: Callable[[], Iterable[int]]) -> None:
        folder.mkdir(parents=True)
        self.folder, self._writers = folder, writers
        self._filler = folder / ".filler"
        self._full_until = 0.0
        mount = ["mount", "-t", "tmpfs", "-o", f"size={_DISK_BYTES},mode=700", "soak", str(folder)]
        try:
            self.is_mounted = subprocess.run(mount, capture_output=True, check=False).returncode == 0
        except OSError:
            self.is_mounted = False
        self._limited: set[int] = set()

    @property
    def kind(self) -> str:
        return "tmpfs, no space left" if self.is_mounted else "limit on file sizes"

    @property
    def is_full(self) -> bool:
        return self._full_until > 0

    def fill(self, seconds: float) -> None:
        """Fill the disk for ``seconds``."""
        self._full_until = time.monotonic() + seconds
        self.watch_over()

    def watch_over(self) -> None:
        """Keep it full, even if files were deleted, or free it in time."""
        if not self.is_full:
            return
        if time.monotonic() >= self._full_until:
            self.free()
        elif self.is_mounted:
            self._take_room()
        else:
            for pid in self._writers():
                self._limit(pid, 0)

    def free(self) -> None:
        self._full_until = 0.0
        self._filler.unlink(missing_ok=True)
        for pid in self._limited:
            self._limit(pid, resource.RLIM_INFINITY)
        self._limited.clear()

    def _take_room(self) -> None:
        descriptor = os.open(self._filler, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            for size in (1 << 20, 1 << 12):
                with contextlib.suppress(OSError):
                    while os.write(descriptor, b"\0" * size):
                        continue
        finally:
            os.close(descriptor)

    def _limit(self, pid: int, size: int) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
            self._limited.add(pid)

    def close(self) -> None:
        self.free()
        if self.is_mounted:
            subprocess.run(["umount", "--lazy", str(self.folder)], check=False)


@contextlib.contextmanager
def closing_disk(folder: Path, writers: Callable[[], Iterable[int]]) -> Iterator[Disk]:
    """Provide a disk for the duration of the block."""
    disk = Disk(folder, writers)
    try:
        yield disk
    finally:
        disk.close()
