"""The outputs of the last minutes, in a form that processes can add up: moments, extremes and bins. Pure.

Each process keeps two slots, which take turns each ``WINDOW`` seconds of wall-clock time: together they hold
between one and two windows. Moments are about a shift that all processes share, so that adding them up loses no
digits.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

WINDOW = 60
SLOTS = 2
Bin = tuple[float, float]


@dataclass
class Slot:
    """One window of one process, which ``started`` so many seconds after 1970: sums of (value - shift), and of the
    values in bins (low, high]."""

    started: float = 0.0
    shift: float = 0.0
    count: float = 0.0
    total: float = 0.0
    squares: float = 0.0
    low: float = math.inf
    high: float = -math.inf
    bins: dict[Bin, float] = field(default_factory=dict)

    def add(self, value: float, where: Bin) -> None:
        off = value - self.shift
        self.count += 1
        self.total += off
        self.squares += off * off
        self.low, self.high = min(self.low, value), max(self.high, value)
        self.bins[where] = self.bins.get(where, 0.0) + 1

    def merge(self, other: Slot) -> None:
        """Add another slot of the same shift."""
        self.count += other.count
        self.total += other.total
        self.squares += other.squares
        self.low, self.high = min(self.low, other.low), max(self.high, other.high)
        for place, count in other.bins.items():
            self.bins[place] = self.bins.get(place, 0.0) + count


def slot_of(now: float) -> tuple[int, float]:
    """The slot that a time (seconds since 1970) belongs to, and when that began."""
    number = int(now // WINDOW)
    return number % SLOTS, float(number * WINDOW)


def bin_of(value: float, edges: tuple[float, ...]) -> Bin:
    """The edges between which a value lies, infinite beyond the first and the last; a bin holds its upper edge."""
    place = bisect_left(edges, value)
    return (edges[place - 1] if place else -math.inf, edges[place] if place < len(edges) else math.inf)


def summarize(slots: Iterable[Slot], *, now: float) -> Mapping[str, float]:
    """``count``, ``mean``, ``median``, ``min``, ``max`` and ``stddev`` (of the sample) of all fresh slots.

    The median is interpolated within its bin, whose ends are the bin's edges or the extremes: it is off by less
    than the bin is wide. With no event, ``count`` alone; with one, no ``stddev``.
    """
    fresh = [slot for slot in slots if now - slot.started < SLOTS * WINDOW]
    whole = Slot(shift=fresh[0].shift if fresh else 0.0)
    for slot in fresh:
        whole.merge(slot)
    if not whole.count:
        return {"count": 0.0}
    mean = whole.total / whole.count
    found = {
        "count": whole.count,
        "mean": whole.shift + mean,
        "median": _median(whole),
        "min": whole.low,
        "max": whole.high,
    }
    if whole.count > 1:
        spread = max(0.0, whole.squares - whole.count * mean * mean)
        found["stddev"] = math.sqrt(spread / (whole.count - 1))
    return found


def _median(slot: Slot) -> float:
    half, before = sum(slot.bins.values()) / 2, 0.0
    for (low, high), count in sorted(slot.bins.items()):
        if before + count >= half:
            low, high = max(slot.low, low), min(slot.high, high)
            return low + (max(high, low) - low) * (half - before) / count
        before += count
    return slot.high
