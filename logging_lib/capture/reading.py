"""Reads spools and other files of JSON lines: each line with its file and offset, however damaged they are."""

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


def files(paths: Iterable[str | Path]) -> list[Path]:
    """Files as they are, folders as their ``*.jsonl``, sorted.

    Raises:
        FileNotFoundError: naming the path that is not there, or the folder without such a file.
    """
    found: list[Path] = []
    for path in map(Path, paths):
        inside = sorted(path.glob("*.jsonl")) if path.is_dir() else [path]
        if not inside or not inside[0].exists():
            raise FileNotFoundError(f"{path}: no such file, or a folder without *.jsonl files")
        found += inside
    return found


def lines(path: Path, start: int = 0) -> Iterator[Line]:
    """Every line of a file that is not blank, from the byte ``start``, where a line must begin."""
    with path.open("rb", buffering=0) as file:
        offset, rest = file.seek(start), b""
        while block := file.read(_BLOCK):
            *whole, rest = (rest + block).split(b"\n")
            for data in whole:
                if (line := _line(data, path, offset)) is not None:
                    yield line
                offset += len(data) + 1
            if len(rest) > MAX_LINE:
                yield Line(rest[: MAX_LINE + 1], path, offset, "too_large")
                rest, skipped = _skip(file, rest)
                offset += skipped
        for data in rest.split(b"\n"):  # after a skipped line, rest may hold more than one
            last = offset + len(data) == file.tell()
            if (line := _line(data, path, offset, "torn" if last else "")) is not None:
                yield line
            offset += len(data) + 1


def _line(data: bytes, path: Path, offset: int, fault: str = "") -> Line | None:
    if len(data) > MAX_LINE:
        return Line(data[: MAX_LINE + 1], path, offset, "too_large")
    if data.endswith(b"\r"):
        data = data[:-1]
    return Line(data, path, offset, fault) if data and not data.isspace() else None


def _skip(file: IO[bytes], beginning: bytes) -> tuple[bytes, int]:
    """What was read behind the end of a line that is too large, and how many bytes that line has."""
    size = len(beginning)
    while block := file.read(_BLOCK):
        head, newline, rest = block.partition(b"\n")
        size += len(head) + len(newline)
        if newline:
            return rest, size
    return b"", size
