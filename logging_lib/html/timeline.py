"""Draw charts over time for pages without a script; hours in which nothing happened are left out. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import orjson

from logging_lib._util.formatting import format_day, names_year
from logging_lib.html.charts import Drawing, band, level
from logging_lib.html.theme import ALERT, MUTED, SERVED, SHADOW, Spec

WIDTHS: Final = (980, 300)
MANY_GAPS: Final = 24
_COUNT_AXIS: Final[Spec] = {"tickCount": 4, "format": "~s"}
_DASHES: Final = ([1, 0], [5, 3], [2, 2])
_FLAG_SIZE: Final = 19
"""Pixels between the centers of neighboring flags, so that they do not touch."""
_FLAG: Final[Spec] = {
    "type": "point",
    "shape": "circle",
    "filled": True,
    "size": 230,
    "color": ALERT,
    "opacity": 1,
}


@dataclass(frozen=True)
class TimeAxis:
    """Positions of times on an axis without gaps.

    Attributes:
        times: one for each position.
        interval: the time between two positions, if none was left out.
        this_year: the current year; times of another year, or of several, are labeled with theirs.
    """

    times: tuple[datetime, ...]
    interval: timedelta
    this_year: int

    @property
    def gaps(self) -> list[int]:
        """Return the positions before which time was left out."""
        step = self.interval * 1.5
        return [i for i in range(1, len(self.times)) if self.times[i] - self.times[i - 1] > step]

    def stretch(self, place: int) -> int:
        """Return the number of gaps before a position: lines are drawn only within a stretch."""
        return sum(gap <= place for gap in self.gaps)

    def place(self, time: datetime) -> float | None:
        """Return a time's position: within a gap the gap's end, None if it is outside by over an interval."""
        if not self.times or time < self.times[0] or time > self.times[-1] + 2 * self.interval:
            return None
        i = sum(start <= time for start in self.times) - 1
        return i + min((time - self.times[i]) / self.interval, 1.0)

    def x(self, width: int) -> Spec:
        """Return the encoding of positions in a drawing of this width."""
        return {
            "field": "i", "type": "quantitative", "axis": self._labels(8 if width > 500 else 4),
            "scale": {"domain": [0, max(len(self.times), 1)], "nice": False, "zero": False},
        }  # fmt: skip

    def _labels(self, limit: int) -> Spec:
        """Label days, or hours if everything is within two days; thinned out evenly to ``limit``.

        If the hours are in another year, the first label names the day.
        """
        labels: dict[int, str] = {}
        last_text = ""
        span = self.times[-1] - self.times[0] if self.times else timedelta(0)
        year = bool(self.times) and names_year(self.times[0], self.times[-1], self.this_year)
        for i, time in enumerate(self.times):
            at = time.astimezone(UTC)
            if span <= timedelta(hours=36):
                text = f"{at:%H:%M}" if at.minute == 0 or span < timedelta(hours=3) or i == 0 else last_text
                if year and i == 0:
                    text = f"{format_day(at, year=True)} {text}"
            elif span > timedelta(days=300):
                text = f"{at:%b %Y}"
            else:
                text = format_day(at, year=year)
            if text != last_text:
                labels[i] = last_text = text
        thinned_labels = dict(list(labels.items())[:: -(-len(labels) // limit) or 1])
        texts = orjson.dumps({str(i): text for i, text in thinned_labels.items()}).decode()
        return {
            "values": list(thinned_labels), "labelExpr": f"{texts}[datum.value]", "labelAlign": "left",
            "labelOverlap": True, "labelFlush": False, "grid": False, "ticks": True, "tickSize": 5, "title": None,
        }  # fmt: skip


@dataclass(frozen=True)
class Point:
    """A value in one interval; ``error`` is half the height of its band, or None without a band."""

    time: datetime
    value: float
    error: float | None = None

    @property
    def ends(self) -> dict[str, float]:
        """Return the ends of the band."""
        return {} if self.error is None else {"low": self.value - self.error, "high": self.value + self.error}


@dataclass(frozen=True)
class Mark:
    """A numbered time, such as that of an alert."""

    time: datetime
    number: int


def lines(
    axis: TimeAxis,
    title: str,
    description: str,
    series: Mapping[str, Sequence[Point]],
    *,
    y_axis: Spec,
    y_scale: Spec | None = None,
    height: int,
    level_at: tuple[float, str] | None = None,
    marks: Sequence[Mark] = (),
    color: str | None = None,
    dashed: bool = False,
) -> Drawing:
    """Draw values over time as lines, with their bands, a dashed level and numbered marks.

    Args:
        series: name → its points; the first is the served one.
        y_axis, y_scale: Vega-Lite's properties of the vertical axis and its scale.
        level_at: a value and its name.
        color: the color of a single series.
        dashed: whether each series has its own dash pattern.
    """
    places = {time: i for i, time in enumerate(axis.times)}
    data: list[dict[str, Any]] = [
        {
            "i": places[point.time] + 0.5,
            "value": point.value,
            "series": name,
            "stretch": f"{name}-{axis.stretch(places[point.time])}",
            **point.ends,
        }
        for name, points in series.items()
        for point in points
        if point.time in places
    ]  # fmt: skip
    y: Spec = {"field": "value", "type": "quantitative", "axis": y_axis, "scale": y_scale or {}}
    look = {"domain": list(series), "range": [color] if color else [SERVED, SHADOW, ALERT][: len(series)]}
    legend = {"symbolType": "stroke", "symbolStrokeWidth": 2} if dashed else {}
    common: Spec = {
        "detail": {"field": "stretch"},
        "color": {
            "field": "series", "type": "nominal", "scale": look, "legend": legend if len(series) > 1 else None,
        },
    }  # fmt: skip
    if dashed:
        dashes = {"domain": list(series), "range": list(_DASHES[: len(series)])}
        common["strokeDash"] = {"field": "series", "type": "nominal", "scale": dashes, "legend": legend}
    line: Spec = {"type": "line"} if dashed else {"type": "line", "point": {"size": 14}}

    def build(width: int) -> Spec:
        x = axis.x(width)
        layers: list[Spec] = []
        if any("low" in row for row in data):
            area = {"type": "area", "opacity": 0.22}
            layers.append({"data": {"values": data}, "mark": area, "encoding": {**common, **band(x, y)}})
        layers.append({"data": {"values": data}, "mark": line, "encoding": {**common, "x": x, "y": y}})
        if level_at is not None:
            layers.append(level(*level_at, y, width=width))
        return {
            "width": width,
            "height": height,
            "layer": [*layers, *_draw_gap_rules(axis), *_draw_marks(axis, marks, width)],
        }

    return Drawing(title, description, tuple(build(width) for width in WIDTHS))


def bars(
    axis: TimeAxis,
    title: str,
    description: str,
    counts: Mapping[str, Sequence[float]],
    *,
    unit: str,
    marks: Sequence[Mark] = (),
) -> Drawing:
    """Draw counts over time as stacked bars; the second kind is a failure.

    Args:
        counts: kind → its count at each position.
        unit: the title of the vertical axis.
    """
    data = [
        {"i": i + 0.5, "kind": kind, "n": n}
        for position, (kind, numbers) in enumerate(counts.items())
        for i, n in enumerate(numbers)
        if n or not position
    ]
    several = len({row["kind"] for row in data}) > 1

    def build(width: int) -> Spec:
        stacked: Spec = {
            "data": {"values": data},
            "mark": {"type": "bar", "width": max(1.0, width / max(len(axis.times), 1) - 1.5)},
            "encoding": {
                "x": {**axis.x(width), "bandPosition": 0.5},
                "y": {"field": "n", "type": "quantitative", "axis": {"title": unit, **_COUNT_AXIS}},
                "color": {
                    "field": "kind", "type": "nominal", "legend": {} if several else None,
                    "scale": {"domain": list(counts), "range": [SERVED, ALERT]},
                },
            },
        }  # fmt: skip
        return {
            "width": width,
            "height": 120,
            "layer": [stacked, *_draw_gap_rules(axis), *_draw_marks(axis, marks, width)],
        }

    return Drawing(title, description, tuple(build(width) for width in WIDTHS))


def _draw_gap_rules(axis: TimeAxis) -> list[Spec]:
    gaps = axis.gaps
    if not gaps or len(gaps) > MANY_GAPS:
        return []
    return [
        {
            "data": {"values": [{"i": gap} for gap in gaps]},
            "mark": {"type": "rule", "strokeDash": [2, 3], "color": MUTED},
            "encoding": {"x": {"field": "i", "type": "quantitative"}},
        }
    ]


def _draw_marks(axis: TimeAxis, marks: Sequence[Mark], width: int) -> list[Spec]:
    """Draw numbered flags above the plot; flags that would overlap are placed in rows, one above the other."""
    pixels_per_place = width / max(len(axis.times), 1)
    row_ends: list[float] = []
    values = []
    for place, number in sorted(
        (place, mark.number) for mark in marks if (place := axis.place(mark.time)) is not None
    ):
        x = place * pixels_per_place
        row = next((row for row, end in enumerate(row_ends) if x - end >= _FLAG_SIZE), len(row_ends))
        row_ends[row : row + 1] = [x]
        values.append({"i": place, "number": str(number), "row": row})
    x_encoding: Spec = {"x": {"field": "i", "type": "quantitative"}}
    rules: list[Spec] = []
    flags: list[Spec] = []
    for row in range(len(row_ends)):
        y = -_FLAG_SIZE * row
        data = {"values": [value for value in values if value["row"] == row]}
        rule = {"type": "rule", "color": ALERT, "strokeWidth": 1.5, "y": y, "y2": "height"}
        text = {"type": "text", "color": "var(--page)", "fontWeight": "bold", "y": y, "dy": 1}
        rules.append({"data": data, "mark": rule, "encoding": x_encoding})
        flags += [
            {"data": data, "mark": {**_FLAG, "y": y}, "encoding": x_encoding},
            {"data": data, "mark": text, "encoding": {**x_encoding, "text": {"field": "number"}}},
        ]
    return [*rules, *flags]
