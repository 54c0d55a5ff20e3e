"""Plan how a search is answered from counts: the groups and numbers that it needs, and the windows over them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from logging_lib.schema.fields import load
from logging_lib.store import mapping
from logging_lib.store.counting import (
    ARRIVAL,
    CountPath,
    CountPlan,
    Matching,
    Number,
    Step,
    Terms,
    TimeSlots,
    ValueCounts,
)
from logging_lib.store.duckdb import execution
from logging_lib.store.duckdb.buckets import FilterBuckets, SingleBucket, TermsBuckets
from logging_lib.store.duckdb.execution import AggregationNode
from logging_lib.store.duckdb.metrics import MetricAggregation
from logging_lib.store.duckdb.query import parse_query
from logging_lib.store.duckdb.scope import Scope
from logging_lib.store.mapping import FieldColumn
from logging_lib.watch.backtest import windows
from logging_lib.watch.backtest.windows import (
    ARRIVED,
    Bound,
    NotPlannedError,
    Ticks,
    Window,
    WindowSplit,
    grid_of,
    windows_of,
)

_BODY: Final = frozenset({"query", "size", "aggs", "aggregations", "track_total_hits", "timeout"})
_NUMBERS: Final[Mapping[str, tuple[str, ...]]] = {  # in the order of ``MetricAggregation.expressions``
    "value_count": ("count",),
    "sum": ("sum",),
    "min": ("min",),
    "max": ("max",),
    "avg": ("count", "sum"),
    "stats": ("count", "min", "max", "sum"),
    "extended_stats": ("count", "min", "max", "sum", "squares"),
}


@dataclass(frozen=True, slots=True)
class PlannedMetric:
    """A metric and the data for its answer: numbers of its bucket, or the step to a finer table."""

    metric: MetricAggregation
    meta: Any
    numbers: tuple[Number, ...] = ()
    step: Step | None = None


@dataclass(slots=True)
class PlannedBuckets:
    """A bucket aggregation; ``nodes`` are the nodes below each of its filters, or below any of its terms."""

    bucketing: SingleBucket | FilterBuckets | TermsBuckets
    meta: Any
    nodes: list[PlannedNode]

    @property
    def is_top(self) -> bool:
        """Return whether only the largest buckets are wanted."""
        return bool((self.meta or {}).get("top"))


@dataclass(slots=True)
class PlannedNode:
    """The content of a bucket: ``path`` leads to the table that counts it; ``windows`` are those of its
    documents."""

    path: CountPath
    windows: Mapping[str, Window]
    order: list[str]
    metrics: dict[str, PlannedMetric] = field(default_factory=dict)
    buckets: dict[str, PlannedBuckets] = field(default_factory=dict)


class Plan:
    """The plan to answer a search from counts.

    Attributes:
        counts: what the store has to count; ``grid``: the coarsest slots that suffice.
        start, end: the range of relevant arrivals, in milliseconds; None for an open end.

    Raises:
        NotPlannedError: a part of its body cannot be answered from counts.
        SearchError: a part of its body is wrong.
    """

    def __init__(self, indices: Sequence[str], split: WindowSplit, ticks: Ticks) -> None:
        body = split.body
        if not body.keys() <= _BODY:
            raise NotPlannedError(f"{', '.join(sorted(body.keys() - _BODY))}: given in the body")
        if body.get("size") != 0:
            raise NotPlannedError("size: documents are asked for")
        self.split = split
        self.scope = Scope({"events": _SchemaTable()}, 0)
        self._ticks = ticks
        self._windows: dict[frozenset[Bound], dict[str, Window]] = {}
        if body.get("query") is not None:
            parse_query(body["query"], self.scope, "$.query")
        aggs = execution.aggregation_bodies(body, "$")
        tree = execution.parse_aggregations(aggs, self.scope, "$.aggs")
        self.counts = CountPlan(tuple(indices), _query_text(body.get("query")))
        root = frozenset({ARRIVED, *split.windows.get(("query",), ())})
        self._find_grids([root, *self._bounds(tree, aggs, (), root)])
        self.grid = self._grids[ARRIVAL]
        self.root = self._node(tree, aggs, (), root, ())

    def _bounds(
        self, node: AggregationNode, aggs: Mapping[str, Any], place: windows.Path, bounds: frozenset[Bound]
    ) -> Iterable[frozenset[Bound]]:
        """Yield the bounds of each bucket."""
        for child in node.children:
            here = (*place, child.name)
            for window, _ in _branches(child, aggs[child.name], here):
                inner = bounds | frozenset(self.split.windows.get(window, ()))
                yield inner
                yield from self._bounds(child, _sub_aggs(aggs[child.name]), here, inner)

    def _find_grids(self, all_bounds: Iterable[frozenset[Bound]]) -> None:
        edges: dict[str, list[NDArray[np.int64]]] = {}
        for bounds in set(all_bounds):
            self._windows[bounds] = windows_of(bounds, self._ticks)
            for name, window in self._windows[bounds].items():
                edges.setdefault(name, []).extend(window.edges)
        self._grids = {name: grid_of(found) for name, found in edges.items()}
        arrivals = [windows_[ARRIVAL] for windows_ in self._windows.values()]
        starts = [int(window.start.min()) for window in arrivals if window.start is not None]
        self.start = min(starts) if len(starts) == len(arrivals) else None
        self.end = max(int(window.end.max()) for window in arrivals if window.end is not None)

    def _node(
        self,
        node: AggregationNode,
        aggs: Mapping[str, Any],
        place: windows.Path,
        bounds: frozenset[Bound],
        path: CountPath,
    ) -> PlannedNode:
        """Plan the content of a bucket, and add its needs to the tree of counts."""
        if node.hits:
            raise NotPlannedError(f"{', '.join(node.hits)}: documents are asked for")
        counted = {step.field for step in path if isinstance(step, TimeSlots)}
        others = sorted(self._windows[bounds].keys() - counted - {ARRIVAL})
        path = (*path, *(TimeSlots(name, self._grids[name]) for name in others))
        counts = self.counts.tree.at(path)
        planned = PlannedNode(path, self._windows[bounds], node.order)
        for name, (metric, meta) in node.metrics.items():
            ((_, options),) = ((key, value) for key, value in aggs[name].items() if key != "meta")
            planned_metric = planned.metrics[name] = _plan_metric(name, metric, meta, options)
            counts.numbers |= set(planned_metric.numbers)
            if planned_metric.step is not None:
                counts.at([planned_metric.step])
        for child in node.children:
            here, entry, bucketing = (*place, child.name), aggs[child.name], child.bucketing
            if not isinstance(bucketing, SingleBucket | FilterBuckets | TermsBuckets):
                raise NotPlannedError(f"{child.name}: an aggregation other than terms, filter and filters")
            if isinstance(bucketing, TermsBuckets):
                if bucketing.column is None:
                    raise NotPlannedError(f"{child.name}: its field is not mapped")
                if any(order.value is not None for order in bucketing.orders):
                    raise NotPlannedError(f"{child.name}: ordered by a metric")
            nodes = []
            for window, steps in _branches(child, entry, here):
                inner = bounds | frozenset(self.split.windows.get(window, ()))
                nodes.append(self._node(child, _sub_aggs(entry), here, inner, (*path, *steps)))
            planned.buckets[child.name] = PlannedBuckets(bucketing, child.meta, nodes)
        return planned


def _plan_metric(
    name: str, metric: MetricAggregation, meta: Any, options: Mapping[str, Any]
) -> PlannedMetric:
    if metric.column is None or metric.needs_unnest:
        raise NotPlannedError(f"{name}: its field holds lists, or none is mapped")
    about = metric.column.name, _text(options.get("missing"))
    if metric.kind == "cardinality":
        return PlannedMetric(metric, meta, step=Terms(*about))
    if metric.kind in ("percentiles", "percentile_ranks"):
        return PlannedMetric(metric, meta, step=ValueCounts(*about))
    return PlannedMetric(metric, meta, tuple((how, *about) for how in _NUMBERS[metric.kind]))


def _branches(
    node: AggregationNode, entry: Mapping[str, Any], place: windows.Path
) -> list[tuple[windows.Path, tuple[Step, ...]]]:
    """Return, for each branch of a bucket aggregation, the place of its window in the split, and the steps to
    it."""
    ((kind, options),) = (
        (key, value) for key, value in entry.items() if key not in ("aggs", "aggregations", "meta")
    )
    if kind == "terms":
        return [(place, (Terms(options["field"], _text(options.get("missing"))),))]
    if kind == "filter":
        return [(place, _steps(options))]
    if kind == "missing":
        return [(place, _steps({"bool": {"must_not": [{"exists": options}]}}))]
    if kind != "filters":
        return [(place, ())]
    filters = options["filters"]
    named = sorted(filters.items()) if isinstance(filters, Mapping) else list(enumerate(filters))
    branches: list[tuple[windows.Path, tuple[Step, ...]]] = [
        ((*place, 0, name), _steps(query)) for name, query in named
    ]
    if isinstance(node.bucketing, FilterBuckets) and len(node.bucketing.conditions) > len(named):
        branches.append((place, _steps({"bool": {"must_not": [query for _, query in named]}})))
    return branches


def _steps(query: Any) -> tuple[Step, ...]:
    text = _query_text(query)
    return () if text == EVERYTHING else (Matching(text),)


def _query_text(query: Any) -> str:
    return _text({"match_all": {}} if query is None else _simplify(query))


def _simplify(query: Any) -> Any:
    """Remove conditions that all documents meet from a filtering ``bool``, such as those left by removed
    windows."""
    if not isinstance(query, Mapping) or query.keys() != {"bool"} or query["bool"].keys() != {"filter"}:
        return query
    conditions = query["bool"]["filter"]
    filters = [_simplify(part) for part in (conditions if isinstance(conditions, list) else [conditions])]
    filters = [part for part in filters if part != {"match_all": {}}]
    if not filters:
        return {"match_all": {}}
    return filters[0] if len(filters) == 1 else {"bool": {"filter": filters}}


def _sub_aggs(entry: Mapping[str, Any]) -> Mapping[str, Any]:
    aggs: Mapping[str, Any] = entry.get("aggs") or entry.get("aggregations") or {}
    return aggs


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


EVERYTHING: Final = _text({"match_all": {}})
"""The query that all documents meet."""


class _SchemaTable:
    """The fields of the schema as a table for ``Scope``."""

    rows = 0

    def field_type(self, name: str) -> tuple[str, bool] | None:
        located = mapping.locate_field(load(), name)
        return None if located is None else (located[0].type, located[0].array)

    def fields_below(self, prefix: str) -> set[str]:
        return {
            entry.name for entry in load().fields if entry.name.startswith(prefix + ".") and not entry.dynamic
        }

    def ensure_columns(self, names: Sequence[str]) -> dict[str, FieldColumn]:
        raise NotImplementedError

    def relation(self, *, with_id: bool) -> str:
        raise NotImplementedError

    def fetch_sources(self, numbers: list[int]) -> dict[int, tuple[str, bytes]]:
        raise NotImplementedError
