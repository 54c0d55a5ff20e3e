"""Describe what a store counts in each slot of arrival time, and the tables of counts that it returns.

A count tree names the groups into which documents are divided, and the numbers that are needed for each group.
These numbers can be added, so the count of any window is the sum over its slots. A tree contains no window, size or
order, so the trees of many searches over the same documents can be merged into one.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np
import orjson
from numpy.typing import NDArray

from logging_lib.store.port import StoreError

ARRIVAL: Final = "event.ingested"
MINUTE: Final = 60_000
DAY: Final = 24 * 60 * MINUTE


class CountError(StoreError):
    """Raised if a store cannot count something in slots; a search can be used instead."""


@dataclass(frozen=True, slots=True)
class Grid:
    """A grid of time slots: ``[origin + i * size, origin + (i + 1) * size)`` in milliseconds."""

    origin: int
    size: int

    def join(self, other: Grid) -> Grid:
        """Return the coarsest grid that has the edges of both grids."""
        return Grid(self.origin, math.gcd(self.size, other.size, abs(self.origin - other.origin)))

    def place(self, millis: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the numbers of the slots that begin at these edges."""
        return (millis - self.origin) // self.size


@dataclass(frozen=True, slots=True)
class Matching:
    """A step to the documents that match a query, which is JSON text."""

    query: str


@dataclass(frozen=True, slots=True)
class Terms:
    """A step to one group per value of a field; ``missing``, JSON text, is the value of documents without one."""

    field: str
    missing: str = "null"


@dataclass(frozen=True, slots=True)
class TimeSlots:
    """A step to one group per slot of a time other than arrival."""

    field: str
    grid: Grid


@dataclass(frozen=True, slots=True)
class ValueCounts:
    """A step to the distribution of a number; a store may round its values by up to 0.5 %."""

    field: str
    missing: str = "null"


Step = Matching | Terms | TimeSlots | ValueCounts
CountPath = tuple[Step, ...]
Number = tuple[str, str, str]
"""``count``, ``sum``, ``squares``, ``min`` or ``max``; a field; its ``missing`` as JSON text."""


@dataclass(slots=True)
class CountNode:
    """A node of a count tree: the count of some documents, further numbers, and the nodes of groups of them."""

    numbers: set[Number] = field(default_factory=set)
    below: dict[Step, CountNode] = field(default_factory=dict)

    def at(self, path: Iterable[Step]) -> CountNode:
        """Return the node at a path below this one; create it if it does not exist."""
        node = self
        for step in path:
            node = node.below.setdefault(step, CountNode())
        return node

    def join(self, other: CountNode) -> None:
        """Add to this tree what another tree needs."""
        self.numbers |= other.numbers
        for step, node in other.below.items():
            self.at([step]).join(node)

    def covers(self, other: CountNode) -> bool:
        """Return whether this tree contains everything that another tree needs."""
        return self.numbers >= other.numbers and all(
            step in self.below and self.below[step].covers(node) for step, node in other.below.items()
        )


@dataclass(frozen=True, slots=True)
class CountPlan:
    """A count tree over the documents of some indices that match a query, which is JSON text.

    ``renamed`` fields have other names in the store: for example the arrival time, if documents count from another
    time.
    """

    indices: tuple[str, ...]
    query: str
    tree: CountNode = field(default_factory=CountNode)
    renamed: Mapping[str, str] = field(default_factory=dict)

    @property
    def documents(self) -> tuple[tuple[str, ...], str]:
        """Return the indices and the query that select the documents."""
        return self.indices, self.query

    def name(self, field_name: str) -> str:
        """Return a field's name in the store."""
        return self.renamed.get(field_name, field_name)

    def load(self, text: str) -> Any:
        """Return a parsed query with the store's names of the fields."""
        return self._rename(orjson.loads(text)) if self.renamed else orjson.loads(text)

    def _rename(self, part: Any) -> Any:
        if isinstance(part, Mapping):
            return {self.name(name): self._rename(value) for name, value in part.items()}
        if isinstance(part, list):
            return [self._rename(item) for item in part]
        return self.name(part) if isinstance(part, str) else part


@dataclass(slots=True)
class KeyColumn:
    """A column of keys as codes into ``values``, which are ascending."""

    codes: NDArray[np.int32]
    values: list[Any]


