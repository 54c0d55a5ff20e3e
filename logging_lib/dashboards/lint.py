"""Find what a dashboard asks for but cannot get: unknown fields, sums of text, undefined filters. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from logging_lib._util.suggestions import suggest
from logging_lib.dashboards import spec as sources
from logging_lib.dashboards.formula import NUMERIC_ONLY, Operation, operations
from logging_lib.dashboards.spec import SERIES_CHARTS, TIME, Dashboard, Filter, Metric, Panel
from logging_lib.schema.fields import NUMERIC_TYPES, Schema

Location = tuple[str | int, ...]
Finding = tuple[Location, str]

_TEXTS = ("text", "match_only_text", "wildcard", "object")
_NOT_OURS = ("_id", "_ignored", "_index")


def check(dashboard: Dashboard, schema: Schema) -> Iterator[Finding]:
    """Yield (place in the file, what is wrong and the remedy)."""
    titles: dict[str, int] = {}
    for place, panel in enumerate(dashboard.panels):
        at: Location = ("panels", place)
        if panel.title in titles:
            yield (
                (*at, "title"),
                f"panel {titles[panel.title] + 1} has the same title; ids are made from titles",
            )
        titles.setdefault(panel.title, place)
        for location, message in _check_panel(panel, schema):
            yield (*at, *location), message


def _check_panel(panel: Panel, schema: Schema) -> Iterator[Finding]:
    yield from _check_shape(panel)
    yield from _check_filter(panel.filter, panel.dataset, schema, ("filter",))
    yield from _check_filter(panel.needs, panel.dataset, schema, ("needs",))
    for name, condition in panel.where.items():
        yield from _check_filter(condition, panel.dataset, schema, ("where", name))
    for place, name in enumerate(panel.splits):
        at: Location = ("split",) if isinstance(panel.split, str) else ("split", place)
        yield from _check_field(name, panel.dataset, schema, at, grouped=True)
    if panel.x != TIME:
        yield from _check_field(panel.x, panel.dataset, schema, ("x",), grouped=True)
    for place, name in enumerate(panel.columns):
        yield from _check_field(name, panel.dataset, schema, ("columns", place), only_displayed=True)
    used = set()
    for place, metric in enumerate(panel.numbers):
        at = ("metrics", place) if panel.metrics else ()
        for operation in operations(metric.parsed):
            used.add(operation.where)
            yield from _check_operation(operation, metric, panel, schema, at)
    for name in sorted(set(panel.where) - used):
        yield ("where", name), f"no formula uses {name!r}"


def _check_shape(panel: Panel) -> Iterator[Finding]:
    """Check which keys are allowed with which chart."""
    chart, numbers = panel.chart, len(panel.numbers)
    if panel.drilldown is not None and not panel.splits:
        yield ("drilldown",), "a drilldown needs a 'split': a click on one of its values is what leads on"
    if chart == "text":
        if not panel.text:
            yield ("chart",), "a panel of text needs 'text'"
        return
    if chart == "events":
        if not panel.columns:
            yield ("chart",), "a panel of events needs 'columns'"
        return
    if chart == "rates":
        if not (panel.field or "").startswith("ml.check.") or panel.dataset != "prediction":
            yield ("field",), "rates need a 'field' such as ml.check.missing"
        if numbers or panel.splits:
            yield ("chart",), "rates are split by feature; leave metrics and split out"
        if panel.expected not in (None, (panel.field or "").rpartition(".")[2]):
            yield ("expected",), f"expected: {panel.expected} does not go with {panel.field}"
        return
    if chart == "bins":
        if numbers or panel.splits or panel.dataset != "prediction":
            yield ("chart",), "bins are those of ml.input.bins; leave metrics, split and dataset out"
        if panel.expected not in (None, "bins"):
            yield ("expected",), "bins are compared with expected: bins"
        return
    if not numbers:
        yield ("chart",), f"a {chart} needs a 'metric', a 'formula' or 'metrics'"
    if chart in ("pie", "heatmap") and (len(panel.splits) != 1 or numbers > 1):
        yield ("chart",), f"a {chart} needs one split and one metric"
    if chart == "metric" and numbers > 1:
        yield ("metrics",), "a metric shows one number; make a panel of each"
    if chart == "table" and not panel.splits:
        yield ("chart",), "a table needs a 'split'"
    if chart in (*SERIES_CHARTS, "metric") and len(panel.splits) > 1:
        yield ("split",), f"a {chart} takes one split"
    if panel.band and (numbers > 1 or panel.splits):
        yield ("band",), "a band goes with one metric and no split"
    if panel.expected is not None:
        yield ("expected",), "'expected' goes with rates and bins"


def _check_operation(
    operation: Operation, metric: Metric, panel: Panel, schema: Schema, at: Location
) -> Iterator[Finding]:
    where = "formula" if metric.formula is not None else "field"
    if operation.name == "per_minute" and operation is not metric.parsed:
        yield (*at, where), "per_minute() stands alone: Lens cannot calculate with it"
    if operation.name == "per_minute" and (panel.x != TIME or panel.chart not in SERIES_CHARTS):
        yield (*at, where), "per_minute() needs a chart over time"
    if operation.where and operation.where not in panel.where:
        yield (*at, where), f"'where' has no filter {operation.where!r}"
    if operation.field:
        yield from _check_field(
            operation.field,
            panel.dataset,
            schema,
            (*at, where),
            numeric=operation.name in NUMERIC_ONLY,
            grouped=True,
        )


def _check_filter(conditions: Filter, dataset: str, schema: Schema, at: Location) -> Iterator[Finding]:
    for name in conditions:
        yield from _check_field(name, dataset, schema, (*at, name))


def _check_field(
    name: str,
    dataset: str,
    schema: Schema,
    at: Location,
    *,
    numeric: bool = False,
    grouped: bool = False,
    only_displayed: bool = False,
) -> Iterator[Finding]:
    if name in _NOT_OURS:
        return
    field = sources.field(name, dataset)
    if field is None or name.endswith("*"):
        schema_field = schema.field(name)
        if schema_field is not None and not name.endswith("*"):
            yield (
                at,
                f"{name} is not a field of the dataset {dataset}; it is one of {', '.join(schema_field.datasets)}",
            )
            return
        yield at, f"there is no field {name!r:.120}{suggest(name, sources.names(dataset))}"
    elif not only_displayed and not field.indexed:
        yield at, f"{name} is not indexed: it can only be shown as a column of events"
    elif grouped and field.type in _TEXTS:
        yield at, f"{name} is of the type {field.type}: it can only be filtered and shown"
    elif numeric and field.type not in NUMERIC_TYPES:
        yield at, f"{name} is of the type {field.type}, and no number"
