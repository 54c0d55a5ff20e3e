"""Answer one search at each tick, in Elasticsearch's shape, from the tables of its counts.

A ``Cell`` is a group of a table and a window, whose first and last row are found for all ticks at once: counts and
sums are differences of running totals. The content of a bucket is built when it is read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import duckdb
import numpy as np
from numpy.typing import NDArray

from logging_lib.store.counting import ARRIVAL, CountPath, CountTable, Grid, Number, TimeSlots
from logging_lib.store.duckdb.buckets import SingleBucket, TermsBuckets
from logging_lib.store.duckdb.scope import ParameterBinder
from logging_lib.store.duckdb.store import format_hits_total
from logging_lib.watch.backtest.moving import Sliding, quantiles
from logging_lib.watch.backtest.plan import Plan, PlannedBuckets, PlannedMetric, PlannedNode
from logging_lib.watch.backtest.windows import NotPlannedError, Ticks, Window

Answer = Callable[[int], Any]
"""Return an aggregation's answer at a tick."""
Keys = tuple[Any, ...]
_BLOCK: Final = 1 << 19  # keys x ticks whose buckets are found at once


class CountedSearch:
    """A search over counts, at each tick of a watch.

    Args:
        grid: the slots of the tables.
        streams: the number of streams that are searched.
        as_int: whether ``hits.total`` is a number.
    """

    def __init__(
        self,
        plan: Plan,
        tables: Mapping[CountPath, CountTable],
        grid: Grid,
        ticks: Ticks,
        *,
        streams: int,
        as_int: bool,
    ) -> None:
        self.plan = plan
        self.tables = tables
        self.ticks = len(ticks.executed)
        self._grid = grid
        self._streams = streams
        self._as_int = as_int
        self._spans: dict[int, tuple[NDArray[np.int64], NDArray[np.int64]]] = {}
        self.selected: dict[int, set[Any]] = {}
        self.may_be_cut = self._look_through(plan.root)
        self._root = Cell(self, plan.root, ())

    def _look_through(self, node: PlannedNode) -> bool:
        """Find the keys that each ``include`` leaves; return whether a ``terms`` that must be complete could be
        cut."""
        may_be_cut = False
        for buckets in node.buckets.values():
            bucketing = buckets.bucketing
            if isinstance(bucketing, TermsBuckets):
                groups = self.tables[buckets.nodes[0].path].groups
                keys = {key for below in groups.values() for key in below}
                if tests := bucketing.conditions("k"):
                    self.selected[id(bucketing)] = _meeting(keys, " AND ".join(tests), self.plan.scope.binder)
                most = max(map(len, groups.values()), default=0)
                may_be_cut |= most > bucketing.size and not buckets.is_top
            for below in buckets.nodes:
                may_be_cut |= self._look_through(below)
        return may_be_cut

    def span(self, window: Window) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the first slot of a window, and the first one after it, at each tick."""
        slots = self._spans.get(id(window))
        if slots is None:
            first = (
                np.full(self.ticks, np.iinfo(np.int64).min)
                if window.start is None
                else self._grid.place(window.start)
            )
            assert window.end is not None
            slots = self._spans[id(window)] = first, np.maximum(first, self._grid.place(window.end))
        return slots

    def answer(self, tick: int) -> dict[str, Any]:
        """Answer as ``Store.search`` does at a tick; the content of its aggregations is built when it is read."""
        hits: dict[str, Any] = {}
        total = format_hits_total(self.plan.split.body, self._root.count(tick), as_int=self._as_int)
        if total is not None:
            hits["total"] = total
        hits |= {"max_score": None, "hits": []}
        shards = {"total": self._streams, "successful": self._streams, "skipped": 0, "failed": 0}
        answer: dict[str, Any] = {"took": 0, "timed_out": False, "_shards": shards, "hits": hits}
        if self.plan.root.order:
            answer["aggregations"] = {name: self._root.below(name)(tick) for name in self.plan.root.order}
        return answer


class Cell:
    """The content of a bucket: the rows of a group of its table, and a window on them.

    Args:
        keys: the keys of the ``terms`` around it, the outermost first.
    """

    __slots__ = ("_below", "_counts", "_end", "_start", "keys", "node", "search", "table")

    def __init__(self, search: CountedSearch, node: PlannedNode, keys: Keys) -> None:
        self.search = search
        self.node = node
        self.keys = keys
        self.table = search.tables[node.path]
        self._below: dict[str, Answer] = {}
        self._start, self._end = self._rows(self.table)
        self._counts = None if self._is_sifted else self.table.sums(None, self._start, self._end)

    # -- the rows ------------------------------------------------------------------------------------------

    @property
    def _is_sifted(self) -> bool:
        """Return whether windows over times other than arrival select some of the rows."""
        return len(self.node.windows) > 1

    def _rows(self, table: CountTable, keys: Keys | None = None) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return the first row of this group in a table, and the first one after it, at each tick."""
        *outer, key = (self.keys if keys is None else keys) or (None,)
        begin, end = table.groups.get(tuple(outer), {}).get(key, (0, 0))
        first, last = self.search.span(self.node.windows[ARRIVAL])
        slots = table.slots[begin:end]
        return begin + np.searchsorted(slots, first), begin + np.searchsorted(slots, last)

    def _sift(self, table: CountTable, start: int, end: int, tick: int) -> Any:
        """Return those rows from ``start`` to ``end`` that are in all windows."""
        if not self._is_sifted:
            return slice(start, end)
        inside = np.ones(end - start, bool)
        for step in self.node.path:
            if not isinstance(step, TimeSlots):
                continue
            window = self.node.windows[step.field]
            slots = table.times[step.field][start:end]
            if window.start is not None:
                inside &= slots >= step.grid.place(window.start[tick])
            if window.end is not None:
                inside &= slots < step.grid.place(window.end[tick])
        return start + np.flatnonzero(inside)

    def _chosen(self, tick: int) -> Any:
        return self._sift(self.table, self._start.item(tick), self._end.item(tick), tick)

    def count(self, tick: int) -> int:
        if self._counts is not None:
            count: int = self._counts.item(tick)
            return count
        return int(self.table.counts[self._chosen(tick)].sum())

    # -- what is below -------------------------------------------------------------------------------------

    def below(self, name: str) -> Answer:
        """Return the function that gives a sub-aggregation's answer at a tick."""
        answer = self._below.get(name)
        if answer is None:
            metric = self.node.metrics.get(name)
            if metric is not None:
                answer, meta = self._metric(metric), metric.meta
            else:
                answer, meta = self._buckets(self.node.buckets[name]), self.node.buckets[name].meta
            answer = self._below[name] = _remembered(answer if meta is None else _with_meta(meta, answer))
        return answer

    def _buckets(self, buckets: PlannedBuckets) -> Answer:
        bucketing = buckets.bucketing
        if isinstance(bucketing, TermsBuckets):
            return self._sifted_terms(buckets) if self._is_sifted else self._terms(buckets)
        cells = [Cell(self.search, node, self.keys) for node in buckets.nodes]
        if isinstance(bucketing, SingleBucket):
            return lambda tick: Bucket(cells[0], tick, {})
        names = bucketing.names
        if names is None:
            return lambda tick: {"buckets": [Bucket(cell, tick, {}) for cell in cells]}
        named = list(zip(names, cells, strict=True))
        if bucketing.as_list:
            return lambda tick: {"buckets": [Bucket(cell, tick, {"key": name}) for name, cell in named]}
        return lambda tick: {"buckets": {name: Bucket(cell, tick, {}) for name, cell in named}}

    def _terms(self, buckets: PlannedBuckets) -> Answer:
        (node,), bucketing = buckets.nodes, buckets.bucketing
        assert isinstance(bucketing, TermsBuckets)
        table = self.search.tables[node.path]
        keys, groups = self._keys(table, bucketing)
        labels = [bucketing.key_entry(key) for key in keys]
        if not keys:
            return lambda tick: {**_ANSWER, "buckets": []}
        leaf = _only_sum(node)
        block = _TermsBlock(self.search.span(self.node.windows[ARRIVAL]), table, groups, bucketing, leaf)
        cells: dict[int, Cell] = {}

        def answer(tick: int) -> Any:
            places, counts, sums, others = block.at(tick)
            if leaf is not None:  # there may be hundreds of such buckets at each tick
                chosen = zip(places, counts, sums, strict=True)
                buckets: list[Any] = [
                    {**labels[place], "doc_count": count, leaf[0]: {"value": total}}
                    for place, count, total in chosen
                ]
            else:
                for place in places:
                    if place not in cells:
                        cells[place] = Cell(self.search, node, (*self.keys, keys[place]))
                buckets = [Bucket(cells[place], tick, labels[place]) for place in places]
            return {**_ANSWER, "sum_other_doc_count": others, "buckets": buckets}

        return answer

    def _keys(self, table: CountTable, bucketing: TermsBuckets) -> tuple[list[Any], list[tuple[int, int]]]:
        groups, selected = table.groups.get(self.keys, {}), self.search.selected.get(id(bucketing))
        keys = [key for key in groups if selected is None or key in selected]
        return keys, [groups[key] for key in keys]

    def _sifted_terms(self, buckets: PlannedBuckets) -> Answer:
        (node,), bucketing = buckets.nodes, buckets.bucketing
        assert isinstance(bucketing, TermsBuckets)
        table = self.search.tables[node.path]
        keys, _ = self._keys(table, bucketing)
        cells = [Cell(self.search, node, (*self.keys, key)) for key in keys]
        labels = [bucketing.key_entry(key) for key in keys]

        def answer(tick: int) -> Any:
            if not keys:
                return {**_ANSWER, "buckets": []}
            counts = np.array([[cell.count(tick) for cell in cells]])
            places, _, others = _OrderedBuckets(bucketing, counts).at(0)
            buckets = [Bucket(cells[place], tick, labels[place]) for place in places]
            return {**_ANSWER, "sum_other_doc_count": others, "buckets": buckets}

        return answer

    def _metric(self, planned: PlannedMetric) -> Answer:
        metric = planned.metric
        if planned.step is not None:
            return self._distribution(planned)
        if metric.kind in ("sum", "value_count") and not self._is_sifted:
            sums = self.table.sums(planned.numbers[0], self._start, self._end)
            if metric.kind == "value_count":
                return lambda tick: {"value": int(sums.item(tick))}
            if metric.column is not None and metric.column.is_numeric:
                return lambda tick: {"value": sums.item(tick)}

        def answer(tick: int) -> Any:
            return metric.answer(tuple(self._number(number, tick) for number in planned.numbers))

        return answer

    def _number(self, number: Number, tick: int) -> Any:
        """Return a number of the window's rows; None if there is none."""
        how, start, end = number[0], self._start.item(tick), self._end.item(tick)
        if how in ("min", "max"):
            column = self.table.numbers[number][self._sift(self.table, start, end, tick)]
            column = column[~np.isnan(column)]
            return float(column.min() if how == "min" else column.max()) if len(column) else None
        totals = None if self._is_sifted else self.table.totals(number)
        if totals is not None:
            total = float(totals[end] - totals[start])
        else:
            column = self.table.numbers[number][self._sift(self.table, start, end, tick)]
            total = float(np.nansum(column, dtype=np.longdouble))
        return int(total) if how == "count" else total

    def _distribution(self, planned: PlannedMetric) -> Answer:
        """Answer ``percentiles``, ``percentile_ranks`` and ``cardinality`` from a table with one row per value."""
        metric, path = planned.metric, (*self.node.path, planned.step)
        table = self.search.tables[path]  # type: ignore[index]
        if metric.kind == "cardinality":
            groups = table.groups.get(self.keys, {})
            rows = [self._rows(table, (*self.keys, key)) for key in groups]

            def distinct(tick: int) -> Any:
                spans = ((start.item(tick), end.item(tick)) for start, end in rows)
                number = sum(bool(table.counts[self._sift(table, *span, tick)].any()) for span in spans)
                return metric.answer((number,))

            return distinct
        starts, ends = self._rows(table)
        values = table.values
        assert values is not None
        if metric.kind == "percentiles" and not self._is_sifted:
            first, totals = int(starts.min()), table.totals(None)
            assert totals is not None
            region = slice(first, int(ends.max()))
            sliding = Sliding(np.repeat(values[region], table.counts[region]))
            shares = [percent / 100 for percent in metric.percents]
            begin, end = (totals[rows] - totals[first] for rows in (starts, ends))
            return lambda tick: metric.answer((sliding.quantiles(begin.item(tick), end.item(tick), shares),))

        def answer(tick: int) -> Any:
            rows = self._sift(table, starts.item(tick), ends.item(tick), tick)
            numbers = np.sort(np.repeat(values[rows], table.counts[rows]))
            if metric.kind == "percentile_ranks":
                return metric.answer((numbers.tolist(),))
            return metric.answer((quantiles(numbers, [percent / 100 for percent in metric.percents]),))

        return answer


