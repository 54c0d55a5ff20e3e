"""Store the runner's state in a folder: one file per watch, so that a change rewrites little and locks briefly."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import IO
from urllib.parse import quote, unquote

from logging_lib.watch.errors import StateError
from logging_lib.watch.state.base import ANY, DocumentState, HistoryQuery, Record, is_old

FOLDER = ".watch-state"
"""The name of a state's folder in a store; the store reads no folder whose name begins with a dot."""

HISTORY_BYTES = 32 << 20


class FileState(DocumentState):
    """States in the files ``watches/<id>.json``, ``mutes.json``, ``lease.json`` and ``history.jsonl``.

    Each is replaced as a whole except for the last, which grows. They are created at the first change.

    Raises:
        StateError: the path is not a folder, or a file in it is not a state.
    """

    def __init__(self, path: str | Path, *, history_bytes: int = HISTORY_BYTES) -> None:
        self._path = Path(path)
        self._history_bytes = history_bytes
        if self._path.exists() and not self._path.is_dir():
            raise StateError(f"{self._path}: is not a state of the watch runner: that is a folder")

    def watch_ids(self) -> list[str]:
        return sorted(unquote(file.stem) for file in (self._path / "watches").glob("*.json"))

    def _file(self, name: str) -> Path:
        kind, _, watch_id = name.partition(":")
        return (
            self._path / "watches" / f"{quote(watch_id, safe='')}.json"
            if watch_id
            else self._path / f"{kind}.json"
        )

    def _place(self, name: str) -> str:
        return str(self._file(name))

    def _read(self, name: str) -> bytes | None:
        try:
            return self._file(name).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StateError(f"{self._file(name)}: cannot be read: {error.strerror or error}") from error

    def _change(self, name: str, change: Callable[[bytes | None], bytes | None]) -> None:
        with self._locked():
            content = change(self._read(name))
            if content is not None:
                self._replace(self._file(name), content)

    def record(self, records: Iterable[Record]) -> None:
        lines = b"".join(json.dumps(record, default=str).encode() + b"\n" for record in records)
        if not lines:
            return
        with self._locked():
            file = self._path / "history.jsonl"
            descriptor = os.open(file, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
            try:
                end = os.lseek(descriptor, 0, os.SEEK_END)
                if end and os.pread(descriptor, 1, end - 1) != b"\n":
                    lines = b"\n" + lines  # the last one was torn by a crash
                os.write(descriptor, lines)
            finally:
                os.close(descriptor)
            if end + len(lines) > self._history_bytes:
                latest = file.read_bytes()[-self._history_bytes // 2 :]
                self._replace(file, latest[latest.find(b"\n") + 1 :])

    def history(self, query: HistoryQuery = ANY) -> list[Record]:
        return query.choose(self._records())

    def _records(self) -> Iterator[Record]:
        try:
            content = (self._path / "history.jsonl").read_bytes()
        except FileNotFoundError:
            return
        for line in content.splitlines():
            with contextlib.suppress(ValueError):  # torn by a crash
                yield json.loads(line)

    def forget(self, before: Mapping[str, datetime]) -> None:
        with self._locked():
            lines = b"".join(
                json.dumps(record).encode() + b"\n"
                for record in self._records()
                if not is_old(record, before)
            )
            self._replace(self._path / "history.jsonl", lines)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold the lock for one change, against threads and other processes on this machine."""
        try:
            (self._path / "watches").mkdir(parents=True, exist_ok=True)
            with (self._path / ".lock").open("w") as lock:
                _lock(lock)
                yield
        except OSError as error:
            raise StateError(f"{self._path}: cannot be written: {error.strerror or error}") from error

    def _replace(self, file: Path, content: bytes) -> None:
        # One name is enough under the lock: the next runner overwrites a file that a killed runner left.
        scratch = self._path / f".{file.name}.new"
        descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as opened:
                opened.write(content)
                opened.flush()
                os.fsync(opened.fileno())
            scratch.replace(file)
        except BaseException:
            scratch.unlink(missing_ok=True)
            raise


@contextlib.contextmanager
def hold_lock(file: Path) -> Iterator[bool]:
    """Hold the lock of a state while its file is changed in another way, so that no runner writes meanwhile. Yield
    whether it is a file of a state."""
    locks = [folder / ".lock" for folder in file.parents[:2] if (folder / "watches").is_dir()]
    if not locks or not locks[0].exists():
        yield False
        return
    with locks[0].open("w") as lock:
        _lock(lock)
        yield True


def _lock(file: IO[str]) -> None:
    try:
        import fcntl
    except ImportError:  # on Windows, two processes that use one folder are not kept apart
        return
    fcntl.flock(file, fcntl.LOCK_EX)
