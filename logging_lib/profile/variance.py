"""The fitting of the variance of each measure, and of one level for each length of window. No I/O.

The model is described in ``logging_lib.profile.variation``.
"""

from __future__ import annotations

from collections.abc import Mapping
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np
from scipy.optimize import nnls

from logging_lib.profile.encoding import Array
from logging_lib.profile.model import (
    VARIATION_WINDOWS,
    NaturalVariation,
)
from logging_lib.profile.timeline import DAY, WIDTH

MIN_SPREAD = 3.0
"""The spread of the windows' numbers of events that tells clusters of events from a variance of windows."""
MIN_WINDOWS = 8
POOLED_WINDOWS = 30
ALARMS_PER_MONTH = 0.1
OVERLAP = 2.0
"""Scheduled runs see overlapping windows, which pass a level about twice as often as disjoint ones."""
NOTED_WINDOWS = ("6h", "24h")
MIN_UNUSUAL = 3.0


class Measured(NamedTuple):
    """The distances of the windows of one length after one origin that have enough events."""

    distance: Array
    noise: Array
    days: Array
    keys: list[tuple[int, int]]


ByWindow = dict[str, list[Measured]]
_Variances = dict[str, dict[str, dict[str, NaturalVariation]]]


class UnusualWindow(NamedTuple):
    """A window within training that is many times as far away as a feature's other windows, perhaps by a fault."""

    times: float
    window: str
    measure: str
    start: int


def calibrate(
    measured: Mapping[tuple[bool, str, str], ByWindow], followers: set[str]
) -> tuple[dict[str, float], dict[bool, _Variances], dict[str, UnusualWindow]]:
    """Fit the variances and factors of all measures, then one level for each length of window.

    Returns:
        The levels; the variances, over all hours and by part of the week; and the unusual windows by feature.
    """
    unusual: dict[str, UnusualWindow] = {}
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
                if shorter is not None:  # the shorter one's is safe: longer windows vary less
                    of_feature[window] = shorter
                continue
            distance = np.concatenate([part.distance for part in parts])
            noise = np.concatenate([part.noise for part in parts])
            days = np.concatenate([part.days for part in parts])
            fitted = fit_variance(distance**2, days, noise)
            least = None
            if shorter is not None and number < POOLED_WINDOWS:
                # A few windows say little about their variance. It is at least that of the mean of independent
                # shorter ones, and a slow change is equally slow in both.
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
                    unusual[name] = UnusualWindow(times, window, measure, keys[int(ratio.argmax())][1])
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


def fit_variance(square: Array, days: Array, noise: Array) -> NaturalVariation:
    """Fit E[d²] = s² + g · days + e · noise with s² and g at least 0 and e at least 1, by weighted least squares.

    Args:
        square: the squared distances; shape (windows,).
        days: the days from the reference's end to each window; shape (windows,).
        noise: the mean square of a distance of independent events by chance alone; shape (windows,).
    """
    # If all windows have about the same number of events, clusters and a variance look alike. They then count as a
    # variance, which does not decrease with more events.
    is_spread = np.quantile(noise, 0.9) >= MIN_SPREAD * np.quantile(noise, 0.1)
    columns = np.stack([np.ones(len(days)), days, noise * is_spread], axis=1)
    fitted = max(float(np.average(square - noise, weights=1 / noise)), 0.0) + noise
    for _ in range(4):
        (variance, growth, clustered), _ = nnls(columns / fitted[:, None], (square - noise) / fitted)
        fitted = variance + growth * days + (1 + clustered) * noise
    return NaturalVariation(float(variance), float(growth), design_effect=float(1 + clustered))


def _choose_factor(ratio: Array, windows: int) -> float:
    """Compare an upper quantile and the maximum of standardized distances with those of the normal distribution.

    So a measure with rare bursts, such as rain, gets wide limits, and does not affect the level of the others.
    """
    normal = NormalDist()
    tail = _share_of_tail(windows)
    by_quantile = float(np.quantile(ratio, 1 - tail)) / normal.inv_cdf(1 - 0.5 * tail)
    by_maximum = float(ratio.max()) / normal.inv_cdf(1 - 0.25 / windows)
    return max(by_quantile, by_maximum, 0.5)


def _share_of_tail(windows: int) -> float:
    """Return the share of windows in a measure's tail, which may consist of one faulty day within training."""
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
        # Estimate the scale of an exponential tail by its median, which a fault within training does not affect.
        robust = float(np.median(above)) / np.log(2)
        scale = min(max(robust, float(above.mean())), 2 * robust)
    else:
        scale = 0.1 * threshold
    level = threshold + scale * np.log(0.2 * windows_per_month * OVERLAP / ALARMS_PER_MONTH)
    return float(min(level, 2.0 * exceedances.max()))


def round_number(value: Any) -> float:
    return float(f"{float(value):.4g}")
