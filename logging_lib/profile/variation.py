"""Measure natural variation: how far later windows of training are from earlier training. No I/O.

Real traffic changes by itself: with the hour, the weather, the season. A window of served events is a finding only
when it is further from training than later windows of training were from earlier ones. That is measured here, for
each feature, measure and length of window, by *rolling origins*: what comes before an origin is the reference, and
each window after it is measured against that reference, as a watch will measure windows of served events against
all of training.

Every measure yields a distance d whose square is 1/n + 1/m on average where nothing changes but by chance, of n
events in the window and m in the reference. What is above that is natural::

    E[d²] = s² + g · days + e · (1/n + 1/m)

with the variance s² of windows, its growth g for each day between the reference's end and the window (a random
walk; 0 where the stream does not wander), and the design effect e, at least 1: how many events say as much as one
where they come in clusters, as the flights of one storm (Kish, Survey Sampling (1965), section 5.4). It is a
random-effects model, fitted by moments (DerSimonian and Laird, "Meta-analysis in clinical trials", Controlled
Clinical Trials 7 (1986)), so noise is not counted as variation, and the same numbers hold for ten times as many
events or a tenth, and at night as by day. Autocorrelation needs no model of its own: it is in the variance of the
windows.

A distance divided by the root of E[d²] is standardized; divided by ``factor``, too, the tails of all measures are
alike. A window's *exceedance* is the maximum of that over all features and measures, so correlated features count
once. ``level`` is the exceedance that windows of one length pass ``ALARMS_PER_MONTH`` times in a month, from an
exponential tail above the exceedances' 0.8 quantile (Coles, An Introduction to Statistical Modeling of Extreme
Values (2001), section 4.2, with shape 0). The limit of a distance is level · factor · √E[d²].
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy.optimize import nnls

from logging_lib.profile.coerce import format_epoch
from logging_lib.profile.encoding import NEVER, Array, WordRows
from logging_lib.profile.model import (
    DEFAULT_FEATURE,
    NEW_WORDS,
    PARTS_OF_WEEK,
    VARIATION_WINDOWS,
    NaturalVariation,
    Rhythm,
    Variation,
)

DAY = 86400.0
ORIGINS = (0.25, 0.5, 0.75)
SCORED = 0.8
"""Of a reference, what comes before its last fifth, which is measured against it."""
MIN_EVENTS = 20
MIN_SPREAD = 3.0
"""Of the number of events in windows, so that clusters of events differ from a variance of windows."""
PHASES = 4
"""Windows begin at each quarter of their length, as those of watches begin at any time."""
WIDTH = min(VARIATION_WINDOWS.values())
"""Of a cell, in seconds: that of the shortest window, so that no cell is in two hours of the week."""
MIN_WINDOWS = 8
POOLED_WINDOWS = 30
MIN_DAYS_OF_RHYTHM = 14
MAX_DAYS = 3660.0
"""Longer training has a placeholder such as 1970-01-01 among its times, or more windows than fit in memory."""
ALARMS_PER_MONTH = 0.1
OVERLAP = 2.0
"""Scheduled runs see overlapping windows, which pass a level about twice as often as disjoint ones."""
MIN_CELL = 5.0
MAX_NOTES = 5
NOTED_WINDOWS = ("6h", "24h")
MIN_UNUSUAL = 3.0
SMALL_BIN = 0.05
MIN_EXPLAINED = 0.3
"""A rhythm is kept where it explains this share of the windows' squared distances, or more."""
MAX_PURITY = 0.9
DEFAULT_LEVEL = 3.0
_DEFAULT: Mapping[str, tuple[float, float]] = {
    "psi": (0.25, 0.12),
    "shift": (0.4, 0.25),
    "spread": (0.4, 0.25),
    "mean": (0.4, 0.25),
    "rare": (0.03, 0.03),
    "missing": (0.08, 0.08),
    "absent": (0.03, 0.03),
    "unseen": (0.02, 0.02),
    "out_of_range": (0.1, 0.1),
    "oov": (0.05, 0.05),
    NEW_WORDS: (0.05, 0.05),
    "wrong_type": (0.02, 0.02),
    "not_finite": (0.02, 0.02),
}
"""The standard deviation of windows up to six hours, and of longer ones, where training had no times: about the
median of the features of four real streams (flights, traffic stops, electricity)."""


