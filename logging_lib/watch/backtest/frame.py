"""The events of some streams as columns in the order of their arrival, and groups of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import duckdb
import numpy as np
from numpy.typing import NDArray

from logging_lib.schema.fields import load
from logging_lib.store import mapping
from logging_lib.store.column_builders import ColumnArray, numbers_to_arrow, to_arrow, to_numpy
from logging_lib.store.columns import ColumnSet, concatenate_columns, take_rows
from logging_lib.store.duckdb.scope import Scope
from logging_lib.store.mapping import FieldColumn
from logging_lib.watch.backtest.windows import ARRIVAL, Bound, NotPlannedError, Ticks

Rows = NDArray[np.int32]


class Frame:
    """The events of one or more streams, those without a time of arrival left out.

    Args:
        streams: the columns of each stream by its name; all with the same fields, ``ARRIVAL`` among them.
    """

    def __init__(self, streams: Mapping[str, ColumnSet]) -> None:
        self._targets = list(streams)
        lengths = [one.rows for one in streams.values()]
        names = next(iter(streams.values())).columns.keys() if streams else ()
        made = {name: concatenate_columns([one.columns[name] for one in streams.values()]) for name in names}
        self.columns: dict[str, ColumnArray] = {}
        self.times: NDArray[np.int64] = np.zeros(0, np.int64)
        if made:
            arrived = made[ARRIVAL]
            assert arrived.data is not None
            order = np.argsort(arrived.data, kind="stable")
            if arrived.valid is not None:
                order = order[arrived.valid[order]]
            as_is = len(order) == len(arrived.data) and bool((np.diff(order) == 1).all())
            self.columns = made if as_is else {name: take_rows(one, order) for name, one in made.items()}
            self.times = self.columns[ARRIVAL].data  # type: ignore[assignment]
            stream = np.repeat(np.arange(len(lengths), dtype=np.int32), lengths)
            self.columns["_index"] = ColumnArray("keyword", self._targets, stream if as_is else stream[order])
        self._distinct: dict[str, int] = {}
        self._is_one: dict[str, bool] = {}
        self._groups: dict[str, GroupRows] = {}
        self._holding: dict[str, NDArray[np.bool_]] = {}

    @property
    def rows(self) -> int:
        return len(self.times)

    def sorted(self, name: str) -> NDArray[Any]:
        """Return a field's numbers or dates, ascending."""
        if name == ARRIVAL:
            return self.times
        column = self.columns[name]
        if column.data is None:
            raise NotPlannedError(f"{name} is no date of the events")
        return np.sort(column.data if column.valid is None else column.data[column.valid])

    def distinct(self, name: str) -> int:
        """Return how many values a field has, at most."""
        if name not in self._distinct:
            self._distinct[name] = len(self.values(name))
        return self._distinct[name]

    def values(self, name: str) -> list[Any]:
        """Return the values of a field, among them perhaps such as no row has."""
        column = self.columns[name]
        if column.codes is not None:
            return list(column.values)
        assert column.data is not None
        found: list[Any] = np.unique(column.data).tolist()
        return found

    def is_one(self, name: str) -> bool:
        """Return whether every row has the number 1 in a field."""
        if name not in self._is_one:
            column = self.columns[name]
            self._is_one[name] = (
                column.data is not None and column.valid is None and bool((column.data == 1).all())
            )
        return self._is_one[name]

    def scope(self) -> Scope:
        """Return the scope for the translation of queries over this frame."""
        return Scope({"events": _Table(self)}, 0)

    def holding(self, conditions: Mapping[str, str], scope: Scope) -> Mapping[str, NDArray[np.bool_]]:
        """Find which rows meet SQL conditions over the columns: by a text that is the same in any scope."""
        wanted = {key: sql for key, sql in conditions.items() if key not in self._holding}
        if not wanted:
            return self._holding
        with _database() as connection:
            connection.register("events", self._arrow(scope.mapped_fields()))
            chosen = ", ".join(
                f"coalesce({sql}, false)::UTINYINT AS h{i}" for i, sql in enumerate(wanted.values())
            )
            statement = f"SELECT _r, {chosen} FROM {scope.relation()}"  # noqa: S608
            answer = connection.sql(statement, params=scope.binder.used_in(statement)).to_arrow_table()
        rows, *met = map(to_numpy, answer.columns)
        for key, one in zip(wanted, met, strict=True):
            self._holding[key] = np.zeros(self.rows, bool)
            self._holding[key][rows] = one
        return self._holding

    def passing(self, keys: list[Any], condition: str, scope: Scope) -> set[Any]:
        """Return those of some values, called ``k``, that meet a condition."""
        with _database() as connection:
            statement = f"SELECT k FROM (SELECT unnest($keys) AS k) WHERE {condition}"  # noqa: S608
            rows = connection.execute(statement, {"keys": keys, **scope.binder.used_in(condition)}).fetchall()
        return {row[0] for row in rows}

    def _arrow(self, names: Iterable[str]) -> Any:
        import pyarrow as pa

        seq = numbers_to_arrow(np.arange(self.rows))
        return pa.table({"seq": seq, **{name: to_arrow(self.columns[name]) for name in names}})

    def group(self, condition: str, rows: NDArray[np.bool_]) -> GroupRows:
        """Return the rows that meet a condition; the same object for the same ``condition`` text."""
        found = self._groups.get(condition)
        if found is None:
            found = self._groups[condition] = GroupRows(self, np.flatnonzero(rows).astype(np.int32))
        return found


