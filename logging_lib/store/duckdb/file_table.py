"""Read one data stream of a read-only store: typed columns are extracted from its files on first use.

A whole event is read from its file again when a hit shows it. ``EventTable`` handles the cases that these columns
do not support: Parquet, a field that holds lists contrary to ``fields.yml``, and the names of a model's own inputs.
It keeps every event's text in memory and takes four times as long to read the files.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import duckdb
import numpy as np
import orjson
from numpy.typing import NDArray

from logging_lib.schema.fields import load
from logging_lib.store import mapping
from logging_lib.store.column_builders import numbers_to_arrow, to_arrow
from logging_lib.store.columns import ColumnSet, ListsError, read_columns, take_rows
from logging_lib.store.duckdb.events import COMMON_FIELDS, EventTable
from logging_lib.store.duckdb.files import ByteRange, TargetFolder
from logging_lib.store.forkpool import available_processes, map_forked
from logging_lib.store.mapping import FieldColumn

_BLOCK_BYTES: Final = 1 << 20  # bytes of lines; they fit into the processor's cache
_PART_BYTES: Final = 16 << 20  # bytes of lines that one process decodes at once
_PARTS_AT_ONCE: Final = 16  # parts that are decoded before they are added
_LARGE_BYTES: Final = 16 << 20  # bytes; in larger files it is costly to read another field later
_BATCH_ROWS: Final = 8192  # rows at once, so that DuckDB's threads share the work
_ID_FIELD: Final = "event.id"
COUNTED_FIELDS: Final = (
    *COMMON_FIELDS, _ID_FIELD, "event.duration", "ml.input.bins", "ml.check.not_finite", "ml.check.unexpected",
    "ml.check.unseen_values", "ml.check.wrong_type", "ml.check.wrong_type_values", "ml.text.oov_words",
    "ml.prediction.expected_error", "ml.health.logged", "ml.health.dropped", "ml.health.backlog.age",
)  # fmt: skip
"""The fields of predictions that the shipped watches count; large files are read once for all of them."""


Progress = Callable[[int, int], None]
"""A function that is called while a stream's files are read, with the bytes read so far and the total."""


@dataclass(slots=True)
class _Part:
    """Some lines of a file, and the offsets at which they begin."""

    extent: ByteRange
    starts: NDArray[np.int64]


class _ChangedError(Exception):
    """Raised if a file has changed since it was first read."""


