"""The rows of training in order of time: cells of 15 minutes, windows, and parts of the week. No I/O."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pandas as pd

from logging_lib.profile.encoding import Array
from logging_lib.profile.model import (
    PARTS_OF_WEEK,
    VARIATION_WINDOWS,
)

DAY = 86400.0
ORIGINS = (0.25, 0.5, 0.75)
MIN_EVENTS = 20
PHASES = 4
"""Windows begin at each quarter of their length, as those of watches begin at any time."""
WIDTH = min(VARIATION_WINDOWS.values())
"""The width of a cell in seconds: that of the shortest window, so that no cell is in two hours of the week."""


class Timeline:
    """The rows of training in order of time, counted in cells as long as the shortest window."""

    def __init__(self, seconds: Array, timezone: str) -> None:
        self.order = np.argsort(seconds, kind="stable")
        self.ordered = seconds[self.order]
        self.first, self.last = float(self.ordered[0]), float(self.ordered[-1])
        self.width = float(WIDTH)
        self.start = start = self.first // self.width * self.width
        self.cell = ((self.ordered - start) // self.width).astype(np.int64)
        self.cells = int(self.cell[-1]) + 1
        self.starts = start + self.width * np.arange(self.cells + 1)
        self.days = (self.last - self.first) / DAY
        self.hour_of_week = _find_hours_of_week(self.starts[:-1], timezone)
        self.part = find_part_of_week(self.hour_of_week)

    def cumulate(self, rows: Array, columns: Array | None = None, number: int = 1) -> Array:
        """Count rows by cell and column, and cumulate them in order of time; shape (cells + 1, number)."""
        at = self.cell[rows] * number + (columns[rows] if columns is not None else 0)
        counts = np.bincount(at, minlength=self.cells * number).reshape(self.cells, number)
        return np.concatenate([np.zeros((1, number)), np.cumsum(counts, axis=0)])

    def measure_traffic(self, cells: int) -> Array:
        """Measure the events per hour in the first cells, for each hour of the week; shape (168,)."""
        rows = np.bincount(self.hour_of_week[self.cell[: np.searchsorted(self.cell, cells)]], minlength=168)
        hours = np.bincount(self.hour_of_week[:cells], minlength=168) * self.width / 3600.0
        return np.asarray(rows / np.maximum(hours, 1e-9)) * (hours > 0)

    def measure_longest_gap(self) -> float:
        """Measure how many events were expected in the longest gap, after one exception per month."""
        in_cells = self.measure_traffic(self.cells)[self.hour_of_week] * self.width / 3600.0
        expected = np.interp(self.ordered, self.starts, np.concatenate([[0.0], np.cumsum(in_cells)]))
        gaps = np.sort(np.diff(expected))
        exceptions = int(self.days // 30)
        return float(gaps[-1 - exceptions]) if len(gaps) > exceptions else 0.0


def _find_hours_of_week(seconds: Array, timezone: str) -> Array:
    """Find the local hour of the week, 0 on Monday at midnight; shape (cells,)."""
    local = pd.DatetimeIndex(pd.to_datetime(seconds, unit="s", utc=True)).tz_convert(timezone)
    return np.asarray(local.day_of_week * 24 + local.hour)


def find_part_of_week(hour_of_week: Array) -> Array:
    """Find the part of the week, of ``PARTS_OF_WEEK``, that an hour of the week is in."""
    return np.asarray((hour_of_week >= 120) * 24 + hour_of_week % 24)


class Spans(NamedTuple):
    """The windows of one length after an origin.

    Attributes:
        starts: the first cell of each window; shape (windows,).
        length: the number of cells of each window.
        days: the days from the origin to the end of each window; shape (windows,).
        phases: the number of windows that begin within the length of one.
    """

    starts: Array
    length: int
    days: Array
    phases: int


class Origin:
    """A reference, which is everything before a cell, and the windows after it; if they have phases, they overlap.

    Attributes:
        rows: the number of rows of the reference.
        windows: the windows, by length.
        mixtures: the share of each part of the week in each window, by the reference's traffic, by length; shape
            (windows, parts).
    """

    def __init__(self, timeline: Timeline, cell: int, rows: int, phases: int = 1) -> None:
        self.cell = cell
        self.rows = rows
        self.windows: dict[str, Spans] = {}
        self.mixtures: dict[str, Array] = {}
        traffic = timeline.measure_traffic(cell)[timeline.hour_of_week]
        parts = np.zeros((timeline.cells + 1, PARTS_OF_WEEK))
        parts[np.arange(1, timeline.cells + 1), timeline.part] = traffic
        parts = np.cumsum(parts, axis=0)
        for window, seconds in VARIATION_WINDOWS.items():
            length = max(1, round(seconds / timeline.width))
            step = max(1, length // phases)
            starts = np.arange(cell, timeline.cells - length + 1, step)
            if len(starts):
                days = (starts + length - cell) * timeline.width / DAY
                self.windows[window] = Spans(starts, length, days, length // step)
                with np.errstate(invalid="ignore"):
                    mixture = parts[starts + length] - parts[starts]
                    self.mixtures[window] = mixture / mixture.sum(axis=1, keepdims=True)

    def sum(self, window: str, cumulated: Array) -> Array:
        """Sum counts over each window, given counts cumulated over cells; shape (windows, ...)."""
        starts, length = self.windows[window][:2]
        return np.asarray(cumulated[starts + length] - cumulated[starts])


def choose_origins(timeline: Timeline) -> Iterator[Origin]:
    for share in ORIGINS:
        cell = int(timeline.cells * share)
        rows = int(np.searchsorted(timeline.cell, cell))
        if cell > 0 and rows >= MIN_EVENTS:
            yield Origin(timeline, cell, rows, PHASES)
