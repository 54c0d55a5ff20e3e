"""What a search needs of the events, before they are read."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

from logging_lib.store.duckdb import execution
from logging_lib.store.duckdb.buckets import FilterBuckets, SingleBucket, TermsBuckets
from logging_lib.store.duckdb.execution import AggregationNode
from logging_lib.store.duckdb.query import ALWAYS, parse_query
from logging_lib.store.duckdb.scope import Scope
from logging_lib.watch.backtest.windows import NotPlannedError, WindowSplit

_BODY: Final = frozenset({"query", "size", "aggs", "aggregations", "track_total_hits", "timeout"})
_PARAMETER: Final = re.compile(r"\$(p\d+)")
_COLUMN: Final = re.compile(r"\bc(\d+)\b")


class Plan:
    """What a search needs of the events, before they are read.

    Raises:
        NotPlannedError: a part of its body is not computed for all ticks at once.
    """

    def __init__(self, split: WindowSplit, scope: Scope) -> None:
        body = split.body
        if not body.keys() <= _BODY:
            raise NotPlannedError(f"{', '.join(sorted(body.keys() - _BODY))}: given in the body")
        if body.get("size") != 0:
            raise NotPlannedError("size: documents are asked for")
        self.split = split
        self.scope = scope
        self.where = ALWAYS if body.get("query") is None else parse_query(body["query"], scope, "$.query")
        self.tree = execution.parse_aggregations(execution.aggregation_bodies(body, "$"), scope, "$.aggs")
        self._check(self.tree)
        names = {column.sql: name for name, column in scope.columns.items() if column is not None}
        found = {match[0] for one in self.conditions() for match in _COLUMN.finditer(one)}
        self._queried = {names[one] for one in found if one in names}

    def _check(self, node: AggregationNode) -> None:
        if node.hits:
            raise NotPlannedError(f"{', '.join(node.hits)}: documents are asked for")
        for name, (metric, _) in node.metrics.items():
            if metric.column is None or metric.needs_unnest:
                raise NotPlannedError(f"{name}: its field holds lists, or none is mapped")
        for one in node.children:
            bucketing = one.bucketing
            if not isinstance(bucketing, SingleBucket | FilterBuckets | TermsBuckets):
                raise NotPlannedError(f"{one.name}: an aggregation other than terms, filter and filters")
            if isinstance(bucketing, TermsBuckets):
                if bucketing.column is None:
                    raise NotPlannedError(f"{one.name}: its field is not mapped")
                if any(order.value is not None for order in bucketing.orders):
                    raise NotPlannedError(f"{one.name}: ordered by a metric")
            self._check(one)

    def fields(self) -> set[str]:
        """Return the fields whose columns it takes."""
        return {*self._used(self.tree), *(bound.field for bound in self.split.bounds())}

    def counted(self) -> set[str]:
        """Return further fields, of which it only counts the values."""
        return set(self.scope.mapped_fields()) - self.fields()

    def _used(self, node: AggregationNode) -> Iterator[str]:
        yield from self._queried
        for metric, _ in node.metrics.values():
            if metric.column is not None and (metric.kind != "value_count" or metric.missing_sql is not None):
                yield metric.column.name
        for one in node.children:
            if isinstance(one.bucketing, TermsBuckets) and one.bucketing.column is not None:
                yield one.bucketing.column.name
            yield from self._used(one)

    def conditions(self) -> list[str]:
        return [self.where, *_conditions(self.tree)]

    def key(self, sql: str) -> str:
        """Write a condition's text with field names and values: the same in each search with the same condition."""
        names = {column.sql: name for name, column in self.scope.columns.items() if column is not None}
        named = _COLUMN.sub(lambda match: f'"{names.get(match[0], match[0])}"', sql)
        return _PARAMETER.sub(lambda match: repr(self.scope.binder.values[match[1]]), named)

    def bound_value(self, sql: str | None) -> Any:
        """Return the value of a parameter."""
        return None if sql is None else self.scope.binder.values[_PARAMETER.findall(sql)[0]]


def bucketings(node: AggregationNode) -> Iterator[Any]:
    for one in node.children:
        yield one.bucketing
        yield from bucketings(one)


def _conditions(node: AggregationNode) -> Iterator[str]:
    for one in node.children:
        if isinstance(one.bucketing, SingleBucket):
            yield one.bucketing.condition
        elif isinstance(one.bucketing, FilterBuckets):
            yield from one.bucketing.conditions
        yield from _conditions(one)
