"""The buckets of an answer, in Elasticsearch's shape."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from logging_lib.store.duckdb.buckets import TermsBuckets
from logging_lib.store.duckdb.execution import AggregationNode
from logging_lib.store.duckdb.metrics import MetricAggregation

if TYPE_CHECKING:
    from logging_lib.watch.backtest.answers import Cell

Made = Callable[[int], Any]
"""What gives an aggregation's answer at a tick."""


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


def to_builtins(value: Any) -> Any:
    """Convert it to dicts and lists, all of it."""
    if isinstance(value, Mapping):
        return {key: to_builtins(one) for key, one in value.items()}
    return [to_builtins(one) for one in value] if isinstance(value, list) else value


def in_order(bucketing: TermsBuckets, counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Order keys that are sorted upwards by their counts (keys, ticks): the keys' places in the order asked for."""
    criteria = []
    for order in bucketing.orders:
        sign = 1 if order.ascending else -1
        ranks = np.arange(len(counts)).reshape(-1, 1)
        criteria.append(sign * (counts if order.by == "_count" else np.broadcast_to(ranks, counts.shape)))
    places: NDArray[np.int64] = np.lexsort(criteria[::-1], axis=0)
    return places


def terms_answer(
    bucketing: TermsBuckets,
    order: list[int],
    counts: list[int],
    cells: list[Cell],
    labels: list[Any],
    tick: int,
) -> dict[str, Any]:
    """Return the answer of a ``terms`` aggregation at a tick.

    Args:
        order: places in the other lists, as the buckets are asked for.
    """
    least = max(1, bucketing.min_doc_count)
    found = [place for place in order if counts[place] >= least]
    return {
        "doc_count_error_upper_bound": 0,
        "sum_other_doc_count": sum(counts[place] for place in found[bucketing.size :]),
        "buckets": [Bucket(cells[place], tick, labels[place]) for place in found[: bucketing.size]],
    }


def only_sum(node: AggregationNode) -> tuple[str, MetricAggregation] | None:
    """Find the sum that is all that is below a bucket, with its name."""
    if node.children or len(node.metrics) != 1:
        return None
    ((name, (metric, meta)),) = node.metrics.items()
    numeric = metric.column is not None and metric.column.is_numeric
    return (name, metric) if metric.kind == "sum" and numeric and meta is None else None


def is_plain(label: Mapping[str, Any]) -> bool:
    return label.keys() == {"key"}


def leaves_answer(
    bucketing: TermsBuckets,
    order: list[int],
    counts: list[int],
    labels: list[Any],
    keys: list[Any] | None,
    name: str,
    sums: list[float],
) -> dict[str, Any]:
    """Answer as ``terms_answer``, with nothing left to be made: there may be hundreds of such buckets at each tick.

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


def kept(made: Made) -> Made:
    """Return the same, which remembers the last tick's answer: a script may look at it several times."""
    last: list[tuple[int, Any]] = [(-1, None)]

    def answer(tick: int) -> Any:
        if last[0][0] != tick:
            last[0] = tick, made(tick)
        return last[0][1]

    return answer


def with_meta(meta: Any, made: Made) -> Made:
    if meta is None:
        return made
    return lambda tick: {"meta": meta, **made(tick)}