@dataclass(slots=True)
class RowStates:
    """What each training row is, for one feature.

    Attributes:
        name: the feature's name, or ``PREDICTION``.
        bins: the number of the ordinary bin that the row is in, or -1; shape (rows,).
        number_of_bins: of ordinary bins.
        is_ordered: whether the bins are intervals of a number, the lowest first.
        known_from: check → the place in order of time from which the row's value is known: with a reference of
            only earlier rows it fails the check. -1 where it never fails, ``NEVER`` where it always does.
        numbers: the values of a numeric prediction, else None; shape (rows,).
        words: of a text, the rows of the words that are not known from the beginning.
    """

    name: str
    bins: Array
    number_of_bins: int
    is_ordered: bool
    known_from: Mapping[str, Array] = field(default_factory=dict)
    numbers: Array | None = None
    words: WordRows | None = None

    def measure_bins(self, reference: Array, observed: Array) -> dict[str, Distances]:
        """Measure how far windows' bins are from the reference's; of a number's, no rare one is looked for."""
        has_rare = not self.is_ordered or self.words is not None
        return measure_bins(reference, observed, is_ordered=self.is_ordered, has_rare=has_rare)


class Distances(NamedTuple):
    """How far windows are from their reference, and the mean square that chance makes of it; shape (windows,)."""

    distance: Array
    noise: Array


class Timeline:
    """Training's rows in order of time, counted in cells of the shortest window."""

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
        """Count rows, in order of time, cell by cell, and by column; cumulated, shape (cells + 1, number)."""
        at = self.cell[rows] * number + (columns[rows] if columns is not None else 0)
        counts = np.bincount(at, minlength=self.cells * number).reshape(self.cells, number)
        return np.concatenate([np.zeros((1, number)), np.cumsum(counts, axis=0)])

    def measure_traffic(self, cells: int) -> Array:
        """Measure the events in an hour, for each hour of the week, from the first cells; shape (168,)."""
        rows = np.bincount(self.hour_of_week[self.cell[: np.searchsorted(self.cell, cells)]], minlength=168)
        hours = np.bincount(self.hour_of_week[:cells], minlength=168) * self.width / 3600.0
        return np.asarray(rows / np.maximum(hours, 1e-9)) * (hours > 0)

    def measure_longest_gap(self) -> float:
        """Measure how many events were expected in the longest gap; once a month a longer one is an exception."""
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
        starts: the first cell of each; shape (windows,).
        length: how many cells each has.
        days: from the origin until the end of each; shape (windows,).
        phases: how many begin within the length of one.
    """

    starts: Array
    length: int
    days: Array
    phases: int


class Origin:
    """One reference, all before a cell, and the windows after it; with more than one phase they overlap.

    Attributes:
        rows: of the reference.
        windows: by length.
        mixtures: by length: the share of each part of the week in each window, by the reference's traffic; shape
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
        """Sum counts over each window, from counts cumulated over cells; shape (windows, ...)."""
        starts, length = self.windows[window][:2]
        return np.asarray(cumulated[starts + length] - cumulated[starts])


class Measured(NamedTuple):
    """The distances of the windows of one length after one origin, of those that have enough events."""

    distance: Array
    noise: Array
    days: Array
    keys: list[tuple[int, int]]


ByWindow = dict[str, list[Measured]]


