"""Draw a panel's rows as a chart, for a page without Kibana. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from logging_lib._util.formatting import format_bin
from logging_lib.dashboards.formula import Operation
from logging_lib.dashboards.queries import BEFORE
from logging_lib.dashboards.spec import TIME, Metric, Panel
from logging_lib.dashboards.tables import Row, natural_sort_key
from logging_lib.html import charts
from logging_lib.html.theme import Spec

_SCALED = ("value", "low", "high")


def specs(panel: Panel, rows: Sequence[Row], feature: str | None) -> list[Spec]:
    """Return the specifications that draw a panel that is neither a number nor a table.

    Args:
        feature: the chosen feature, for ``bins``.
    """
    if panel.chart == "rates":
        return [_draw_rates(panel, rows)]
    if panel.chart == "bins":
        return _draw_bins(panel, rows, feature)
    if panel.chart == "heatmap":
        return [_draw_heat_map(panel, rows)]
    return [_draw_series(panel, rows)]


def _axis(metric: Metric | None) -> tuple[str, float]:
    """Return (d3's number format, factor) for a metric's values on an axis."""
    form = _form(metric)
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


def _form(metric: Metric | None) -> str:
    return "number" if metric is None else metric.format


def _height(panel: Panel) -> int:
    return max(110, panel.height * 20 - 90)


def _draw_series(panel: Panel, rows: Sequence[Row]) -> Spec:
    metric = panel.numbers[0] if panel.numbers else None
    form, factor = _axis(metric)
    data = [
        {**row, **{name: row[name] * factor for name in _SCALED if row.get(name) is not None}} for row in rows
    ]
    stack = {"no": None, "yes": "zero", "share": "normalize"}[panel.stack]
    y: Spec = {
        "axis": {"format": "%" if panel.stack == "share" else form, "title": _title(metric), "tickCount": 5},
        "stack": stack if panel.chart in ("area", "bar") else None,
        "scale": _scale(panel, metric, data),
    }
    over_time = panel.x == TIME
    return charts.series(
        data,
        mark=panel.chart,
        y=y,
        height=_height(panel),
        over_time=over_time,
        columns={**({"x": "at"} if over_time else {}), "series": "series", "value": "value"},
        levels=[(reference.value * factor, reference.label) for reference in panel.references],
    )


def _scale(panel: Panel, metric: Metric | None, data: Sequence[Row]) -> Spec:
    if _form(metric) != "number" and not any(row["value"] for row in data):
        return {"domain": [0, 0.01 if _form(metric) == "percent" else 1]}  # a flat line is at the bottom
    return {"zero": panel.chart != "line" or _form(metric) != "number"}


def _draw_rates(panel: Panel, rows: Sequence[Row]) -> Spec:
    return charts.series(
        rows,
        mark="line",
        y={"axis": {"format": ".1~%", "title": None, "tickCount": 5}},
        height=_height(panel),
        over_time=panel.x == TIME,
        columns={"x": "at", "series": "feature", "value": "share", "expected": "training"},
        expected={row["series"]: row["expected"] for row in rows if row["expected"] is not None},
    )


def _draw_heat_map(panel: Panel, rows: Sequence[Row]) -> Spec:
    names = [format_bin(name) for name in sorted({str(row["y"]) for row in rows}, key=natural_sort_key)]
    cells = [{**row, "y": format_bin(str(row["y"]))} for row in rows]
    return charts.heat_map(cells, names, over_time=panel.x == TIME)


def _draw_bins(panel: Panel, rows: Sequence[Row], feature: str | None) -> list[Spec]:
    """Draw how far each feature moved, and the bins of the chosen feature or of the one that moved most."""
    distances = {str(row["feature"]): row["distance"] or 0.0 for row in rows}
    ranked = sorted(distances, key=lambda name: -distances[name])[: panel.size]
    chosen_feature = (
        feature if feature in distances else panel.feature if panel.feature in distances else ranked[0]
    )
    chosen_rows = [row for row in rows if row["feature"] == chosen_feature]
    has_training = any(row["training"] is not None for row in chosen_rows)
    base = "training" if has_training else f"{BEFORE.days} days before"
    bars = charts.bins(
        [format_bin(str(row["bin"])) for row in chosen_rows],
        {
            base: [row["training" if has_training else "before"] for row in chosen_rows],
            "now": [row["now"] for row in chosen_rows],
        },
        title="" if panel.feature else chosen_feature,
    )
    if len(ranked) < 2:
        return [bars]
    title = f"Share of events in other bins than {base if has_training else 'in the ' + base}"
    return [charts.ranking({name: distances[name] for name in ranked}, chosen_feature, title), bars]
