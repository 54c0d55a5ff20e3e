"""Hold one index without a schema (``ml-profiles``, ``ml-watch-state``): few documents, replaced by id."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from typing import Any, Final

import duckdb
import orjson

from logging_lib._util import datemath
from logging_lib.schema.fields import load
from logging_lib.store import mapping
from logging_lib.store.duckdb.files import TargetFolder
from logging_lib.store.mapping import FieldColumn
from logging_lib.store.port import IndexResult

_COMPACT_FROM: Final = 1 << 20  # the file is rewritten from this number of bytes of replaced documents on


class DocumentTable:
    """A table of documents by id; fields in ``fields.yml`` have its types, and other types are inferred.

    Not thread-safe: the store's lock guards it.
    """

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        number: int,
        folder: TargetFolder | None,
        *,
        writable: bool,
    ) -> None:
        self._connection = connection
        self._folder = folder
        self._writable = writable
        self._table = f"documents_{number}"
        self._sources: dict[str, bytes] = {}
        self._numbers: dict[str, int] = {}
        self._ids: dict[int, str] = {}
        self._values: dict[str, dict[str, list[Any]]] = {}
        self._next = 0
        self._stale_bytes = 0
        self._columns: dict[str, FieldColumn] | None = None
        self.invalid_lines = 0
        self.refresh()

    def index(self, documents: Iterable[Mapping[str, Any]], *, create: bool = False) -> IndexResult:
        created, duplicates = 0, 0
        failed, lines, taken = list[tuple[str, str]](), list[bytes](), set[str]()
        ready: list[tuple[str, bytes]] = []
        for document in documents:
            identity = document.get("_id")
            if identity is None:
                identity = uuid.uuid4().hex
            if not isinstance(identity, str) or not identity:
                failed.append((str(identity), "_id: expected text"))
                continue
            if create and (identity in self._sources or identity in taken):
                duplicates += 1
                continue
            source = {key: value for key, value in document.items() if key != "_id"}
            problems = _mapping_problems(source)
            try:
                text = mapping.dumps(source)
                line = mapping.dumps({"_id": identity, **source})
            except (TypeError, ValueError) as error:
                problems.append(f"not JSON: {error}")
            if problems:
                failed.append((identity, "; ".join(problems)))
                continue
            lines.append(line)
            taken.add(identity)
            ready.append((identity, text))
            created += 1
        if lines and self._folder:
            for _, block in self._folder.append(lines):
                self._load(block)
        for identity, text in ready:
            self._put(identity, text)
        return IndexResult(created, duplicates, tuple(failed))

    def _put(self, identity: str, source: bytes) -> None:
        previous = self._sources.pop(identity, None)
        if previous is not None:
            self._stale_bytes += len(previous)
            del self._ids[self._numbers[identity]]
        self._sources[identity] = source
        self._numbers[identity] = self._next
        self._ids[self._next] = identity
        self._next += 1
        self._values.pop(identity, None)
        self._columns = None

    def _load(self, block: bytes) -> None:
        for line in block.split(b"\n"):
            if not line.strip():
                continue
            try:
                document = orjson.loads(line)
            except orjson.JSONDecodeError:
                document = None
            if not isinstance(document, dict):
                self.invalid_lines += 1
                continue
            identity = document.pop("_id", None)
            self._put(str(identity) if identity is not None else uuid.uuid4().hex, orjson.dumps(document))

    def refresh(self) -> None:
        if self._folder is None:
            return
        for _, block in self._folder.read_new():
            self._load(block)
        if self._folder.was_replaced:
            self._folder.was_replaced = False
            self._folder.positions.clear()
            self._sources, self._numbers, self._ids, self._values = {}, {}, {}, {}
            self._columns, self.invalid_lines, self._stale_bytes = None, 0, 0
            for _, block in self._folder.read_new():
                self._load(block)

    @property
    def torn_lines(self) -> int:
        return self.invalid_lines + (self._folder.torn if self._folder else 0)

    @property
    def rows(self) -> int:
        return len(self._sources)

    # -- columns -------------------------------------------------------------------------------------------

    def _flattened(self) -> list[dict[str, list[Any]]]:
        for identity, source in self._sources.items():
            if identity not in self._values:
                values: dict[str, list[Any]] = {}
                for name, value in mapping.flatten(orjson.loads(source)):
                    values.setdefault(name, []).append(value)
                self._values[identity] = values
        return list(self._values.values())

    def field_type(self, name: str) -> tuple[str, bool] | None:
        known = mapping.locate_field(load(), name)
        if known is not None:
            return known[0].type, True
        values = [value for fields in self._flattened() for value in fields.get(name, ())]
        return (mapping.infer_type(values), True) if values else None

    def fields_below(self, prefix: str) -> set[str]:
        """List the fields of an object, for ``exists``."""
        return {name for fields in self._flattened() for name in fields if name.startswith(prefix + ".")}

    def ensure_columns(self, names: Iterable[str]) -> dict[str, FieldColumn]:
        wanted = set(names)
        if self._columns is None or not wanted <= self._columns.keys():
            wanted |= set(self._columns or ())
            self._columns = self._materialize(sorted(wanted))
        return {name: self._columns[name] for name in names if self._columns[name].type}

    def _materialize(self, names: list[str]) -> dict[str, FieldColumn]:
        self._flattened()
        located: dict[str, FieldColumn] = {}
        for place, name in enumerate(names):
            type_and_list = self.field_type(name)
            located[name] = FieldColumn(f"f{place}", type_and_list[0] if type_and_list else "", True)
        shape = {"seq": "BIGINT", "id": "VARCHAR"} | {
            column.column: [mapping.SQL_TYPES[column.type]] for column in located.values() if column.type
        }
        rows = [
            {"seq": number, "id": identity}
            | {
                column.column: _coerce_values(self._values[identity].get(name, ()), column.type)
                for name, column in located.items()
                if column.type
            }
            for number, identity in self._ids.items()
        ]
        self._connection.execute(
            f"CREATE OR REPLACE TABLE {self._table} AS SELECT unnest(from_json($1, $2), recursive := true)",
            [orjson.dumps(rows).decode(), orjson.dumps([shape]).decode()],
        ).fetchall()
        return located

    def relation(self, *, with_id: bool) -> str:
        return self._table

    def fetch_sources(self, numbers: list[int]) -> dict[int, tuple[str, bytes]]:
        return {number: (self._ids[number], self._sources[self._ids[number]]) for number in numbers}

    def close(self) -> None:
        if self._folder is None:
            return
        if self._writable and self._stale_bytes > _COMPACT_FROM:
            self.refresh()
            self._folder.rewrite(
                [
                    orjson.dumps({"_id": identity, **orjson.loads(source)})
                    for identity, source in self._sources.items()
                ]
            )
        self._folder.close()


def _coerce_values(values: Iterable[Any], kind: str) -> list[Any]:
    typed = []
    for value in values:
        try:
            coerced = mapping.coerce(value, kind)
        except mapping.MappingError:
            continue
        if coerced is not None:
            typed.append(datemath.parse(coerced) if kind == "date" else coerced)
    return list(dict.fromkeys(typed)) if mapping.SQL_TYPES[kind] == "VARCHAR" else typed


def _mapping_problems(source: Mapping[str, Any]) -> list[str]:
    """List the values that do not fit the type that ``fields.yml`` declares for the field."""
    problems = []
    for name, value in mapping.flatten(source):
        known = mapping.locate_field(load(), name)
        if known is not None:
            try:
                mapping.coerce(value, known[0].type)
            except mapping.MappingError as reason:
                problems.append(f"{name}: {reason}")
    return problems
