"""Count documents of Elasticsearch in slots of arrival time, in pages of a date histogram above the needed groups.

No document leaves the cluster. A page that the server refuses as too large is split into halves, and a single slot
that is too large into partitions of its keys. All pages see the same documents, those of one point in time.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from math import exp, log, nan
from typing import Any, Final

import numpy as np
import orjson

from logging_lib.store.counting import (
    ARRIVAL,
    MINUTE,
    CountError,
    CountNode,
    CountPath,
    CountPlan,
    CountTable,
    Grid,
    Matching,
    Number,
    Terms,
    TimeSlots,
    ValueCounts,
    build_table,
    sorted_keys,
)
from logging_lib.store.elastic_pages import is_too_large
from logging_lib.store.port import SearchError, StoreError

Json = dict[str, Any]
Ask = Callable[[Json], Json]
"""Answer a body over the plan's indices at one point in time."""
MAX_BUCKETS: Final = 65_536  # Elasticsearch's default of search.max_buckets
_FIRST_PAGE: Final = 96  # slots
_MOST_SLOTS: Final = (
    384  # of a page: a server takes time by their square, before it sees that there are too many
)
_MAX_PARTITIONS: Final = 4096
_STEP: Final = log(1.01)  # between rounded values
_ONE: Final = 100_000  # the code of 1; those of smaller values are below, but above 0
_ROUNDED: Final = (
    "double v = Math.abs(_value); return v == 0 ? 0 : "
    f"Math.signum((double) _value) * (Math.rint(Math.log(v) / {_STEP!r}) + {_ONE})"
)


class _TooLargeError(Exception):
    """Raised if a page has more buckets, or needs more work, than the server allows."""


def count_slots(
    ask: Ask, plan: CountPlan, grid: Grid, start: int | None, end: int
) -> Iterator[tuple[CountPath, CountTable]]:
    """Yield the tables of a plan; see ``Store.counts``.

    Raises:
        CountError: the slots are shorter than a minute, or one slot is too large.
        StoreError: the answer is not complete.
    """
    if grid.size < MINUTE:
        raise CountError("its windows have no common slot of at least a minute")
    tables = _Tables()
    tables.create(plan.tree, ())
    begin, until = _find_slots(ask, plan, grid, start, end)
    pages = _Pages(ask, plan, grid, tables)
    size = _FIRST_PAGE
    while begin < until:
        size = min(size, until - begin)
        try:
            buckets = pages.read(begin, begin + size)
        except _TooLargeError:
            if size == 1:
                pages.read_partitions(begin)
                begin += 1
            else:
                size //= 2
            continue
        begin += size
        if not buckets:  # a wrong clock may be years away from all others
            begin, until = _find_slots(ask, plan, grid, begin * grid.size + grid.origin, end)
        size = max(1, min(4 * size, _MOST_SLOTS, int(size * MAX_BUCKETS / 2 / (buckets + 1))))
    yield from tables.finish()


def _find_slots(ask: Ask, plan: CountPlan, grid: Grid, start: int | None, end: int) -> tuple[int, int]:
    """Return the first slot with documents and the one after the last."""
    time = plan.name(ARRIVAL)
    times = {"first": {"min": {"field": time}}, "last": {"max": {"field": time}}}
    try:
        found = _complete(ask, {"size": 0, "query": _query(plan, start, end), "aggs": times})
    except _TooLargeError:
        raise CountError("the time of the first event was not answered in time") from None
    first, last = (found.get("aggregations", {}).get(name, {}).get("value") for name in times)
    return (0, 0) if first is None else (_slot(first, grid), _slot(last, grid) + 1)


def _complete(ask: Ask, body: Json) -> Json:
    """Return a complete answer. Raises _TooLargeError and StoreError."""
    try:
        answer = ask({**body, "track_total_hits": False})
    except SearchError as error:
        if is_too_large(error):
            raise _TooLargeError from error
        raise CountError(str(error)) from error
    if answer.get("timed_out"):
        raise _TooLargeError
    if answer.get("_shards", {}).get("failed"):
        raise StoreError("some shards did not count: the answer is partial")
    return answer


