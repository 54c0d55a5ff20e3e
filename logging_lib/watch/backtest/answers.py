"""One search's answer at each tick, in Elasticsearch's shape, from the columns of a frame.

Documents fall into buckets by values that do not change and by windows that do: a ``Cell`` is a group of rows
and a window, whose first and last row at every tick are found at once. Counts and sums of all ticks then come
from running totals. What is below a bucket is made when it is looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from logging_lib.store.duckdb.buckets import FilterBuckets, SingleBucket, TermsBuckets
from logging_lib.store.duckdb.execution import AggregationNode
from logging_lib.store.duckdb.metrics import MetricAggregation
from logging_lib.store.duckdb.store import format_hits_total
from logging_lib.watch.backtest.buckets import (
    Bucket,
    Made,
    in_order,
    is_plain,
    kept,
    leaves_answer,
    only_sum,
    terms_answer,
    with_meta,
)
from logging_lib.watch.backtest.frame import Frame, GroupRows, Window, window
from logging_lib.watch.backtest.moving import Extreme, Sliding, differences, values
from logging_lib.watch.backtest.plan import Plan, bucketings
from logging_lib.watch.backtest.windows import ARRIVAL, ARRIVED, Bound, Path, Ticks, WindowSplit

_LARGEST: Final = 8_000_000  # values x ticks; from here on the values of a window are counted tick by tick
_TICK_BY_TICK: Final = 50


class Search:
    """A search over a frame, at each tick of a watch."""

    def __init__(self, frame: Frame, split: WindowSplit, ticks: Ticks, *, streams: int, as_int: bool) -> None:
        self.frame = frame
        self.ticks = ticks
        self.plan = Plan(split, frame.scope())
        self._windows: dict[frozenset[Bound], Window] = {}
        self._streams = streams
        self._as_int = as_int
        self.holding = frame.holding(
            {self.plan.key(one): one for one in self.plan.conditions()}, self.plan.scope
        )
        self.included = dict(self._included(self.plan.tree))
        where = self.plan.key(self.plan.where)
        bounds = frozenset({ARRIVED, *split.windows.get(("query",), ())})
        self._root = Cell(self, frame.group(where, self.holding[where]), self.plan.tree, (), bounds)

    def may_be_cut(self) -> bool:
        """Return whether some ``terms`` could leave out a value, and is not said to want the largest only."""
        return any(self._may_be_cut(one) for one in self.plan.tree.children)

    def _may_be_cut(self, node: AggregationNode) -> bool:
        bucketing = node.bucketing
        if (
            isinstance(bucketing, TermsBuckets)
            and not (node.meta or {}).get("top")
            and self._keys(bucketing) > bucketing.size
        ):
            return True
        return any(self._may_be_cut(one) for one in node.children)

    def _keys(self, bucketing: TermsBuckets) -> int:
        """How many keys a ``terms`` has at the most, that of the documents without a value among them."""
        assert bucketing.column is not None
        left = self.included.get(id(bucketing))
        return self.frame.distinct(bucketing.column.name) + 1 if left is None else len(left)

    def size(self) -> int:
        """Estimate how many buckets and metrics an answer has, at most; those of windows on other times than the
        arrival, which are counted tick by tick, count many times."""
        apart = any(bound.field != ARRIVAL for bound in self.plan.split.bounds())
        return self._size(self.plan.tree) * (_TICK_BY_TICK if apart else 1)

    def listed(self) -> frozenset[str]:
        """Return the fields by whose values it parts the events, each event several times."""
        columns = [
            (one.column.name, self.frame.columns[one.column.name])
            for one in bucketings(self.plan.tree)
            if isinstance(one, TermsBuckets) and one.column is not None
        ]
        return frozenset(
            name for name, one in columns if one.codes is not None and len(one.codes) > self.frame.rows
        )

    def _size(self, node: AggregationNode) -> int:
        found = 1 + len(node.metrics)
        for one in node.children:
            bucketing, many = one.bucketing, 1
            if isinstance(bucketing, FilterBuckets):
                many = len(bucketing.conditions)
            elif isinstance(bucketing, TermsBuckets):
                many = min(self._keys(bucketing), bucketing.size)
            found += many * self._size(one)
        return found

    def _included(self, node: AggregationNode) -> Iterator[tuple[int, set[Any]]]:
        """By the identity of a ``terms``, the values that its ``include`` and ``exclude`` leave, if it has any."""
        for one in node.children:
            bucketing = one.bucketing
            if isinstance(bucketing, TermsBuckets) and (tests := bucketing.conditions("k")):
                assert bucketing.column is not None
                missing = self.plan.bound_value(bucketing.missing)
                keys = [*self.frame.values(bucketing.column.name), *([] if missing is None else [missing])]
                yield id(bucketing), self.frame.passing(keys, " AND ".join(tests), self.plan.scope)
            yield from self._included(one)

    def window(self, bounds: frozenset[Bound]) -> Window:
        found = self._windows.get(bounds)
        if found is None:
            found = self._windows[bounds] = window(self.frame, bounds, self.ticks)
        return found

    def answer(self, tick: int) -> dict[str, Any]:
        """Answer as ``Store.search`` does at a tick; what is below its aggregations is made when looked at."""
        hits: dict[str, Any] = {}
        total = format_hits_total(self.plan.split.body, self._root.count(tick), as_int=self._as_int)
        if total is not None:
            hits["total"] = total
        hits |= {"max_score": None, "hits": []}
        shards = {"total": self._streams, "successful": self._streams, "skipped": 0, "failed": 0}
        answer: dict[str, Any] = {"took": 0, "timed_out": False, "_shards": shards, "hits": hits}
        if self._root.names:
            answer["aggregations"] = {name: self._root.below(name)(tick) for name in self._root.names}
        return answer


class Cell:
    """A group of rows and a window on them.

    Args:
        node: what is asked below it. ``path``: the names of the aggregations down to it.
        single: made for one tick only, so that nothing is computed for the others.
    """

    __slots__ = ("_below", "_bounds", "_end", "_group", "_last", "_node", "_path", "_search", "_single", "_start",
                 "_window", "names")  # fmt: skip

    def __init__(
        self,
        search: Search,
        group: GroupRows,
        node: AggregationNode,
        path: Path,
        bounds: frozenset[Bound],
        *,
        single: bool = False,
    ) -> None:
        self._search = search
        self._group = group
        self._node = node
        self._path = path
        self._bounds = bounds
        self._window = search.window(bounds)
        self._single = single or bool(self._window.others)
        self.names = node.order
        self._below: dict[str, Made] = {}
        self._last: tuple[int, Any] = (-1, None)
        if not single:
            self._start = np.searchsorted(group.rows, self._window.start)
            self._end = np.searchsorted(group.rows, self._window.end)

    # -- the rows ------------------------------------------------------------------------------------------

    def _span(self, tick: int) -> tuple[int, int]:
        if hasattr(self, "_start"):
            return self._start.item(tick), self._end.item(tick)
        rows = self._group.rows
        start = np.searchsorted(rows, self._window.start[tick])
        return int(start), int(np.searchsorted(rows, self._window.end[tick]))

    def _chosen(self, tick: int) -> Any:
        """The places of the group's rows that are in the window: a slice, or an array."""
        if self._last[0] != tick:
            self._last = tick, self._choose(tick)
        return self._last[1]

    def _choose(self, tick: int) -> Any:
        start, end = self._span(tick)
        if not self._window.others:
            return slice(start, end)
        inside = np.ones(end - start, bool)
        for name, sign, millis in self._window.others:
            numbers, valid = self._group.numbers(name, None)
            inside &= _COMPARED[sign](numbers[start:end], millis[tick])
            if valid is not None:
                inside &= valid[start:end]
        number = int(np.count_nonzero(inside))
        first = start + int(inside.argmax()) if number else start
        if inside[first - start : first - start + number].all():  # mostly events arrive as they happen
            return slice(first, first + number)
        return start + np.flatnonzero(inside)

    def count(self, tick: int) -> int:
        if not self._window.others:
            start, end = self._span(tick)
            return end - start
        chosen = self._chosen(tick)
        return chosen.stop - chosen.start if isinstance(chosen, slice) else len(chosen)

    def counts(self) -> NDArray[np.int64]:
        """Return the counts at every tick."""
        return self._end - self._start

    # -- what is below -------------------------------------------------------------------------------------

    def below(self, name: str) -> Made:
        """Return what gives a sub-aggregation's answer at a tick."""
        made = self._below.get(name)
        if made is None:
            made = self._below[name] = self._make(name)
        return made

    def _make(self, name: str) -> Made:
        node = self._node
        if name in node.metrics:
            metric, meta = node.metrics[name]
            return with_meta(meta, self._metric(metric))
        child = next((one for one in node.children if one.name == name), None)
        if child is None:
            raise KeyError(name)
        bucketing = child.bucketing
        path = (*self._path, name)
        if isinstance(bucketing, SingleBucket):
            cell = self._child(child, bucketing.condition, path, path)
            return with_meta(child.meta, lambda tick: Bucket(cell, tick, {}))
        if isinstance(bucketing, FilterBuckets):
            return with_meta(child.meta, self._filters(child, bucketing, path))
        assert isinstance(bucketing, TermsBuckets)
        return with_meta(child.meta, self._terms(child, bucketing, path))

    def _child(self, node: AggregationNode, condition: str, path: Path, window: Path) -> Cell:
        key = self._search.plan.key(condition)
        bounds = self._bounds | frozenset(self._search.plan.split.windows.get(window, ()))
        group = self._group.where(key, self._search.holding[key])
        return Cell(self._search, group, node, path, bounds, single=not hasattr(self, "_start"))

    def _filters(self, node: AggregationNode, bucketing: FilterBuckets, path: Path) -> Made:
        names = bucketing.names
        cells = [
            self._child(node, one, path, (*path, 0, names[place] if names is not None else place))
            for place, one in enumerate(bucketing.conditions)
        ]
        if names is None:
            return kept(lambda tick: {"buckets": [Bucket(cell, tick, {}) for cell in cells]})
        named = list(zip(names, cells, strict=True))
        if bucketing.as_list:
            labels = [({"key": name}, cell) for name, cell in named]
            return kept(lambda tick: {"buckets": [Bucket(cell, tick, label) for label, cell in labels]})
        return kept(lambda tick: {"buckets": {name: Bucket(cell, tick, {}) for name, cell in named}})

    def _terms(self, node: AggregationNode, bucketing: TermsBuckets, path: Path) -> Made:
        assert bucketing.column is not None
        plan, name = self._search.plan, bucketing.column.name
        missing = plan.bound_value(bucketing.missing)
        if not self._single:
            groups = self._group.split(name, missing)
            if len(groups) * len(self._start) <= _LARGEST:
                return self._all_terms(node, bucketing, path, self._selected(groups, bucketing))

        def answer(tick: int) -> Any:
            chosen = GroupRows(self._group.frame, self._group.rows[self._chosen(tick)])
            groups = self._selected(chosen.split(name, missing), bucketing)
            keys = sorted(groups)
            counts = [len(groups[key].rows) for key in keys]
            order = in_order(bucketing, np.array(counts, np.int64).reshape(-1, 1))[:, 0].tolist()
            cells = [Cell(self._search, groups[key], node, path, self._bounds, single=True) for key in keys]
            return terms_answer(
                bucketing, order, counts, cells, [bucketing.key_entry(key) for key in keys], tick
            )

        return answer

    def _selected(self, groups: dict[Any, GroupRows], bucketing: TermsBuckets) -> dict[Any, GroupRows]:
        """Those whose keys ``include`` and ``exclude`` leave."""
        kept = self._search.included.get(id(bucketing))
        return groups if kept is None else {key: group for key, group in groups.items() if key in kept}

    def _all_terms(
        self, node: AggregationNode, bucketing: TermsBuckets, path: Path, groups: dict[Any, GroupRows]
    ) -> Made:
        keys = sorted(groups)
        cells = [Cell(self._search, groups[key], node, path, self._bounds) for key in keys]
        labels = [bucketing.key_entry(key) for key in keys]
        if not keys:
            return lambda tick: terms_answer(bucketing, [], [], [], [], tick)
        counts = np.stack([cell.counts() for cell in cells])
        orders = np.ascontiguousarray(in_order(bucketing, counts).T.astype(np.int32))
        counts = np.ascontiguousarray(counts.T.astype(np.int32))
        leaf = only_sum(node)
        if leaf is not None and counts.size <= _LARGEST // 4:
            name, metric = leaf
            sums = np.ascontiguousarray(np.stack([cell.sums(metric) for cell in cells]).T)
            plainly = [label["key"] for label in labels] if all(map(is_plain, labels)) else None

            def leaves(tick: int) -> Any:
                places, found = orders[tick].tolist(), counts[tick].tolist()
                return leaves_answer(bucketing, places, found, labels, plainly, name, sums[tick].tolist())

            return leaves

        def answer(tick: int) -> Any:
            return terms_answer(bucketing, orders[tick].tolist(), counts[tick].tolist(), cells, labels, tick)

        return kept(answer)

    def _metric(self, metric: MetricAggregation) -> Made:
        assert metric.column is not None
        if metric.kind == "sum" and not self._single:
            sums = self.sums(metric)
            if metric.column.is_numeric:
                return lambda tick: {"value": sums.item(tick)}
            return lambda tick: metric.answer((sums.item(tick),))
        numbers, valid = self._numbers(metric)
        if metric.kind in ("value_count", "avg", "stats") and not self._single:
            counted = self.counts() if valid is None else differences(valid, self._start, self._end)
            if metric.kind == "value_count":
                return lambda tick: {"value": counted.item(tick)}
            return self._moments(metric, numbers, valid, counted)
        if valid is None and not self._single:
            if metric.kind == "percentiles":
                sliding = Sliding(numbers)
                shares = [percent / 100 for percent in metric.percents]
                return kept(lambda tick: metric.answer((sliding.quantiles(*self._span(tick), shares),)))
            if metric.kind in ("min", "max"):
                extreme = Extreme(numbers, np.minimum if metric.kind == "min" else np.maximum)
                return lambda tick: metric.answer((extreme.over(*self._span(tick)),))

        def answer(tick: int) -> Any:
            chosen = self._chosen(tick)
            found = numbers[chosen]
            if valid is not None:
                found = found[valid[chosen]]
            return metric.answer(values(metric, found))

        return kept(answer)

    def _moments(
        self,
        metric: MetricAggregation,
        numbers: NDArray[Any],
        valid: NDArray[np.bool_] | None,
        counted: NDArray[np.int64],
    ) -> Made:
        """``avg`` and ``stats``."""
        sums = self.sums(metric)
        if metric.kind == "avg":
            return lambda tick: metric.answer((counted.item(tick), sums.item(tick)))
        least = Extreme(numbers if valid is None else np.where(valid, numbers, np.inf), np.minimum)
        most = Extreme(numbers if valid is None else np.where(valid, numbers, -np.inf), np.maximum)

        def answer(tick: int) -> Any:
            count, span = counted.item(tick), self._span(tick)
            if not count:
                return metric.answer((0, None, None, None))
            return metric.answer((count, least.over(*span), most.over(*span), sums.item(tick)))

        return answer

    def _numbers(self, metric: MetricAggregation) -> tuple[NDArray[Any], NDArray[np.bool_] | None]:
        assert metric.column is not None
        filler = self._search.plan.bound_value(metric.missing_sql)
        return self._group.numbers(metric.column.name, None if filler is None else float(filler))

    def sums(self, metric: MetricAggregation) -> NDArray[np.float64]:
        """Return a sum at every tick."""
        assert metric.column is not None
        if self._group.frame.is_one(metric.column.name):  # the weight of events that are not sampled
            return self.counts().astype(float)
        numbers, valid = self._numbers(metric)
        return differences(
            numbers if valid is None else np.where(valid, numbers, 0.0), self._start, self._end
        )


_COMPARED: Final[Mapping[str, Callable[[Any, Any], Any]]] = {
    "gt": np.greater,
    "gte": np.greater_equal,
    "lt": np.less,
    "lte": np.less_equal,
}
