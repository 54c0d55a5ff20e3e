"""Compute quantiles of windows that move over a column, each from the window before it. All functions are pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

_BLOCK: Final = 512
_FEW: Final = 8_000  # up to this number of values, sorting is faster than looking up ranks


def quantiles(ranked: NDArray[Any], shares: list[float]) -> list[float] | None:
    """Compute quantiles of ascending numbers, with linear interpolation between the two nearest, like
    DuckDB's ``quantile_cont``; None if there are no numbers."""
    return _interpolated(len(ranked), shares, ranked.item) if len(ranked) else None


def _interpolated(count: int, shares: list[float], at: Callable[[int], float]) -> list[float]:
    """Interpolate quantiles; ``at`` returns the number at a place of the ascending order."""
    last = count - 1
    numbers = []
    for share in shares:
        place = last * share
        below = int(place)
        first = at(below)
        numbers.append(first + (at(min(below + 1, last)) - first) * (place - below))
    return numbers


class Sliding:
    """Quantiles of a moving window. Each step handles only the numbers that leave the window and those that enter
    it.

    All numbers of the column are ranked once. Marks record which ranks are in the window, with a count for each
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
        """Return the numbers at these places, which are ascending, in the window's ascending order."""
        assert self._ranked is not None
        totals = np.cumsum(self._counts)
        blocks = np.searchsorted(totals, places, side="right")
        numbers = []
        last, first, there = -1, 0, np.zeros(0, np.int64)
        for block, place in zip(blocks.tolist(), (np.array(places) - totals[blocks]).tolist(), strict=True):
            if block != last:
                last, first = block, block * _BLOCK
                there = self._marks[first : first + _BLOCK].nonzero()[0]
            rank = first + there.item(place)  # `place` counts from the block's end
            numbers.append(self._ranked.item(rank))
        return numbers
