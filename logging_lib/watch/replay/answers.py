"""One search's answer at each tick, in Elasticsearch's shape, from the columns of a frame.

Documents fall into buckets by values that do not change and by windows that do: a ``Cell`` is a group of rows
and a window, whose first and last row at every tick are found at once. Counts and sums of all ticks then come
from running totals. What is below a bucket is made when it is looked at.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from logging_lib.store import aggregations
from logging_lib.store.aggregations import Node
from logging_lib.store.buckets import Filters, Single, Terms
from logging_lib.store.embedded import hits_total
from logging_lib.store.metrics import Metric
from logging_lib.store.query import ALWAYS, condition
from logging_lib.store.scope import Scope
from logging_lib.watch.replay.frame import Frame, Group, Window, window
from logging_lib.watch.replay.moving import Extreme, Sliding, differences, values
from logging_lib.watch.replay.windows import ARRIVAL, ARRIVED, Bound, NotPlannedError, Path, Split, Ticks

_BODY: Final = frozenset({"query", "size", "aggs", "aggregations", "track_total_hits", "timeout"})
_LARGEST: Final = 8_000_000  # values x ticks; from here on the values of a window are counted tick by tick
_TICK_BY_TICK: Final = 50
_PARAMETER: Final = re.compile(r"\$(p\d+)")
_COLUMN: Final = re.compile(r"\bc(\d+)\b")
Made = Callable[[int], Any]


class Bucket(Mapping[str, Any]):
    """A bucket of an answer: its label, ``doc_count``, and what is below it, made when it is looked at."""

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
        return name == "doc_count" or name in self._label or name in self._cell.names

    def __iter__(self) -> Iterator[str]:
        yield from self._label
        yield "doc_count"
        yield from self._cell.names

    def __len__(self) -> int:
        return len(self._label) + 1 + len(self._cell.names)


def plain(value: Any) -> Any:
    """The same as dicts and lists, all of it."""
    if isinstance(value, Mapping):
        return {key: plain(one) for key, one in value.items()}
    return [plain(one) for one in value] if isinstance(value, list) else value


class Plan:
    """What a search needs of the events, before they are read.

    Raises:
        NotPlannedError: a part of its body is not computed for all ticks at once.
    """

    def __init__(self, split: Split, scope: Scope) -> None:
        body = split.body
        if not body.keys() <= _BODY:
            raise NotPlannedError(f"{', '.join(sorted(body.keys() - _BODY))}: given in the body")
        if body.get("size") != 0:
            raise NotPlannedError("size: documents are asked for")
        self.split = split
        self.scope = scope
        self.where = ALWAYS if body.get("query") is None else condition(body["query"], scope, "$.query")
        self.tree = aggregations.parse(aggregations.names(body, "$"), scope, "$.aggs")
        self._check(self.tree)
        names = {column.sql: name for name, column in scope.columns.items() if column is not None}
        found = {match[0] for one in self.conditions() for match in _COLUMN.finditer(one)}
        self._queried = {names[one] for one in found if one in names}

    def _check(self, node: Node) -> None:
        if node.hits:
            raise NotPlannedError(f"{', '.join(node.hits)}: documents are asked for")
        for name, (metric, _) in node.metrics.items():
            if metric.column is None or metric.unnested:
                raise NotPlannedError(f"{name}: its field holds lists, or none is mapped")
        for one in node.children:
            bucketing = one.bucketing
            if not isinstance(bucketing, Single | Filters | Terms):
                raise NotPlannedError(f"{one.name}: an aggregation other than terms, filter and filters")
            if isinstance(bucketing, Terms):
                if bucketing.column is None:
                    raise NotPlannedError(f"{one.name}: its field is not mapped")
                if any(order.value is not None for order in bucketing.orders):
                    raise NotPlannedError(f"{one.name}: ordered by a metric")
            self._check(one)

    def fields(self) -> set[str]:
        """The fields whose columns it takes."""
        return {*self._used(self.tree), *(bound.field for bound in self.split.bounds())}

    def counted(self) -> set[str]:
        """Further fields, of which it only counts the values."""
        return set(self.scope.mapped()) - self.fields()

    def _used(self, node: Node) -> Iterator[str]:
        yield from self._queried
        for metric, _ in node.metrics.values():
            if metric.column is not None and (metric.kind != "value_count" or metric.filler is not None):
                yield metric.column.name
        for one in node.children:
            if isinstance(one.bucketing, Terms) and one.bucketing.column is not None:
                yield one.bucketing.column.name
            yield from self._used(one)

    def conditions(self) -> list[str]:
        return [self.where, *_conditions(self.tree)]

    def key(self, sql: str) -> str:
        """A condition's text with field names and values: the same in every search that has the same condition."""
        names = {column.sql: name for name, column in self.scope.columns.items() if column is not None}
        named = _COLUMN.sub(lambda match: f'"{names.get(match[0], match[0])}"', sql)
        return _PARAMETER.sub(lambda match: repr(self.scope.binder.values[match[1]]), named)

    def bound_value(self, sql: str | None) -> Any:
        """The value of a parameter."""
        return None if sql is None else self.scope.binder.values[_PARAMETER.findall(sql)[0]]