class FileTable:
    """The table of a data stream of files. Not thread-safe: the store's lock guards it."""

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        number: int,
        folder: TargetFolder,
        progress: Progress | None = None,
    ) -> None:
        self._connection = connection
        self._progress = progress
        self._number = number
        self._folder = folder
        self._table = f"columns_{number}"
        self._events: EventTable | None = None
        self._clear()

    def _clear(self) -> None:
        self._folder.positions.clear()
        self._folder.was_replaced = False
        self._columns: dict[str, str] = {}
        self._ranges: list[ByteRange] = []
        self._range_numbers = np.zeros(0, np.int32)  # the byte range of each row, then its offset
        self._starts = np.zeros(0, np.int64)
        self._hashes = np.zeros(0, np.int64)
        self._read = self._lines = 0
        self._is_stale = True

    def refresh(self) -> None:
        """Make the next search read the lines that were added to the files."""
        self._is_stale = True
        if self._events is not None:
            self._events.refresh()

    @property
    def rows(self) -> int:
        return self._events.rows if self._events is not None else len(self._starts)

    @property
    def torn_lines(self) -> int:
        if self._events is not None:
            return self._events.torn_lines
        return self._lines - self._read + self._folder.torn

    def field_type(self, name: str) -> tuple[str, bool] | None:
        """Return the field's type, and whether it holds lists; None if it is not mapped."""
        if self._events is not None:
            return self._events.field_type(name)
        field_and_path = mapping.locate_field(load(), name)
        return None if field_and_path is None else (field_and_path[0].type, field_and_path[0].array)

    def fields_below(self, prefix: str) -> set[str]:
        """List the fields of an object, for ``exists``."""
        entries = [
            entry for entry in load().fields if entry.indexed and f"{entry.name}.".startswith(prefix + ".")
        ]
        if self._events is None and not any(entry.dynamic for entry in entries):
            return {entry.name for entry in entries}
        return self._load_fully().fields_below(prefix)

    def ensure_columns(self, names: Iterable[str]) -> dict[str, FieldColumn]:
        """Extract columns for these fields, and bring them up to date with the files as of the last refresh."""
        names = list(names)
        if self._events is None:
            try:
                self._catch_up(names)
            except (ListsError, _ChangedError):
                self._load_fully()
        if self._events is not None:
            return self._events.ensure_columns(names)
        wanted = {
            name: field_and_path for name in names if (field_and_path := mapping.locate_field(load(), name))
        }
        return {
            name: FieldColumn(self._columns[name], entry.type, entry.array)
            for name, (entry, _) in wanted.items()
        }

    def relation(self, *, with_id: bool) -> str:
        """Return the table of the columns; ``seq`` numbers its rows in order of arrival."""
        if self._events is None and with_id:
            self.ensure_columns([_ID_FIELD])
        if self._events is not None:
            return self._events.relation(with_id=with_id)
        if not with_id:
            return self._table
        return f"(SELECT *, coalesce({self._columns[_ID_FIELD]}, '#' || seq) AS id FROM {self._table})"  # noqa: S608

    def fetch_sources(self, numbers: list[int]) -> dict[int, tuple[str, bytes]]:
        """Return the id and the JSON text of events, by their numbers."""
        if self._events is not None:
            return self._events.fetch_sources(numbers)
        sources = {}
        for number in numbers:
            extent = self._ranges[self._range_numbers[number]]
            with extent.file.open("rb") as file:
                file.seek(int(self._starts[number]))
                line = file.readline().rstrip(b"\r\n")
            sources[number] = _document_id(line, number), line
        return sources

    def close(self) -> None:
        self._folder.close()
        if self._events is not None:
            self._events.close()

    def _load_fully(self) -> EventTable:
        """Return the table that holds whole events, which replaces this one from now on."""
        if self._events is None:
            self._connection.execute(f"DROP TABLE IF EXISTS {self._table}")
            self._clear()
            self._events = EventTable(self._connection, self._number, TargetFolder(self._folder.path))
        return self._events

    # -- reading -------------------------------------------------------------------------------------------

    def _catch_up(self, names: list[str]) -> None:
        if self._is_stale:
            if not self._ranges:
                self._create_table(names)
            self._append()
            if self._folder.was_replaced:
                known = [*self._columns]
                self._clear()
                self._create_table([*known, *names])
                self._append()
            self._is_stale = False
        fresh = [name for name in dict.fromkeys(names) if name not in self._columns and _is_mapped(name)]
        if fresh:
            self._add_columns(fresh)

    def _create_table(self, names: list[str]) -> None:
        """Create an empty table with these columns and, if the files are large, those that watches count."""
        wanted = dict.fromkeys(
            [*filter(_is_mapped, names), *(COUNTED_FIELDS if self._size() > _LARGE_BYTES else ())]
        )
        self._columns = {name: f"f{place}" for place, name in enumerate(wanted)}
        shape = "".join(f", {column} {_sql_type(name)}" for name, column in self._columns.items())
        self._connection.execute(f"CREATE OR REPLACE TABLE {self._table} (seq BIGINT{shape})")

    def _size(self) -> int:
        return sum(file.stat().st_size for file in self._folder.path.glob("*.jsonl"))

    def _append(self) -> None:
        """Read the part of the files that has not been read yet, several parts at a time."""
        seen, total, done = self._folder.positions, self._size(), sum(map(len, self._ranges))
        reached = {name: position.offset for name, position in seen.items()}
        parts: list[_Part] = []
        for name, block in self._folder.read_new(_PART_BYTES):
            if not name.endswith(".jsonl"):
                raise ListsError(f"{name}: is read as a whole")
            if self._folder.was_replaced:  # read everything again
                return
            begin = reached.get(name, 0)
            reached[name] = seen[name].offset
            ends = np.flatnonzero(np.frombuffer(block, np.uint8) == ord("\n"))
            starts = begin + np.concatenate([[0], ends[:-1] + 1])
            parts.append(_Part(ByteRange(self._folder.path / name, begin, reached[name]), starts))
            done += len(block)
            if len(parts) == _PARTS_AT_ONCE:
                self._add_parts(parts)
                parts = []
                if self._progress is not None:
                    self._progress(min(done, total), total)
        if parts:
            self._add_parts(parts)
            if self._progress is not None:
                self._progress(min(done, total), total)
        self._connection.execute("CHECKPOINT")  # the database compresses its data only at a checkpoint

    def _add_parts(self, parts: list[_Part]) -> None:
        """Decode parts, in several processes if they are large, and add their events in order."""
        names, first = list(self._columns), self._read

        def decode(item: tuple[int, _Part]) -> ColumnSet | ListsError:
            place, part = item
            try:
                # ``before`` keeps the events without ids of different parts apart.
                return read_columns(
                    part.extent.read_blocks(_BLOCK_BYTES), names, before=first + (place << 40)
                )
            except ListsError as error:
                return error

        is_large = sum(len(part.extent) for part in parts) > _LARGE_BYTES
        processes = available_processes() if is_large else 1
        decoded = map_forked(decode, list(enumerate(parts)), here=lambda item: False, processes=processes)
        for part, read in zip(parts, decoded, strict=True):
            if isinstance(read, ListsError):
                raise read
            self._add(part, read)

    def _add(self, part: _Part, read: ColumnSet) -> None:
        extent = part.extent
        self._extend_ranges(extent.file, extent.begin, extent.end)
        self._read += read.events
        self._lines += len(part.starts)
        new = np.flatnonzero(~np.isin(read.hashes, self._hashes))
        if not len(new):
            return
        lines, hashes = read.lines[new], read.hashes[new]
        if len(new) < read.rows:
            read.columns = {name: take_rows(column, new) for name, column in read.columns.items()}
        arriving = self._to_arrow_table(read, len(self._starts), len(lines))
        self._starts = np.concatenate([self._starts, part.starts[lines]])
        numbers = np.full(len(lines), len(self._ranges) - 1, np.int32)
        self._range_numbers = np.concatenate([self._range_numbers, numbers])
        self._hashes = np.concatenate([self._hashes, hashes])
        with _arrow_registered(self._connection, arriving):
            self._connection.execute(f"INSERT INTO {self._table} SELECT * FROM arriving").fetchall()  # noqa: S608

    def _extend_ranges(self, file: Path, begin: int, end: int) -> None:
        last = self._ranges[-1] if self._ranges else None
        if last is not None and (last.file, last.end) == (file, begin):
            last.end = end
        else:
            self._ranges.append(ByteRange(file, begin, end))

    def _add_columns(self, fresh: list[str]) -> None:
        """Read further fields of the same events. Raises _ChangedError."""
        read = read_columns(self._read_again(), fresh)
        if not np.array_equal(read.hashes, self._hashes):
            raise _ChangedError
        known = len(self._columns)
        self._columns |= {name: f"f{known + place}" for place, name in enumerate(fresh)}
        arriving = self._to_arrow_table(read, 0, read.rows, fresh)
        with _arrow_registered(self._connection, arriving):
            self._connection.execute(
                "CREATE OR REPLACE TABLE widened AS SELECT old.*, arriving.* EXCLUDE (seq)"  # noqa: S608
                f" FROM {self._table} old JOIN arriving USING (seq)"
            ).fetchall()
        self._connection.execute(f"DROP TABLE {self._table}")
        self._connection.execute(f"ALTER TABLE widened RENAME TO {self._table}")

    def _read_again(self) -> Iterator[bytes]:
        """Read everything that was read so far again, and yield it."""
        for extent in self._ranges:
            try:
                yield from extent.read_blocks(_BLOCK_BYTES)
            except FileNotFoundError:
                raise _ChangedError from None

    def _to_arrow_table(
        self, read: ColumnSet, first: int, rows: int, names: Iterable[str] | None = None
    ) -> Any:
        """Return an Arrow table of ``seq`` and the columns, in the order of the DuckDB table."""
        import pyarrow as pa

        arrays = {"seq": numbers_to_arrow(np.arange(first, first + rows))}
        for name in self._columns if names is None else names:
            column = read.columns[name]
            if column.offsets is not None and not _sql_type(name).endswith("[]"):
                raise ListsError(f"{name}: an event has several values in it")
            arrays[self._columns[name]] = to_arrow(column)
        return pa.Table.from_batches(pa.table(arrays).to_batches(max_chunksize=_BATCH_ROWS))


class _arrow_registered:  # noqa: N801 - used like a function
    """Register an Arrow table as ``arriving`` within the block."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, table: Any) -> None:
        self._connection, self._arriving = connection, table

    def __enter__(self) -> None:
        self._connection.register("arriving", self._arriving)

    def __exit__(self, *_: object) -> None:
        self._connection.unregister("arriving")


def _is_mapped(name: str) -> bool:
    return mapping.locate_field(load(), name) is not None


def _sql_type(name: str) -> str:
    field_and_path = mapping.locate_field(load(), name)
    assert field_and_path is not None
    return mapping.SQL_TYPES[field_and_path[0].type] + ("[]" if field_and_path[0].array else "")


def _document_id(line: bytes, number: int) -> str:
    document = orjson.loads(line)
    event = document.get("event")
    identity = event.get("id") if isinstance(event, dict) else None
    identity = document.get("event.id") if identity is None else identity
    return f"#{number}" if identity is None else str(mapping.coerce(identity, "keyword"))
