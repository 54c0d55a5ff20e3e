"""The report's drawings over time, as Vega-Lite. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

from logging_lib.dashboards.drawing import ALERT, MUTED, SERVED, SHADOW, Spec
from logging_lib.report.bars import Drawing
from logging_lib.report.model import Alert, Moment, Output, QualityMoment

WIDE, NARROW = 980, 300
_SERVED = "served"
_MANY_GAPS = 24


@dataclass(frozen=True)
class Clock:
    """Places of times on an axis without the hours in which nothing happened.

    Attributes:
        times: one a place.
        gaps: places before which time was left out.
    """

    times: tuple[datetime, ...]
    interval: timedelta

    @property
    def gaps(self) -> list[int]:
        step = self.interval * 1.5
        return [i for i in range(1, len(self.times)) if self.times[i] - self.times[i - 1] > step]

    def stretch(self, place: int) -> int:
        return sum(gap <= place for gap in self.gaps)

    def place(self, moment: datetime) -> float | None:
        """Where a moment lies; one within a gap is at the gap's end; None outside the axis by over an interval."""
        if not self.times or moment < self.times[0] or moment > self.times[-1] + 2 * self.interval:
            return None
        i = sum(time <= moment for time in self.times) - 1
        return i + min((moment - self.times[i]) / self.interval, 1.0)

    def axis(self, most: int) -> Spec:
        """Labels at days, or at hours where all is within two days; evenly thinned out to ``most``."""
        labels: dict[int, str] = {}
        last = ""
        span = self.times[-1] - self.times[0]
        for i, time in enumerate(self.times):
            at = time.astimezone(UTC)
            if span <= timedelta(hours=36):
                text = f"{at:%H:%M}" if at.minute == 0 or span < timedelta(hours=3) or i == 0 else last
            elif span > timedelta(days=300):
                text = f"{at:%b %Y}"
            else:
                text = f"{at.day} {at:%b}"
            if text != last:
                labels[i] = last = text
        step = -(-len(labels) // most)
        chosen = dict(list(labels.items())[::step])
        return {
            "values": list(chosen),
            "labelExpr": f"{orjson.dumps({str(i): text for i, text in chosen.items()}).decode()}[datum.value]",
            "labelAlign": "left",
            "labelOverlap": True,
            "labelFlush": False,
            "grid": False,
            "ticks": True,
            "tickSize": 5,
            "title": None,
        }


def traffic(clock: Clock, moments: Sequence[Moment], alerts: Sequence[Alert]) -> Drawing:
    """Predictions an interval, the failed ones apart, and when alerts were told, by number."""
    data = [
        {"i": i, "kind": kind, "n": n}
        for i, moment in enumerate(moments)
        for kind, n in (("answered", moment.predictions - moment.failures), ("failed", moment.failures))
        if n or kind == "answered"
    ]
    marks = [
        {"i": place, "number": str(alert.number)}
        for alert in alerts
        for place in [clock.place(alert.times[0])]
        if place is not None
    ]
    failed = any(moment.failures for moment in moments)

    def build(width: int) -> Spec:
        bars: Spec = {
            "data": {"values": data},
            "mark": {"type": "bar", "width": max(1.0, width / max(len(moments), 1) - 1.5)},
            "encoding": {
                "x": {**_x(clock, width), "bandPosition": 0.5},
                "y": {
                    "field": "n", "type": "quantitative",
                    "axis": {"title": "predictions", "tickCount": 4, "format": "~s"},
                },
                "color": {
                    "field": "kind", "type": "nominal",
                    "scale": {"domain": ["answered", "failed"], "range": [SERVED, ALERT]},
                    "legend": {} if failed else None,
                },
            },
            "transform": [{"calculate": "datum.i + 0.5", "as": "i"}],
        }  # fmt: skip
        return {
            "width": width, "height": 120,
            "layer": [bars, *_gap_rules(clock), *_alert_marks(marks)],
        }  # fmt: skip

    said = (
        f"{sum(m.predictions for m in moments):,.0f} predictions in {len(moments)} intervals; "
        f"{len(marks)} alerts are marked."
    )
    return Drawing("Predictions over time, and alerts", said, (build(WIDE), build(NARROW)))


def rate(
    clock: Clock,
    title: str,
    points: Sequence[float | None],
    expected: float | None,
    marks: Sequence[Alert] = (),
) -> Drawing:
    """How often a check failed in each interval, with what held-out rows let expect."""
    data = [{"i": i + 0.5, "v": v, "s": clock.stretch(i)} for i, v in enumerate(points) if v is not None]
    numbers = [
        {"i": place, "number": str(alert.number)}
        for alert in marks
        for place in [clock.place(alert.times[0])]
        if place is not None
    ]

    def build(width: int) -> Spec:
        y = {
            "field": "v", "type": "quantitative", "scale": {"domainMin": 0},
            "axis": {"format": ".0%" if not points or max((v or 0) for v in points) > 0.05 else ".1%",
                     "title": None, "tickCount": 4},
        }  # fmt: skip
        layers: list[Spec] = [
            {
                "data": {"values": data},
                "mark": {"type": "line", "color": ALERT, "point": {"size": 14, "color": ALERT}},
                "encoding": {"x": _x(clock, width), "y": y, "detail": {"field": "s"}},
            }
        ]
        if expected is not None:
            layers.append(_level(expected, "training", y, width))
        return {"width": width, "height": 110, "layer": [*layers, *_gap_rules(clock), *_alert_marks(numbers)]}

    highest = max((v for v in points if v is not None), default=0.0)
    usual = f"; {expected:.1%} is expected" if expected is not None else ""
    return Drawing(title, f"The highest rate is {highest:.1%}{usual}.", (build(WIDE), build(NARROW)))


def mean(
    clock: Clock,
    moments: Sequence[Moment],
    output: Output | None,
    other: Sequence[Moment] = (),
    other_name: str = "",
) -> Drawing | None:
    """The prediction's mean in each interval with its standard-error band, and training's mean."""
    points = [(i, m) for i, m in enumerate(moments) if m.mean is not None]
    if not points:
        return None
    data: list[dict[str, Any]] = [
        {"i": i + 0.5, "v": m.mean, "lo": m.mean - 2 * (m.error or 0), "hi": m.mean + 2 * (m.error or 0),
         "s": clock.stretch(i), "who": _SERVED}
        for i, m in points if m.mean is not None
    ]  # fmt: skip
    by_time = {time: i for i, time in enumerate(clock.times)}
    data += [
        {"i": by_time[m.time] + 0.5, "v": m.mean, "lo": m.mean - 2 * (m.error or 0),
         "hi": m.mean + 2 * (m.error or 0), "s": 1000 + clock.stretch(by_time[m.time]), "who": other_name}
        for m in other if m.mean is not None and m.time in by_time
    ]  # fmt: skip
    trained = output.trained_mean if output else None
    color = {
        "field": "who", "type": "nominal",
        "scale": {"domain": [_SERVED, other_name], "range": [SERVED, SHADOW]}
        if other_name
        else {"range": [SERVED]},
        "legend": {} if other_name else None,
    }  # fmt: skip

    def build(width: int) -> Spec:
        y = {
            "field": "v", "type": "quantitative", "scale": {"zero": False, "nice": True},
            "axis": {"title": "mean of the prediction", "tickCount": 5},
        }  # fmt: skip
        x = _x(clock, width)
        layers: list[Spec] = [
            {
                "data": {"values": data},
                "mark": {"type": "area", "opacity": 0.22},
                "encoding": {
                    "x": x, "y": {**y, "field": "lo"}, "y2": {"field": "hi"},
                    "detail": {"field": "s"}, "color": color,
                },
            },
            {
                "data": {"values": data},
                "mark": {"type": "line", "point": {"size": 14}},
                "encoding": {"x": x, "y": y, "detail": {"field": "s"}, "color": color},
            },
        ]  # fmt: skip
        if trained is not None:
            layers.append(_level(trained, "training", y, width))
        return {"width": width, "height": 150, "layer": [*layers, *_gap_rules(clock)]}

    values = [row["v"] for row in data]
    said = f"The mean lies between {min(values):.4g} and {max(values):.4g}; the band is two standard errors wide."
    if trained is not None:
        said += f" Training's mean is {trained:.4g}."
    return Drawing("Mean of the prediction over time", said, (build(WIDE), build(NARROW)))


def latency(clock: Clock, moments: Sequence[Moment]) -> Drawing | None:
    """Percentiles of the latency in each interval."""
    names = {"50": "p50", "95": "p95", "99": "p99"}
    data: list[dict[str, Any]] = [
        {"i": i + 0.5, "v": m.latency[p], "p": name, "s": f"{name}-{clock.stretch(i)}"}
        for i, m in enumerate(moments)
        for p, name in names.items()
        if p in m.latency
    ]
    if not data:
        return None

    def build(width: int) -> Spec:
        line: Spec = {
            "data": {"values": data},
            "mark": {"type": "line"},
            "encoding": {
                "x": _x(clock, width),
                "y": {"field": "v", "type": "quantitative", "axis": {"title": "milliseconds", "tickCount": 4}},
                "detail": {"field": "s"},
                "color": {
                    "field": "p", "type": "nominal",
                    "scale": {"domain": list(names.values()), "range": [SERVED, SHADOW, ALERT]},
                },
                "strokeDash": {
                    "field": "p", "type": "nominal",
                    "scale": {"domain": list(names.values()), "range": [[1, 0], [5, 3], [2, 2]]},
                    "legend": {"symbolType": "stroke", "symbolStrokeWidth": 2},
                },
            },
        }  # fmt: skip
        line["encoding"]["color"]["legend"] = {"symbolType": "stroke", "symbolStrokeWidth": 2}
        return {"width": width, "height": 130, "layer": [line, *_gap_rules(clock)]}

    highest = max(row["v"] for row in data)
    return Drawing(
        "Latency over time", f"The highest percentile is {highest:.4g} ms.", (build(WIDE), build(NARROW))
    )


def quality(
    interval: timedelta, measure: str, moments: Sequence[QualityMoment], trained: float | None
) -> Drawing | None:
    """The measure by the time of the predictions, with its standard error, and that of held-out rows."""
    if not moments:
        return None
    clock = Clock(tuple(m.time for m in moments), interval)
    data = [
        {
            "i": i + 0.5,
            "v": m.value,
            "lo": m.value - 2 * m.error,
            "hi": m.value + 2 * m.error,
            "s": clock.stretch(i),
        }
        for i, m in enumerate(moments)
    ]

    def build(width: int) -> Spec:
        y = {
            "field": "v", "type": "quantitative", "scale": {"zero": False},
            "axis": {"title": measure, "tickCount": 4},
        }  # fmt: skip
        x = _x(clock, width)
        layers: list[Spec] = [
            {
                "data": {"values": data}, "mark": {"type": "area", "opacity": 0.22},
                "encoding": {"x": x, "y": {**y, "field": "lo"}, "y2": {"field": "hi"}, "detail": {"field": "s"}},
            },
            {
                "data": {"values": data}, "mark": {"type": "line", "point": {"size": 14}},
                "encoding": {"x": x, "y": y, "detail": {"field": "s"}},
            },
        ]  # fmt: skip
        if trained is not None:
            layers.append(_level(trained, "held-out rows", y, width))
        return {"width": width, "height": 130, "layer": [*layers, *_gap_rules(clock)]}

    values = [m.value for m in moments]
    said = f"The {measure} lies between {min(values):.4g} and {max(values):.4g}, the band is two standard errors."
    return Drawing(f"{measure.capitalize()} over time", said, (build(WIDE), build(NARROW)))


def courses(moments: Sequence[Moment], value: Callable[[Moment], float | None]) -> list[float | None]:
    """A value of each moment."""
    return [value(moment) for moment in moments]


def _x(clock: Clock, width: int) -> Spec:
    return {
        "field": "i",
        "type": "quantitative",
        "scale": {"domain": [0, max(len(clock.times), 1)], "nice": False, "zero": False},
        "axis": clock.axis(8 if width > 500 else 4),
    }


def _gap_rules(clock: Clock) -> list[Spec]:
    gaps = clock.gaps
    if not gaps or len(gaps) > _MANY_GAPS:
        return []
    return [
        {
            "data": {"values": [{"i": gap} for gap in gaps]},
            "mark": {"type": "rule", "strokeDash": [2, 3], "color": MUTED},
            "encoding": {"x": {"field": "i", "type": "quantitative"}},
        }
    ]


def _alert_marks(marks: Sequence[Mapping[str, Any]]) -> list[Spec]:
    if not marks:
        return []
    x = {"field": "i", "type": "quantitative"}
    return [
        {
            "data": {"values": list(marks)},
            "mark": {"type": "rule", "color": ALERT, "strokeWidth": 1.5},
            "encoding": {"x": x},
        },
        {
            "data": {"values": list(marks)},
            "mark": {"type": "point", "shape": "circle", "filled": True, "size": 230, "color": ALERT, "opacity": 1,
                     "y": 0},
            "encoding": {"x": x},
        },
        {
            "data": {"values": list(marks)},
            "mark": {"type": "text", "color": "var(--page)", "fontWeight": "bold", "y": 0, "dy": 1},
            "encoding": {"x": x, "text": {"field": "number"}},
        },
    ]  # fmt: skip


def _level(value: float, name: str, y: Mapping[str, Any], width: int) -> Spec:
    """A dashed line at a value, named at its right end."""
    return {
        "data": {"values": [{"v": value, "name": name}]},
        "layer": [
            {
                "mark": {"type": "rule", "strokeDash": [5, 4], "color": MUTED, "strokeWidth": 1.3},
                "encoding": {"y": {**y, "field": "v"}},
            },
            {
                "mark": {
                    "type": "text",
                    "align": "right",
                    "baseline": "bottom",
                    "dx": -3,
                    "dy": -2,
                    "x": width,
                },
                "encoding": {"y": {**y, "field": "v"}, "text": {"field": "name"}},
            },
        ],
    }