@dataclass(slots=True)
class _Pages:
    ask: Ask
    plan: CountPlan
    grid: Grid
    tables: _Tables

    def read(self, begin: int, end: int, partition: int = 0, partitions: int = 1) -> int:
        """Read the slots of a page; return the number of its buckets."""
        edges = (place * self.grid.size + self.grid.origin for place in (begin, end))
        include = (
            {"include": {"partition": partition, "num_partitions": partitions}} if partitions > 1 else {}
        )
        slots = {"date_histogram": _histogram(self.plan.name(ARRIVAL), self.grid)}
        below = self._aggs(self.plan.tree, include)
        body = {
            "size": 0,
            "query": _query(self.plan, *edges),
            "aggs": {"slots": {**slots, **({"aggs": below} if below else {})}},
        }
        found = _complete(self.ask, body).get("aggregations", {}).get("slots", {}).get("buckets", [])
        page = _Page(self.tables, self.grid, is_first=partition == 0)
        for bucket in found:
            page.add(self.plan.tree, (), bucket, _slot(bucket["key"], self.grid), [])
        return page.buckets

    def read_partitions(self, slot: int) -> None:
        """Read one slot in as many partitions of its outermost keys as needed.

        Raises:
            CountError: one key is too large.
        """
        waiting = [(0, 2), (1, 2)]
        while waiting:
            partition, partitions = waiting.pop()
            if partitions > _MAX_PARTITIONS or not _has_terms(self.plan.tree):
                raise CountError("a single slot has more buckets than search.max_buckets")
            try:
                self.read(slot, slot + 1, partition, partitions)
            except _TooLargeError:
                # A key's partition is its hash modulo their number.
                waiting += [(partition, 2 * partitions), (partition + partitions, 2 * partitions)]

    def _aggs(self, node: CountNode, include: Json) -> Json:
        name = self.plan.name
        aggs: Json = {}
        for place, ((about, missing), hows) in enumerate(_metrics(node).items()):
            options = {"field": name(about), **_missing(missing)}
            aggs[f"m{place}"] = {_kind(hows): options}
        for place, (step, below) in enumerate(node.below.items()):
            inner = include
            if isinstance(step, Matching):
                agg: Json = {"filter": self.plan.load(step.query)}
            elif isinstance(step, TimeSlots):
                agg = {"date_histogram": _histogram(name(step.field), step.grid)}
            else:
                agg = {"terms": {"field": name(step.field), "size": MAX_BUCKETS, **_missing(step.missing)}}
                if isinstance(step, ValueCounts):
                    agg["terms"]["script"] = {"source": _ROUNDED}
                else:
                    agg["terms"] |= include
                    inner = {}
            further = self._aggs(below, inner)
            aggs[f"c{place}"] = {**agg, **({"aggs": further} if further else {})}
        return aggs


def _query(plan: CountPlan, start: int | None, end: int) -> Json:
    edges = {"lt": end, "format": "epoch_millis", **({} if start is None else {"gte": start})}
    return {"bool": {"filter": [plan.load(plan.query), {"range": {plan.name(ARRIVAL): edges}}]}}


def _histogram(name: str, grid: Grid) -> Json:
    return {
        "field": name,
        "fixed_interval": f"{grid.size}ms",
        "offset": f"{grid.origin % grid.size}ms",
        "min_doc_count": 1,
    }


def _missing(text: str) -> Json:
    return {} if text == "null" else {"missing": orjson.loads(text)}


def _has_terms(node: CountNode) -> bool:
    return any(isinstance(step, Terms) or _has_terms(below) for step, below in node.below.items())


def _metrics(node: CountNode) -> dict[tuple[str, str], set[str]]:
    """Group a node's numbers by field and ``missing``: one aggregation gives several."""
    grouped: dict[tuple[str, str], set[str]] = {}
    for how, name, missing in sorted(node.numbers):
        grouped.setdefault((name, missing), set()).add(how)
    return grouped


def _find_answers(node: CountNode) -> dict[Number, tuple[str, str]]:
    """Return, for each number of a node, its aggregation and the name of its value in the answer."""
    answers: dict[Number, tuple[str, str]] = {}
    for place, ((name, missing), hows) in enumerate(_metrics(node).items()):
        for how in hows:
            is_single = len(hows) == 1 and how != "squares"
            answers[how, name, missing] = f"m{place}", "value" if is_single else _ANSWERS[how]
    return answers


def _kind(hows: set[str]) -> str:
    if "squares" in hows:
        return "extended_stats"
    if len(hows) > 1:
        return "stats"
    (how,) = hows
    return "value_count" if how == "count" else how


