"""What a page without Kibana shows of a panel: numbers, a table, or Vega-Lite with its data. Pure.

A view is a JSON object with ``kind``: ``numbers`` (``numbers``: [label, text]), ``table`` (``columns``, ``rows``),
``charts`` (``specs``, and the same as ``columns`` and ``rows``), ``text`` (``html``), ``empty`` or ``error``
(``note``). Values of logs are in it as they are: the page writes them as text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from markdown_it import MarkdownIt

from logging_lib.dashboards.drawing import ALERT, MUTED, SERIES, SERVED, TEXT, TRAINED, Spec, themed
from logging_lib.dashboards.queries import BEFORE
from logging_lib.dashboards.spec import CONTROL_FIELDS, TIME, Metric, Panel
from logging_lib.dashboards.tables import Row, label, metric_label, natural
from logging_lib.dashboards.words import bin_label

View = dict[str, Any]

MAX_ROWS = 300
MAX_TEXT = 200
_VIEW_LINK = re.compile(r"#/view/logging-lib-([a-z0-9-]+)")
_NO_EVENTS = {
    "prediction": "No predictions here in this time.",
    "label": "No labels here in this time: the truth has not come, or it is not logged.",
    "deadletter": "No dead letters in this time.",
    "health": "No health events in this time: the loggers of this store send none.",
    "start": "No service started in this time.",
}


def view(panel: Panel, rows: Sequence[Row], *, feature: str | None = None) -> View:
    """What the page shows of a panel's rows (``tables.rows``).

    Args:
        feature: the chosen one, for ``bins``.
    """
    if panel.chart == "text":
        return {"kind": "text", "html": _markdown(panel.text)}
    if panel.chart == "metric":
        return _numbers(panel, rows)
    if not _anything(panel, rows):
        return {"kind": "empty", "note": _nothing(panel)}
    if panel.chart in ("table", "events", "pie"):
        return _table(panel, rows)
    if panel.chart == "rates":
        specs = [_rates(panel, rows)]
    elif panel.chart == "bins":
        specs = _bins(panel, rows, feature)
    elif panel.chart == "heatmap":
        specs = [_heatmap(panel, rows)]
    else:
        specs = [_series(panel, rows)]
    columns = list(dict.fromkeys(name for row in rows[:50] for name in row if name != "metric"))
    return {
        "kind": "charts",
        "specs": [themed(spec) for spec in specs],
        "columns": [_HEADS.get(name, name) for name in columns],
        "rows": [[_cell(row.get(name), "number") for name in columns] for row in rows[:MAX_ROWS]],
        "more": max(len(rows) - MAX_ROWS, 0),
    }


_HEADS = {
    "x": "when or what", "series": "series", "value": "value", "low": "band, low", "high": "band, high",
    "y": "what", "expected": "training", "before": f"{BEFORE.days} days before", "distance": "moved",
}  # fmt: skip


def format_value(value: Any, form: str, decimals: int | None = None) -> str:
    """A value as people read it; ``form`` is the metric's ``format``. None is an em dash."""
    if value is None:
        return "\u2014"
    if isinstance(value, bool) or not isinstance(value, int | float):
        if isinstance(value, list | tuple):
            value = ", ".join(map(str, value))
        text = str(value)
        return text if len(text) <= MAX_TEXT else text[: MAX_TEXT - 1] + "…"
    if form == "percent":
        return "0 %" if value == 0 else f"{value:.{1 if decimals is None else decimals}%}".replace("%", " %")
    if form == "ns":
        return f"{value / 1e9:.3g} s" if value >= 1e9 else f"{value / 1e6:.3g} ms"
    if form == "s":
        return f"{value / 3600:.3g} h" if value >= 7200 else f"{value:.3g} s"
    if form == "bytes":
        return _bytes(value)
    if decimals is not None:
        return f"{value:,.{decimals}f}"
    if value == int(value) and abs(value) < 1e12:
        return f"{value:,.0f}"
    return f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:.4g}"