def measure_variation(seconds: Array, states: list[RowStates], timezone: str = "UTC") -> Variation | None:
    """Measure the natural variation of training.

    Args:
        seconds: each row's time, in seconds since 1970; shape (rows,).
        states: what each row is, for each feature, in the rows' own order.
        timezone: whose hours and days traffic may follow.

    Returns:
        The variation; None where training is shorter than a day or longer than ``MAX_DAYS``, or has too few rows.
    """
    if not 1 <= (seconds.max() - seconds.min()) / DAY <= MAX_DAYS:
        return None
    timeline = Timeline(seconds, timezone)
    measured: dict[tuple[bool, str, str], ByWindow] = {}
    for origin in _choose_origins(timeline):
        for state in states:
            for key, window, distances, events in _measure_state(timeline, state, origin):
                # No distance: the reference never had that part of the week, or all bins count as one.
                is_known = np.isfinite(distances.distance) & np.isfinite(distances.noise)
                enough = (events >= MIN_EVENTS) & is_known
                starts, days = origin.windows[window].starts, origin.windows[window].days
                measured.setdefault(key, {}).setdefault(window, []).append(
                    Measured(
                        distances.distance[enough],
                        distances.noise[enough],
                        days[enough],
                        [(origin.cell, int(start)) for start in starts[enough]],
                    )
                )
    followers = {
        state.name
        for state in states
        if _follows_rhythm(measured, state.name) and not _is_clock(timeline, state)
    }
    levels, variances, unusual = calibrate(measured, followers)
    if not levels:
        return None
    return Variation(
        source="training",
        since=format_epoch(timeline.first),
        until=format_epoch(timeline.last),
        levels=levels,
        measures=variances[False],
        notes=_write_notes(timeline, unusual),
        rhythm=Rhythm(
            timezone=timezone,
            traffic=tuple(round_number(number) for number in timeline.measure_traffic(timeline.cells)),
            longest_gap=round_number(timeline.measure_longest_gap()),
            bins={
                state.name: tuple(tuple(part) for part in _count_parts(timeline, state).tolist())
                for state in states
                if state.name in followers
            },
            measures=variances[True],
        )
        if timeline.days >= MIN_DAYS_OF_RHYTHM
        else None,
    )


def _choose_origins(timeline: Timeline) -> Iterator[Origin]:
    for share in ORIGINS:
        cell = int(timeline.cells * share)
        rows = int(np.searchsorted(timeline.cell, cell))
        if cell > 0 and rows >= MIN_EVENTS:
            yield Origin(timeline, cell, rows, PHASES)


def _count_parts(timeline: Timeline, state: RowStates, rows: int | None = None) -> Array:
    """Count the rows of each part of the week and ordinary bin, or the first ones; shape (parts, bins)."""
    bins = state.bins[timeline.order][:rows]
    ordinary = np.flatnonzero(bins >= 0)
    number = max(state.number_of_bins, 1)
    at = timeline.part[timeline.cell[ordinary]] * number + bins[ordinary]
    return np.bincount(at, minlength=PARTS_OF_WEEK * number).reshape(PARTS_OF_WEEK, number)


def _measure_state(
    timeline: Timeline, state: RowStates, origin: Origin
) -> Iterator[tuple[tuple[bool, str, str], str, Distances, Array]]:
    """Yield, for each measure and length of window after one origin, the distances and the windows' events."""
    order, rows = timeline.order, origin.rows
    bins = state.bins[order]
    number = state.number_of_bins
    events = timeline.cumulate(np.arange(len(order)))[:, 0]
    failing = {}
    for check, known in state.known_from.items():
        known_in_order = known[order]
        failed = np.flatnonzero(known_in_order >= rows)
        # As at the end of training: expected is what the last fifth fails against the four before it. All rows say
        # what is missing: that does not depend on what came before.
        is_static = not ((known_in_order > -1) & (known_in_order < NEVER)).any()
        fifth = 0 if is_static else round(rows * SCORED)
        expected = int((known_in_order[fifth:rows] >= fifth).sum())
        if len(failed) or expected:
            failing[check] = timeline.cumulate(failed)[:, 0], expected, rows - fifth
    shares = timeline.cumulate(np.flatnonzero(bins >= 0), bins, max(number, 1))
    parts = _count_parts(timeline, state, rows)
    numbers = state.numbers[order] if state.numbers is not None else None
    for window in origin.windows:
        total = origin.sum(window, events)
        for check, (failed_cells, expected, held_out) in failing.items():
            hits = origin.sum(window, failed_cells)
            distances = measure_rates(hits, total, expected, held_out)
            if check == "oov":
                distances = keep_rises(distances)
            yield (False, check, state.name), window, distances, total
        if number >= 2 and parts.any():
            observed = origin.sum(window, shares)
            binned = observed.sum(axis=1)
            usual = shares[origin.cell][None, :]
            for measure, distances in state.measure_bins(usual, observed).items():
                yield (False, measure, state.name), window, distances, binned
            if timeline.days >= MIN_DAYS_OF_RHYTHM:
                usual = mix_parts(parts, origin.mixtures[window])
                for measure, distances in state.measure_bins(usual, observed).items():
                    yield (True, measure, state.name), window, distances, binned
        if state.words is not None:
            distances = _measure_new_words(timeline, origin, window, total, state.words)
            yield (False, NEW_WORDS, state.name), window, keep_rises(distances), total
        if numbers is not None:
            distances, n = _measure_mean(timeline, origin, window, numbers)
            yield (False, "mean", state.name), window, distances, n