class _TermsBlock:
    """The buckets of a ``terms`` at each tick, found for several ticks at once: order, counts and sums by place."""

    def __init__(
        self,
        span: tuple[NDArray[np.int64], NDArray[np.int64]],
        table: CountTable,
        groups: list[tuple[int, int]],
        bucketing: TermsBuckets,
        leaf: tuple[str, Number] | None,
    ) -> None:
        self._table, self._bucketing, self._leaf = table, bucketing, leaf
        begins, ends = np.array(groups, np.int64).T
        slots = np.concatenate([table.slots[begin:end] for begin, end in groups])
        low, width = int(slots.min()), int(slots.max() - slots.min()) + 2
        places = np.repeat(np.arange(len(groups)), ends - begins)
        self._codes = places * width + (slots - low)
        self._keys = np.arange(len(groups)) * width
        self._shift = begins - np.concatenate([[0], np.cumsum(ends - begins)[:-1]])
        self._first, self._last = (np.clip(edge, low, low + width - 1) - low for edge in span)
        self._size = max(1, _BLOCK // len(groups))
        self._block = -1

    def at(self, tick: int) -> tuple[list[int], list[int], list[float], int]:
        """Return the places of the buckets in their order, their counts and sums, and the count of the omitted
        ones."""
        block, row = divmod(tick, self._size)
        if block != self._block:
            self._fill(block)
        places, counts, others = self._ordered.at(row)
        sums = self._sums[row, places].tolist() if self._leaf is not None else []
        return places, counts, sums, others

    def _fill(self, block: int) -> None:
        self._block = block
        ticks = slice(block * self._size, (block + 1) * self._size)
        start, end = (
            np.searchsorted(self._codes, self._keys + edge[ticks].reshape(-1, 1)) + self._shift
            for edge in (self._first, self._last)
        )
        self._ordered = _OrderedBuckets(self._bucketing, self._table.sums(None, start, end))
        if self._leaf is not None:
            self._sums = self._table.sums(self._leaf[1], start, end)


class Bucket(Mapping[str, Any]):
    """A bucket of an answer: its label, ``doc_count``, and its sub-aggregations, which are built when read."""

    __slots__ = ("_cell", "_label", "_tick")

    def __init__(self, cell: Cell, tick: int, label: Mapping[str, Any]) -> None:
        self._cell = cell
        self._tick = tick
        self._label = label

    def __getitem__(self, name: str) -> Any:
        if name == "doc_count":
            return self._cell.count(self._tick)
        if name in self._label:
            return self._label[name]
        return self._cell.below(name)(self._tick)

    def get(self, name: str, default: Any = None) -> Any:
        return self[name] if name in self else default  # noqa: SIM401 - this is it

    def __contains__(self, name: object) -> bool:
        return name == "doc_count" or name in self._label or name in self._cell.node.order

    def __iter__(self) -> Iterator[str]:
        yield from self._label
        yield "doc_count"
        yield from self._cell.node.order

    def __len__(self) -> int:
        return len(self._label) + 1 + len(self._cell.node.order)


def to_builtins(value: Any) -> Any:
    """Convert a value and everything in it to dicts and lists."""
    if isinstance(value, Mapping):
        return {key: to_builtins(item) for key, item in value.items()}
    return [to_builtins(item) for item in value] if isinstance(value, list) else value


class _OrderedBuckets:
    """The buckets of a ``terms`` at some ticks in their order, from counts (ticks, keys) of ascending keys."""

    def __init__(self, bucketing: TermsBuckets, counts: NDArray[np.int64]) -> None:
        is_absent = counts < max(1, bucketing.min_doc_count)
        criteria = []
        for order in bucketing.orders:
            ranks = np.broadcast_to(np.arange(counts.shape[1]), counts.shape)
            criteria.append((1 if order.ascending else -1) * (counts if order.by == "_count" else ranks))
        self._size = bucketing.size
        self._places = np.lexsort([*criteria[::-1], is_absent], axis=1)  # absent ones come last
        self._counts = np.take_along_axis(counts, self._places, axis=1)
        self._ends = (counts.shape[1] - is_absent.sum(axis=1)).tolist()

    def at(self, tick: int) -> tuple[list[int], list[int], int]:
        """Return the places of the keys that have a bucket, their counts, and the total count of all others."""
        end, size = self._ends[tick], self._size
        others = int(self._counts[tick, size:end].sum()) if end > size else 0
        last = min(end, size)
        return self._places[tick, :last].tolist(), self._counts[tick, :last].tolist(), others


_ANSWER: Final = {"doc_count_error_upper_bound": 0, "sum_other_doc_count": 0}


def _only_sum(node: PlannedNode) -> tuple[str, Number] | None:
    """Return the name and the number of a sum that is a bucket's only content; None if the content differs."""
    if node.buckets or len(node.metrics) != 1:
        return None
    ((name, planned),) = node.metrics.items()
    metric = planned.metric
    is_plain = planned.meta is None and metric.column is not None and metric.column.is_numeric
    return (name, planned.numbers[0]) if metric.kind == "sum" and is_plain else None


def _remembered(made: Answer) -> Answer:
    """Return the same function with a cache of the last tick's answer, which a script may read several times."""
    last: list[tuple[int, Any]] = [(-1, None)]

    def answer(tick: int) -> Any:
        if last[0][0] != tick:
            last[0] = tick, made(tick)
        return last[0][1]

    return answer


def _with_meta(meta: Any, made: Answer) -> Answer:
    return lambda tick: {"meta": meta, **made(tick)}


def _meeting(keys: set[Any], condition: str, binder: ParameterBinder) -> set[Any]:
    """Return the keys that meet a condition on ``k``.

    Raises:
        NotPlannedError: the database refuses the condition, such as a pattern; the store will report it at each
        tick.
    """
    statement = f"SELECT k FROM (SELECT unnest($keys) AS k) WHERE {condition}"  # noqa: S608
    try:
        with duckdb.connect(":memory:") as connection:
            rows = connection.execute(statement, {"keys": list(keys), **binder.used_in(condition)}).fetchall()
    except duckdb.Error as error:
        raise NotPlannedError(str(error)) from error
    return {row[0] for row in rows}
