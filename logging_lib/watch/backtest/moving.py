"""Metrics of windows that move over a column, from what is known of the column or the window before. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from logging_lib.store.duckdb.metrics import MetricAggregation

_BLOCK: Final = 512
_SLIGHT: Final = 1e-8
_FEW: Final = 8_000  # numbers that are sorted sooner than looked up


def differences(numbers: NDArray[Any], start: NDArray[Any], end: NDArray[Any]) -> NDArray[Any]:
    """Sum ``numbers[start:end]`` for many starts and ends: from running totals, unless some numbers are so
    large that the others would not show beside them."""
    # Wider than a double, so that what the rest of the column adds does not show in a window's sum.
    kind = np.int64 if numbers.dtype == bool else np.longdouble
    if kind is not np.int64 and not _is_even(numbers):
        return np.array(
            [np.sum(numbers[a:b], dtype=kind) for a, b in zip(start.tolist(), end.tolist(), strict=True)],
            np.float64,
        )
    totals = np.concatenate([np.zeros(1, kind), np.cumsum(numbers, dtype=kind)])
    found: NDArray[Any] = totals[end] - totals[start]
    return found if kind is np.int64 else found.astype(np.float64)


def _is_even(numbers: NDArray[Any]) -> bool:
    """Whether the rounding of the column's running totals is nothing beside a usual number of it."""
    sizes = np.abs(numbers[numbers != 0])
    if not len(sizes):
        return True
    rounding = float(np.finfo(np.longdouble).eps) * float(sizes.max()) * len(sizes)
    return rounding < _SLIGHT * float(sizes.min()) or rounding < _SLIGHT * float(np.median(sizes))


def values(metric: MetricAggregation, numbers: NDArray[Any]) -> Any:
    """Return what ``Metric.answer`` takes, of these numbers."""
    count = len(numbers)
    if metric.kind == "cardinality":
        return (len(np.unique(numbers)),)
    if metric.kind == "value_count":
        return (count,)
    if metric.kind == "percentiles":
        return (
            (quantiles(np.sort(numbers), [percent / 100 for percent in metric.percents]),)
            if count
            else (None,)
        )
    if metric.kind == "percentile_ranks":
        return (numbers.tolist(),)
    total = float(np.sum(numbers, dtype=np.longdouble)) if count else None
    if metric.kind == "sum":
        return (total,)
    if metric.kind == "avg":
        return (count, total)
    least, most = (float(numbers.min()), float(numbers.max())) if count else (None, None)
    if metric.kind in ("min", "max"):
        return (least if metric.kind == "min" else most,)
    if metric.kind == "stats":
        return (count, least, most, total)
    squares = float(np.sum(numbers.astype(np.longdouble) ** 2)) if count else None
    return (count, least, most, total, squares)


def quantiles(ranked: NDArray[Any], shares: list[float]) -> list[float] | None:
    """Compute quantiles of ascending numbers, with linear interpolation between the two nearest, as DuckDB's
    ``quantile_cont``; None of none."""
    return _interpolated(len(ranked), shares, ranked.item) if len(ranked) else None


def _interpolated(count: int, shares: list[float], at: Callable[[int], float]) -> list[float]:
    """Args: ``at``: the number at a place of the ascending order."""
    last = count - 1
    found = []
    for share in shares:
        place = last * share
        below = int(place)
        first = at(below)
        found.append(first + (at(min(below + 1, last)) - first) * (place - below))
    return found


class Sliding:
    """Quantiles of a window. From one window to the next only what leaves and what comes is looked at.

    All numbers of the column are ranked once; which ranks are in the window is kept as marks, with a count for each
    block of ranks.
    """

    def __init__(self, numbers: NDArray[Any]) -> None:
        self._numbers = numbers
        self._start = self._end = 0
        self._ranked: NDArray[Any] | None = None

    def quantiles(self, start: int, end: int, shares: list[float]) -> list[float] | None:
        """Compute quantiles of ``numbers[start:end]``."""
        if end - start < _FEW:
            return quantiles(np.sort(self._numbers[start:end]), shares)
        self._move(start, end)
        last = end - start - 1
        low = [int(last * share) for share in shares]
        needed = sorted({*low, *(min(below + 1, last) for below in low)})
        return _interpolated(
            end - start, shares, dict(zip(needed, self._at(needed), strict=True)).__getitem__
        )

    def _move(self, start: int, end: int) -> None:
        if self._ranked is None:
            order = np.argsort(self._numbers, kind="stable")
            self._ranked = self._numbers[order]
            self._ranks = np.empty(len(order), np.int32)
            self._ranks[order] = np.arange(len(order), dtype=np.int32)
            self._marks = np.zeros(len(order), bool)
            self._counts = np.zeros(len(order) // _BLOCK + 1, np.int64)
        if start < self._start or end < self._end or start >= self._end:
            self._mark(slice(self._start, self._end), False)
            self._mark(slice(start, end), True)
        else:
            self._mark(slice(self._start, start), False)
            self._mark(slice(self._end, end), True)
        self._start, self._end = start, end

    def _mark(self, rows: slice, there: bool) -> None:
        ranks = self._ranks[rows]
        if len(ranks):
            self._marks[ranks] = there
            changes = np.bincount(ranks // _BLOCK, minlength=len(self._counts))
            self._counts += changes if there else -changes

    def _at(self, places: list[int]) -> list[float]:
        """The numbers at these places, ascending, of the window's ascending order."""
        assert self._ranked is not None
        totals = np.cumsum(self._counts)
        blocks = np.searchsorted(totals, places, side="right")
        found = []
        last, first, there = -1, 0, np.zeros(0, np.int64)
        for block, place in zip(blocks.tolist(), (np.array(places) - totals[blocks]).tolist(), strict=True):
            if block != last:
                last, first = block, block * _BLOCK
                there = self._marks[first : first + _BLOCK].nonzero()[0]
            found.append(self._ranked.item(first + there.item(place)))  # `place` counts from the block's end
        return found


class Extreme:
    """The least or the greatest number of a window, from those of blocks.

    Args:
        of: ``np.minimum`` or ``np.maximum``.
    """

    def __init__(self, numbers: NDArray[Any], of: np.ufunc) -> None:
        self._numbers = numbers
        self._of = of
        whole = len(numbers) // _BLOCK * _BLOCK
        self._blocks = of.reduce(numbers[:whole].reshape(-1, _BLOCK), axis=1)

    def over(self, start: int, end: int) -> float | None:
        """Find the extreme of ``numbers[start:end]``; None of none."""
        if start >= end:
            return None
        first, last = -(-start // _BLOCK), end // _BLOCK
        if last <= first:
            return float(self._of.reduce(self._numbers[start:end]))
        parts = [
            self._numbers[start : first * _BLOCK],
            self._blocks[first:last],
            self._numbers[last * _BLOCK : end],
        ]
        found = [self._of.reduce(part) for part in parts if len(part)]
        return float(self._of.reduce(found))
