"""Build the view of a panel for a page without Kibana: numbers, a table, or Vega-Lite with its data. Pure.

A view is a JSON object with ``kind``: ``numbers`` (``numbers``: [label, text]), ``table`` (``columns``, ``rows``),
``charts`` (``specs``, and the same as ``columns`` and ``rows``), ``text`` (``html``), ``empty`` or ``error``
(``note``), or ``hidden``: a panel about something that does not exist here, such as a shadow model. Values from
logs are included unescaped; the page inserts them as text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from markdown_it import MarkdownIt

from logging_lib.dashboards import charts
from logging_lib.dashboards import formula as formulas
from logging_lib.dashboards.formula import Operation
from logging_lib.dashboards.queries import BEFORE
from logging_lib.dashboards.spec import CONTROL_FIELDS, Panel
from logging_lib.dashboards.tables import Row, label, metric_label
from logging_lib.html.theme import apply_theme

View = dict[str, Any]

MAX_ROWS = 300
MAX_TEXT = 200
MAX_EVENT_TEXT = 8000
_VIEW_LINK = re.compile(r"#/view/logging-lib-([a-z0-9-]+)")
_LINKS_ALONE = re.compile(r"(?:\[[^\]]*\]\(#/view/[^)]*\)[\s·]*)+(?:\n\n|\Z)")
_NO_EVENTS = {
    "prediction": "No predictions in this period.",
    "label": "No labels in this period: none have arrived, or none are logged.",
    "deadletter": "No dead letters in this period.",
    "health": "No health events in this period: the loggers that write to this store send none.",
    "start": "No service started in this period.",
    "alert": "The watch runner sent no alerts in this period, or it keeps its state outside this store: "
    "logging-lib watch history lists what it sent.",
}
_EVENT = {
    "prediction": "prediction", "label": "label", "deadletter": "dead letter", "health": "health event",
    "start": "start", "alert": "alert",
}  # fmt: skip
_ALWAYS = ("@timestamp", "ml.sample.weight", "ml.model.name", "ml.model.version", "ml.model.role")
_ADDED_UP = ("count", "documents", "per_minute", "sum", "unique")


def view(panel: Panel, rows: Sequence[Row], *, feature: str | None = None) -> View:
    """Build the page's view of a panel's rows (``tables.rows``).

    Args:
        feature: the chosen feature, for ``bins``.
    """
    if panel.chart == "text":
        return {"kind": "text", "html": _render_markdown(panel.elsewhere or panel.text)}
    if panel.chart == "metric":
        return _build_numbers(panel, rows)
    if not _has_content(panel, rows):
        return {"kind": "empty", "note": _explain_empty(panel)}
    if panel.chart in ("table", "events", "pie"):
        return _build_table(panel, rows)
    columns = list(dict.fromkeys(name for row in rows[:50] for name in row if name != "metric"))
    return {
        "kind": "charts",
        "specs": [apply_theme(spec) for spec in charts.specs(panel, rows, feature)],
        "columns": [_HEADS.get(name, name) for name in columns],
        "rows": [
            [
                _shorten_time(row[name]) if name == "x" else format_value(row.get(name), "number")
                for name in columns
            ]
            for row in rows[:MAX_ROWS]
        ],
        "more": max(len(rows) - MAX_ROWS, 0),
    }


_HEADS = {
    "x": "when or what", "series": "series", "value": "value", "low": "band, low", "high": "band, high",
    "y": "what", "expected": "training", "before": f"{BEFORE.days} days before", "distance": "moved",
}  # fmt: skip


def format_value(value: Any, form: str, decimals: int | None = None) -> str:
    """Format a value for people; ``form`` is the metric's ``format``. None becomes an em dash."""
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
        return _format_bytes(value)
    if decimals is not None:
        return f"{value:,.{decimals}f}"
    if value == int(value) and abs(value) < 1e12:
        return f"{value:,.0f}"
    return f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:.4g}"


