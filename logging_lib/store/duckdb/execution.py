"""Run a tree of aggregations with few SQL statements and assemble Elasticsearch's answer from their groups.

A statement groups by the keys of a bucket aggregation and of all the aggregations around it. If a sub-aggregation
puts each document into at most one group, its finer groups also yield the groups of the outer aggregation, which
then needs no statement of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import product
from typing import Any, Final

from logging_lib.store.duckdb import bucket_options, metrics
from logging_lib.store.duckdb.buckets import BucketAggregation, BucketGroup, BucketOrder, TermsBuckets
from logging_lib.store.duckdb.hits import HitsRequest, parse_top_hits
from logging_lib.store.duckdb.metrics import MetricAggregation
from logging_lib.store.duckdb.scope import Scope
from logging_lib.store.port import QueryNotSupported, SearchError
from logging_lib.store.validators import child_path, expect_object, unsupported_error

Row = tuple[Any, ...]
Keys = tuple[Any, ...]
ExecuteSql = Callable[[str], list[Row]]
FetchHits = Callable[[HitsRequest, list[Row]], list[Any]]
_TRIM_ABOVE: Final = 20_000  # groups; above this number SQL applies the limit ``size``


@dataclass(slots=True)
class NodeResult:
    """The groups of a node, by the keys of the buckets around it."""

    groups: dict[Keys, dict[Any, BucketGroup]] = field(default_factory=dict)
    hits: dict[str, dict[Keys, list[Any]]] = field(default_factory=dict)


@dataclass(slots=True)
class SearchExecution:
    """The execution of one search; ``is_small`` says that there are too few documents for many groups."""

    execute: ExecuteSql
    fetch: FetchHits
    is_small: bool
    results: dict[int, NodeResult] = field(default_factory=dict)

    def run(self, root: AggregationNode, relation: str) -> tuple[int, dict[str, Any]]:
        """Run the search; return the number of documents and the aggregations' answers by name."""
        self._visit(root, relation, [], [])
        top = self.results[id(root)].groups.get((), {}).get(None) or BucketGroup(None, 0)
        return top.count, self._render_below(root, top, ())

    # -- SQL -----------------------------------------------------------------------------------------------

    def _visit(
        self,
        node: AggregationNode,
        relation: str,
        chain: list[AggregationNode],
        served: list[AggregationNode],
    ) -> None:
        """Compute a node over the relation with the keys of ``chain``, the bucket aggregations down to it.

        ``served`` are the outer nodes whose groups come from this node's statement.
        """
        self.results[id(node)] = NodeResult()
        heir = next((child for child in node.children if self._covers(child, node)), None)
        if heir is None:
            relation = self._compute_groups(node, relation, chain, served)
            served = []
        keys = _key_names(chain)
        for name, (metric, _) in node.metrics.items():
            if metric.needs_unnest:
                self._compute_unnested(node, name, metric, relation, chain)
        for name, (hits, _) in node.hits.items():
            self.results[id(node)].hits[name] = self._compute_top_hits(hits, relation, chain, keys)
        for child in node.children:
            assert child.bucketing is not None
            key, sql = f"k{len(chain)}", child.bucketing.key_sql() if child.is_mergeable else None
            if sql is None:
                below = child.bucketing.relation(relation, key)
            else:
                below = f"(SELECT *, {sql} AS {key} FROM {relation})"  # noqa: S608
            self._visit(child, below, [*chain, child], [*served, node] if child is heir else [])

    def _covers(self, inner: AggregationNode, outer: AggregationNode) -> bool:
        """Return whether the groups of ``inner`` determine those of ``outer``."""
        assert inner.bucketing is not None
        return (
            inner.is_mergeable
            and not any(metric.needs_unnest for metric, _ in outer.metrics.values())
            and all(metric.is_mergeable for metric, _ in outer.metrics.values())
            and (self.is_small or not isinstance(inner.bucketing, TermsBuckets))
            and inner.bucketing.key_sql() is not None
        )

    def _compute_groups(
        self,
        node: AggregationNode,
        relation: str,
        chain: list[AggregationNode],
        served: list[AggregationNode],
    ) -> str:
        """Compute the groups of a node and of the nodes that its statement serves.

        Returns:
            The relation for the nodes below, without the buckets that ``size`` excludes.
        """
        keys = _key_names(chain)
        aggregates: dict[str, int] = {}
        for served_node in (*served, node):
            for metric, _ in served_node.metrics.values():
                if not metric.needs_unnest:
                    for expression in metric.expressions():
                        aggregates.setdefault(expression, len(aggregates))
        grouped = f" GROUP BY {', '.join(keys)}" if keys else ""
        chosen = ", ".join([*keys, "count(*) AS doc_count", *aggregates])
        statement = f"SELECT {chosen} FROM {relation}{grouped}"  # noqa: S608
        rows, total_at, below = None, None, relation
        if isinstance(node.bucketing, TermsBuckets) and not served:
            cut = node.bucketing.top_buckets_sql(statement, keys[:-1], keys[-1])
            if cut is not None:
                rows = self.execute(f"{statement} LIMIT {_TRIM_ABOVE + 1}")
                if len(rows) > _TRIM_ABOVE:
                    rows, total_at = self.execute(cut), len(keys) + 1 + len(aggregates)
                    same = " AND ".join(f"r.{key} = kept.{key}" for key in keys)
                    below = f"(SELECT r.* FROM {relation} r SEMI JOIN ({cut}) kept ON {same})"  # noqa: S608
        if rows is None:
            rows = self.execute(statement)
        for depth, served_node in enumerate((*served, node), len(chain) - len(served)):
            self._merge_rows(served_node, rows, chain[:depth], len(keys), aggregates, total_at)
        return below

    def _merge_rows(
        self,
        node: AggregationNode,
        rows: list[Row],
        chain: list[AggregationNode],
        depth: int,
        aggregates: dict[str, int],
        total_at: int | None,
    ) -> None:
        """Merge a statement's rows into the groups of a node, whose keys are the first columns of the rows."""
        groups_by_parent = self.results[id(node)].groups
        wanted = {
            name: (metric, [depth + 1 + aggregates[expression] for expression in metric.expressions()])
            for name, (metric, _) in node.metrics.items()
            if not metric.needs_unnest
        }
        splits = [_BucketKeys(outer) for outer in chain]
        for row in rows:
            count = row[depth]
            if not count:
                continue
            values: dict[str, Any] = {
                name: tuple(row[place] for place in places) for name, (_, places) in wanted.items()
            }
            if total_at is not None:
                values["all_count"] = row[total_at]
            for keys in product(*map(_bucket_keys_of, splits, row)):
                groups = groups_by_parent.setdefault(keys[:-1], {})
                key = keys[-1] if keys else None
                group = groups.get(key)
                if group is None:
                    groups[key] = BucketGroup(key, count, dict(values))
                    continue
                group.count += count
                for name, (metric, _) in wanted.items():
                    group.values[name] = metric.merge(group.values[name], values[name])

    def _compute_unnested(
        self,
        node: AggregationNode,
        name: str,
        metric: MetricAggregation,
        relation: str,
        chain: list[AggregationNode],
    ) -> None:
        """Compute a metric over a field that holds lists, with a separate statement."""
        assert metric.column is not None
        keys = _key_names(chain)
        grouped = f" GROUP BY {', '.join(keys)}" if keys else ""
        inner = ", ".join([*keys, f"unnest({metric.values_list_sql()}) AS v"])
        outer = ", ".join([*keys, *metric.expressions()])
        splits = [_BucketKeys(outer) for outer in chain]
        groups_by_parent = self.results[id(node)].groups
        for row in self.execute(f"SELECT {outer} FROM (SELECT {inner} FROM {relation}){grouped}"):  # noqa: S608
            for at in product(*map(_bucket_keys_of, splits, row)):
                group = groups_by_parent.get(at[:-1], {}).get(at[-1] if at else None)
                if group is None:
                    continue
                values = row[len(keys) :]
                before = group.values.get(name)
                group.values[name] = metric.merge(before, values) if before is not None else values

    def _compute_top_hits(
        self, hits: HitsRequest, relation: str, chain: list[AggregationNode], keys: list[str]
    ) -> dict[Keys, list[Any]]:
        rows = self.execute(hits.select_per_group_sql(relation, keys))
        splits = [_BucketKeys(outer) for outer in chain]
        documents = self.fetch(hits, [row[len(keys) :] for row in rows])
        answers: dict[Keys, list[Any]] = {}
        for row, document in zip(rows, documents, strict=True):
            for at in product(*map(_bucket_keys_of, splits, row)):
                answers.setdefault(at, []).append(document)
        return answers

    # -- the answer ----------------------------------------------------------------------------------------

    def _render_below(self, node: AggregationNode, group: BucketGroup, keys: Keys) -> dict[str, Any]:
        """Return the answers of the aggregations below a bucket, by name, in the order of the body."""
        below: dict[str, Any] = {}
        children = {child.name: child for child in node.children}
        for name in node.order:
            if name in node.metrics:
                metric, meta = node.metrics[name]
                answer: dict[str, Any] = metric.answer(group.values.get(name))
            elif name in node.hits:
                hits, meta = node.hits[name]
                documents = self.results[id(node)].hits.get(name, {}).get(keys, [])
                answer = {"hits": hits.envelope(group.count, documents)}
            else:
                child = children[name]
                meta = child.meta
                answer = self._render_buckets(child, keys)
            below[name] = answer if meta is None else {"meta": meta, **answer}
        return below

    def _render_buckets(self, node: AggregationNode, parent: Keys) -> dict[str, Any]:
        assert node.bucketing is not None

        def render(group: BucketGroup) -> dict[str, Any]:
            return {"doc_count": group.count, **self._render_below(node, group, (*parent, group.key))}

        groups = self.results[id(node)].groups.get(parent, {})
        return node.bucketing.answer(list(groups.values()), render)


