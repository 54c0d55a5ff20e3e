"""Resolve the field names of one search to columns, their types, and the relation that holds them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from logging_lib.schema.fields import NUMERIC_TYPES, load
from logging_lib.store import mapping
from logging_lib.store.mapping import FieldColumn
from logging_lib.store.port import SearchError


class SearchTable(Protocol):
    """The interface of a target that a search needs."""

    @property
    def rows(self) -> int: ...

    def field_type(self, name: str) -> tuple[str, bool] | None: ...
    def fields_below(self, prefix: str) -> set[str]: ...
    def ensure_columns(self, names: Sequence[str]) -> dict[str, FieldColumn]: ...
    def relation(self, *, with_id: bool) -> str: ...
    def fetch_sources(self, numbers: list[int]) -> dict[int, tuple[str, bytes]]: ...


@dataclass(frozen=True, slots=True)
class TableColumn:
    """A field in this search: ``sql`` names its column; ``is_list`` says that the column holds lists."""

    name: str
    sql: str
    type: str
    is_list: bool

    @property
    def is_numeric(self) -> bool:
        return self.type in NUMERIC_TYPES

    @property
    def sql_type(self) -> str:
        return mapping.SQL_TYPES[self.type]


@dataclass(slots=True)
class ParameterBinder:
    """The values of a search as named parameters, so that no value becomes part of a statement's text."""

    values: dict[str, Any] = field(default_factory=dict)

    def bind(self, value: Any, sql_type: str) -> str:
        name = f"p{len(self.values)}"
        self.values[name] = value
        return f"${name}::{sql_type}"

    def used_in(self, sql: str) -> dict[str, Any]:
        return {name: self.values[name] for name in set(_PARAMETER.findall(sql))}


_PARAMETER = re.compile(r"\$(p\d+)")
ID = "_id"
INDEX = "_index"


@dataclass(slots=True)
class Scope:
    """The fields of one search over several tables."""

    tables: Mapping[str, SearchTable]
    now: int  # milliseconds
    binder: ParameterBinder = field(default_factory=ParameterBinder)
    columns: dict[str, TableColumn | None] = field(default_factory=dict)

    def column(self, name: str, path: str) -> TableColumn | None:
        """Return the column of a field, or None if no table maps it.

        Raises:
            SearchError: the tables map it to incompatible types, or it is not indexed.
        """
        if name not in self.columns:
            sql = f"c{len(self.columns)}"
            if name in (ID, INDEX):
                self.columns[name] = TableColumn(name, sql, "keyword", False)
            else:
                self.columns[name] = self._resolve(name, sql, path)
        return self.columns[name]

    def _resolve(self, name: str, sql: str, path: str) -> TableColumn | None:
        schema_field = load().field(name)
        if schema_field is not None and not schema_field.indexed and schema_field.type != "object":
            raise SearchError(f"cannot search on field [{name}]: it is not indexed", path)
        types_and_lists = [
            type_and_list
            for table in self.tables.values()
            if (type_and_list := table.field_type(name)) is not None
        ]
        if not types_and_lists:
            return None
        types = {kind for kind, _ in types_and_lists}
        if len(types) > 1 and not types <= NUMERIC_TYPES:
            raise SearchError(f"field [{name}] is mapped differently in these indices: {sorted(types)}", path)
        kind = types.pop() if len(types) == 1 else "double"
        return TableColumn(name, sql, kind, any(many for _, many in types_and_lists))

    def fields_below(self, prefix: str) -> list[str]:
        """List the fields of an object: ``ml.check`` means all of ``ml.check.*``."""
        return sorted({name for table in self.tables.values() for name in table.fields_below(prefix)})

    def mapped_fields(self) -> list[str]:
        """List the fields for which the tables need columns."""
        return [name for name, column in self.columns.items() if column and name not in (ID, INDEX)]

    def is_consistent(self) -> bool:
        """Return whether the resolved columns are still valid: reading events can reveal fields with lists."""
        return all(
            column == self._resolve(column.name, column.sql, "$")
            for name, column in self.columns.items()
            if column and name not in (ID, INDEX)
        )

    def relation(self) -> str:
        """Return all tables as one relation: ``_t`` and ``_r`` identify table and row, followed by the columns."""
        parts = []
        for number, (target, table) in enumerate(self.tables.items()):
            located = table.ensure_columns(self.mapped_fields())
            chosen = [f"{number} AS _t", "seq AS _r"]
            for name, column in self.columns.items():
                if column is None:
                    continue
                if name == INDEX:
                    value = self.binder.bind(target, "VARCHAR")
                elif name == ID:
                    value = "id"
                else:
                    value = _cast_column(located.get(name), column)
                chosen.append(f"{value} AS {column.sql}")
            source = table.relation(with_id=ID in self.columns)
            parts.append(f"SELECT {', '.join(chosen)} FROM {source}")  # noqa: S608
        if not parts:
            named = "".join(f", NULL::VARCHAR AS {column.sql}" for column in self.columns.values() if column)
            return f"(SELECT 0 AS _t, 0::BIGINT AS _r{named} WHERE false)"
        return "(" + " UNION ALL ".join(parts) + ")"


def _cast_column(located: FieldColumn | None, column: TableColumn) -> str:
    sql_type = column.sql_type + ("[]" if column.is_list else "")
    if located is None:
        return f"NULL::{sql_type}"
    value = located.column
    if column.is_list and not located.is_list:
        value = f"CASE WHEN {value} IS NOT NULL THEN [{value}] END"
    return value if located.type == column.type else f"({value})::{sql_type}"
