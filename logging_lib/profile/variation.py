"""The measurement of natural variation: how far later windows of training are from earlier training. No I/O.

Real traffic changes by itself: with the hour, the weather, the season. A window of served events is a finding only
if it is further from training than later windows of training were from earlier ones. This is measured here, for
each feature, measure and length of window, by *rolling origins*: everything before an origin is the reference, and
each window after it is measured against that reference, as a watch will measure windows of served events against
all of training.

Every measure yields a distance d. If all changes are due to chance, its square is 1/n + 1/m on average, with n
events in the window and m in the reference. The excess over that is natural variation::

    E[d²] = s² + g · days + e · (1/n + 1/m)

with the variance s² of windows, its growth g for each day between the reference's end and the window (a random
walk; 0 if the stream does not drift), and the design effect e of at least 1, which is the number of events that
carry as much information as one independent event if events are in clusters, such as the flights of one storm
(Kish, Survey Sampling (1965), section 5.4). It is a random-effects model, fitted by moments (DerSimonian and Laird,
"Meta-analysis in clinical trials", Controlled Clinical Trials 7 (1986)). So noise does not count as variation, and
the same numbers hold for ten times or a tenth of the events, and by night and by day. Autocorrelation does not need
a model of its own, because it is part of the variance of the windows.

A distance divided by the root of E[d²] is standardized; if it is also divided by ``factor``, the tails of all
measures are alike. A window's *exceedance* is the maximum of that over all features and measures, so correlated
features count once. ``level`` is the exceedance that windows of one length pass ``ALARMS_PER_MONTH`` times in a
month, from an exponential tail above the exceedances' 0.8 quantile (Coles, An Introduction to Statistical Modeling
of Extreme Values (2001), section 4.2, with shape 0). The limit of a distance is level · factor · √E[d²].
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from logging_lib.profile.coerce import format_epoch
from logging_lib.profile.distances import Distances, keep_rises, measure_bins, measure_rates
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
from logging_lib.profile.row_order import measure_checks, measure_stretches
from logging_lib.profile.timeline import DAY, MIN_EVENTS, Origin, Timeline, choose_origins
from logging_lib.profile.variance import (
    MIN_WINDOWS,
    ByWindow,
    Measured,
    UnusualWindow,
    calibrate,
    round_number,
)

SCORED = 0.8
"""The share of a reference before its last fifth, which is measured against that share."""
MIN_DAYS_OF_RHYTHM = 14
MAX_DAYS = 3660.0
"""The maximum length: longer training has a placeholder such as 1970-01-01, or more windows than fit in memory."""
MAX_NOTES = 5
MIN_EXPLAINED = 0.3
"""The minimum share of the windows' squared distances that a rhythm must explain to be kept."""
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
"""The standard deviation of windows up to six hours, and of longer ones, if training had no times. It is about the
median of the features of four real streams (flights, traffic stops, electricity)."""
_OF_BINS = ("psi", "shift", "spread", "mean", "rare")
_UNLIMITED = 10.0
"""A standard deviation so large that no distance is beyond its limit."""


@dataclass(slots=True)
class RowStates:
    """The bin and the failed checks of each training row, for one feature.

    Attributes:
        name: the feature's name, or ``PREDICTION``.
        bins: the number of the ordinary bin that the row is in, or -1; shape (rows,).
        number_of_bins: the number of ordinary bins.
        is_ordered: whether the bins are intervals of a number, the lowest first.
        known_from: check → the position in order of time from which the row's value is known; with a reference of
            only earlier rows, it fails the check. -1 if it never fails, ``NEVER`` if it always does.
        numbers: the values of a numeric prediction, otherwise None; shape (rows,).
        words: for a text, the rows of the words that are not known from the beginning.
    """

    name: str
    bins: Array
    number_of_bins: int
    is_ordered: bool
    known_from: Mapping[str, Array] = field(default_factory=dict)
    numbers: Array | None = None
    words: WordRows | None = None

    def measure_bins(self, reference: Array, observed: Array) -> dict[str, Distances]:
        """Measure how far the bins of windows are from the reference's; for numbers, rare bins are not measured."""
        has_rare = not self.is_ordered or self.words is not None
        return measure_bins(reference, observed, is_ordered=self.is_ordered, has_rare=has_rare)