def _bucket_keys_of(split: _BucketKeys, raw: Any) -> tuple[Any, ...]:
    return split[raw]


def _key_names(chain: list[AggregationNode]) -> list[str]:
    return [f"k{depth}" for depth in range(len(chain))]


class _BucketKeys(dict[Any, tuple[Any, ...]]):
    """A cache of the buckets that each raw key means."""

    def __init__(self, node: AggregationNode) -> None:
        super().__init__()
        self._node = node

    def __missing__(self, raw: Any) -> tuple[Any, ...]:
        assert self._node.bucketing is not None
        keys = () if raw is None else self._node.bucketing.expand_key(raw)
        self[raw] = keys
        return keys


@dataclass(slots=True)
class AggregationNode:
    """A bucket aggregation with its sub-aggregations. The root is the search itself."""

    name: str
    bucketing: BucketAggregation | None
    meta: Any = None
    metrics: dict[str, tuple[MetricAggregation, Any]] = field(default_factory=dict)
    hits: dict[str, tuple[HitsRequest, Any]] = field(default_factory=dict)
    children: list[AggregationNode] = field(default_factory=list)
    order: list[str] = field(default_factory=list)  # the sub-aggregations' names, in the order of the body

    @property
    def is_mergeable(self) -> bool:
        """Return whether the answers for two sets of documents determine that for their union, at every level."""
        is_mergeable = not self.hits and all(metric.is_mergeable for metric, _ in self.metrics.values())
        return is_mergeable and all(child.is_mergeable for child in self.children)