@dataclass(slots=True)
class CountTable:
    """The counts at one path: one row per slot and group, ordered by the keys and then by slot.

    Attributes:
        slots: the arrival slot of each row.
        keys: the keys of each ``Terms`` of the path.
        times: the slots of each ``TimeSlots`` of the path, by field.
        values: the values of ``ValueCounts``, if it is the path's last step.
        counts: the numbers of documents. ``numbers`` are float64, NaN for a missing number.
        groups: the first row and the end of the rows of each combination of keys: the last key by the keys before
            it.
    """

    slots: NDArray[np.int64]
    keys: list[KeyColumn]
    times: dict[str, NDArray[np.int64]]
    values: NDArray[np.float64] | None
    counts: NDArray[np.int64]
    numbers: dict[Number, NDArray[np.float64]]
    groups: dict[tuple[Any, ...], dict[Any, tuple[int, int]]] = field(default_factory=dict)
    _totals: dict[Number | None, NDArray[Any] | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        columns: list[NDArray[Any]] = [self.slots, *(column.codes for column in reversed(self.keys))]
        order = np.lexsort(columns)
        self.keys = [replace(column, codes=column.codes[order]) for column in self.keys]
        self.times = {name: slots[order] for name, slots in self.times.items()}
        self.values = None if self.values is None else self.values[order]
        self.slots, self.counts = self.slots[order], self.counts[order]
        self.numbers = {number: column[order] for number, column in self.numbers.items()}
        self._find_groups()

    def _find_groups(self) -> None:
        rows = len(self.slots)
        begins = np.zeros(rows, bool)
        begins[:1] = True
        for column in self.keys:
            begins[1:] |= column.codes[1:] != column.codes[:-1]
        starts = np.flatnonzero(begins)
        ends = [*starts[1:].tolist(), rows]
        codes = [column.codes[starts].tolist() for column in self.keys]
        for place, start in enumerate(starts.tolist()):
            *outer, key = [
                column.values[code[place]] for column, code in zip(self.keys, codes, strict=True)
            ] or [None]
            self.groups.setdefault(tuple(outer), {})[key] = start, ends[place]

    def totals(self, number: Number | None) -> NDArray[Any] | None:
        """Return running totals, starting with 0, of a number or of the counts; None if some numbers are so large
        that the others would be lost in rounding."""
        if number not in self._totals:
            column: NDArray[Any] = self.counts if number is None else np.nan_to_num(self.numbers[number])
            # Wider than a double, so that rounding by the rest of the column does not affect a window's sum.
            kind = np.int64 if number is None else np.longdouble
            is_exact = number is None or _is_even(column)
            totals = np.concatenate([np.zeros(1, kind), np.cumsum(column, dtype=kind)]) if is_exact else None
            self._totals[number] = totals
        return self._totals[number]

    def sums(self, number: Number | None, start: NDArray[Any], end: NDArray[Any]) -> NDArray[Any]:
        """Sum a number, or the counts, over the rows of each of many windows."""
        totals = self.totals(number)
        if totals is not None:
            found: NDArray[Any] = totals[end] - totals[start]
            return found if number is None else found.astype(np.float64)
        column = np.nan_to_num(self.numbers[number])  # type: ignore[index]
        pairs = zip(start.ravel().tolist(), end.ravel().tolist(), strict=True)
        sums = [float(np.sum(column[a:b], dtype=np.longdouble)) for a, b in pairs]
        return np.array(sums, np.float64).reshape(start.shape)


_SLIGHT: Final = 1e-8


def _is_even(numbers: NDArray[Any]) -> bool:
    """Return whether the rounding of a column's running totals is negligible beside a typical number in it."""
    sizes = np.abs(numbers[numbers != 0])
    if not len(sizes):
        return True
    rounding = float(np.finfo(np.longdouble).eps) * float(sizes.max()) * len(sizes)
    return rounding < _SLIGHT * float(sizes.min()) or rounding < _SLIGHT * float(np.median(sizes))


def build_table(path: CountPath, columns: Mapping[str, Any], numbers: Sequence[Number]) -> CountTable:
    """Build a table from the columns that a store counted.

    Args:
        path: the path of the table.
        columns: numpy arrays: ``s`` has the slots, ``n`` the counts, ``m0``, ``m1``, ... the numbers, and ``k0``,
            ``k1``, ... the steps of the path. A ``Terms`` step has a ``KeyColumn``, and a condition has none.
    """
    keys, times, values = [], {}, None
    for place, step in enumerate(path):
        if isinstance(step, Terms):
            keys.append(columns[f"k{place}"])
        elif isinstance(step, TimeSlots):
            times[step.field] = columns[f"k{place}"]
        elif isinstance(step, ValueCounts):
            values = columns[f"k{place}"]
    named = {number: columns[f"m{place}"] for place, number in enumerate(numbers)}
    return CountTable(columns["s"], keys, times, values, columns["n"], named)


def sorted_keys(codes: NDArray[np.int32], values: list[Any]) -> KeyColumn:
    """Build a column of keys whose values are not ascending yet."""
    order = sorted(range(len(values)), key=values.__getitem__)
    ranks = np.empty(len(values), np.int32)
    ranks[order] = np.arange(len(values), dtype=np.int32)
    return KeyColumn(ranks[codes] if len(values) else codes, [values[place] for place in order])