def _format_bytes(value: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if abs(value) < 1000:
            return f"{value:.3g} {unit}"
        value /= 1000
    return f"{value:.3g} TB"


def _has_content(panel: Panel, rows: Sequence[Row]) -> bool:
    """Return whether there is something to draw. Counts are 0 even without any data; a share, a mean or a maximum
    of 0 comes from data."""
    if panel.chart in ("table", "events"):
        return bool(rows)
    if panel.chart == "bins":
        return any(row["now"] is not None or row["training"] is not None for row in rows)
    values = [row.get("value") for row in rows]
    return any(values) if _adds_up(panel) else any(value is not None for value in values)


def _adds_up(panel: Panel) -> bool:
    parsed_formulas = [metric.parsed for metric in panel.numbers]
    return not parsed_formulas or any(
        isinstance(formula, Operation) and formula.name in _ADDED_UP for formula in parsed_formulas
    )


def _explain_empty(panel: Panel) -> str:
    """Explain why a panel is empty, as far as its own search shows."""
    if panel.chart == "rates" or any(name.startswith("ml.check.") for name in panel.splits):
        return "No prediction failed this check in this period, or none was checked."
    if panel.dataset == "alert":
        return _NO_EVENTS["alert"]
    if panel.dataset == "health":
        return (
            _NO_EVENTS["health"].replace(".", ", or all are 0.") if _adds_up(panel) else _NO_EVENTS["health"]
        )
    if panel.filter:
        return "Nothing of this kind in this period."
    fields = [operation.field for metric in panel.numbers for operation in formulas.operations(metric.parsed)]
    needs = [name for name in dict.fromkeys([*panel.splits, *fields]) if name and name not in _ALWAYS]
    if needs and panel.dataset in ("prediction", "label"):
        return f"No {_EVENT[panel.dataset]} in this period has {' and '.join(needs)}."
    return _NO_EVENTS[panel.dataset]


def _build_numbers(panel: Panel, rows: Sequence[Row]) -> View:
    metrics_by_label = {metric_label(metric): metric for metric in panel.numbers}
    numbers = []
    for row in rows:
        metric = metrics_by_label[row["metric"]]
        name = str(row.get("series") or (row["metric"] if len(rows) > 1 else ""))
        numbers.append([name, format_value(row["value"], metric.format, metric.decimals)])
    if not numbers:  # no such stream yet: a sum over nothing is 0, a share has no value
        counts = all(metric.metric == "count" for metric in panel.numbers)
        numbers = [["", "0" if counts else "\u2014"]]
    return {"kind": "numbers", "numbers": numbers}


def _build_table(panel: Panel, rows: Sequence[Row]) -> View:
    metrics = {metric_label(metric): metric for metric in panel.numbers}
    columns = [name for name in rows[0] if not name.startswith("_")]
    controls = {label(field): control for control, field in CONTROL_FIELDS.items()}
    table_rows = []
    for row in rows[:MAX_ROWS]:
        cells = []
        for name in columns:
            metric = metrics.get(name)
            form, decimals = (metric.format, metric.decimals) if metric else ("number", None)
            cells.append(
                _shorten_time(row[name]) if name == "@timestamp" else format_value(row[name], form, decimals)
            )
        table_rows.append(cells)
    return {
        "kind": "table",
        "columns": [name.removeprefix("ml.") for name in columns] if panel.chart == "events" else columns,
        **(
            {"wholes": [_render_event(row["_source"]) for row in rows[:MAX_ROWS]]}
            if panel.chart == "events"
            else {}
        ),
        "rows": table_rows,
        "numeric": [name in metrics or name == "value" for name in columns],
        "links": {
            str(i): controls[name]
            for i, name in enumerate(columns)
            if panel.chart == "table" and panel.drilldown and name in controls
        },
        "drilldown": panel.drilldown,
        "more": max(len(rows) - MAX_ROWS, 0),
    }


def _shorten_time(value: Any) -> str:
    """Shorten ``2018-02-01T09:00:00.123456Z`` to ``2018-02-01 09:00:00``; leave anything else unchanged."""
    text = str(value)
    return f"{text[:10]} {text[11:19]}" if _INSTANT.fullmatch(text) else format_value(value, "number")


_INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")


def _render_event(source: Any) -> str:
    """Render a whole event as indented JSON, with long texts cut."""
    text = orjson.dumps(_shorten_texts(source), option=orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS).decode()
    return text if len(text) <= MAX_EVENT_TEXT else text[: MAX_EVENT_TEXT - 1] + "…"


def _shorten_texts(part: Any) -> Any:
    if isinstance(part, Mapping):
        return {_shorten_texts(str(name)): _shorten_texts(value) for name, value in part.items()}
    if isinstance(part, list):
        return [_shorten_texts(item) for item in part]
    if isinstance(part, str) and len(part) > MAX_TEXT:
        return part[: MAX_TEXT - 1] + "…"
    return part


def _render_markdown(text: str) -> str:
    """Render Markdown of our own files. Links between dashboards stay within the page; a paragraph that contains
    only such links is left out, because the page has its own."""
    reader = MarkdownIt("commonmark", {"html": False})
    return str(reader.render(_VIEW_LINK.sub(r"#\1", _LINKS_ALONE.sub("", text))))