@contextmanager
def _database() -> Iterator[duckdb.DuckDBPyConnection]:
    """Raises NotPlannedError for what it refuses, such as a pattern: the store will say so at each tick."""
    try:
        with duckdb.connect(":memory:") as connection:
            yield connection
    except duckdb.Error as error:
        raise NotPlannedError(str(error)) from error


def empty_scope() -> Scope:
    """Create a scope before any event is read: it tells which fields a search takes."""
    return Frame({}).scope()


@dataclass(slots=True)
class _Table:
    """A frame as ``Scope`` wants a table: ``events`` in DuckDB, a column named as its field."""

    frame: Frame

    @property
    def rows(self) -> int:
        return self.frame.rows

    def field_type(self, name: str) -> tuple[str, bool] | None:
        found = mapping.locate_field(load(), name)
        if found is None:
            return None
        column = self.frame.columns.get(name)
        return found[0].type, found[0].array or (column is not None and column.offsets is not None)

    def fields_below(self, prefix: str) -> set[str]:
        raise NotPlannedError(f"{prefix} is no field but an object of fields")

    def ensure_columns(self, names: Sequence[str]) -> dict[str, FieldColumn]:
        found = {name: self.field_type(name) for name in names}
        return {name: FieldColumn(f'"{name}"', *one) for name, one in found.items() if one is not None}

    def relation(self, *, with_id: bool) -> str:
        if with_id:
            raise NotPlannedError("_id is asked for")
        return "events"

    def fetch_sources(self, numbers: list[int]) -> dict[int, tuple[str, bytes]]:
        raise NotPlannedError("whole documents are asked for")


