"""A reader of spools and other files of JSON lines: each line with its file and offset, even from damaged files."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple, Protocol

from logging_lib._util.suggestions import suggest_file

MAX_LINE = 1_000_000
"""The maximum size of a line in bytes; a longer one is refused."""
_BLOCK = 1 << 18


class Line(NamedTuple):
    """One line without its newline.

    ``fault`` is ``torn`` for a last line without a newline, ``too_large`` for a line over ``MAX_LINE`` bytes, of
    which ``data`` holds the beginning, and ``damaged`` if the rest of a ``.gz`` file cannot be read, with the
    reason as ``data``; otherwise it is empty. The offset counts uncompressed bytes.
    """

    data: bytes
    path: Path
    offset: int
    fault: str = ""


def find_files(paths: Iterable[str | Path]) -> list[Path]:
    """List the given files and, for each folder, its ``*.jsonl`` and ``*.jsonl.gz`` files, sorted.

    Raises:
        FileNotFoundError: a path is missing, or a folder has no such file; the message names it.
    """
    found_files: list[Path] = []
    for path in map(Path, paths):
        candidates = sorted([*path.glob("*.jsonl"), *path.glob("*.jsonl.gz")]) if path.is_dir() else [path]
        if not candidates or not candidates[0].exists():
            hint = "" if path.exists() else suggest_file(path)
            raise FileNotFoundError(f"{path}: no such file, or a folder without *.jsonl files{hint}")
        found_files += candidates
    return found_files


def read_lines(path: Path, start: int = 0) -> Iterator[Line]:
    """Read every line of a file that is not blank, from the byte ``start``, at which a line must begin.

    A ``.gz`` file is decompressed block by block, so that no more than a line is in memory.
    """
    if path.suffix != ".gz":
        with path.open("rb", buffering=0) as file:
            yield from _read_lines(file, path, start)
        return
    with gzip.open(path, "rb") as opened:
        packed = _PackedFile(opened)
        yield from _read_lines(packed, path, start)
        if packed.damage:
            yield Line(packed.damage.encode("utf-8", "replace"), path, packed.tell(), "damaged")


class _PackedFile:
    """A compressed file that ends where it is damaged, so that everything before the damage is read.

    Attributes:
        damage: what is wrong with it; empty if nothing is.
    """

    def __init__(self, opened: gzip.GzipFile) -> None:
        self._opened = opened
        self.damage = ""

    def read(self, size: int) -> bytes:
        try:
            return self._opened.read1(
                size
            )  # one step at a time, so that an error loses nothing of earlier steps
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            self.damage = f"{error}"
            return b""

    def seek(self, offset: int) -> int:
        while self._opened.tell() < offset and self.read(min(_BLOCK, offset - self._opened.tell())):
            pass
        return self._opened.tell()

    def tell(self) -> int:
        return self._opened.tell()


class _Readable(Protocol):
    def read(self, size: int, /) -> bytes | None: ...
    def seek(self, offset: int, /) -> int: ...
    def tell(self) -> int: ...


def _read_lines(file: _Readable, path: Path, start: int) -> Iterator[Line]:
    offset, rest = file.seek(start), b""
    while block := file.read(_BLOCK):
        *complete_lines, rest = (rest + block).split(b"\n")
        for data in complete_lines:
            if (line := _build_line(data, path, offset)) is not None:
                yield line
            offset += len(data) + 1
        if len(rest) > MAX_LINE:
            yield Line(rest[: MAX_LINE + 1], path, offset, "too_large")
            rest, skipped = _skip_line(file, rest)
            offset += skipped
    for data in rest.split(b"\n"):  # after a skipped line, rest may hold more than one
        last = offset + len(data) == file.tell()
        if (line := _build_line(data, path, offset, "torn" if last else "")) is not None:
            yield line
        offset += len(data) + 1


def _build_line(data: bytes, path: Path, offset: int, fault: str = "") -> Line | None:
    if len(data) > MAX_LINE:
        return Line(data[: MAX_LINE + 1], path, offset, "too_large")
    if data.endswith(b"\r"):
        data = data[:-1]
    return Line(data, path, offset, fault) if data and not data.isspace() else None


def _skip_line(file: _Readable, beginning: bytes) -> tuple[bytes, int]:
    """Skip the rest of a line that is too large; return the bytes read after it, and its size in bytes."""
    size = len(beginning)
    while block := file.read(_BLOCK):
        head, newline, rest = block.partition(b"\n")
        size += len(head) + len(newline)
        if newline:
            return rest, size
    return b"", size
