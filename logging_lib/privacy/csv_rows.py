"""Leave a person's rows out of a CSV file. A row may contain line breaks; the other rows keep their bytes."""

from __future__ import annotations

import csv
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import orjson

from logging_lib.privacy.subject_search import TermFinder


def is_csv(file: Path) -> bool:
    """Return whether the file can be read as CSV."""
    try:
        for _ in _read_records(file):
            pass
    except csv.Error:
        return False
    return True


def read_csv_rows(file: Path, finder: TermFinder) -> Iterator[tuple[bytes, bool]]:
    """Yield each row with its line end, and whether it mentions a term; the first one, the header, never does.

    Raises:
        OSError: the file cannot be read.
        csv.Error: it is not CSV.
    """
    for number, (record, cells) in enumerate(_read_records(file)):
        yield record, bool(number) and (finder.mentions(record) or finder.mentions(orjson.dumps(cells)))


def rewrite_csv(file: Path, finder: TermFinder) -> None:
    """Replace the file, in one step and durably, with one without the rows that mention a term.

    Raises:
        OSError: the file cannot be read, or its folder cannot be written.
    """
    descriptor, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
    scratch = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as new:
            new.writelines(record for record, is_owned in read_csv_rows(file, finder) if not is_owned)
            new.flush()
            os.fsync(new.fileno())
        scratch.chmod(file.stat().st_mode)
        scratch.replace(file)
    except BaseException:
        scratch.unlink(missing_ok=True)
        raise


def _read_records(file: Path) -> Iterator[tuple[bytes, list[str]]]:
    """Yield each record's bytes, and its cells as text."""
    with file.open("rb") as opened:
        header = opened.readline()
        delimiter = max(b",;\t|", key=lambda letter: header.count(bytes((letter,))))
        opened.seek(0)
        lines: list[bytes] = []

        def read() -> Iterator[str]:
            for line in opened:
                lines.append(line)
                yield line.decode("latin-1")

        limit = csv.field_size_limit(sys.maxsize)
        try:
            for cells in csv.reader(read(), delimiter=chr(delimiter)):
                record = b"".join(lines)
                lines.clear()
                yield record, [cell.encode("latin-1").decode("utf-8", "replace") for cell in cells]
        finally:
            csv.field_size_limit(limit)