def measure_variation(seconds: Array, states: list[RowStates], timezone: str = "UTC") -> Variation | None:
    """Measure the natural variation of training.

    Args:
        seconds: each row's time, in seconds since 1970; shape (rows,).
        states: the states of the rows for each feature, in the rows' own order.
        timezone: the time zone whose hours and days traffic may follow.

    Returns:
        The variation; None if training is shorter than a day or longer than ``MAX_DAYS``, or has too few rows.
    """
    if not 1 <= (seconds.max() - seconds.min()) / DAY <= MAX_DAYS:
        return None
    timeline = Timeline(seconds, timezone)
    measured: dict[tuple[bool, str, str], ByWindow] = {}
    for origin in choose_origins(timeline):
        for state in states:
            for key, window, distances, events in _measure_state(timeline, state, origin):
                # There is no distance if the reference never had that part of the week, or all bins count as one.
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
        # As at the end of training, the expected rate is that of the last fifth against the four before it. For a
        # check such as that for missing values it is that of all rows, because it does not depend on earlier ones.
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
    """Mix the counts of the parts of the week in the proportions of each window; shape (windows, bins).

    A mixture has the number of rows that leaves its shares equally uncertain, 1 / Σ w² / m. It is NaN if a part
    that a window has was never seen.

    Args:
        parts: the rows of each bin in each part of the week; shape (parts, bins).
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
    """Find the position in order of time before which every reference ends, unless traffic has grown fiftyfold."""
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


def _follows_rhythm(measured: Mapping[tuple[bool, str, str], ByWindow], name: str) -> bool:
    """Return whether the parts of the week explain enough of how far a feature's windows are from training."""
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
    # Variation below half of that by chance is not worth a reference with far fewer rows.
    return natural[False] > 0.5 * noise and natural[True] < (1 - MIN_EXPLAINED) * natural[False]


def _is_clock(timeline: Timeline, state: RowStates) -> bool:
    """Return whether a feature's bin says hardly more than the hour of the week, as the hour itself does.

    Its distribution in a window then depends only on the times of the events, which the traffic of training only
    estimates: it is different in storms and on holidays. Over a whole day it is steady without any rhythm.
    """
    counts = _count_parts(timeline, state)
    return bool(counts.sum() > 0 and counts.max(axis=1).sum() > MAX_PURITY * counts.sum())


def _write_notes(timeline: Timeline, unusual: Mapping[str, UnusualWindow]) -> tuple[str, ...]:
    """Describe what training does not cover, and where something in it may have been wrong."""
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


def state_default(seconds: Array | None = None, states: Iterable[RowStates] = ()) -> Variation:
    """Return the default variation, for a model whose training had no times, or none that allow a measurement.

    A feature that changes along the rows of training more than the default says is not limited in windows shorter
    than a week: nobody knows which rows are an hour or a day.

    Args:
        seconds: each row's time, in seconds since 1970, if known; shape (rows,).
        states: the states of the rows for each feature, if the rows are in the order in which they arose.
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
    moving = []
    for state in states:
        exceeded = [check for check, s2 in measure_checks(state.known_from) if s2 > _DEFAULT[check][0] ** 2]
        if measure_stretches(state.bins, state.number_of_bins) > _DEFAULT["psi"][0] ** 2:
            exceeded += _OF_BINS
        if exceeded:
            moving.append(state.name)
        for measure in exceeded:
            default = measures[measure][DEFAULT_FEATURE]
            measures[measure][state.name] = {
                window: default[window] if length >= 7 * DAY else NaturalVariation(_UNLIMITED**2)
                for window, length in VARIATION_WINDOWS.items()
            }
    notes = [_explain_default(seconds)] if seconds is not None else []
    if moving:
        more = f" and {len(moving) - MAX_NOTES} more" if len(moving) > MAX_NOTES else ""
        notes.append(
            f"{', '.join(moving[:MAX_NOTES])}{more}: the values change along the rows of training, so without "
            "times only a week is compared with training; give --time"
        )
    return Variation(
        source="default",
        since="",
        until=format_epoch(float(seconds.max())) if seconds is not None else "",
        levels=dict.fromkeys(VARIATION_WINDOWS, DEFAULT_LEVEL),
        measures=measures,
        notes=tuple(notes),
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
