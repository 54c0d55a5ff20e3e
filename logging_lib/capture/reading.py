"""Reads spools and other files of JSON lines: each line with its file and offset, however damaged they are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

MAX_LINE = 1_000_000


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
    with path.open("rb") as file:
        offset = file.seek(start)
        while data := file.readline(MAX_LINE + 1):
            begin, whole = offset, data.endswith(b"\n")
            offset += len(data)
            if not whole and len(data) > MAX_LINE:
                while (more := file.readline(MAX_LINE)) and not more.endswith(b"\n"):
                    offset += len(more)
                offset += len(more)
                yield Line(data, path, begin, "too_large")
            elif data.strip():
                yield Line(data.rstrip(b"\r\n"), path, begin, "" if whole else "torn")
