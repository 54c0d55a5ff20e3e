"""The search for the separator of a CSV file's columns. It works without pandas, as the reading of labels must."""

from __future__ import annotations

import csv
import gzip
from pathlib import Path
from typing import IO, cast

from logging_lib.profile.io import ProfileError

SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "pipes"}
_HEAD = 1 << 16
_MAX_RECORDS = 200
_CONSISTENT = 0.95
"""The minimum share of records that have as many fields as the header."""


def is_csv(path: Path) -> bool:
    """Return whether a file's name is that of a CSV or TSV file, compressed or not."""
    return not {".csv", ".tsv"}.isdisjoint(suffix.lower() for suffix in path.suffixes)


def find_separator(path: Path) -> str:
    """Find the separator of a file from its first records.

    Raises:
        ProfileError: the columns are separated by something else, or the records differ in their number of fields.
        OSError: the file cannot be read.
    """
    with open_binary(path) as file:
        head = file.read(_HEAD)
    lines = head.decode("utf-8-sig", "replace").splitlines(keepends=True)
    if len(head) == _HEAD and len(lines) > 1:
        del lines[-1]  # it may be incomplete
    return sniff_separator(lines, str(path))


def open_binary(path: Path) -> IO[bytes]:
    """Open a file for reading; decompress a ``.gz`` file."""
    return cast("IO[bytes]", gzip.open(path, "rb")) if path.suffix.lower() == ".gz" else path.open("rb")


def sniff_separator(lines: list[str], source: str) -> str:
    """Find the separator with which the records of a CSV have the most fields, and as many as the header.

    A comma is preferred to others that fit as well; a file with a single column is read as if with commas.

    Args:
        lines: the first lines, including the header.
        source: the file's name in errors.

    Raises:
        ProfileError: no separator fits, and the header looks as if it had several columns.
    """
    fields = {separator: _count_fields(lines, separator) for separator in SEPARATORS}
    fitting = {separator: counts[0] for separator, counts in fields.items() if _is_consistent(counts)}
    if fitting or not lines:
        return max(fitting, key=lambda separator: fitting[separator], default=",")
    header = lines[0].strip()
    for separator, name in SEPARATORS.items():
        if separator != "," and fields[separator][:1] > [1] and fields[","][:1] == [1]:
            raise ProfileError(
                f"{source}: its only column would be {header[:60]!r}; {name} seem to separate its columns, but "
                "not all of its rows have as many fields; write it with commas, and texts in quotes"
            )
    words = [len(line.split()) for line in lines[:_MAX_RECORDS] if line.strip()]
    if fields[","][:1] == [1] and len(words) > 1 and words[0] > 1 and len(set(words)) == 1:
        raise ProfileError(
            f"{source}: its only column would be {header[:60]!r}; spaces seem to separate its columns; write it "
            "with commas"
        )
    return ","


def _count_fields(lines: list[str], separator: str) -> list[int]:
    """Count the fields of each of the first records that are not blank."""
    counts = []
    try:
        for record in csv.reader(lines, delimiter=separator):
            if record:
                counts.append(len(record))
            if len(counts) == _MAX_RECORDS:
                break
    except csv.Error:  # such as a field of more than 128 kB
        pass
    return counts


def _is_consistent(counts: list[int]) -> bool:
    """Return whether there are several fields, and nearly all records have as many as the header."""
    if not counts or counts[0] < 2:
        return False
    return sum(count == counts[0] for count in counts) >= _CONSISTENT * len(counts)
