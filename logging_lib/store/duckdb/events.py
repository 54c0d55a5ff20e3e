"""Hold one data stream in DuckDB: the events as JSON text, and typed columns extracted on first use."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import duckdb
import orjson

from logging_lib._util.times import format_instant
from logging_lib.schema.fields import load
from logging_lib.store import mapping
from logging_lib.store.duckdb import extraction
from logging_lib.store.duckdb.files import TargetFolder
from logging_lib.store.mapping import FieldColumn
from logging_lib.store.port import IndexResult

COMMON_FIELDS: Final = (
    "@timestamp", "event.ingested", "event.dataset", "event.outcome", "service.name", "ml.model.name",
    "ml.model.version", "ml.model.role", "ml.profile.id", "ml.profile.status", "ml.sample.weight",
    "ml.prediction.value", "ml.prediction.label", "ml.prediction.score", "ml.prediction.bin",
    "ml.check.missing", "ml.check.absent", "ml.check.unseen", "ml.check.out_of_range", "ml.check.oov",
)  # fmt: skip
_MANY_ROWS: Final = 20_000  # above this, a new column is so costly that the common ones are extracted with it
_ARROW_MIN_ROWS: Final = 2_000
_NOT_BUILT: Final = -1


class EventTable:
    """The table of a data stream, with the text of every event. Not thread-safe: the store's lock guards it."""

    def __init__(
        self, connection: duckdb.DuckDBPyConnection, number: int, folder: TargetFolder | None
    ) -> None:
        self._connection = connection
        self._folder = folder
        self._raw_table = f"raw_{number}"
        self._columns_table = f"columns_{number}"
        self._columns: dict[str, str] = {}
        self._list_fields: set[str] = set()
        self._ids: set[str] | None = None
        self._pending: list[tuple[str, bytes, bytes | None]] = []
        self._from_files = 0  # events below this number may come from files, whose values are unchecked
        self._next = 0  # the next event's sequence number
        self._synced = _NOT_BUILT  # events below this number are in the columns
        self.invalid_lines = 0
        self.malformed_values = 0
        self.duplicates_in_files = 0
        self._clear()
        self.refresh()

    # -- writing -------------------------------------------------------------------------------------------

    def index(self, documents: Iterable[Mapping[str, Any]], now: datetime) -> IndexResult:
        created, duplicates, failed = 0, 0, list[tuple[str, str]]()
        ids = self._known_ids()
        arrival = format_instant(now, timespec="microseconds")
        batch: list[tuple[str, bytes, bytes | None]] = []
        for document in documents:
            identity, source, line, reason = self._prepare(document, arrival)
            if reason:
                failed.append((identity, reason))
            elif identity in ids:
                duplicates += 1
            else:
                ids.add(identity)
                batch.append((identity, source, line))
                created += 1
        if batch and self._folder:
            self._append(batch, self._folder)
        self._pending += batch
        if len(self._pending) >= _MANY_ROWS:
            self._flush()
        return IndexResult(created, duplicates, tuple(failed))

    def _append(self, batch: list[tuple[str, bytes, bytes | None]], folder: TargetFolder) -> None:
        try:
            for name, block in folder.append([source for _, source, _ in batch]):
                self._load(name, block)  # events that another process wrote in between
        except OSError:
            self._ids = None  # a retry must count documents that could not be written as new
            raise

    def _prepare(self, document: Mapping[str, Any], arrival: str) -> tuple[str, bytes, bytes | None, str]:
        source = {key: value for key, value in document.items() if key != "_id"}
        event = source.get("event")
        identity = event.get("id") if isinstance(event, dict) else source.get("event.id")
        if identity is None or identity == "" or isinstance(identity, (dict, list)):
            return "", b"", None, "event.id: a data stream's document needs one"
        identity = mapping.coerce(identity, "keyword")
        if isinstance(event, dict):
            if event.get("ingested") is None and "event.ingested" not in source:
                source["event"] = {**event, "ingested": arrival}
        elif source.get("event.ingested") is None:
            source["event.ingested"] = arrival
        conformed = mapping.conform(source)
        if conformed.problems:
            return identity, b"", None, "; ".join(conformed.problems)
        try:
            text = mapping.dumps(source)
            line = None if conformed.document is None else mapping.dumps(conformed.document)
        except (TypeError, ValueError) as error:
            return identity, b"", None, f"not JSON: {error}"
        self._note_list_fields(conformed.list_fields)
        return identity, text, line, ""

    def _note_list_fields(self, fields: set[str]) -> None:
        new = fields - self._list_fields
        if new:
            self._list_fields |= new
            if new & self._columns.keys():
                self._synced = _NOT_BUILT
                self._columns = {}

    def _known_ids(self) -> set[str]:
        if self._ids is None:
            self._flush()
            rows = self._connection.execute(f"SELECT id FROM {self._raw_table}").fetchall()  # noqa: S608
            self._ids = {row[0] for row in rows}
        return self._ids

    def _flush(self) -> None:
        if not self._pending:
            return
        batch, self._pending = self._pending, []
        numbers = list(range(self._next, self._next + len(batch)))
        self._next += len(batch)
        self._insert(
            numbers,
            [entry[0] for entry in batch],
            [entry[1].decode() for entry in batch],
            [entry[2].decode() if entry[2] is not None else None for entry in batch],
        )

    def _insert(
        self, numbers: list[int], ids: list[str], sources: list[str], lines: Sequence[str | None]
    ) -> None:
        if len(numbers) < _ARROW_MIN_ROWS:
            self._connection.execute(
                f"INSERT INTO {self._raw_table} SELECT unnest($1::BIGINT[]), unnest($2::VARCHAR[]),"
                " unnest($3::VARCHAR[]), unnest($4::VARCHAR[]), true",
                [numbers, ids, sources, list(lines)],
            ).fetchall()
            return
        import pyarrow as pa

        batch = pa.table(
            {
                "seq": numbers,
                "id": pa.array(ids, pa.large_string()),
                "source": pa.array(sources, pa.large_string()),
                "line": pa.array(lines, pa.large_string()),
            }
        )
        self._connection.register("arriving", batch)
        self._connection.execute(f"INSERT INTO {self._raw_table} SELECT *, true FROM arriving").fetchall()  # noqa: S608
        self._connection.unregister("arriving")

    # -- reading files -------------------------------------------------------------------------------------

    def _clear(self) -> None:
        self._connection.execute(
            f"CREATE OR REPLACE TABLE {self._raw_table}"
            " (seq BIGINT, id VARCHAR, source VARCHAR, line VARCHAR, checked BOOLEAN)"
        )
        self._columns, self._list_fields, self._ids = {}, set(), None
        self._next, self._synced, self._from_files = 0, _NOT_BUILT, 0
        self.invalid_lines = self.malformed_values = self.duplicates_in_files = 0

    def refresh(self) -> None:
        """Read the lines that were added to the files since the last call."""
        if self._folder is None:
            return
        self._flush()
        loaded = False
        for name, block in self._folder.read_new():
            self._load(name, block)
            loaded = True
        if self._folder.was_replaced:
            self._folder.was_replaced = False
            self._folder.positions.clear()
            self._clear()
            for name, block in self._folder.read_new():
                self._load(name, block)
            loaded = True
        if loaded:
            self._drop_duplicates()

    @property
    def torn_lines(self) -> int:
        return self.invalid_lines + (self._folder.torn if self._folder else 0)

    def _load(self, name: str, block: bytes) -> None:
        self._flush()
        lines = extraction.lines_to_arrow(block)
        if lines is None:
            text_lines = [line for line in block.split(b"\n") if extraction.is_text(line)]
            self.invalid_lines += block.count(b"\n") - len(text_lines) + 1
            lines = extraction.lines_to_arrow(b"".join(line + b"\n" for line in text_lines))
            assert lines is not None
        if not len(lines):
            return
        self._connection.register("arriving", extraction.number_lines(lines, self._next))
        try:
            created = self._insert_lines(name, "starts_with(source, '{') OR json_type(source) = 'OBJECT'")
            self.invalid_lines += len(lines) - created
        except duckdb.Error:  # some line is not JSON; finding it requires validating every line
            # CASE and not AND: DuckDB evaluates the operands of an AND in any order.
            created = self._insert_lines(
                name, "CASE WHEN json_valid(source) THEN json_type(source) = 'OBJECT' ELSE false END"
            )
            blank = self._connection.execute(
                "SELECT count(*) FROM arriving WHERE trim(source, ' \t\r\n') = ''"
            ).fetchall()[0][0]
            self.invalid_lines += len(lines) - created - blank
        finally:
            self._connection.unregister("arriving")
        self._next += len(lines)
        self._ids = None
        self._from_files = self._next

    def _insert_lines(self, name: str, valid: str) -> int:
        inserted = self._connection.execute(
            f"INSERT INTO {self._raw_table}"  # noqa: S608
            " SELECT seq, coalesce(x[1], x[2], $name || '#' || seq), source, NULL, false"
            f" FROM (SELECT seq, source, CASE WHEN {valid} THEN"
            " json_extract_string(source, ['/event/id', '/event.id']) END AS x FROM arriving)"
            " WHERE x IS NOT NULL",
            {"name": name},
        ).fetchall()
        return int(inserted[0][0])

    def _drop_duplicates(self) -> None:
        counts = self._connection.execute(
            f"SELECT count(*), count(DISTINCT id) FROM {self._raw_table}"  # noqa: S608
        ).fetchall()
        self.duplicates_in_files += counts[0][0] - counts[0][1]
        if counts[0][0] > counts[0][1]:
            self._connection.execute(
                f"DELETE FROM {self._raw_table} WHERE seq IN (SELECT seq FROM {self._raw_table}"  # noqa: S608
                " QUALIFY row_number() OVER (PARTITION BY id ORDER BY seq) > 1)"
            ).fetchall()

    @property
    def rows(self) -> int:
        return self._next

    # -- columns -------------------------------------------------------------------------------------------

    def field_type(self, name: str) -> tuple[str, bool] | None:
        """Return the field's type, and whether it holds lists here; None if it is not mapped."""
        field_and_path = mapping.locate_field(load(), name)
        if field_and_path is None:
            return None
        return field_and_path[0].type, field_and_path[0].array or name in self._list_fields

    def ensure_columns(self, names: Iterable[str]) -> dict[str, FieldColumn]:
        """Extract columns for these fields, and bring them up to date with all indexed events."""
        self._flush()
        wanted = {
            name: field_and_path for name in names if (field_and_path := mapping.locate_field(load(), name))
        }
        fresh = sorted(wanted.keys() - self._columns.keys())
        if fresh or not self._columns:
            extra = COMMON_FIELDS if self._next >= _MANY_ROWS else ("@timestamp",)
            fresh += [name for name in extra if name not in self._columns and name not in fresh]
            known = dict(self._columns)
            self._columns |= {name: f"f{len(known) + place}" for place, name in enumerate(fresh)}
            if not known or not self._add_columns(fresh):
                self._synced = _NOT_BUILT
        while self._synced < self._next:
            self._sync()
        return {
            name: FieldColumn(self._columns[name], entry.type, entry.array or name in self._list_fields)
            for name, (entry, _) in wanted.items()
        }

    def _sync(self) -> None:
        """Add the missing events to the columns.

        Unusual values, which only files can contain, first go through ``conform`` in Python; if that reveals that a
        field holds lists, all columns are extracted again.
        """
        before = max(0, self._synced)
        if self._synced == _NOT_BUILT:
            columns = ", ".join(f"{column} {self._sql_type(name)}" for name, column in self._columns.items())
            self._connection.execute(
                f"CREATE OR REPLACE TABLE {self._columns_table} (seq BIGINT, odd BOOLEAN, {columns})"
            )
        events = self._extraction_sql(self._columns, unchecked=before < self._from_files)
        insert = f"INSERT INTO {self._columns_table} {events}"
        self._connection.execute(insert, {"from": before}).fetchall()
        self._synced = self._next
        if self._from_files <= before:
            return
        odd = self._connection.execute(
            f"SELECT seq FROM {self._columns_table} WHERE odd AND seq >= $1",  # noqa: S608
            [before],
        ).fetchall()
        if not odd:
            return
        self._conform_rows([row[0] for row in odd])
        self._connection.execute(
            f"DELETE FROM {self._columns_table} WHERE seq >= $1",  # noqa: S608
            [before],
        ).fetchall()
        self._synced = min(self._synced, before) if self._synced != _NOT_BUILT else _NOT_BUILT

    def _add_columns(self, fresh: list[str]) -> bool:
        """Add columns to the existing ones; return False if all columns have to be extracted again."""
        if self._synced == _NOT_BUILT:
            return False
        events = self._extraction_sql(fresh, unchecked=self._from_files > 0)
        self._connection.execute(
            "CREATE OR REPLACE TABLE widened AS SELECT old.*, new.* EXCLUDE (seq, odd), new.odd AS fresh_odd"  # noqa: S608
            f" FROM {self._columns_table} old JOIN ({events}) new USING (seq)",
            {"from": 0},
        ).fetchall()
        odd = self._connection.execute("SELECT count(*) FROM widened WHERE fresh_odd").fetchall()
        if odd[0][0]:
            self._connection.execute("DROP TABLE widened")
            return False
        self._connection.execute("ALTER TABLE widened DROP COLUMN fresh_odd")
        self._connection.execute(f"DROP TABLE {self._columns_table}")
        self._connection.execute(f"ALTER TABLE widened RENAME TO {self._columns_table}")
        return True

    def _conform_rows(self, numbers: list[int]) -> None:
        rows = self._connection.execute(
            f"SELECT seq, source FROM {self._raw_table} WHERE seq IN (SELECT unnest($1))",  # noqa: S608
            [numbers],
        ).fetchall()
        lines, list_fields = list[str | None](), set[str]()
        for _, source in rows:
            try:
                conformed = mapping.conform(orjson.loads(source))
            except orjson.JSONDecodeError:  # NaN and 1e400, which only DuckDB accepts as JSON
                conformed = mapping.ConformResult({})
                self.invalid_lines += 1
            self.malformed_values += len(conformed.problems)
            list_fields |= conformed.list_fields
            lines.append(None if conformed.document is None else orjson.dumps(conformed.document).decode())
        self._connection.execute(
            f"UPDATE {self._raw_table} SET line = conformed.line, checked = true"  # noqa: S608
            " FROM (SELECT unnest($1::BIGINT[]) AS seq, unnest($2::VARCHAR[]) AS line) AS conformed"
            f" WHERE conformed.seq = {self._raw_table}.seq",
            [[row[0] for row in rows], lines],
        ).fetchall()
        if list_fields - self._list_fields:
            self._list_fields |= list_fields
            self._synced = _NOT_BUILT

    def _sql_type(self, name: str) -> str:
        located = mapping.locate_field(load(), name)
        assert located is not None
        return mapping.SQL_TYPES[located[0].type] + (
            "[]" if located[0].array or name in self._list_fields else ""
        )

    def _extraction_sql(self, names: Iterable[str], *, unchecked: bool) -> str:
        columns = {name: self._columns[name] for name in names}
        return extraction.extraction_sql(self._raw_table, columns, self._list_fields, unchecked=unchecked)

    def relation(self, *, with_id: bool) -> str:
        """Return the table of the columns; ``seq`` numbers its rows in order of arrival."""
        if not with_id:
            return self._columns_table
        return f"{self._columns_table} JOIN (SELECT seq, id FROM {self._raw_table}) USING (seq)"  # noqa: S608

    def fields_below(self, prefix: str) -> set[str]:
        """List the fields of an object, for ``exists``."""
        self._flush()
        names = set()
        for entry in load().fields:
            if not entry.indexed or not f"{entry.name}.".startswith(prefix + "."):
                continue
            if not entry.dynamic:
                names.add(entry.name)
                continue
            pointer = mapping.json_pointer(tuple(entry.name[:-2].split(".")))
            keys = self._connection.execute(
                f"SELECT DISTINCT unnest(json_keys(coalesce(line, source), $1)) FROM {self._raw_table}",  # noqa: S608
                [pointer],
            ).fetchall()
            names |= {f"{entry.name[:-1]}{row[0]}" for row in keys}
        return names

    def fetch_sources(self, numbers: list[int]) -> dict[int, tuple[str, bytes]]:
        """Return the id and the JSON text of events, by their numbers."""
        if not numbers:
            return {}
        rows = self._connection.execute(
            f"SELECT seq, id, source FROM {self._raw_table} WHERE seq IN (SELECT unnest($1))",  # noqa: S608
            [numbers],
        ).fetchall()
        return {row[0]: (row[1], row[2].encode()) for row in rows}

    def close(self) -> None:
        if self._folder:
            self._folder.close()