@dataclass(slots=True, eq=False)
class GroupRows:
    """Some rows of a frame, in the order of arrival. What is made of them is kept."""

    frame: Frame
    rows: Rows
    kept: dict[Any, Any] = field(default_factory=dict)

    def where(self, condition: str, holding: NDArray[np.bool_]) -> GroupRows:
        """Return those of the rows that meet a condition."""
        if condition == "true":
            return self
        key = ("where", condition)
        if key not in self.kept:
            self.kept[key] = GroupRows(self.frame, self.rows[holding[self.rows]])
        found: GroupRows = self.kept[key]
        return found

    def split(self, name: str, missing: Any) -> dict[Any, GroupRows]:
        """Split the rows by the values of a field; a row with several values is in several groups.

        Args:
            missing: the value of the rows that have none; None leaves them out.
        """
        key = ("split", name, missing)
        if key not in self.kept:
            self.kept[key] = self._split(name, missing)
        found: dict[Any, GroupRows] = self.kept[key]
        return found

    def _split(self, name: str, missing: Any) -> dict[Any, GroupRows]:
        rows, codes, values = self._coded(name)
        if missing is not None:
            lacking = codes < 0
            if missing in values:
                at = values.index(missing)
            else:
                at, values = len(values), [*values, missing]
            codes = np.where(lacking, at, codes)
        known = codes >= 0
        if not known.all():
            rows, codes = rows[known], codes[known]
        small = codes.astype(np.uint16) if len(values) < 1 << 16 else codes  # sorted by radix, so much faster
        order = np.argsort(small, kind="stable")
        counts = np.bincount(codes, minlength=len(values))
        ends = np.cumsum(counts)
        rows = rows[order]
        return {
            values[place]: GroupRows(self.frame, rows[ends[place] - counts[place] : ends[place]])
            for place in np.flatnonzero(counts).tolist()
        }

    def _coded(self, name: str) -> tuple[Rows, NDArray[Any], list[Any]]:
        column = self.frame.columns[name]
        if column.codes is None:
            assert column.data is not None
            numbers = column.data[self.rows]
            found, codes = np.unique(numbers, return_inverse=True)
            if column.valid is not None:
                codes = np.where(column.valid[self.rows], codes, -1)
            return self.rows, codes, found.tolist()
        if column.offsets is None:
            return self.rows, column.codes[self.rows], list(column.values)
        listed = take_rows(column, self.rows)
        assert listed.codes is not None
        assert listed.offsets is not None
        lengths = np.diff(listed.offsets)
        if (lengths == 0).any():  # so that a missing value can be given to them
            full = np.maximum(lengths, 1)
            codes = np.full(int(full.sum()), -1, np.int32)
            starts = np.cumsum(full) - full
            places = np.repeat(starts - listed.offsets[:-1], lengths) + np.arange(len(listed.codes))
            codes[places] = listed.codes
            return np.repeat(self.rows, full), codes, list(column.values)
        return np.repeat(self.rows, lengths), listed.codes, list(column.values)

    def numbers(self, name: str, missing: float | None) -> tuple[NDArray[Any], NDArray[np.bool_] | None]:
        """Return a field's values in these rows, and which rows have one (None: all)."""
        key = ("numbers", name, missing)
        if key not in self.kept:
            column = self.frame.columns[name]
            valid: NDArray[np.bool_] | None
            if column.offsets is not None:
                raise NotPlannedError(f"{name} holds lists")
            if column.codes is not None:
                # Keywords are only counted: each is as good as its number.
                data, valid = column.codes[self.rows].astype(float), column.codes[self.rows] >= 0
            else:
                assert column.data is not None
                data = column.data[self.rows].astype(float)
                valid = None if column.valid is None else column.valid[self.rows]
            if valid is not None and missing is not None:
                data, valid = np.where(valid, data, missing), None
            self.kept[key] = data, None if valid is None or valid.all() else valid
        found: tuple[NDArray[Any], NDArray[np.bool_] | None] = self.kept[key]
        return found


@dataclass(slots=True)
class Window:
    """The rows of a frame that some bounds leave, at each tick: from ``start`` to ``end``; of those the ones
    that also lie within the bounds on other fields."""

    start: Rows
    end: Rows
    others: tuple[tuple[str, str, NDArray[np.int64]], ...] = ()


def window(frame: Frame, bounds: Iterable[Bound], ticks: Ticks) -> Window:
    """Find the bounds in a frame at each tick. An event exactly at a bound is on the side that its sign says."""
    start = np.zeros(len(ticks.executed), np.int64)
    end = np.full(len(ticks.executed), frame.rows, np.int64)
    others = []
    for bound in bounds:
        found = load().field(bound.field)
        if found is None or found.type != "date" or found.array:
            raise NotPlannedError(f"{bound.field} is no date of the events")
        millis = bound.millis(ticks)
        if bound.field != ARRIVAL:
            others.append((bound.field, bound.sign, millis))
            continue
        side: Literal["left", "right"] = "right" if bound.sign in ("gt", "lte") else "left"
        at = np.searchsorted(frame.times, millis, side=side)
        if bound.sign in ("gt", "gte"):
            start = np.maximum(start, at)
        else:
            end = np.minimum(end, at)
    # As wide as a group's rows, which are looked up in each other.
    return Window(start.astype(np.int32), np.maximum(start, end).astype(np.int32), tuple(others))