def mix_parts(parts: Array, mixture: Array) -> Array:
    """Mix the counts of the parts of the week as windows mix these; shape (windows, bins).

    The rows of a mixture are as many as leave its shares as uncertain, 1 / Σ w² / m; NaN where a part that a
    window has was never seen.

    Args:
        parts: rows of each bin at each part of the week; shape (parts, bins).
        mixture: the share of each part in each window; shape (windows, parts).
    """
    rows = parts.sum(axis=1)
    seen = rows > 0
    with np.errstate(invalid="ignore", divide="ignore"):
        shares = mixture[:, seen] @ (parts[seen] / rows[seen, None])
        effective = 1.0 / (mixture[:, seen] ** 2 / rows[seen]).sum(axis=1)
        effective[mixture[:, ~seen].sum(axis=1) > 0] = np.nan
        return np.asarray(shares * effective[:, None])


def find_earliest_place(rows: int) -> int:
    """Find the place in order of time before which every reference ends, where traffic has not grown fiftyfold."""
    return rows // 50


def _measure_new_words(
    timeline: Timeline, origin: Origin, window: str, total: Array, words: WordRows
) -> Distances:
    """Measure, in each window, the rate of the most frequent word that the reference does not know."""
    fifth = round(origin.rows * SCORED)
    known_from = words.known_from[words.word]
    scored = (words.place >= fifth) & (words.place < origin.rows) & (known_from >= fifth)
    expected = int(np.bincount(words.word[scored]).max(initial=0))
    starts, length, _, phases = origin.windows[window]
    later = (words.place >= origin.rows) & (known_from >= origin.rows)
    cells, word = timeline.cell[words.place[later]] - origin.cell, words.word[later]
    number = len(words.known_from)
    hits = np.zeros(len(starts))
    for phase in range(phases):
        of_phase = hits[phase::phases]
        at = (cells - phase * length // phases) // length
        inside = (at >= 0) & (at < len(of_phase))
        pairs, counts = np.unique(at[inside] * number + word[inside], return_counts=True)
        np.maximum.at(of_phase, pairs // max(number, 1), counts)
    return measure_rates(hits, total, expected, origin.rows - fifth)


def _measure_mean(timeline: Timeline, origin: Origin, window: str, numbers: Array) -> tuple[Distances, Array]:
    finite = np.isfinite(numbers)
    sums = np.bincount(timeline.cell, weights=np.where(finite, numbers, 0.0), minlength=timeline.cells)
    counts = np.bincount(timeline.cell[finite], minlength=timeline.cells)
    n = origin.sum(window, np.concatenate([[0], np.cumsum(counts)]))
    before = numbers[: origin.rows][finite[: origin.rows]]
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = origin.sum(window, np.concatenate([[0.0], np.cumsum(sums)])) / n
        spread = before.std() if len(before) else 0.0
        effect = (mean - before.mean()) / spread if spread > 0 else np.full(len(n), np.nan)
        return Distances(effect, 1 / n + 1 / max(len(before), 1)), n


def measure_rates(hits: Array, total: Array, expected: int, rows: int) -> Distances:
    """Measure rates by the arcsine of their roots: 2 asin √p has the variance 1/n (Anscombe, Biometrika 35 (1948)).

    Args:
        hits, total: failed and all events of each window; shape (windows,).
        expected, rows: failed and all rows of the reference.
    """
    usual = (expected + 0.5) / (rows + 1.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        distance = 2 * np.arcsin(np.sqrt(hits / total)) - 2 * np.arcsin(np.sqrt(usual))
        few = np.interp(total * min(usual, 1 - usual), _EXPECTED, _SQUARES)
        return Distances(distance, few / total + 1 / (rows + 1.0))


def _square_roots_of_few(expected: Array) -> Array:
    """Compute E[4(√X - √λ)²] of Poisson counts X: 1 where many are expected, up to 1.8 around one; shape (λ,)."""
    counts = np.arange(200)
    log_factorial = np.concatenate([[0.0], np.cumsum(np.log(counts[1:]))])
    with np.errstate(divide="ignore", invalid="ignore"):
        log_p = np.where(expected[:, None] > 0, counts * np.log(expected[:, None]), -np.inf * (counts > 0))
    p = np.exp(np.nan_to_num(log_p, nan=0.0, neginf=-1e9) - expected[:, None] - log_factorial)
    return np.asarray((p * 4 * (np.sqrt(counts) - np.sqrt(expected)[:, None]) ** 2).sum(axis=1))


_EXPECTED = np.concatenate([np.linspace(0, 5, 101), np.linspace(5.5, 60, 110)])
_SQUARES = _square_roots_of_few(_EXPECTED)


def keep_rises(distances: Distances) -> Distances:
    """Count no fall as a distance, of what is flagged for a rise only.

    Unknown words become fewer with every row of the reference, of which the last fifth still had more than the
    windows after it: that is no variation, and none that grows with the days.
    """
    return distances._replace(distance=distances.distance.clip(0.0))


def measure_bins(
    reference: Array, observed: Array, *, is_ordered: bool, has_rare: bool = True
) -> dict[str, Distances]:
    """Measure how far windows' bins are from the reference's, as ``ml-distribution`` does.

    Args:
        reference: events of each bin; shape (windows, bins), or (1, bins) for all windows.
        observed: of each bin in each window; shape (windows, bins).
        is_ordered: whether there are the measures of ranks, too.
        has_rare: whether there is the measure of rare bins.

    Returns:
        ``psi``: the root of the population stability index for each degree of freedom; ``rare``: the largest rise
        of a rare bin; ``shift`` and ``spread``: of the ranks, in standard deviations.
    """
    m, n = reference.sum(axis=1), observed.sum(axis=1)
    measures = {}
    with np.errstate(invalid="ignore", divide="ignore"):
        noise = 1 / n + 1 / m
        q, p = reference / m[:, None], observed / n[:, None]
        measures["psi"] = Distances(_compute_psi_distance(reference, observed, m, n), noise)
        rare = (q <= SMALL_BIN) & (reference > 0)
        if has_rare and rare.any():
            usual = (reference + 0.5) / (m + 1)[:, None]
            rises = 2 * np.arcsin(np.sqrt(p)) - 2 * np.arcsin(np.sqrt(usual))
            measures["rare"] = Distances(np.where(rare, rises, 0.0).max(axis=1).clip(0.0), noise)
        if is_ordered and reference.shape[1] >= 4:
            rank = np.cumsum(q, axis=1) - 0.5 * q - 0.5
            mean = (q * rank**2).sum(axis=1)
            variance = (q * rank**4).sum(axis=1) - mean**2
            varies = (variance > 1e-12) & (mean > 1e-12)
            shift = (p * rank).sum(axis=1) / np.sqrt(mean)
            spread = ((p * rank**2).sum(axis=1) - mean) / np.sqrt(variance)
            measures["shift"] = Distances(np.where(varies, shift, np.nan), noise)
            measures["spread"] = Distances(np.where(varies, spread, np.nan), noise)
    return measures


def _compute_psi_distance(reference: Array, observed: Array, m: Array, n: Array) -> Array:
    """Compute the root of the index for each degree of freedom; bins of few expected events count as one."""
    reference = np.broadcast_to(reference, observed.shape)
    large = n[:, None] * reference / m[:, None] >= MIN_CELL
    few_reference = np.where(large, 0.0, reference).sum(axis=1)
    few_observed = np.where(large, 0.0, observed).sum(axis=1)
    has_few = (few_reference > 0) | (few_observed > 0)
    k = large.sum(axis=1) + has_few
    added = 0.5 * k

    def part(expected: Array, seen: Array) -> Array:
        q = (expected + 0.5) / (m + added)[:, None]
        p = (seen + added[:, None] * q) / (n + added)[:, None]
        return np.asarray((p - q) * np.log(p / q))

    index = np.where(large, part(reference, observed), 0.0).sum(axis=1)
    index += np.where(has_few, part(few_reference[:, None], few_observed[:, None])[:, 0], 0.0)
    # Where all bins count as one, the watch says nothing: that is no distance of 0.
    index = np.where(k >= 2, index, 0.0)
    return np.where((n > 0) & large.any(axis=1), np.sqrt(index / np.maximum(k - 1, 1)), np.nan)


def _follows_rhythm(measured: Mapping[tuple[bool, str, str], ByWindow], name: str) -> bool:
    """Whether the parts of the week explain enough of how far a feature's windows are from training."""
    natural = {}
    noise = 0.0
    for by_part in (False, True):
        of_windows = measured.get((by_part, "psi", name), {})
        parts = [part for window in ("1h", "3h", "6h", "24h") for part in of_windows.get(window, [])]
        weights = np.concatenate([1 / part.noise for part in parts]) if parts else np.empty(0)
        if len(weights) < MIN_WINDOWS:
            return False
        excess = np.concatenate([(part.distance**2 - part.noise) for part in parts])
        natural[by_part] = float(np.average(excess, weights=weights))
        noise = len(weights) / float(weights.sum())
    # What is less than half of chance's part is not worth a reference of far fewer rows.
    return natural[False] > 0.5 * noise and natural[True] < (1 - MIN_EXPLAINED) * natural[False]


def _is_clock(timeline: Timeline, state: RowStates) -> bool:
    """Whether a feature's bin hardly says more than the hour of the week, as the hour itself.

    What a window has of it then depends only on when its events were, which the traffic of training only estimates:
    storms and holidays are other times. Over a whole day it is steady without any rhythm.
    """
    counts = _count_parts(timeline, state)
    return bool(counts.sum() > 0 and counts.max(axis=1).sum() > MAX_PURITY * counts.sum())


_Variances = dict[str, dict[str, dict[str, NaturalVariation]]]


class _Unusual(NamedTuple):
    """A window within training that is many times as far as a feature's other windows: perhaps a fault."""

    times: float
    window: str
    measure: str
    start: int


def calibrate(
    measured: Mapping[tuple[bool, str, str], ByWindow], followers: set[str]
) -> tuple[dict[str, float], dict[bool, _Variances], dict[str, _Unusual]]:
    """Fit the variances and factors of all measures, then one level for each length of window.

    Returns:
        The levels; the variances, by all hours and by part of the week; what was unusual by feature.
    """
    unusual: dict[str, _Unusual] = {}
    variances: dict[bool, _Variances] = {False: {}, True: {}}
    exceedances: dict[str, dict[tuple[int, int], float]] = {}
    for (by_part, measure, name), by_window in measured.items():
        if by_part and name not in followers:
            continue
        shorter: NaturalVariation | None = None
        before = 0.0
        of_feature = variances[by_part].setdefault(measure, {}).setdefault(name, {})
        for window, seconds in VARIATION_WINDOWS.items():
            parts = by_window.get(window, [])
            keys = [key for part in parts for key in part.keys]
            blocks = [(origin, (start - origin) * WIDTH // seconds) for origin, start in keys]
            number = len(set(blocks))
            if number < MIN_WINDOWS:
                if shorter is not None:  # longer windows vary less, so the shorter one's is on the safe side
                    of_feature[window] = shorter
                continue
            distance = np.concatenate([part.distance for part in parts])
            noise = np.concatenate([part.noise for part in parts])
            days = np.concatenate([part.days for part in parts])
            fitted = fit_variance(distance**2, days, noise)
            least = None
            if shorter is not None and number < POOLED_WINDOWS:
                # Few windows say little of their variance: it is at least that of the mean of independent shorter
                # ones, and a slow change is as slow in both.
                least = shorter._replace(variance=shorter.variance * before / seconds)
                fitted = NaturalVariation(*map(max, fitted, least))
            ratio = np.abs(distance) / np.sqrt(fitted.compute_square(days, noise))
            factor = max(_choose_factor(ratio, number), least.factor if least is not None else 0.0)
            before = seconds
            shorter = NaturalVariation(*(round_number(n) for n in fitted._replace(factor=factor)))
            of_feature[window] = shorter
            maxima = exceedances.setdefault(window, {})
            if window in NOTED_WINDOWS:
                usual = max(float(np.quantile(ratio, 1 - _share_of_tail(number))), 1.0)
                times = float(ratio.max()) / usual
                if times > MIN_UNUSUAL and (name not in unusual or times > unusual[name].times):
                    unusual[name] = _Unusual(times, window, measure, keys[int(ratio.argmax())][1])
            for key, exceedance in zip(blocks, (ratio / factor).tolist(), strict=True):
                if exceedance > maxima.get(key, 0.0):
                    maxima[key] = exceedance
        if of_feature:  # for windows shorter than any that had enough events
            first = next(iter(of_feature.values()))
            variances[by_part][measure][name] = {
                window: of_feature.get(window, first) for window in VARIATION_WINDOWS
            }
    levels: dict[str, float] = {}
    level: float | None = None
    for window, seconds in VARIATION_WINDOWS.items():
        values = np.array(list(exceedances.get(window, {}).values()))
        if len(values) >= POOLED_WINDOWS or (level is None and len(values) >= MIN_WINDOWS):
            level = round_number(choose_level(values, windows_per_month=30 * DAY / seconds))
        if level is not None:
            levels[window] = level
    if levels:  # for windows shorter than any that had enough events
        levels = {window: levels.get(window, next(iter(levels.values()))) for window in VARIATION_WINDOWS}
    return levels, variances, unusual


def _write_notes(timeline: Timeline, unusual: Mapping[str, _Unusual]) -> tuple[str, ...]:
    """Say what training does not cover, and where something within it may have been wrong."""
    notes = []
    if timeline.days < MIN_DAYS_OF_RHYTHM:
        notes.append(
            f"training covers {timeline.days:.1f} days, fewer than {MIN_DAYS_OF_RHYTHM}: "
            "no rhythm of the week is known, and slower changes are not"
        )
    ranked = sorted(unusual.items(), key=lambda item: -item[1].times)
    for name, window in ranked[:MAX_NOTES]:
        start = format_epoch(timeline.start + window.start * timeline.width)
        notes.append(
            f"{name} is unusual within training, in the {window.window} from {start} ({window.measure}): "
            "leave these rows out if it was a fault"
        )
    if len(ranked) > MAX_NOTES:
        notes.append(f"{len(ranked) - MAX_NOTES} more features are unusual at times within training")
    return tuple(notes)


def fit_variance(square: Array, days: Array, noise: Array) -> NaturalVariation:
    """Fit E[d²] = s² + g · days + e · noise with s² and g at least 0 and e at least 1, by weighted least squares.

    Args:
        square: of distances; shape (windows,).
        days: from the reference's end to each window; shape (windows,).
        noise: what chance makes of a squared distance of independent events; shape (windows,).
    """
    # Where windows have about as many events each, clusters and a variance look alike: it counts as a variance,
    # which more events do not make smaller.
    is_spread = np.quantile(noise, 0.9) >= MIN_SPREAD * np.quantile(noise, 0.1)
    columns = np.stack([np.ones(len(days)), days, noise * is_spread], axis=1)
    fitted = max(float(np.average(square - noise, weights=1 / noise)), 0.0) + noise
    for _ in range(4):
        (variance, growth, clustered), _ = nnls(columns / fitted[:, None], (square - noise) / fitted)
        fitted = variance + growth * days + (1 + clustered) * noise
    return NaturalVariation(float(variance), float(growth), design_effect=float(1 + clustered))


def _choose_factor(ratio: Array, windows: int) -> float:
    """Compare the tail of standardized distances with the normal distribution's: an upper quantile and the maximum.

    So a measure with rare bursts, such as rain, is wide for itself and leaves the level of all others alone.
    """
    normal = NormalDist()
    tail = _share_of_tail(windows)
    by_quantile = float(np.quantile(ratio, 1 - tail)) / normal.inv_cdf(1 - 0.5 * tail)
    by_maximum = float(ratio.max()) / normal.inv_cdf(1 - 0.25 / windows)
    return max(by_quantile, by_maximum, 0.5)


def _share_of_tail(windows: int) -> float:
    """Return the share of windows that are a measure's tail, which a fault of a day within training may be."""
    return min(max(5.0 / windows, 0.01), 0.25)


def choose_level(exceedances: Array, *, windows_per_month: float) -> float:
    """Choose the exceedance that is passed ``ALARMS_PER_MONTH`` times a month.

    Args:
        exceedances: the maximum of each disjoint window; shape (windows,), at least ``MIN_WINDOWS``.
        windows_per_month: how many disjoint windows a month has.
    """
    threshold = float(np.quantile(exceedances, 0.8))
    above = exceedances[exceedances > threshold] - threshold
    if len(above):
        # The scale of an exponential tail by its median, which a fault within training leaves alone.
        robust = float(np.median(above)) / np.log(2)
        scale = min(max(robust, float(above.mean())), 2 * robust)
    else:
        scale = 0.1 * threshold
    level = threshold + scale * np.log(0.2 * windows_per_month * OVERLAP / ALARMS_PER_MONTH)
    return float(min(level, 2.0 * exceedances.max()))


def round_number(value: Any) -> float:
    return float(f"{float(value):.4g}")


def state_default(seconds: Array | None = None) -> Variation:
    """State the variation of a model whose training had no times, or none that it can be measured by.

    Args:
        seconds: each row's time, in seconds since 1970, if known; shape (rows,).
    """
    measures = {
        measure: {
            DEFAULT_FEATURE: {
                window: NaturalVariation(round_number((short if seconds < DAY else long) ** 2))
                for window, seconds in VARIATION_WINDOWS.items()
            }
        }
        for measure, (short, long) in _DEFAULT.items()
    }
    return Variation(
        source="default",
        since="",
        until=format_epoch(float(seconds.max())) if seconds is not None else "",
        levels=dict.fromkeys(VARIATION_WINDOWS, DEFAULT_LEVEL),
        measures=measures,
        notes=(_explain_default(seconds),) if seconds is not None else (),
    )


def _explain_default(seconds: Array) -> str:
    first, last = float(seconds.min()), float(seconds.max())
    days = (last - first) / DAY
    if days < 1:
        reason = f"training covers {days * 24:.1f} hours, less than a day"
    elif days > MAX_DAYS:
        reason = (
            f"training spans {days / 365.25:,.0f} years, from {format_epoch(first)} to {format_epoch(last)} "
            "(leave out rows whose times are wrong)"
        )
    else:
        reason = "no window of training has enough rows of a feature that varies"
    return f"{reason}: a stated default says how much traffic varies by itself"
