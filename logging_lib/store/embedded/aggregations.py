"""A search body's ``aggs``, read into a tree."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from logging_lib.store.body import an_object, child, unsupported
from logging_lib.store.embedded import bucket_options, metrics
from logging_lib.store.embedded.buckets import Bucketing, Order
from logging_lib.store.embedded.hits import Hits, parse_top_hits
from logging_lib.store.embedded.metrics import Metric
from logging_lib.store.embedded.scope import Scope
from logging_lib.store.port import QueryNotSupported, SearchError


@dataclass(slots=True)
class Node:
    """A bucket aggregation with what is below it. The root is the search itself."""

    name: str
    bucketing: Bucketing | None
    meta: Any = None
    metrics: dict[str, tuple[Metric, Any]] = field(default_factory=dict)
    hits: dict[str, tuple[Hits, Any]] = field(default_factory=dict)
    children: list[Node] = field(default_factory=list)
    order: list[str] = field(default_factory=list)  # the sub-aggregations' names, as asked

    @property
    def mergeable(self) -> bool:
        """Whether the answers of two sets of documents give that of both together, all the way down."""
        own = not self.hits and all(metric.mergeable for metric, _ in self.metrics.values())
        return own and all(one.mergeable for one in self.children)


def parse(part: Any, scope: Scope, path: str) -> Node:
    """Read ``aggs``. Raises QueryNotSupported and SearchError."""
    root = Node("", None)
    _children(root, part, scope, path)
    return root


def _children(node: Node, part: Any, scope: Scope, path: str) -> None:
    for name, value in an_object(part, path).items():
        here = child(path, name)
        if not name or any(letter in name for letter in "[]>"):
            raise SearchError(f"invalid aggregation name {name!r:.80}", here)
        entry = an_object(value, here)
        kinds = [key for key in entry if key not in ("aggs", "aggregations", "meta")]
        if len(kinds) != 1:
            raise SearchError(f"expected one aggregation type, found {kinds}", here)
        kind, below = kinds[0], entry.get("aggs", entry.get("aggregations"))
        options, meta = entry[kind], entry.get("meta")
        inner = child(here, kind)
        if kind in metrics.KINDS or kind == "top_hits":
            if below:
                raise SearchError(f"[{kind}] takes no sub-aggregations", child(here, "aggs"))
            if kind == "top_hits":
                node.hits[name] = parse_top_hits(options, scope, inner), meta
            else:
                node.metrics[name] = metrics.parse(kind, options, scope, inner), meta
        else:
            read = bucket_options.KINDS.get(kind)
            if read is None:
                raise unsupported(kind, here)
            orders: list[Order] = []
            bucket = Node(name, read(options, scope, inner, orders), meta)
            if below is not None:
                _children(bucket, below, scope, child(here, "aggs" if "aggs" in entry else "aggregations"))
            for order in orders:
                _resolve(order, bucket, inner)
            node.children.append(bucket)
        node.order.append(name)


def _resolve(order: Order, node: Node, path: str) -> None:
    if order.by in ("_count", "_key"):
        return
    name, _, value = order.by.partition(".")
    if order.by in node.metrics:
        name, value = order.by, ""
    if ">" in order.by or name in {one.name for one in node.children}:
        raise QueryNotSupported("ordering by a deeper aggregation is not answered", child(path, "order"))
    found = node.metrics.get(name)
    if found is None:
        raise SearchError(f"no aggregation [{order.by}] to order by", child(path, "order"))
    metric = found[0]
    if metric.kind.startswith("percentile") and value:
        value = str(float(value)) if value.replace(".", "", 1).isdigit() else value
    choices = (
        metric.numbers(None) if metric.kind != "extended_stats" else metric.numbers((1, 0.0, 0.0, 0.0, 0.0))
    )
    if (value or "value") not in choices:
        raise SearchError(f"[{order.by}] is none of {sorted(choices)}", child(path, "order"))
    order.value = lambda group: metric.order_value(group.values.get(name), value)


def names(part: Mapping[str, Any], path: str) -> Mapping[str, Any]:
    """The body's aggregations, under either of their names."""
    both = [key for key in ("aggs", "aggregations") if part.get(key) is not None]
    if len(both) > 1:
        raise SearchError("aggs and aggregations cannot both be given", child(path, "aggregations"))
    return an_object(part[both[0]], child(path, both[0])) if both else {}
