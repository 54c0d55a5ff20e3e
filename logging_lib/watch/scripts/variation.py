"""Compute natural variation: how far windows may be from training, and what training looked like at their hours.

The numbers are those of ``logging_lib.profile.variation``, which names the sources of the formulas.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from math import asin, sqrt
from zoneinfo import ZoneInfo

from logging_lib.profile.model import PARTS_OF_WEEK
from logging_lib.watch.scripts.common import JsonObject, parse_length, parse_millis

DAY = 86400000.0
QUARTER = 900000


def is_measured(profile: JsonObject | None) -> bool:
    """Return whether the natural variation was measured on traffic, so that earlier weeks are not needed."""
    variation = profile["expected"].get("variation") if profile is not None else None
    return variation is not None and variation["source"] != "default"


def compute_limit(
    ctx: JsonObject, profile: JsonObject, measure: str, feature: str, length: int, noise: float, by_part: bool
) -> float:
    """Compute the distance beyond which a window exceeds natural variation; 0 if nothing is known about it.

    Args:
        measure: a measure of distributions or a check of inputs.
        length: the length of the window, in milliseconds.
        noise: the mean square of the distance that is due to chance.
        by_part: whether the window is compared with its own parts of the week.
    """
    variation = profile["expected"].get("variation")
    if variation is None:
        return 0.0
    measures = variation["rhythm"]["measures"] if by_part else variation.get("measures")
    features = measures.get(measure) if measures is not None else None
    if features is None:
        return 0.0
    windows = features[feature] if feature in features else features.get("*")
    name = _find_window(variation["levels"], length)
    if windows is None or name not in windows:
        return 0.0
    variance, growth, factor, *others = windows[name]
    design_effect = others[0] if others else 1.0
    days = 0.0
    if variation["until"] != "":
        days = (parse_millis(ctx["trigger"]["scheduled_time"]) - parse_millis(variation["until"])) / DAY
    square = variance + growth * (days if days > 0 else 0.0) + design_effect * noise
    return float(variation["levels"][name] * factor * sqrt(square))


def _find_window(levels: JsonObject, length: int) -> str:
    """Return the longest measured window that is no longer than this, else the shortest."""
    best = shortest = ""
    for name in levels:
        if shortest == "" or parse_length(name) < parse_length(shortest):
            shortest = name
        if parse_length(name) <= length and (best == "" or parse_length(name) > parse_length(best)):
            best = name
    return best if best != "" else shortest


def measure_length(bucket: JsonObject, window: str) -> int:
    """Return the length of a window in milliseconds, or of the part of it that has events.

    Six days of a week, or the first hours of a service, vary as much as six days and as hours.
    """
    length = parse_length(window)
    first, last = bucket["first"].get("value"), bucket["last"].get("value")
    if first is None or last is None or last - first >= 0.95 * length:
        return length
    return int(last - first)


def compute_rise(rate: float, usual: float) -> float:
    """Return the difference of two rates as angles, 2 asin √p, whose variance is 1/n."""
    return 2.0 * asin(sqrt(rate)) - 2.0 * asin(sqrt(usual))


def mix_week(profile: JsonObject, bucket: JsonObject, window: str) -> list[float]:
    """Return the share of each part of the week between a window's first and last event, by training's traffic.

    The result is empty if no rhythm is known, if training had no traffic at those hours, or if the events span more
    hours than the window, as in a backlog.
    """
    variation = profile["expected"].get("variation")
    rhythm = variation.get("rhythm") if variation is not None else None
    if rhythm is None or not rhythm.get("bins"):
        return []
    first, last = bucket["first"].get("value"), bucket["last"].get("value")
    if first is None or last is None or last - first > parse_length(window) + 3600000:
        return []
    start, end = int(first), int(last) + 1
    parts = [0.0] * PARTS_OF_WEEK
    total = 0.0
    quarter = start - start % QUARTER
    while quarter < end:
        hour = find_hour_of_week(quarter, rhythm["timezone"])
        overlap = min(quarter + QUARTER, end) - max(quarter, start)
        weight = rhythm["traffic"][hour] * overlap
        parts[(24 if hour >= 120 else 0) + hour % 24] += weight
        total += weight
        quarter += QUARTER
    return [weight / total for weight in parts] if total > 0 else []


@lru_cache(maxsize=65536)
def find_hour_of_week(millis: int, timezone: str) -> int:
    """Return the local hour of the week, 0 on Monday at midnight."""
    local = (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=millis)).astimezone(ZoneInfo(timezone))
    return local.weekday() * 24 + local.hour


def mix_bins(profile: JsonObject, feature: str, mixture: list[float]) -> dict[str, float] | None:
    """Return a feature's expected rows by bin at a window's parts of the week; None if it does not follow them.

    The number of rows is the one that gives the uncertainty of the mixture's shares: 1 / Σ w² / m.
    """
    if not mixture:
        return None
    rhythm = profile["expected"]["variation"]["rhythm"]
    counts = rhythm["bins"].get(feature)
    if counts is None:
        return None
    labels = rhythm["labels"][feature]
    shares = [0.0] * len(labels)
    uncertainty = 0.0
    for part in range(PARTS_OF_WEEK):
        share = mixture[part]
        if share <= 0:
            continue
        rows = float(sum(counts[part]))
        if rows == 0:
            return None
        for index, count in enumerate(counts[part]):
            shares[index] += share * count / rows
        uncertainty += share * share / rows
    return {label: shares[index] / uncertainty for index, label in enumerate(labels)}
