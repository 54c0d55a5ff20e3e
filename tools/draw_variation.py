"""``make pictures``: draw the picture of docs/natural-variation.md from a stream that is always the same."""

from __future__ import annotations

import re
from math import sqrt
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from logging_lib import profile as profiles
from logging_lib._util import vegalite
from logging_lib.html import theme
from logging_lib.profile.config import Config
from logging_lib.profile.distances import measure_bins

ROOT = Path(__file__).parents[1]
OUT = ROOT / "docs" / "images" / "natural-variation.svg"
THEME = ROOT / "logging_lib" / "html" / "templates" / "theme.css"
START = pd.Timestamp("2025-09-01", tz="UTC")
TRAINING_DAYS, SERVED_DAYS, PER_DAY = 84, 28, 480
FAULTY_DAY = TRAINING_DAYS + 17
ORIGIN = TRAINING_DAYS // 2
"""The middle one of the rolling origins, so that each later day of training is measured once."""
WIDTH, HEIGHT = 680, 300
WINDOW = "24h"
TRAINED, SERVED, FLAGGED = "day of training", "served day", "flagged day"


class Day(NamedTuple):
    """A day's distance from the days before it, and the limit beyond which the distance is not natural.

    Args:
        distance: the shift, in standard deviations of the ranks.
        chance: the distance that chance alone exceeds on one day in a hundred.
        limit: the distance beyond which the day is not natural.
        fault: whether that day has a fault.
    """

    date: pd.Timestamp
    distance: float
    chance: float
    limit: float
    is_served: bool
    fault: bool


def measure_days() -> list[Day]:
    """Fit a profile to the stream's training and measure the days after an origin, then the served ones."""
    rng = np.random.default_rng(7)
    days = TRAINING_DAYS + SERVED_DAYS
    weather = np.zeros(days)
    for day in range(1, days):
        weather[day] = 0.5 * weather[day - 1] + 0.7 * rng.normal()
    day_of = np.repeat(np.arange(days), PER_DAY)
    temperature = 12 + weather[day_of] + 4 * rng.normal(size=len(day_of))
    temperature[day_of == FAULTY_DAY] += 5  # a sensor in the sun
    at = START + pd.to_timedelta(np.arange(len(day_of)) * 86400 / PER_DAY, unit="s")
    frame = pd.DataFrame({"temperature": temperature, "at": at})
    training = frame[day_of < TRAINING_DAYS]
    profile = profiles.fit(training, model="m", version="1", config=Config(time="at"), libraries={})
    assert profile.variation is not None
    natural = profile.variation.measures["shift"]["temperature"][WINDOW]
    inner = profile.features["temperature"].edges[1:-1]
    bins = np.searchsorted(inner, temperature, "right")
    number = len(inner) + 1
    counts = np.bincount(day_of * number + bins, minlength=days * number).reshape(days, number)
    measured = []
    for is_served in (False, True):
        first, end = (TRAINING_DAYS, days) if is_served else (ORIGIN, TRAINING_DAYS)
        reference = counts[:first].sum(axis=0, keepdims=True)
        distances = measure_bins(reference, counts[first:end], is_ordered=True)["shift"]
        for i, (distance, noise) in enumerate(zip(*distances, strict=True)):
            limit = profile.variation.compute_limit(natural, WINDOW, i + 1, noise)
            date, is_faulty = START + pd.Timedelta(days=first + i), first + i == FAULTY_DAY
            measured.append(Day(date, float(distance), 2.58 * sqrt(noise), limit, is_served, is_faulty))
    return measured


def draw(days: list[Day]) -> str:
    """Draw the days as an SVG with its own colors, because a picture does not see those of its page."""
    rows = [
        {
            "date": day.date.isoformat(),
            "distance": day.distance,
            "chance": day.chance,
            "low_chance": -day.chance,
            "limit": day.limit,
            "low": -day.limit,
            "kind": _name(day),
        }
        for day in days
    ]
    x = {
        "field": "date", "type": "temporal", "scale": {"type": "utc", "nice": False, "padding": 10},
        "axis": {"title": "day (UTC)", "format": "%e %b %Y", "tickCount": 6, "grid": False},
    }  # fmt: skip
    y: dict[str, Any] = {
        "type": "quantitative",
        "title": "shift of the day (standard deviations)",
        "scale": {"domain": [-1.2, 1.6]},
    }
    served = next(day.date for day in days if day.is_served).isoformat()
    flagged = next(day for day in days if day.is_served and abs(day.distance) > day.limit)
    kinds = [TRAINED, SERVED, FLAGGED]

    def write(text: str, **place: Any) -> dict[str, Any]:
        values = {"date": place.pop("date"), "value": place.pop("value"), "text": text}
        return {
            "data": {"values": [values]},
            "mark": {"type": "text", "align": "left", "fontSize": 11, "color": theme.TEXT, **place},
            "encoding": {"x": x, "y": {**y, "field": "value"}, "text": {"field": "text"}},
        }

    first = days[0]
    spec = {
        "width": WIDTH, "height": HEIGHT, "padding": 12, "background": "var(--page)",
        "data": {"values": rows},
        "layer": [
            {"mark": {"type": "area", "color": theme.SERVED, "opacity": 0.1},
             "encoding": {"x": x, "y": {**y, "field": "low"}, "y2": {"field": "limit"}}},
            {"mark": {"type": "area", "color": theme.TRAINED, "opacity": 0.55},
             "encoding": {"x": x, "y": {**y, "field": "low_chance"}, "y2": {"field": "chance"}}},
            *({"mark": {"type": "line", "strokeDash": [5, 4], "strokeWidth": 1.3, "color": theme.MUTED},
               "encoding": {"x": x, "y": {**y, "field": field}}} for field in ("limit", "low")),
            {"data": {"values": [{"date": served}]},
             "mark": {"type": "rule", "color": theme.TEXT}, "encoding": {"x": x}},
            {"mark": {"type": "point", "filled": True, "size": 70, "opacity": 1},
             "encoding": {
                 "x": x, "y": {**y, "field": "distance"},
                 "color": {"field": "kind", "type": "nominal", "legend": {"columnPadding": 40},
                           "scale": {"domain": kinds, "range": [theme.MUTED, theme.SERVED, theme.ALERT]}},
                 "shape": {"field": "kind", "type": "nominal", "legend": {"columnPadding": 40},
                           "scale": {"domain": kinds, "range": ["circle", "square", "triangle-up"]}},
             }},
            write("the limit of what is natural", date=first.date.isoformat(), value=first.limit, dx=4, dy=-8),
            write("what chance alone makes of 480 events", date=first.date.isoformat(), value=-first.chance,
                  dx=4, dy=12),
            write("served from here on", date=served, value=1.5, dx=6),
            write("a sensor in the sun", date=flagged.date.isoformat(), value=flagged.distance, dx=-10,
                  align="right"),
        ],
    }  # fmt: skip
    drawn = vegalite.svg({**theme.apply_theme(spec), "background": "var(--page)"}, vl_version=theme.VEGA_LITE)
    colors = dict(re.findall(r"(--[\w-]+): (#\w+);", THEME.read_text("utf-8").partition("@media")[0]))
    return re.sub(r"var\((--[\w-]+)\)", lambda name: colors[name[1]], drawn) + "\n"


def _name(day: Day) -> str:
    if not day.is_served:
        return TRAINED
    return FLAGGED if abs(day.distance) > day.limit else SERVED


def main() -> None:
    OUT.write_text(draw(measure_days()), "utf-8")


if __name__ == "__main__":
    main()
