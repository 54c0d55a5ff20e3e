"""Build the charts of all pages, as Vega-Lite: bins, lines with bands, heat maps, rankings. Pure.

A page with a script draws them itself, as wide as their column; all other pages contain them as SVG (``draw``).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from markupsafe import Markup

from logging_lib.html.theme import ALERT, MUTED, SERIES, SERVED, TEXT, TRAINED, Spec, draw_svg

WIDE: Final = 560
NARROW: Final = 185
FAILED: Final = "failed a check"
MAX_LEGEND: Final = 34
"""The number of characters that fit side by side above the bars; longer names are placed below each other."""
_SHARE_AXIS: Final[Spec] = {"format": ".0%", "title": None, "tickCount": 4, "labelOverlap": True}
_CELL: Final = {"x": "at", "y": "what", "value": "events"}
_TIMES: Final = {
    "milliseconds": ".%L", "seconds": ":%S", "minutes": "%H:%M", "hours": "%H:%M", "date": "%-d %b",
    "week": "%-d %b", "month": "%b", "quarter": "%b", "year": "%Y",
}  # fmt: skip


@dataclass(frozen=True)
class Drawing:
    """A chart for a page without a script.

    Attributes:
        specs: the chart for a wide column and, if it needs another shape, the same for a narrow one.
    """

    title: str
    description: str
    specs: tuple[Spec, ...]


def draw(drawing: Drawing | None, ident: str) -> dict[str, Any] | None:
    """Draw a chart in the form that the templates use; ``ident`` is unique within the page."""
    if drawing is None:
        return None
    svgs = [
        Markup(draw_svg(spec, ident=f"{ident}-{i}", title=drawing.title, description=drawing.description))  # noqa: S704
        for i, spec in enumerate(drawing.specs)
    ]
    return {"title": drawing.title, "svgs": svgs}


def bins(
    labels: Sequence[str],
    samples: Mapping[str, Sequence[float | None]],
    *,
    failed: Collection[int] = (),
    width: int | str = "container",
    title: str = "",
) -> Spec:
    """Draw the shares of bins as bars: the first of two samples thick and gray, the second thin on top of it.

    With more samples, the bars are below each other.

    Args:
        labels: the bins' names, in order.
        samples: name → shares, shape (bins,); None where the sample has no such bin.
        failed: indices of bins that are failed checks.
        width: pixels, or ``container``.
    """
    unique = _make_unique(labels)
    names = list(samples)
    colors = dict(zip(names, (TRAINED, SERVED) if len(names) == 2 else SERIES, strict=False))
    data = [
        {
            "bin": unique[i],
            "sample": name,
            "who": FAILED if i in failed and name == names[-1] else name,
            "share": share or 0.0,
        }
        for name, shares in samples.items()
        for i, share in enumerate(shares)
    ]
    if any(row["who"] == FAILED for row in data):
        colors[FAILED] = ALERT
    is_overlaid = len(names) < 3
    encoding = {
        "x": {
            "field": "share", "type": "quantitative",
            "axis": _SHARE_AXIS,
        },
        "y": {"field": "bin", "type": "nominal", "sort": unique, "axis": _label_axis(width)},
        "color": {
            "field": "who", "type": "nominal",
            "legend": {"columns": 1} if sum(map(len, colors)) > MAX_LEGEND else {},
            "scale": {"domain": list(colors), "range": [colors[name] for name in colors]},
        },
        "tooltip": [{"field": "bin"}, {"field": "sample", "title": "of"}, {"field": "share", "format": ".2%"}],
    }  # fmt: skip
    spec: Spec = {
        **_rows(len(unique) * (1 if is_overlaid else max(1, len(names) * 8 / 18)), width),
        **_heading(title),
        "padding": {"left": 2, "top": 2, "bottom": 2, "right": 20},
    }
    if not is_overlaid:
        encoding["yOffset"] = {"field": "sample", "type": "nominal", "sort": names}
        return {
            **spec,
            "data": {"values": data},
            "mark": {"type": "bar", "tooltip": True},
            "encoding": encoding,
        }
    return {
        **spec,
        "layer": [
            {
                "data": {"values": [row for row in data if row["sample"] == name]},
                "mark": {"type": "bar", "height": height, "tooltip": True},
                "encoding": encoding,
            }
            for name, height in zip(names, (13, 6), strict=False)
        ],
    }


def ranking(values: Mapping[str, float], chosen: str, title: str) -> Spec:
    """Draw shares by name, the largest first, the chosen one in another color; a click chooses one."""
    names = list(values)
    data = [{"feature": name, "moved": value, "is": name == chosen} for name, value in values.items()]
    return {
        **_heading(title, weight="normal"),
        **_rows(len(names), "container"),
        "data": {"values": data},
        "mark": {"type": "bar", "tooltip": True, "cursor": "pointer"},
        "encoding": {
            "y": {"field": "feature", "type": "nominal", "sort": names, "axis": _label_axis("container")},
            "x": {"field": "moved", "type": "quantitative", "axis": _SHARE_AXIS},
            "color": {"condition": {"test": "datum.is", "value": ALERT}, "value": SERVED},
            "tooltip": [{"field": "feature"}, {"field": "moved", "format": ".2%"}],
        },
    }  # fmt: skip


def heat_map(rows: Sequence[Mapping[str, Any]], names: Sequence[str], *, over_time: bool) -> Spec:
    """Draw ``value`` at ``x`` and ``y`` by opacity.

    Args:
        names: the values of ``y``, in order.
        over_time: whether ``x`` is a time as ISO 8601.
    """
    label_expression = "utcFormat(toDate(datum.label), '%-d %b %H:%M')" if over_time else "datum.label"
    axis = {
        "title": None,
        "labelOverlap": True,
        "labelAngle": 0,
        "tickCount": 6,
        "labelExpr": label_expression,
    }
    return {
        **_rows(len(names), "container"),
        "height": 18 * len(names) + 24,
        "data": {"values": sorted(rows, key=lambda row: str(row["x"])) if over_time else list(rows)},
        "mark": {"type": "rect", "color": SERVED, "tooltip": True},
        "encoding": {
            "x": {"field": "x", "type": "ordinal", "sort": None, "axis": axis},
            "y": {"field": "y", "type": "nominal", "sort": list(names), "axis": {"title": None, "labelLimit": 110}},
            "opacity": {"field": "value", "type": "quantitative", "scale": {"range": [0.04, 1]}, "legend": None},
            "tooltip": [{"field": field, "title": title} for field, title in _CELL.items()],
        },
    }  # fmt: skip


def series(
    rows: Sequence[Mapping[str, Any]],
    *,
    mark: str,
    y: Spec,
    height: int,
    over_time: bool,
    columns: Mapping[str, str],
    levels: Sequence[tuple[float, str]] = (),
    expected: Mapping[str, float] | None = None,
) -> Spec:
    """Draw ``value`` by ``x`` as lines, areas or bars, one per ``series``, with a band if rows have ``low``.

    Args:
        mark: ``line``, ``area`` or ``bar``.
        y: the encoding of ``value``, without its field.
        over_time: whether ``x`` is a time as ISO 8601.
        columns: field → its name in the tooltip.
        levels: (value, name) of dashed lines.
        expected: series → its usual value, drawn as a dashed line in the series' color.
    """
    value: Spec = {"field": "value", "type": "quantitative", **y}
    x = _x(mark, over_time=over_time)
    color = _colors(str(row["series"]) for row in rows)
    style: Spec = {"type": mark, "tooltip": True}
    if mark == "line":
        style["point"] = {"size": 18}
    elif mark == "area":
        style |= {"line": False, "opacity": 0.75}
    elif over_time:
        style |= {"binSpacing": 1, "width": {"band": 0.8}}
    layers: list[Spec] = []
    if any(row.get("low") is not None for row in rows):
        layers.append({"mark": {"type": "area", "opacity": 0.2},
                       "encoding": {**band(_x("area", over_time=over_time), value), "color": color}})  # fmt: skip
    layers.append(
        {"mark": style, "encoding": {"x": x, "y": value, "color": color, "tooltip": _tooltip(columns)}}
    )
    if expected:
        layers.append(
            {
                "data": {"values": [{"series": name, "value": share} for name, share in expected.items()]},
                "mark": {"type": "rule", "strokeDash": [5, 4], "tooltip": True},
                "encoding": {
                    "y": value, "color": color,
                    "tooltip": [{"field": "series", "title": "expected of"}, {"field": "value", "title": "share"}],
                },
            }
        )  # fmt: skip
    layers += [level(number, name, value) for number, name in levels]
    return {
        "width": "container", "height": height, "autosize": {"type": "fit-x", "contains": "padding"},
        "data": {"values": list(rows)}, "layer": layers,
    }  # fmt: skip


def reliability(points: Sequence[Mapping[str, Any]], curve: Sequence[tuple[float, float]]) -> Spec:
    """Draw probabilities against the observed share, beside the line on which both are equal.

    Args:
        points: ``expected`` and ``observed``, and ``low`` and ``high`` of the latter's interval; each 0 to 1.
        curve: (probability, share) from the profile, drawn as a line; may be empty.
    """

    def axis(field: str, title: str) -> Spec:
        scale = {"domain": [0, 1], "nice": False}
        return {"field": field, "type": "quantitative", "scale": scale,
                "axis": {"title": title, "format": ".0%", "tickCount": 5}}  # fmt: skip

    x, y = axis("expected", "probability"), axis("observed", "observed share")
    names = ["profile", "served"] if curve else ["served"]
    color = {
        "field": "who", "type": "nominal",
        "scale": {"domain": names, "range": [TRAINED, SERVED] if curve else [SERVED]}, "legend": {},
    }  # fmt: skip
    diagonal = [{"expected": 0, "observed": 0}, {"expected": 1, "observed": 1}]
    lines = [{"who": "profile", "expected": score, "observed": rate} for score, rate in curve]
    served = [
        {"who": "served", **{name: point[name] for name in ("expected", "observed", "low", "high")}}
        for point in points
    ]
    tooltip = [
        {"field": "expected", "title": "probability", "format": ".1%"},
        {"field": "observed", "title": "share", "format": ".1%"},
    ]
    return {
        "width": 230, "height": 230, "padding": {"left": 2, "top": 2, "bottom": 2, "right": 20},
        "layer": [
            {"data": {"values": diagonal}, "encoding": {"x": x, "y": y},
             "mark": {"type": "line", "strokeDash": [5, 4], "strokeWidth": 1, "color": MUTED}},
            {"data": {"values": lines}, "mark": {"type": "line", "strokeWidth": 1.5},
             "encoding": {"x": x, "y": y, "color": color}},
            {"data": {"values": served}, "mark": {"type": "rule", "strokeWidth": 1.5},
             "encoding": {"x": x, "y": {**y, "field": "low"}, "y2": {"field": "high"}, "color": color}},
            {"data": {"values": served}, "mark": {"type": "point", "filled": True, "size": 45, "tooltip": True},
             "encoding": {"x": x, "y": y, "color": color, "tooltip": tooltip}},
        ],
    }  # fmt: skip


def band(x: Spec, y: Spec) -> Spec:
    """Return the encoding of an area from ``low`` to ``high``."""
    return {"x": x, "y": {**y, "field": "low"}, "y2": {"field": "high"}}


def level(value: float, name: str, y: Spec, *, width: int | None = None) -> Spec:
    """Draw a dashed line at a value, labeled at its left end or, in a drawing of that width, at its right end."""
    at_value = {"y": {**y, "field": "level"}}
    place = {"align": "left", "dx": 4, "x": 0} if width is None else {"align": "right", "dx": -3, "x": width}
    return {
        "data": {"values": [{"level": value, "name": name}]},
        "layer": [
            {"mark": {"type": "rule", "strokeDash": [5, 4], "strokeWidth": 1.3}, "encoding": at_value},
            {
                "mark": {"type": "text", "baseline": "bottom", "dy": -2, **place},
                "encoding": {**at_value, "text": {"field": "name"}},
            },
        ],
    }  # fmt: skip


def _make_unique(labels: Sequence[str]) -> list[str]:
    """Distinguish long labels that were cut to the same text by invisible spaces: they would be one bar."""
    seen: dict[str, None] = {}
    for label in labels:
        text = label
        while text in seen:
            text += "\u200b"
        seen[text] = None
    return list(seen)


def _rows(number: float, width: int | str) -> Spec:
    size: Spec = {"width": width, "height": 18 * number}
    return size | ({"autosize": {"type": "fit-x", "contains": "padding"}} if width == "container" else {})


def _heading(text: str, *, weight: str = "bold") -> Spec:
    title = {
        "text": text,
        "color": TEXT,
        "fontSize": 12,
        "anchor": "start",
        "limit": 300,
        "fontWeight": weight,
    }
    return {"title": title} if text else {}


def _label_axis(width: int | str) -> Spec:
    axis: Spec = {"title": None, "labelLimit": 130, "labelColor": TEXT}
    # The reader's font can be wider than the font that the drawing was measured with.
    return axis if width == "container" else {**axis, "labelLimit": 108, "minExtent": 128, "maxExtent": 128}


def _x(mark: str, *, over_time: bool) -> Spec:
    if not over_time:
        return {"field": "x", "type": "nominal", "sort": None, "axis": {"title": None, "labelLimit": 120}}
    if mark == "bar":
        axis: Spec = {"title": None, "labelOverlap": True, "format": "%-d %b %H:%M", "labelAngle": 0}
        return {
            "field": "x",
            "type": "ordinal",
            "timeUnit": "utcyearmonthdatehoursminutesseconds",
            "axis": axis,
        }
    axis = {"title": None, "labelOverlap": True, "tickCount": 6, "grid": False, "format": _TIMES}
    return {"field": "x", "type": "temporal", "scale": {"type": "utc"}, "axis": axis}


def _colors(names: Iterable[str]) -> Spec:
    domain = list(dict.fromkeys(names))
    few = len(domain) <= len(SERIES)
    return {
        "field": "series", "type": "nominal",
        "scale": {"domain": domain, "range": list(SERIES)} if few else {"domain": domain, "scheme": "tableau20"},
        "legend": {"labelLimit": 150, "columns": 3, "symbolLimit": 12} if len(domain) > 1 else None,
    }  # fmt: skip


def _tooltip(columns: Mapping[str, str]) -> list[Spec]:
    time = {"type": "temporal", "format": "%-d %b %Y, %H:%M:%S"}
    return [
        {"field": field, "title": title, **(time if field == "x" else {})} for field, title in columns.items()
    ]
