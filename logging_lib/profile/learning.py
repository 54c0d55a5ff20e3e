"""Natural variation that is learned from the traffic a model served, anchored to its training. There is no I/O.

Here the rolling origins of ``logging_lib.profile.variation`` become one fixed reference, training. The distance of
a window from training is split into the distance of all served traffic (its daily shares, each without the highest
and the lowest days) and the rest::

    d² = e² + min(c², s²)

with the offset c, which all windows share, and the variance s² of the windows' own distances e. So a lasting shift
counts as variation only as far as the traffic varies anyway, and remains a shift. In each week, the day that is
furthest away is omitted if it is ``FAULT_TIMES`` times as far as the median day and twice as far as the next, so
that a fault of one day does not widen the limits. Windows in which an incident of the feature was open are omitted
before that; for the prediction, windows with an incident of any feature.

The learned variation is calibrated like that of training, and no limit becomes more than ``WIDEN_A_MONTH`` times as
wide.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np

from logging_lib._util.errors import LoggingLibError
from logging_lib._util.formatting import format_count
from logging_lib.profile.coerce import format_epoch, to_epoch
from logging_lib.profile.distances import Distances, keep_rises, measure_bins, measure_rates
from logging_lib.profile.encoding import Array
from logging_lib.profile.model import (
    PREDICTION,
    VARIATION_WINDOWS,
    Feature,
    NaturalVariation,
    Variation,
)
from logging_lib.profile.timeline import DAY, MIN_EVENTS, Origin, Timeline
from logging_lib.profile.variance import ByWindow, Measured, calibrate, fit_variance, round_number
from logging_lib.profile.words import find_natural_variation

MIN_DAYS = 7
FAULT_TIMES = 4.0
FAR_FROM_NEXT = 2.0
WIDEN_A_MONTH = 1.5
MONTH = 30.0
SIGNED = ("shift", "spread", "mean")
"""Measures of distributions that are linear in the shares, so that a lasting shift is subtracted."""
RISES_ONLY = ("oov",)


class LearningError(LoggingLibError):
    """The error if nothing can be learned; the message says what was found, and what is needed."""


@dataclass(slots=True)
class ServedFeature:
    """The bin and the failed checks of each served event, for one feature or the prediction.

    Attributes:
        feature: the feature in the profile.
        bins: the number of the ordinary bin that each event is in, or -1; shape (events,).
        labels: the labels of the ordinary bins.
        failed: check → mask of the events that fail it; shape (events,).
        numbers: the values of a numeric prediction.
    """

    feature: Feature
    bins: Array
    labels: Sequence[str]
    failed: Mapping[str, Array] = field(default_factory=dict)
    numbers: Array | None = None


class Period(NamedTuple):
    """The time in which an incident was open, in seconds since 1970; an empty feature means the whole model."""

    feature: str
    since: float
    until: float


class LimitChange(NamedTuple):
    """The distance from which a window of a day is a finding, at the number of served events: before and after."""

    feature: str
    measure: str
    before: float
    after: float
    is_capped: bool


@dataclass(frozen=True, slots=True)
class Learned:
    """The result of learning.

    Attributes:
        variation: the variation that replaces the previous one.
        changes: the changes of the limits, by feature and measure.
        notes: what was omitted, and what could not be learned.
    """

    variation: Variation
    changes: tuple[LimitChange, ...]
    notes: tuple[str, ...]


class _Part(NamedTuple):
    """The windows of one length that have enough events.

    Attributes:
        own: their own distances, without the offset.
        noise: the mean squares of these distances by chance alone.
        offset: the square of the distance of all served traffic, less its mean by chance alone.
        places: the numbers of the windows.
    """

    own: Array
    noise: Array
    offset: float
    places: Array


def learn(
    before: Variation,
    seconds: Array,
    served: Mapping[str, ServedFeature],
    *,
    weights: Array | None = None,
    incidents: Sequence[Period] = (),
) -> Learned:
    """Learn the natural variation of served traffic.

    Args:
        before: the variation that is in force.
        seconds: each event's time, in seconds since 1970; shape (events,).
        served: the bins and failed checks of the events, by feature; the prediction's name is ``PREDICTION``.
        weights: the number of events that each one counts for if traffic is sampled; shape (events,).
        incidents: the times in which incidents of the model were open.

    Raises:
        LearningError: fewer than ``MIN_DAYS`` days have events, or nothing can be measured.
    """
    timezone = before.rhythm.timezone if before.rhythm is not None else "UTC"
    timeline = Timeline(seconds, timezone)
    windows = _Windows(timeline, weights if weights is not None else np.ones(len(seconds)))
    days = int(windows.has_events["24h"].sum()) if "24h" in windows.has_events else 0
    found = f"from {format_epoch(timeline.first)} to {format_epoch(timeline.last)}"
    if days < MIN_DAYS:
        raise LearningError(
            f"{format_count(len(seconds), 'prediction')} {found}, {MIN_EVENTS} or more on {days} days: "
            f"at least {MIN_DAYS} days are needed; learn later, or from further back (--since, --max-rows)"
        )
    measured: dict[tuple[bool, str, str], ByWindow] = {}
    noises: dict[tuple[str, str, str], float] = {}
    notes: list[str] = []
    for name, feature in served.items():
        is_open = windows.find_open(
            [period for period in incidents if name == PREDICTION or period.feature in ("", name)]
        )
        left_out: set[int] = set()
        for measure, window, part in windows.measure(feature, is_open):
            usable = ~windows.sum_marked(window, is_open)[part.places] & np.isfinite(part.own)
            kept, faulty = windows.leave_out_faults(window, part, usable)
            left_out |= faulty
            own, noise, starts = part.own[kept], part.noise[kept], windows.origin.windows[window][0]
            if not len(own):
                continue
            variance = fit_variance(own**2, np.zeros(len(own)), noise).variance
            distance = np.sqrt(own**2 + min(max(part.offset, 0.0), variance))
            keys = [(0, int(start)) for start in starts[part.places[kept]]]
            measured.setdefault((False, measure, name), {})[window] = [
                Measured(distance, noise, np.zeros(len(own)), keys)
            ]
            noises[measure, name, window] = float(np.median(noise))
        if left_out:
            dates = ", ".join(format_epoch(timeline.start + day * DAY)[:10] for day in sorted(left_out))
            notes.append(f"{name}: the 24 hours from {dates} are left out, as they are far from all others")
        if is_open.any():
            notes.append(
                f"{name}: {is_open.mean():.0%} of the time is left out, in which an incident was open"
            )
        if not any(key[2] == name for key in measured):
            notes.append(f"{name}: nothing is left to learn from, what was known is kept")
    levels, variances, _ = calibrate(measured, set())
    if not levels:
        raise LearningError(
            f"{len(seconds)} predictions {found}: nothing is left to learn from; are incidents open all the time?"
        )
    until = format_epoch(timeline.last)
    learned = Variation(
        source="learned",
        since=format_epoch(timeline.first),
        until=until,
        levels=levels,
        measures=variances[False],
        notes=tuple(notes),
    )
    merged, capped = _merge(before, learned, noises)
    changes = tuple(
        LimitChange(
            name,
            measure,
            compute_limit(before, measure, name, "24h", noise, until),
            compute_limit(merged, measure, name, "24h", noise, until),
            (measure, name) in capped,
        )
        for (measure, name, window), noise in sorted(noises.items(), key=lambda item: item[0][1::-1])
        if window == "24h" and find_natural_variation(before, measure, name, "24h") is not None
    )
    return Learned(merged, changes, merged.notes)


class _Windows:
    """The windows of the served traffic, all compared with training."""

    def __init__(self, timeline: Timeline, weights: Array) -> None:
        self.timeline = timeline
        self.origin = Origin(timeline, 0, 0)
        self._weights = weights[timeline.order]
        self._all = self._cumulate(np.ones(len(weights), dtype=bool))
        squares = np.bincount(timeline.cell, weights=self._weights**2, minlength=timeline.cells)
        cumulated = np.concatenate([[0.0], np.cumsum(squares)])
        self._total: dict[str, Array] = {}
        self._scale: dict[str, Array] = {}
        self.has_events: dict[str, Array] = {}
        for window in self.origin.windows:
            total = self.origin.sum(window, self._all)
            with np.errstate(invalid="ignore", divide="ignore"):
                # The effective number of events with these weights is (Σw)² / Σw².
                scale = np.where(total > 0, total / self.origin.sum(window, cumulated), 0.0)
            self._total[window], self._scale[window] = total * scale, scale
            self.has_events[window] = total * scale >= MIN_EVENTS
        self._usual_days: Array

    def find_open(self, periods: Sequence[Period]) -> Array:
        """Mark the cells in which an incident was open; shape (cells,)."""
        marked = np.zeros(self.timeline.cells, dtype=bool)
        for period in periods:
            marked |= (self.timeline.starts[1:] > period.since) & (self.timeline.starts[:-1] < period.until)
        return marked

    def sum_marked(self, window: str, marked: Array) -> Array:
        """Mask the windows that have a marked cell; shape (windows,)."""
        return np.asarray(self.origin.sum(window, np.concatenate([[0], np.cumsum(marked)])) > 0)

    def leave_out_faults(self, window: str, part: _Part, usable: Array) -> tuple[Array, set[int]]:
        """Omit the days that are far from all others, at most one per week.

        Returns:
            The mask of the windows that are kept, shape (windows,), and the numbers of the days that are omitted.
        """
        starts = self.origin.windows[window][0]
        days = (starts[part.places] * self.timeline.width // DAY).astype(np.int64)
        known = np.unique(days[usable])
        scores = np.array([float((part.own[usable & (days == day)] ** 2).mean()) for day in known])
        if len(known) < MIN_DAYS:
            return usable, set()
        number = len(known) // MIN_DAYS
        *furthest, following = np.argsort(-scores, kind="stable")[: number + 1].tolist()
        usual = max(float(np.median(scores)), float(part.noise[usable].mean()))
        is_far = scores > max(FAULT_TIMES**2 * usual, FAR_FROM_NEXT**2 * float(scores[following]))
        faulty = {int(known[place]) for place in furthest if is_far[place]}
        return usable & ~np.isin(days, list(faulty)), faulty

    def measure(self, served: ServedFeature, is_open: Array) -> list[tuple[str, str, _Part]]:
        """Measure the distances for each measure and length of window.

        Args:
            is_open: the mask of the cells in which an incident was open; shape (cells,).
        """
        self._usual_days = self.has_events["24h"] & ~self.sum_marked("24h", is_open)
        if not self._usual_days.any():
            return []
        parts: list[tuple[str, str, _Part]] = []
        feature = served.feature
        for check, failed in served.failed.items():
            expectation = feature.expected.get(check)
            if expectation is None or not (expectation.count or failed.any()):
                continue
            cells = self._cumulate(failed[self.timeline.order])
            usual = _trim(self._daily(cells) / self._daily(self._all))
            everything = np.array([self._served])
            whole = measure_rates(usual * everything, everything, expectation.count, expectation.rows)
            if check in RISES_ONLY:
                whole = keep_rises(whole)
            for window in self.origin.windows:
                total, enough = self._total[window], self.has_events[window]
                hits = self.origin.sum(window, cells) * self._scale[window]
                distances = measure_rates(hits, total, expectation.count, expectation.rows)
                distance, noise = keep_rises(distances) if check in RISES_ONLY else distances
                parts.append((check, window, _subtract(distance[enough], noise[enough], whole, enough)))
        parts += self._measure_shares(served)
        if served.numbers is not None and feature.moments is not None and feature.moments.std > 0:
            parts += self._measure_mean(served.numbers, feature)
        return parts

    def _measure_shares(self, served: ServedFeature) -> list[tuple[str, str, _Part]]:
        number = len(served.labels)
        bins = served.bins[self.timeline.order]
        counts = served.feature.expected_bins()
        training = np.array([[counts.get(label, 0) for label in served.labels]], dtype=float)
        if number < 2 or not training.sum() or not (bins >= 0).any():
            return []
        cells = np.stack([self._cumulate(bins == place) for place in range(number)], axis=1)
        daily = self._daily(cells)
        with np.errstate(invalid="ignore", divide="ignore"):
            shares = _trim(daily / daily.sum(axis=1, keepdims=True))
        if not shares.sum() > 0:
            return []
        whole = shares[None, :] / shares.sum() * self._served
        is_ordered = served.feature.kind in ("numeric", "text")
        options = {"is_ordered": is_ordered, "has_rare": not is_ordered or served.feature.kind == "text"}
        offsets = measure_bins(training, whole, **options)
        parts: list[tuple[str, str, _Part]] = []
        for window in self.origin.windows:
            observed = self.origin.sum(window, cells) * self._scale[window][:, None]
            enough = observed.sum(axis=1) >= MIN_EVENTS
            if not enough.any():
                continue
            by_training = measure_bins(training, observed[enough], **options)
            by_whole = measure_bins(whole, observed[enough], **options)
            for measure, (distance, noise) in by_training.items():
                part = _subtract(distance, noise, offsets[measure], enough)
                if measure in SIGNED:
                    parts.append((measure, window, part))
                elif measure in by_whole:
                    parts.append((measure, window, part._replace(own=by_whole[measure].distance)))
        return parts

    def _measure_mean(self, numbers: Array, feature: Feature) -> list[tuple[str, str, _Part]]:
        moments = feature.moments
        assert moments is not None
        ordered = numbers[self.timeline.order]
        finite = np.isfinite(ordered)
        sums = self._cumulate(finite, np.where(finite, ordered, 0.0))
        counts = self._cumulate(finite)
        with np.errstate(invalid="ignore", divide="ignore"):
            usual = (_trim(self._daily(sums) / self._daily(counts)) - moments.mean) / moments.std
            whole = Distances(np.array([usual]), np.array([1 / self._served + 1 / moments.count]))
            parts = []
            for window in self.origin.windows:
                n = self.origin.sum(window, counts)
                effect = (self.origin.sum(window, sums) / n - moments.mean) / moments.std
                n = n * self._scale[window]
                enough = n >= MIN_EVENTS
                noise = 1 / n[enough] + 1 / moments.count
                parts.append(("mean", window, _subtract(effect[enough], noise, whole, enough)))
        return parts

    @property
    def _served(self) -> float:
        return float(self._total["24h"].sum())

    def _cumulate(self, marked: Array, values: Array | None = None) -> Array:
        """Sum the weights of marked events by cell, and cumulate them in order of time; shape (cells + 1,)."""
        weights = self._weights * marked if values is None else self._weights * marked * values
        sums = np.bincount(self.timeline.cell, weights=weights, minlength=self.timeline.cells)
        return np.concatenate([[0.0], np.cumsum(sums)])

    def _daily(self, cumulated: Array) -> Array:
        return self.origin.sum("24h", cumulated)[self._usual_days]


def _trim(daily: Array) -> Any:
    """Compute the mean of the days without the lowest and the highest of each week; by column."""
    ordered = np.sort(daily[np.isfinite(daily.reshape(len(daily), -1)).all(axis=1)], axis=0)
    cut = len(ordered) // MIN_DAYS
    return (
        ordered[cut : len(ordered) - cut].mean(axis=0)
        if len(ordered) > 2 * cut
        else np.zeros(daily.shape[1:])
    )


def _subtract(distance: Array, noise: Array, whole: Distances, enough: Array) -> _Part:
    """Subtract the distance of all served traffic from that of the windows that have enough events."""
    offset = float(whole.distance[0])
    return _Part(distance - offset, noise, offset**2 - float(whole.noise[0]), np.flatnonzero(enough))


def compute_limit(
    variation: Variation, measure: str, feature: str, window: str, noise: float, at: str
) -> float:
    """Compute the distance from which a window is a finding, as watches do; return 0 if nothing is known.

    Args:
        noise: the mean square of the distance by chance alone.
        at: the time of the window, ISO 8601.
    """
    numbers = find_natural_variation(variation, measure, feature, window)
    if numbers is None:
        return 0.0
    days = ((to_epoch(at) or 0.0) - (to_epoch(variation.until) or 0.0)) / DAY if variation.until else 0.0
    return variation.compute_limit(numbers, window, max(days, 0.0), noise)


def _merge(
    before: Variation, learned: Variation, noises: Mapping[tuple[str, str, str], float]
) -> tuple[Variation, set[tuple[str, str]]]:
    """Replace the known variation by the learned one, no wider than allowed; the rest keeps its limits.

    Returns:
        The variation, and the measures and features that were prevented from becoming wider.
    """
    allowed = WIDEN_A_MONTH
    if before.source == "learned":
        days = ((to_epoch(learned.until) or 0.0) - (to_epoch(before.until) or 0.0)) / DAY
        allowed = WIDEN_A_MONTH ** min(max(days / MONTH, 0.0), 1.0)
    ratio = {window: before.levels[window] / learned.levels[window] for window in VARIATION_WINDOWS}
    measures = _keep_limits(before.measures, ratio)
    capped: set[tuple[str, str]] = set()
    for measure, features in learned.measures.items():
        for name, windows in features.items():
            merged = {}
            for window, numbers in windows.items():
                known = find_natural_variation(before, measure, name, window)
                if known is None:  # training had no variation that could be widened
                    continue
                grown = numbers._replace(growth=known.growth)
                noise = _find_noise(noises, measure, name, window)
                most = allowed * compute_limit(before, measure, name, window, noise, learned.until)
                narrowed = _narrow(grown, learned.levels[window], noise, most)
                if narrowed != grown:
                    capped.add((measure, name))
                merged[window] = narrowed
            if merged:
                measures.setdefault(measure, {})[name] = merged
    rhythm = before.rhythm
    if rhythm is not None:
        rhythm = replace(rhythm, measures=_keep_limits(rhythm.measures, ratio))
    notes = learned.notes
    if capped:
        names = ", ".join(sorted({name for _, name in capped}))
        notes = (*notes, f"{names}: varies more than is learned at once, {WIDEN_A_MONTH} times a month")
    return replace(learned, measures=measures, rhythm=rhythm, notes=notes), capped


def _keep_limits(
    measures: Mapping[str, Mapping[str, Mapping[str, NaturalVariation]]], ratio: Mapping[str, float]
) -> dict[str, dict[str, dict[str, NaturalVariation]]]:
    """Keep the limits of the variations that were not learned, although the levels have changed."""
    return {
        measure: {
            name: {
                window: numbers._replace(factor=round_number(numbers.factor * ratio[window]))
                for window, numbers in windows.items()
            }
            for name, windows in features.items()
        }
        for measure, features in measures.items()
    }


def _find_noise(noises: Mapping[tuple[str, str, str], float], measure: str, name: str, window: str) -> float:
    """Find the noise of a window, or of the next one that was measured."""
    order = list(VARIATION_WINDOWS)
    at = order.index(window)
    near = sorted(order, key=lambda other: abs(order.index(other) - at))
    return next(noises[measure, name, other] for other in near if (measure, name, other) in noises)


def _narrow(numbers: NaturalVariation, level: float, noise: float, most: float) -> NaturalVariation:
    """Narrow a variation until its limit is no greater than allowed: first its variance, then its factor."""
    times = level * numbers.factor
    noise *= numbers.design_effect
    if times * (numbers.variance + noise) ** 0.5 <= most * 1.001:
        return numbers
    variance = (most / times) ** 2 - noise
    if variance >= 0:
        return numbers._replace(variance=round_number(variance))
    return numbers._replace(variance=0.0, factor=round_number(most / (level * noise**0.5)))