@dataclass(slots=True)
class _Rows:
    """The rows of one table while they are read.

    Attributes:
        answers: for each number, the names of its aggregation and of its value in the aggregation's answer.
        keys: the codes of terms, slots and values.
    """

    numbers: list[Number]
    answers: list[tuple[str, str]]
    slots: array[int] = field(default_factory=lambda: array("q"))
    counts: array[int] = field(default_factory=lambda: array("q"))
    keys: list[array[float]] = field(default_factory=list)
    columns: list[array[float]] = field(default_factory=list)

    def add(self, slot: int, keys: list[float], bucket: Json) -> None:
        self.slots.append(slot)
        self.counts.append(bucket["doc_count"])
        for codes, key in zip(self.keys, keys, strict=True):
            codes.append(key)
        for (aggregation, name), column in zip(self.answers, self.columns, strict=True):
            value = bucket[aggregation][name]
            column.append(nan if value is None else value)


_ANSWERS: Final = {"count": "count", "sum": "sum", "min": "min", "max": "max", "squares": "sum_of_squares"}


@dataclass(slots=True)
class _Tables:
    """All tables while they are read. ``codes`` are the codes of keys, by the path to the step that divides by
    them."""

    rows: dict[CountPath, _Rows] = field(default_factory=dict)
    codes: dict[CountPath, dict[Any, int]] = field(default_factory=dict)

    def create(self, node: CountNode, path: CountPath) -> None:
        answers = _find_answers(node)
        numbers = sorted(answers)
        kinds = [
            "d" if isinstance(step, ValueCounts) else "q" for step in path if not isinstance(step, Matching)
        ]
        keys: list[Any] = [array(kind) for kind in kinds]
        columns = [array("d") for _ in numbers]
        self.rows[path] = _Rows(numbers, [answers[number] for number in numbers], keys=keys, columns=columns)
        self.codes[path] = {}
        for step, below in node.below.items():
            self.create(below, (*path, step))

    def finish(self) -> Iterator[tuple[CountPath, CountTable]]:
        """Yield the tables, and drop the rows of each with it."""
        for path in list(self.rows):
            rows = self.rows.pop(path)
            columns: Json = {"s": np.asarray(rows.slots), "n": np.asarray(rows.counts)}
            for place, column in enumerate(rows.columns):
                columns[f"m{place}"] = np.asarray(column)
            counted = [place for place, step in enumerate(path) if not isinstance(step, Matching)]
            for place, codes in zip(counted, rows.keys, strict=True):
                if isinstance(path[place], Terms):
                    values = list(self.codes[path[: place + 1]])
                    columns[f"k{place}"] = sorted_keys(np.array(codes, np.int32), values)
                else:
                    columns[f"k{place}"] = np.asarray(codes)
            yield path, build_table(path, columns, rows.numbers)


@dataclass(slots=True)
class _Page:
    """A page whose buckets are added to the tables; groups without keys are added only from the first partition."""

    tables: _Tables
    grid: Grid
    is_first: bool
    buckets: int = 0

    def add(self, node: CountNode, path: CountPath, bucket: Json, slot: int, keys: list[float]) -> None:
        self.buckets += 1
        if not bucket["doc_count"]:
            return
        if self.is_first or any(isinstance(step, Terms) for step in path):
            self.tables.rows[path].add(slot, keys, bucket)
        for place, (step, below) in enumerate(node.below.items()):
            answer, inner = bucket[f"c{place}"], (*path, step)
            if isinstance(step, Matching):
                self.add(below, inner, answer, slot, keys)
                continue
            if answer.get("sum_other_doc_count"):
                raise CountError(f"{step.field} has more than {MAX_BUCKETS} values")
            codes = self.tables.codes[inner]
            for found in answer["buckets"]:
                key = found["key"]
                if isinstance(step, Terms):
                    code: float = codes.setdefault(key, len(codes))
                else:
                    code = _slot(key, step.grid) if isinstance(step, TimeSlots) else _value(key)
                self.add(below, inner, found, slot, [*keys, code])


def _slot(millis: float, grid: Grid) -> int:
    return (int(millis) - grid.origin) // grid.size


def _value(code: float) -> float:
    """Return the number that a code of ``_ROUNDED`` means."""
    size = exp((abs(code) - _ONE) * _STEP)
    return 0.0 if not code else size if code > 0 else -size