def parse_aggregations(part: Any, scope: Scope, path: str) -> AggregationNode:
    """Parse ``aggs``. Raises QueryNotSupported and SearchError."""
    root = AggregationNode("", None)
    _parse_children(root, part, scope, path)
    return root


def _parse_children(node: AggregationNode, part: Any, scope: Scope, path: str) -> None:
    for name, value in expect_object(part, path).items():
        here = child_path(path, name)
        if not name or any(letter in name for letter in "[]>"):
            raise SearchError(f"invalid aggregation name {name!r:.80}", here)
        entry = expect_object(value, here)
        kinds = [key for key in entry if key not in ("aggs", "aggregations", "meta")]
        if len(kinds) != 1:
            raise SearchError(f"expected one aggregation type, found {kinds}", here)
        kind, below = kinds[0], entry.get("aggs", entry.get("aggregations"))
        options, meta = entry[kind], entry.get("meta")
        inner = child_path(here, kind)
        if kind in metrics.KINDS or kind == "top_hits":
            if below:
                raise SearchError(f"[{kind}] takes no sub-aggregations", child_path(here, "aggs"))
            if kind == "top_hits":
                node.hits[name] = parse_top_hits(options, scope, inner), meta
            else:
                node.metrics[name] = metrics.parse_metric(kind, options, scope, inner), meta
        else:
            read = bucket_options.KINDS.get(kind)
            if read is None:
                raise unsupported_error(kind, here)
            orders: list[BucketOrder] = []
            bucket = AggregationNode(name, read(options, scope, inner, orders), meta)
            if below is not None:
                _parse_children(
                    bucket, below, scope, child_path(here, "aggs" if "aggs" in entry else "aggregations")
                )
            for order in orders:
                _resolve_order(order, bucket, inner)
            node.children.append(bucket)
        node.order.append(name)


def _resolve_order(order: BucketOrder, node: AggregationNode, path: str) -> None:
    if order.by in ("_count", "_key"):
        return
    name, _, value = order.by.partition(".")
    if order.by in node.metrics:
        name, value = order.by, ""
    if ">" in order.by or name in {child.name for child in node.children}:
        raise QueryNotSupported("ordering by a deeper aggregation is not answered", child_path(path, "order"))
    metric_and_meta = node.metrics.get(name)
    if metric_and_meta is None:
        raise SearchError(f"no aggregation [{order.by}] to order by", child_path(path, "order"))
    metric = metric_and_meta[0]
    if metric.kind.startswith("percentile") and value:
        value = str(float(value)) if value.replace(".", "", 1).isdigit() else value
    choices = (
        metric.numbers(None) if metric.kind != "extended_stats" else metric.numbers((1, 0.0, 0.0, 0.0, 0.0))
    )
    if (value or "value") not in choices:
        raise SearchError(f"[{order.by}] is not one of {sorted(choices)}", child_path(path, "order"))
    order.value = lambda group: metric.order_value(group.values.get(name), value)


def aggregation_bodies(part: Mapping[str, Any], path: str) -> Mapping[str, Any]:
    """Return the body's aggregations, which may be under ``aggs`` or ``aggregations``."""
    both = [key for key in ("aggs", "aggregations") if part.get(key) is not None]
    if len(both) > 1:
        raise SearchError("aggs and aggregations cannot both be given", child_path(path, "aggregations"))
    return expect_object(part[both[0]], child_path(path, both[0])) if both else {}
