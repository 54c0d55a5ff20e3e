"""Build panels for Kibana's Lens: a data source with columns, and a visualization that refers to them. Pure.

The structure is that of exports of Kibana 8 and 9; ``validate`` lists what must be true of it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from logging_lib.dashboards import formula as formulas
from logging_lib.dashboards.formula import Formula, Math, Number, Operation
from logging_lib.dashboards.kibana import kql
from logging_lib.dashboards.spec import SERIES_CHARTS, TIME, Metric, Panel
from logging_lib.dashboards.tables import Z, label, metric_label

Json = dict[str, Any]
CHARTS = (*SERIES_CHARTS, "metric", "table", "heatmap", "pie")
"""The charts that Lens draws."""

LAYER = "data"
REFERENCES = "references"
_GREY = "#69707d"


@dataclass(slots=True)
class _Layer:
    """Columns in the order in which they are built: buckets, then metrics, then parts of formulas."""

    panel: Panel
    columns: Json = field(default_factory=dict)
    parts: Json = field(default_factory=dict)

    def add(self, name: str, column: Json) -> str:
        self.columns[name] = column
        return name

    def state(self) -> Json:
        columns = {**self.columns, **self.parts}
        return {"columnOrder": list(columns), "columns": columns, "incompleteColumns": {}, "sampling": 1}


def attributes(panel: Panel, data_view: str) -> Json:
    """Build the attributes of a Lens panel, including its references.

    Args:
        data_view: the id of the panel's data view.

    Raises:
        ValueError: Lens cannot draw this chart.
    """
    if panel.chart not in CHARTS:
        raise ValueError(f"a {panel.chart} is not a chart of Lens")
    layer = _Layer(panel)
    layers = {LAYER: layer}
    if panel.chart in SERIES_CHARTS:
        kind, visualization = "lnsXY", _build_xy(panel, layer)
        if panel.references:
            layers[REFERENCES] = _Layer(panel)
            visualization["layers"].append(_build_references(panel, layers[REFERENCES]))
    elif panel.chart == "heatmap":
        kind, visualization = "lnsHeatmap", _build_heatmap(panel, layer)
    elif panel.chart == "metric":
        kind, visualization = "lnsMetric", _build_metric(panel, layer)
    elif panel.chart == "pie":
        kind, visualization = "lnsPie", _build_pie(panel, layer)
    else:
        kind, visualization = "lnsDatatable", _build_table(panel, layer)
    return {
        "title": panel.title,
        "description": panel.description,
        "visualizationType": kind,
        "type": "lens",
        "references": [
            {"type": "index-pattern", "id": data_view, "name": f"indexpattern-datasource-layer-{name}"}
            for name in layers
        ],
        "state": {
            "adHocDataViews": {},
            "datasourceStates": {
                "formBased": {"layers": {name: layer.state() for name, layer in layers.items()}},
            },
            "filters": [],
            "internalReferences": [],
            "query": {"language": "kuery", "query": kql.kql(panel.filter)},
            "visualization": visualization,
        },
    }


def _build_xy(panel: Panel, layer: _Layer) -> Json:
    split = _add_split(panel, layer, 0) if panel.splits else None
    x = _add_x(panel, layer)
    accessors = [_add_number(panel, layer, place, metric) for place, metric in enumerate(panel.numbers)]
    config = []
    if panel.band:
        for place, sign in enumerate(("subtract", "add")):
            name = f"band{place}"
            count_metric = Metric(
                label=f"mean {'-' if sign == 'subtract' else '+'} {Z} standard errors",
                formula=_write_band_formula(panel.field or "", "-" if sign == "subtract" else "+"),
                format=panel.format,
                decimals=panel.decimals,
            )
            accessors.append(_add_formula(panel, layer, name, count_metric, count_metric.parsed))
            config.append({"forAccessor": name, "color": _GREY, "axisMode": "left"})
    visualization: Json = {
        "layerId": LAYER,
        "layerType": "data",
        "seriesType": _series_type(panel),
        "xAccessor": x,
        "accessors": accessors,
        "yConfig": config,
    }
    if split is not None:
        visualization["splitAccessor"] = split
    percent = all(metric.format == "percent" for metric in panel.numbers)
    return {
        "legend": {"isVisible": True, "position": "right", "showSingleSeries": False},
        "valueLabels": "hide",
        "fittingFunction": "None",
        "preferredSeriesType": visualization["seriesType"],
        "axisTitlesVisibilitySettings": {"x": False, "yLeft": False, "yRight": False},
        "tickLabelsVisibilitySettings": {"x": True, "yLeft": True, "yRight": True},
        "gridlinesVisibilitySettings": {"x": False, "yLeft": True, "yRight": True},
        "labelsOrientation": {"x": 0, "yLeft": 0, "yRight": 0},
        "yLeftExtent": {"mode": "dataBounds" if panel.chart == "line" and not percent else "full"},
        "layers": [visualization],
    }


def _series_type(panel: Panel) -> str:
    if panel.chart == "line":
        return "line"
    kind = "area" if panel.chart == "area" else "bar" if panel.x == TIME else "bar_horizontal"
    suffix = {"no": "", "yes": "_stacked", "share": "_percentage_stacked"}[panel.stack]
    return kind + suffix


def _write_band_formula(name: str, sign: str) -> str:
    return f"average({name}) {sign} {Z} * std({name}) / sqrt(documents({name}))"


def _build_references(panel: Panel, layer: _Layer) -> Json:
    accessors, config = [], []
    for place, reference in enumerate(panel.references):
        name = layer.add(
            f"reference{place}",
            {
                "label": reference.label,
                "customLabel": True,
                "dataType": "number",
                "operationType": "static_value",
                "isStaticValue": True,
                "isBucketed": False,
                "scale": "ratio",
                "params": {"value": f"{reference.value:.10g}"},
                "references": [],
            },
        )
        accessors.append(name)
        config.append(
            {
                "forAccessor": name,
                "axisMode": "left",
                "color": _GREY,
                "lineStyle": "dashed",
                "lineWidth": 2,
                "textVisibility": True,
                "iconPosition": "auto",
                "fill": "none",
            }
        )
    return {
        "layerId": REFERENCES,
        "layerType": "referenceLine",
        "accessors": accessors,
        "yConfig": config,
    }


def _build_heatmap(panel: Panel, layer: _Layer) -> Json:
    y = _add_split(panel, layer, 0)
    x = _add_x(panel, layer)
    return {
        "shape": "heatmap",
        "layerId": LAYER,
        "layerType": "data",
        "xAccessor": x,
        "yAccessor": y,
        "valueAccessor": _add_number(panel, layer, 0, panel.numbers[0]),
        "legend": {"isVisible": True, "position": "right", "type": "heatmap_legend"},
        "gridConfig": {
            "type": "heatmap_grid",
            "isCellLabelVisible": False,
            "isYAxisLabelVisible": True,
            "isXAxisLabelVisible": True,
            "isYAxisTitleVisible": False,
            "isXAxisTitleVisible": False,
        },
    }


def _build_metric(panel: Panel, layer: _Layer) -> Json:
    visualization: Json = {"layerId": LAYER, "layerType": "data"}
    if panel.splits:
        visualization["breakdownByAccessor"] = _add_split(panel, layer, 0)
    visualization["metricAccessor"] = _add_number(panel, layer, 0, panel.numbers[0])
    return visualization


def _build_pie(panel: Panel, layer: _Layer) -> Json:
    group = _add_split(panel, layer, 0)
    return {
        "shape": "donut",
        "layers": [
            {
                "layerId": LAYER,
                "layerType": "data",
                "primaryGroups": [group],
                "metrics": [_add_number(panel, layer, 0, panel.numbers[0])],
                "numberDisplay": "percent",
                "categoryDisplay": "default",
                "legendDisplay": "default",
                "nestedLegend": False,
            }
        ],
    }


def _build_table(panel: Panel, layer: _Layer) -> Json:
    groups = [_add_split(panel, layer, place) for place in range(len(panel.splits))]
    numbers = [_add_number(panel, layer, place, metric) for place, metric in enumerate(panel.numbers)]
    columns: list[Json] = [
        {"columnId": name, "isTransposed": False, "isMetric": False, "oneClickFilter": True}
        for name in groups
    ]
    columns += [{"columnId": name, "isTransposed": False, "isMetric": True} for name in numbers]
    return {
        "layerId": LAYER,
        "layerType": "data",
        "columns": columns,
        "paging": {"size": 10, "enabled": True},
    }


def _add_x(panel: Panel, layer: _Layer) -> str:
    if panel.x != TIME:
        return layer.add("x", _build_terms(panel, panel.x, alphabetical=True))
    return layer.add(
        "x",
        {
            "label": "@timestamp",
            "dataType": "date",
            "operationType": "date_histogram",
            "sourceField": "@timestamp",
            "isBucketed": True,
            "scale": "interval",
            "params": {"interval": "auto", "includeEmptyRows": True, "dropPartials": False},
        },
    )


def _add_split(panel: Panel, layer: _Layer, place: int) -> str:
    return layer.add(f"split{place}", _build_terms(panel, panel.splits[place]))


def _build_terms(panel: Panel, name: str, *, alphabetical: bool = False) -> Json:
    params: Json = {
        "size": panel.size,
        "orderBy": {"type": "alphabetical", "fallback": False},
        "orderDirection": "asc",
        "otherBucket": False,
        "missingBucket": False,
        "parentFormat": {"id": "terms"},
        "include": [],
        "exclude": [],
        "includeIsRegex": False,
        "excludeIsRegex": False,
    }
    if not alphabetical:
        params |= {
            "orderBy": {"type": "custom"},
            "orderDirection": "desc",
            "orderAgg": _build_aggregation(Operation("count"), panel, "Weight"),
        }
    return {
        "label": label(name),
        "customLabel": True,
        "dataType": "string",
        "operationType": "terms",
        "sourceField": name,
        "isBucketed": True,
        "scale": "ordinal",
        "params": params,
    }


def _add_number(panel: Panel, layer: _Layer, place: int, metric: Metric) -> str:
    """Add the column of a metric and return its id: a single operation, or a formula with its parts."""
    formula, name = metric.parsed, f"metric{place}"
    if isinstance(formula, Operation):
        column = _build_aggregation(
            formula, panel, metric_label(metric), empty_as_null=panel.chart != "metric"
        )
        column.setdefault("params", {})["format"] = number_format(metric)
        return layer.add(name, column)
    return _add_formula(panel, layer, name, metric, formula)


def _add_formula(panel: Panel, layer: _Layer, name: str, metric: Metric, formula: Formula) -> str:
    text = kql.lens_formula(formula, panel)
    parts: dict[Operation, str] = {}
    for operation in formulas.operations(formula):
        parts[operation] = f"{name}X{len(parts)}"
        layer.parts[parts[operation]] = _build_aggregation(
            operation, panel, f"Part of {text}", empty_as_null=False
        )
    reference = f"{name}X{len(parts)}"
    if isinstance(formula, (Math, Number)):
        layer.parts[reference] = {
            "label": f"Part of {text}",
            "customLabel": True,
            "dataType": "number",
            "operationType": "math",
            "isBucketed": False,
            "scale": "ratio",
            "params": {"tinymathAst": kql.tinymath(formula, parts, panel)},
            "references": list(parts.values()),
        }
    return layer.add(
        name,
        {
            "label": metric_label(metric),
            "customLabel": True,
            "dataType": "number",
            "operationType": "formula",
            "isBucketed": False,
            "scale": "ratio",
            "params": {"formula": text, "isFormulaBroken": False, "format": number_format(metric)},
            "references": [reference],
        },
    )


def _build_aggregation(
    aggregation: Operation, panel: Panel, text: str, *, empty_as_null: bool = True
) -> Json:
    """Build the column of one operation. ``count`` is the sum of the weights."""
    params: Json = {"emptyAsNull": empty_as_null}
    if aggregation.name in ("count", "per_minute") and panel.weighted:
        operation, source = "sum", kql.WEIGHT
    elif aggregation.name in ("count", "documents", "per_minute"):
        operation, source = "count", aggregation.field or "___records___"
    else:
        operation, source = kql.LENS[aggregation.name], aggregation.field
    if aggregation.name == "percentile":
        params = {"percentile": aggregation.percentile}
    column: Json = {
        "label": text,
        "customLabel": True,
        "dataType": "number",
        "operationType": operation,
        "sourceField": source,
        "isBucketed": False,
        "scale": "ratio",
        "params": params,
    }
    if aggregation.name == "per_minute":
        column["timeScale"] = "m"
    if aggregation.where:
        column["filter"] = {"language": "kuery", "query": kql.kql(panel.where[aggregation.where])}
    return column


def number_format(metric: Metric) -> Json:
    """Return the Lens format of a metric's numbers."""
    decimals = metric.decimals
    if metric.format == "percent":
        return {"id": "percent", "params": {"decimals": 2 if decimals is None else decimals}}
    if metric.format == "bytes":
        return {"id": "bytes", "params": {"decimals": 1 if decimals is None else decimals}}
    if metric.format in ("ns", "s"):
        unit = "nanoseconds" if metric.format == "ns" else "seconds"
        to = "asMilliseconds" if metric.format == "ns" else "humanizePrecise"
        return {
            "id": "duration",
            "params": {"decimals": 1 if decimals is None else decimals, "fromUnit": unit, "toUnit": to},
        }
    if decimals is None:
        is_count = isinstance(metric.parsed, Operation) and metric.parsed.name in (
            "count",
            "documents",
            "unique",
        )
        decimals = 0 if is_count else 2
    return {"id": "number", "params": {"decimals": decimals}}
