"""Read spools and other files of JSON lines: each line with its file and offset, even from damaged files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, NamedTuple

MAX_LINE = 1_000_000
"""Bytes of a line; a longer one is refused."""
_BLOCK = 1 << 18


class Line(NamedTuple):
    """One line without its newline.

    ``fault`` is ``torn`` for a last line without a newline, ``too_large`` for one over ``MAX_LINE`` bytes, of
    which ``data`` holds the beginning; otherwise empty.
    """

    data: bytes
    path: Path
    offset: int
    fault: str = ""


def find_files(paths: Iterable[str | Path]) -> list[Path]:
    """List the files: a file as it is, a folder as its ``*.jsonl`` files, sorted.

    Raises:
        FileNotFoundError: names the missing path, or the folder without such a file.
    """
    found_files: list[Path] = []
    for path in map(Path, paths):
        candidates = sorted(path.glob("*.jsonl")) if path.is_dir() else [path]
        if not candidates or not candidates[0].exists():
            raise FileNotFoundError(f"{path}: no such file, or a folder without *.jsonl files")
        found_files += candidates
    return found_files


def read_lines(path: Path, start: int = 0) -> Iterator[Line]:
    """Read every line of a file that is not blank, from the byte ``start``, where a line must begin."""
    with path.open("rb", buffering=0) as file:
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


def _skip_line(file: IO[bytes], beginning: bytes) -> tuple[bytes, int]:
    """Skip the rest of a line that is too large; return the bytes read after it, and its size in bytes."""
    size = len(beginning)
    while block := file.read(_BLOCK):
        head, newline, rest = block.partition(b"\n")
        size += len(head) + len(newline)
        if newline:
            return rest, size
    return b"", size
