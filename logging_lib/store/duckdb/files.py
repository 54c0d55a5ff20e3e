"""Read a target's folder of growing JSON-lines and Parquet files, and append whole lines to it."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path
from typing import Any

import orjson

from logging_lib._util import datemath

_CHUNK_BYTES = 32 << 20
OWN_FILE = "documents.jsonl"


@dataclass(slots=True)
class ReadPosition:
    """How far a file has been read; a different inode or a shorter file means that it was replaced."""

    inode: int
    offset: int = 0
    torn: int = 0


@dataclass(slots=True)
class ByteRange:
    """Whole lines of a file: its bytes from ``begin`` to ``end``."""

    file: Path
    begin: int
    end: int

    def __len__(self) -> int:
        return self.end - self.begin

    def read_blocks(self, at_once: int) -> Iterator[bytes]:
        """Yield the lines in blocks of about ``at_once`` bytes.

        Raises:
            FileNotFoundError: the file was removed.
        """
        for block in _whole_lines(self.file, self.begin, self.end, at_once):
            yield block if block.endswith(b"\n") else block + b"\n"


def _list_files(folder: Path) -> list[Path]:
    present = [file for file in folder.glob("*") if file.suffix in (".jsonl", ".parquet") and file.is_file()]
    return sorted(
        present, key=lambda file: (file.name == OWN_FILE, file.name)
    )  # the store's own file is the latest


@dataclass(slots=True)
class TargetFolder:
    """The folder with the files of one target, to read and append to.

    ``was_replaced`` becomes true when a file that had been read was rewritten or removed: the data read from it is
    stale, and the target has to be read again.
    """

    path: Path
    positions: dict[str, ReadPosition] = field(default_factory=dict)
    was_replaced: bool = False
    _descriptor: int | None = None

    def read_new(self, at_once: int = _CHUNK_BYTES) -> Iterator[tuple[str, bytes]]:
        """Yield the part of the files that has not been read yet, as (file name, whole lines) in blocks of about
        ``at_once`` bytes."""
        present = _list_files(self.path)
        if set(self.positions) - {file.name for file in present}:
            self.was_replaced = True
        for file in present:
            status = file.stat()
            seen = self.positions.setdefault(file.name, ReadPosition(status.st_ino))
            if seen.inode != status.st_ino or status.st_size < seen.offset:
                self.was_replaced = True
                seen = self.positions[file.name] = ReadPosition(status.st_ino)
            if status.st_size > seen.offset:
                jsonl = file.suffix == ".jsonl"
                for block in _read_jsonl(file, seen, at_once) if jsonl else _read_parquet(file, seen):
                    yield file.name, block

    @property
    def torn(self) -> int:
        """Return the number of files whose last line is not complete (yet)."""
        return sum(seen.torn for seen in self.positions.values())

    def append(self, lines: list[bytes]) -> Iterator[tuple[str, bytes]]:
        """Write whole lines with one system call; yield the lines that other processes wrote just before."""
        if self._descriptor is None:
            self.path.mkdir(parents=True, exist_ok=True)
            flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0)
            self._descriptor = os.open(self.path / OWN_FILE, flags, 0o644)
            self.positions.setdefault(OWN_FILE, ReadPosition(os.fstat(self._descriptor).st_ino))
        descriptor, seen = self._descriptor, self.positions[OWN_FILE]
        end = os.lseek(descriptor, 0, os.SEEK_END)
        data = b"\n".join(lines) + b"\n"
        if end and os.pread(descriptor, 1, end - 1) != b"\n":
            data = b"\n" + data  # the last line is torn, or was written by hand without a newline
        view = memoryview(data)
        while view:
            view = view[os.write(descriptor, view) :]
        after = os.lseek(descriptor, 0, os.SEEK_CUR)
        before = after - len(data)
        if before > seen.offset:
            gap = os.pread(descriptor, before - seen.offset, seen.offset)
            if gap.strip():
                yield OWN_FILE, gap if gap.endswith(b"\n") else gap + b"\n"
        seen.offset, seen.torn = after, 0

    def close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def rewrite(self, lines: list[bytes]) -> None:
        """Replace the content of the store's own file by these lines, atomically."""
        self.close()
        scratch = self.path / (OWN_FILE + ".tmp")
        data = b"".join(line + b"\n" for line in lines)
        with scratch.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        scratch.replace(self.path / OWN_FILE)
        self.positions[OWN_FILE] = ReadPosition((self.path / OWN_FILE).stat().st_ino, len(data))


def _whole_lines(file: Path, begin: int, end: int, at_once: int) -> Iterator[bytes]:
    """Yield the lines between two offsets of a file in blocks; the last block may lack its newline."""
    wanted = at_once
    with file.open("rb", buffering=0) as opened:
        opened.seek(begin)
        while chunk := opened.read(asked := min(wanted, end - begin)):
            length = chunk.rfind(b"\n") + 1
            if length:
                yield chunk[:length]
                begin, wanted = begin + length, at_once
            elif len(chunk) < asked or begin + len(chunk) >= end:  # there is nothing more to read
                yield chunk
                return
            else:
                wanted *= 2
            opened.seek(begin)


def _read_jsonl(file: Path, seen: ReadPosition, at_once: int) -> Iterator[bytes]:
    seen.torn = 0
    for block in _whole_lines(file, seen.offset, sys.maxsize, at_once):
        if block.endswith(b"\n"):
            seen.offset += len(block)
            yield block
        elif block.strip():
            try:
                orjson.loads(block)
            except orjson.JSONDecodeError:
                seen.torn = 1  # it may still be being written, so the next call reads it again
            else:
                seen.offset += len(block)
                yield block + b"\n"


def _read_parquet(file: Path, seen: ReadPosition) -> Iterator[bytes]:
    seen.offset = file.stat().st_size
    yield from read_parquet_rows(file)


def read_parquet_rows(file: Path) -> Iterator[bytes]:
    """Yield the rows of a Parquet file as lines of JSON, a few thousand at a time."""
    import pyarrow.parquet

    with pyarrow.parquet.ParquetFile(file) as opened:
        for batch in opened.iter_batches(batch_size=8192):
            yield b"".join(orjson.dumps(_to_json_value(row)) + b"\n" for row in batch.to_pylist())


def _to_json_value(value: Any) -> Any:
    """Convert a Parquet value to JSON; drop nulls, which a column of structs adds for missing keys."""
    if isinstance(value, dict):
        plain = ((str(key), _to_json_value(item)) for key, item in value.items())
        return {key: item for key, item in plain if item is not None and item != {}}
    if isinstance(value, (list, tuple)):
        if value and all(isinstance(item, tuple) and len(item) == 2 for item in value):
            return _to_json_value(dict(value))  # an Arrow map
        return [_to_json_value(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, datetime):
        return datemath.render(datemath.to_millis(value)) if value == value else None
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, (str, int, float, bool)) or value is None:
        return value
    return str(value)