def _bucketings(node: Node) -> Iterator[Any]:
    for one in node.children:
        yield one.bucketing
        yield from _bucketings(one)


def _conditions(node: Node) -> Iterator[str]:
    for one in node.children:
        if isinstance(one.bucketing, Single):
            yield one.bucketing.condition
        elif isinstance(one.bucketing, Filters):
            yield from one.bucketing.conditions
        yield from _conditions(one)


class Search:
    """A search over a frame, at each tick of a watch."""

    def __init__(self, frame: Frame, split: Split, ticks: Ticks, *, streams: int, as_int: bool) -> None:
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
        """Whether some ``terms`` could leave out a value, and is not said to want the largest only."""
        return any(self._may_be_cut(one) for one in self.plan.tree.children)

    def _may_be_cut(self, node: Node) -> bool:
        bucketing = node.bucketing
        if isinstance(bucketing, Terms) and not (node.meta or {}).get("top"):
            assert bucketing.column is not None
            if self.frame.distinct(bucketing.column.name) + 1 > bucketing.size:
                return True
        return any(self._may_be_cut(one) for one in node.children)

    def size(self) -> int:
        """About how many buckets and metrics an answer has, at most; those of windows on other times than the
        arrival, which are counted tick by tick, count many times."""
        apart = any(bound.field != ARRIVAL for bound in self.plan.split.bounds())
        return self._size(self.plan.tree) * (_TICK_BY_TICK if apart else 1)

    def listed(self) -> frozenset[str]:
        """The fields by whose values it parts the events, each event several times."""
        columns = [
            (one.column.name, self.frame.columns[one.column.name])
            for one in _bucketings(self.plan.tree)
            if isinstance(one, Terms) and one.column is not None
        ]
        return frozenset(
            name for name, one in columns if one.codes is not None and len(one.codes) > self.frame.rows
        )

    def _size(self, node: Node) -> int:
        found = 1 + len(node.metrics)
        for one in node.children:
            bucketing, many = one.bucketing, 1
            if isinstance(bucketing, Filters):
                many = len(bucketing.conditions)
            elif isinstance(bucketing, Terms) and bucketing.column is not None:
                many = min(self.frame.distinct(bucketing.column.name), bucketing.size)
            found += many * self._size(one)
        return found

    def _included(self, node: Node) -> Iterator[tuple[int, set[Any]]]:
        """By the identity of a ``terms``, the values that its ``include`` and ``exclude`` leave, if it has any."""
        for one in node.children:
            bucketing = one.bucketing
            if isinstance(bucketing, Terms) and (tests := bucketing.conditions("k")):
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
        """The response of ``Store.search`` at a tick; what is below its aggregations is made when looked at."""
        hits: dict[str, Any] = {}
        total = hits_total(self.plan.split.body, self._root.count(tick), as_int=self._as_int)
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

    __slots__ = ("_below", "_bounds", "_end", "_group", "_node", "_path", "_search", "_single", "_start",
                 "_window", "names")  # fmt: skip

    def __init__(
        self,
        search: Search,
        group: Group,
        node: Node,
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
        start, end = self._span(tick)
        chosen: Any = slice(start, end)
        for name, sign, millis in self._window.others:
            places = np.arange(start, end) if isinstance(chosen, slice) else chosen
            numbers, valid = self._group.numbers(name, None)
            inside = _COMPARED[sign](numbers[places], millis[tick])
            chosen = places[inside if valid is None else inside & valid[places]]
        return chosen

    def count(self, tick: int) -> int:
        if not self._window.others:
            start, end = self._span(tick)
            return end - start
        chosen = self._chosen(tick)
        return chosen.stop - chosen.start if isinstance(chosen, slice) else len(chosen)

    def counts(self) -> NDArray[np.int64]:
        """At every tick."""
        return self._end - self._start

    # -- what is below -------------------------------------------------------------------------------------

    def below(self, name: str) -> Made:
        """What gives a sub-aggregation's answer at a tick."""
        made = self._below.get(name)
        if made is None:
            made = self._below[name] = self._make(name)
        return made

    def _make(self, name: str) -> Made:
        node = self._node
        if name in node.metrics:
            metric, meta = node.metrics[name]
            return _with_meta(meta, self._metric(metric))
        child = next((one for one in node.children if one.name == name), None)
        if child is None:
            raise KeyError(name)
        bucketing = child.bucketing
        path = (*self._path, name)
        if isinstance(bucketing, Single):
            cell = self._child(child, bucketing.condition, path, path)
            return _with_meta(child.meta, lambda tick: Bucket(cell, tick, {}))
        if isinstance(bucketing, Filters):
            return _with_meta(child.meta, self._filters(child, bucketing, path))
        assert isinstance(bucketing, Terms)
        return _with_meta(child.meta, self._terms(child, bucketing, path))

    def _child(self, node: Node, condition: str, path: Path, window: Path) -> Cell:
        key = self._search.plan.key(condition)
        bounds = self._bounds | frozenset(self._search.plan.split.windows.get(window, ()))
        group = self._group.where(key, self._search.holding[key])
        return Cell(self._search, group, node, path, bounds, single=not hasattr(self, "_start"))

    def _filters(self, node: Node, bucketing: Filters, path: Path) -> Made:
        names = bucketing.names
        cells = [
            self._child(node, one, path, (*path, 0, names[place] if names is not None else place))
            for place, one in enumerate(bucketing.conditions)
        ]
        if names is None:
            return lambda tick: {"buckets": [Bucket(cell, tick, {}) for cell in cells]}
        named = list(zip(names, cells, strict=True))
        if bucketing.as_list:
            labels = [({"key": name}, cell) for name, cell in named]
            return lambda tick: {"buckets": [Bucket(cell, tick, label) for label, cell in labels]}
        return lambda tick: {"buckets": {name: Bucket(cell, tick, {}) for name, cell in named}}

    def _terms(self, node: Node, bucketing: Terms, path: Path) -> Made:
        assert bucketing.column is not None
        plan, name = self._search.plan, bucketing.column.name
        missing = plan.bound_value(bucketing.missing)
        if not self._single:
            groups = self._group.split(name, missing)
            if len(groups) * len(self._start) <= _LARGEST:
                return self._all_terms(node, bucketing, path, self._selected(groups, bucketing))

        def answer(tick: int) -> Any:
            chosen = Group(self._group.frame, self._group.rows[self._chosen(tick)])
            groups = self._selected(chosen.split(name, missing), bucketing)
            keys = sorted(groups)
            counts = [len(groups[key].rows) for key in keys]
            order = _ordered(bucketing, np.array(counts, np.int64).reshape(-1, 1))[:, 0].tolist()
            cells = [Cell(self._search, groups[key], node, path, self._bounds, single=True) for key in keys]
            return _terms_answer(
                bucketing, order, counts, cells, [bucketing.label(key) for key in keys], tick
            )

        return answer

    def _selected(self, groups: dict[Any, Group], bucketing: Terms) -> dict[Any, Group]:
        """Those whose keys ``include`` and ``exclude`` leave."""
        kept = self._search.included.get(id(bucketing))
        return groups if kept is None else {key: group for key, group in groups.items() if key in kept}

    def _all_terms(self, node: Node, bucketing: Terms, path: Path, groups: dict[Any, Group]) -> Made:
        keys = sorted(groups)
        cells = [Cell(self._search, groups[key], node, path, self._bounds) for key in keys]
        labels = [bucketing.label(key) for key in keys]
        if not keys:
            return lambda tick: _terms_answer(bucketing, [], [], [], [], tick)
        counts = np.stack([cell.counts() for cell in cells])
        orders = np.ascontiguousarray(_ordered(bucketing, counts).T.astype(np.int32))
        counts = np.ascontiguousarray(counts.T.astype(np.int32))
        leaf = _only_sum(node)
        if leaf is not None and counts.size <= _LARGEST // 4:
            name, metric = leaf
            sums = np.ascontiguousarray(np.stack([cell.sums(metric) for cell in cells]).T)
            plainly = [label["key"] for label in labels] if all(map(_is_plain, labels)) else None

            def leaves(tick: int) -> Any:
                places, found = orders[tick].tolist(), counts[tick].tolist()
                return _leaves_answer(bucketing, places, found, labels, plainly, name, sums[tick].tolist())

            return leaves

        def answer(tick: int) -> Any:
            return _terms_answer(bucketing, orders[tick].tolist(), counts[tick].tolist(), cells, labels, tick)

        return answer

    def _metric(self, metric: Metric) -> Made:
        assert metric.column is not None
        if metric.kind == "sum" and not self._single:
            sums = self.sums(metric)
            if metric.column.numeric:
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
                return _kept(lambda tick: metric.answer((sliding.quantiles(*self._span(tick), shares),)))
            if metric.kind in ("min", "max"):
                extreme = Extreme(numbers, np.minimum if metric.kind == "min" else np.maximum)
                return lambda tick: metric.answer((extreme.over(*self._span(tick)),))

        def answer(tick: int) -> Any:
            chosen = self._chosen(tick)
            found = numbers[chosen]
            if valid is not None:
                found = found[valid[chosen]]
            return metric.answer(values(metric, found))

        return _kept(answer)

    def _moments(
        self,
        metric: Metric,
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

    def _numbers(self, metric: Metric) -> tuple[NDArray[Any], NDArray[np.bool_] | None]:
        assert metric.column is not None
        filler = self._search.plan.bound_value(metric.filler)
        return self._group.numbers(metric.column.name, None if filler is None else float(filler))

    def sums(self, metric: Metric) -> NDArray[np.float64]:
        """A sum at every tick."""
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


def _ordered(bucketing: Terms, counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """For keys sorted upwards and their counts (keys, ticks): the keys' places in the order asked for."""
    criteria = []
    for order in bucketing.orders:
        sign = 1 if order.ascending else -1
        ranks = np.arange(len(counts)).reshape(-1, 1)
        criteria.append(sign * (counts if order.by == "_count" else np.broadcast_to(ranks, counts.shape)))
    places: NDArray[np.int64] = np.lexsort(criteria[::-1], axis=0)
    return places


def _terms_answer(
    bucketing: Terms, order: list[int], counts: list[int], cells: list[Cell], labels: list[Any], tick: int
) -> dict[str, Any]:
    least = max(1, bucketing.min_doc_count)
    found = [place for place in order if counts[place] >= least]
    kept = found[: bucketing.size]
    return {
        "doc_count_error_upper_bound": 0,
        "sum_other_doc_count": sum(counts[place] for place in found[bucketing.size :]),
        "buckets": [Bucket(cells[place], tick, labels[place]) for place in kept],
    }


def _only_sum(node: Node) -> tuple[str, Metric] | None:
    """The sum that is all that is below a bucket, with its name."""
    if node.children or len(node.metrics) != 1:
        return None
    ((name, (metric, meta)),) = node.metrics.items()
    numeric = metric.column is not None and metric.column.numeric
    return (name, metric) if metric.kind == "sum" and numeric and meta is None else None


def _is_plain(label: Mapping[str, Any]) -> bool:
    return label.keys() == {"key"}


def _leaves_answer(
    bucketing: Terms,
    order: list[int],
    counts: list[int],
    labels: list[Any],
    keys: list[Any] | None,
    name: str,
    sums: list[float],
) -> dict[str, Any]:
    """As ``_terms_answer``, with nothing left to be made: there may be hundreds of such buckets at each tick.

    Args:
        keys: of the labels, where there is nothing else in them.
    """
    least = max(1, bucketing.min_doc_count)
    found = [place for place in order if counts[place] >= least]
    cut = found[bucketing.size :]
    if cut:
        del found[bucketing.size :]
    if keys is None:
        buckets = [
            {**labels[place], "doc_count": counts[place], name: {"value": sums[place]}} for place in found
        ]
    else:
        buckets = [
            {"key": keys[place], "doc_count": counts[place], name: {"value": sums[place]}} for place in found
        ]
    return {
        "doc_count_error_upper_bound": 0,
        "sum_other_doc_count": sum([counts[place] for place in cut]),
        "buckets": buckets,
    }


def _kept(made: Made) -> Made:
    """The same, which remembers the last tick's answer: a script may look at it several times."""
    last: list[tuple[int, Any]] = [(-1, None)]

    def answer(tick: int) -> Any:
        if last[0][0] != tick:
            last[0] = tick, made(tick)
        return last[0][1]

    return answer


def _with_meta(meta: Any, made: Made) -> Made:
    if meta is None:
        return made
    return lambda tick: {"meta": meta, **made(tick)}
