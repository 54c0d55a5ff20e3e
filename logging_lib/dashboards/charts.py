"""A panel's rows as Vega-Lite, for a page without Kibana. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from logging_lib.dashboards.drawing import ALERT, MUTED, SERIES, SERVED, TEXT, TRAINED, Spec
from logging_lib.dashboards.formula import Operation
from logging_lib.dashboards.queries import BEFORE
from logging_lib.dashboards.spec import TIME, Metric, Panel
from logging_lib.dashboards.tables import Row, natural
from logging_lib.dashboards.words import bin_label


def specs(panel: Panel, rows: Sequence[Row], feature: str | None) -> list[Spec]:
    """What draws a panel that is neither a number nor a table.

    Args:
        feature: the chosen one, for ``bins``.
    """
    if panel.chart == "rates":
        return [_rates(panel, rows)]
    if panel.chart == "bins":
        return _bins(panel, rows, feature)
    if panel.chart == "heatmap":
        return [_heatmap(panel, rows)]
    return [_series(panel, rows)]


def _axis(metric: Metric | None) -> tuple[str, float]:
    """(d3's number format, factor) of a metric's values on an axis."""
    form = metric.format if metric else "number"
    if form == "percent":
        return ".1~%", 1.0
    if form == "ns":
        return ",.4~r", 1e-6
    return ("~s", 1.0) if form in ("bytes", "s") else (",.4~r", 1.0)


def _title(metric: Metric | None) -> str | None:
    if metric is None:
        return None
    if metric.format == "number" and isinstance(metric.parsed, Operation):
        return {"per_minute": "a minute"}.get(metric.parsed.name)
    return {"ns": "milliseconds", "bytes": "bytes", "s": "seconds"}.get(metric.format)


def _colors(names: Iterable[str]) -> Spec:
    domain = list(dict.fromkeys(names))
    scale: Spec = (
        {"domain": domain, "range": list(SERIES)}
        if len(domain) <= len(SERIES)
        else {"domain": domain, "scheme": "tableau20"}
    )
    return {
        "field": "series", "type": "nominal", "scale": scale,
        "legend": {"labelLimit": 150, "columns": 3, "symbolLimit": 12} if len(domain) > 1 else None,
    }  # fmt: skip


def _base(panel: Panel) -> Spec:
    return {
        "width": "container",
        "height": max(110, panel.height * 20 - 90),
        "autosize": {"type": "fit-x", "contains": "padding"},
    }


_TIMES = {
    "milliseconds": ".%L", "seconds": ":%S", "minutes": "%H:%M", "hours": "%H:%M", "date": "%-d %b",
    "week": "%-d %b", "month": "%b", "quarter": "%b", "year": "%Y",
}  # fmt: skip


def _rows_of(number: int) -> Spec:
    return {"width": "container", "height": 18 * number, "autosize": {"type": "fit-x", "contains": "padding"}}


def _x(panel: Panel) -> Spec:
    if panel.x == TIME:
        return {
            "field": "x", "type": "temporal", "scale": {"type": "utc"},
            "axis": {"title": None, "labelOverlap": True, "tickCount": 6, "grid": False, "format": _TIMES},
        }  # fmt: skip
    return {"field": "x", "type": "nominal", "sort": None, "axis": {"title": None, "labelLimit": 120}}


def _tooltip(names: Mapping[str, str]) -> list[Spec]:
    return [
        {
            "field": field,
            "title": title,
            **({"type": "temporal", "format": "%-d %b %Y, %H:%M:%S"} if field == "x" else {}),
        }
        for field, title in names.items()
    ]


def _series(panel: Panel, rows: Sequence[Row]) -> Spec:
    metric = panel.numbers[0] if panel.numbers else None
    form, factor = _axis(metric)
    data = [
        {
            **row,
            **{name: row[name] * factor for name in ("value", "low", "high") if row.get(name) is not None},
        }
        for row in rows
    ]
    color = _colors(str(row["series"]) for row in rows)
    stack: Any = {"no": None, "yes": "zero", "share": "normalize"}[panel.stack]
    y = {
        "field": "value", "type": "quantitative",
        "axis": {"format": "%" if panel.stack == "share" else form, "title": _title(metric), "tickCount": 5},
        "stack": stack if panel.chart in ("area", "bar") else None,
        "scale": _scale(panel, metric, data),
    }  # fmt: skip
    shown = (
        {"x": "at", "series": "series", "value": "value"}
        if panel.x == TIME
        else {"series": "series", "value": "value"}
    )
    mark: Spec = {"type": panel.chart, "tooltip": True}
    if panel.chart == "line":
        mark["point"] = {"size": 18}
    if panel.chart == "area":
        mark |= {"line": False, "opacity": 0.75}
    if panel.chart == "bar" and panel.x == TIME:
        mark |= {"binSpacing": 1, "width": {"band": 0.8}}
    encoding: Spec = {"x": _x(panel), "y": y, "color": color, "tooltip": _tooltip(shown)}
    if panel.chart == "bar" and panel.x == TIME:
        encoding["x"] = {**_x(panel), "type": "ordinal", "timeUnit": "utcyearmonthdatehoursminutesseconds"}
        encoding["x"]["axis"] = {
            "title": None,
            "labelOverlap": True,
            "format": "%-d %b %H:%M",
            "labelAngle": 0,
        }
        encoding["x"].pop("scale")
    layers: list[Spec] = []
    if any(row.get("low") is not None for row in data):
        layers.append(
            {
                "mark": {"type": "area", "opacity": 0.2},
                "encoding": {
                    "x": _x(panel), "y": {**y, "field": "low"}, "y2": {"field": "high"}, "color": color,
                },
            }
        )  # fmt: skip
    layers.append({"mark": mark, "encoding": encoding})
    layers += [_reference(reference.value * factor, reference.label) for reference in panel.references]
    return {**_base(panel), "data": {"values": data}, "layer": layers}


def _scale(panel: Panel, metric: Metric | None, data: Sequence[Row]) -> Spec:
    if _form(metric) != "number" and not any(row["value"] for row in data):
        return {"domain": [0, 0.01 if _form(metric) == "percent" else 1]}  # a flat line lies at the bottom
    return {"zero": panel.chart != "line" or _form(metric) != "number"}


def _form(metric: Metric | None) -> str:
    return "number" if metric is None else metric.format


def _reference(value: float, name: str) -> Spec:
    y = {"field": "v", "type": "quantitative"}
    return {
        "data": {"values": [{"v": value, "name": name}]},
        "layer": [
            {"mark": {"type": "rule", "strokeDash": [5, 4], "color": MUTED}, "encoding": {"y": y}},
            {
                "mark": {"type": "text", "align": "left", "baseline": "bottom", "dx": 4, "x": 0},
                "encoding": {"y": y, "text": {"field": "name"}},
            },
        ],
    }


def _rates(panel: Panel, rows: Sequence[Row]) -> Spec:
    color = _colors(str(row["series"]) for row in rows)
    axis = {"format": ".1~%", "title": None, "tickCount": 5}
    expected = {row["series"]: row["expected"] for row in rows if row["expected"] is not None}
    layers: list[Spec] = [
        {
            "data": {"values": list(rows)},
            "mark": {"type": "line", "point": {"size": 18}, "tooltip": True},
            "encoding": {
                "x": _x(panel), "y": {"field": "value", "type": "quantitative", "axis": axis}, "color": color,
                "tooltip": _tooltip({"x": "at", "series": "feature", "value": "share", "expected": "training"}),
            },
        }
    ]  # fmt: skip
    if expected:
        values = [{"series": name, "value": share} for name, share in expected.items()]
        layers.append(
            {
                "data": {"values": values},
                "mark": {"type": "rule", "strokeDash": [5, 4], "tooltip": True},
                "encoding": {
                    "y": {"field": "value", "type": "quantitative", "axis": axis}, "color": color,
                    "tooltip": [{"field": "series", "title": "expected of"}, {"field": "value", "title": "share"}],
                },
            }
        )  # fmt: skip
    return {**_base(panel), "layer": layers}


def _heatmap(panel: Panel, rows: Sequence[Row]) -> Spec:
    names = [bin_label(name) for name in sorted({str(row["y"]) for row in rows}, key=natural)]
    shown = [{**row, "y": bin_label(str(row["y"]))} for row in rows]
    encoding: Spec = {
        "x": {
            "field": "x", "type": "ordinal", "sort": None,
            "axis": {"title": None, "labelOverlap": True, "labelAngle": 0, "tickCount": 6,
                     "labelExpr": "utcFormat(toDate(datum.label), '%-d %b %H:%M')" if panel.x == TIME
                     else "datum.label"},
        },
        "y": {"field": "y", "type": "nominal", "sort": names, "axis": {"title": None, "labelLimit": 110}},
        "opacity": {"field": "value", "type": "quantitative", "scale": {"range": [0.04, 1]}, "legend": None},
        "tooltip": [{"field": "x", "title": "at"}, {"field": "y", "title": "what"},
                    {"field": "value", "title": "events"}],
    }  # fmt: skip
    ordered = sorted(shown, key=lambda row: str(row["x"])) if panel.x == TIME else shown
    return {
        **_base(panel),
        "height": 18 * len(names) + 24,
        "data": {"values": ordered},
        "mark": {"type": "rect", "color": SERVED, "tooltip": True},
        "encoding": encoding,
    }


def _bins(panel: Panel, rows: Sequence[Row], feature: str | None) -> list[Spec]:
    """How far each feature moved, and the bins of the chosen one or of that which moved most."""
    distances = {str(row["feature"]): row["distance"] or 0.0 for row in rows}
    ranked = sorted(distances, key=lambda name: -distances[name])[: panel.size]
    chosen = feature if feature in distances else panel.feature if panel.feature in distances else ranked[0]
    of_chosen = [row for row in rows if row["feature"] == chosen]
    trained = any(row["training"] is not None for row in of_chosen)
    base_name = "training" if trained else f"{BEFORE.days} days before"
    base = "training" if trained else "before"
    data = [
        {"bin": bin_label(str(row["bin"])), "who": who, "share": row[name] or 0.0}
        for row in of_chosen
        for who, name in ((base_name, base), ("now", "now"))
    ]
    order = list(dict.fromkeys(row["bin"] for row in data))
    y: Spec = {
        "field": "bin",
        "type": "nominal",
        "sort": order,
        "axis": {"title": None, "labelLimit": 130, "labelColor": TEXT},
    }
    x = {"field": "share", "type": "quantitative", "axis": {"format": ".0%", "title": None, "tickCount": 4}}
    color = {
        "field": "who", "type": "nominal", "legend": {},
        "scale": {"domain": [base_name, "now"], "range": [TRAINED, SERVED]},
    }  # fmt: skip
    tooltip = [{"field": "bin"}, {"field": "who", "title": "of"}, {"field": "share", "format": ".2%"}]
    bars: Spec = {
        "title": {
            "text": "" if panel.feature else chosen,
            "color": TEXT,
            "fontSize": 12,
            "anchor": "start",
            "limit": 300,
        },
        **_rows_of(len(order)),
        "layer": [
            {
                "data": {"values": [row for row in data if row["who"] == who]},
                "mark": {"type": "bar", "height": size, "tooltip": True},
                "encoding": {"x": x, "y": y, "color": color, "tooltip": tooltip},
            }
            for who, size in ((base_name, 13), ("now", 6))
        ],
    }
    if len(ranked) < 2:
        return [bars]
    moved: Spec = {
        "title": {
            "text": f"Share of events in other bins than {base_name if trained else 'in the ' + base_name}",
            "color": TEXT, "fontSize": 12, "anchor": "start", "fontWeight": "normal", "limit": 300,
        },
        **_rows_of(len(ranked)),
        "data": {"values": [{"feature": name, "moved": distances[name], "is": name == chosen} for name in ranked]},
        "mark": {"type": "bar", "tooltip": True, "cursor": "pointer"},
        "encoding": {
            "y": {"field": "feature", "type": "nominal", "sort": ranked,
                  "axis": {"title": None, "labelLimit": 130, "labelColor": TEXT}},
            "x": {"field": "moved", "type": "quantitative",
                  "axis": {"format": ".0%", "title": None, "tickCount": 4}},
            "color": {"condition": {"test": "datum.is", "value": ALERT}, "value": SERVED},
            "tooltip": [{"field": "feature"}, {"field": "moved", "format": ".2%"}],
        },
    }  # fmt: skip
    return [moved, bars]