def _bytes(value: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if abs(value) < 1000:
            return f"{value:.3g} {unit}"
        value /= 1000
    return f"{value:.3g} TB"


def _cell(value: Any, form: str, decimals: int | None = None) -> str:
    return format_value(value, form, decimals)


def _anything(panel: Panel, rows: Sequence[Row]) -> bool:
    """Whether there is something to draw: of what is split, zeros alone are nothing."""
    if panel.chart in ("table", "events"):
        return bool(rows)
    if panel.chart == "bins":
        return any(row["now"] is not None or row["training"] is not None for row in rows)
    values = [row.get("value") for row in rows]
    return any(values) or (not panel.splits and panel.chart != "rates" and 0 in values)


def _nothing(panel: Panel) -> str:
    """Why a panel is empty, as far as its own search can tell."""
    if panel.chart == "rates" or any(name.startswith("ml.check.") for name in panel.splits):
        return "Nothing failed this check in this time, or nothing was checked."
    needs = [*panel.splits, *([panel.field] if panel.field else [])]
    if panel.filter:
        return "Nothing of this kind in this time."
    if panel.where or (needs and panel.dataset == "prediction"):
        has = f" with {' and '.join(needs)}" if needs else " of this kind"
        return f"No event{has} in this time."
    return _NO_EVENTS[panel.dataset]


def _numbers(panel: Panel, rows: Sequence[Row]) -> View:
    known = {metric_label(metric): metric for metric in panel.numbers}
    numbers = []
    for row in rows:
        metric = known[row["metric"]]
        name = str(row.get("series") or (row["metric"] if len(rows) > 1 else ""))
        numbers.append([name, format_value(row["value"], metric.format, metric.decimals)])
    if not numbers:  # no such stream yet: a sum over nothing is 0, a share of nothing is none
        counts = all(metric.metric == "count" for metric in panel.numbers)
        numbers = [["", "0" if counts else "\u2014"]]
    return {"kind": "numbers", "numbers": numbers}


def _table(panel: Panel, rows: Sequence[Row]) -> View:
    metrics = {metric_label(metric): metric for metric in panel.numbers}
    columns = [name for name in rows[0] if name != "_id"]
    controls = {label(field): control for control, field in CONTROL_FIELDS.items()}
    made = []
    for row in rows[:MAX_ROWS]:
        cells = []
        for name in columns:
            metric = metrics.get(name)
            form, decimals = (metric.format, metric.decimals) if metric else ("number", None)
            cells.append(_cell(row[name], form, decimals))
        made.append(cells)
    return {
        "kind": "table",
        "columns": columns,
        "rows": made,
        "numeric": [name in metrics or name == "value" for name in columns],
        "links": {
            str(i): controls[name]
            for i, name in enumerate(columns)
            if panel.chart == "table" and panel.drilldown and name in controls
        },
        "drilldown": panel.drilldown,
        "more": max(len(rows) - MAX_ROWS, 0),
    }


def _markdown(text: str) -> str:
    """Markdown of our own files; links between dashboards lead to the same within the page."""
    reader = MarkdownIt("commonmark", {"html": False})
    return str(reader.render(_VIEW_LINK.sub(r"#\1", text)))


def _axis(metric: Metric | None) -> tuple[str, float]:
    """(d3's number format, factor) of a metric's values on an axis."""
    form = metric.format if metric else "number"
    if form == "percent":
        return ".1~%", 1.0
    if form == "ns":
        return ",.4~r", 1e-6
    return ("~s", 1.0) if form in ("bytes", "s") else (",.4~r", 1.0)


def _title(metric: Metric | None) -> str | None:
    return {"ns": "milliseconds", "bytes": "bytes", "s": "seconds"}.get(metric.format) if metric else None


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
        "scale": {"zero": panel.chart != "line" or (metric is not None and metric.format != "number")},
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
    if panel.band:
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
                     "labelExpr": "replace(slice(datum.label, 5, 16), 'T', ' ')" if panel.x == TIME
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
        "title": {"text": chosen, "color": TEXT, "fontSize": 12, "anchor": "start", "limit": 300},
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
