"""Build the Elasticsearch search of a panel. Pure; both stores answer it.

A panel's search never truncates silently: a panel that shows only the largest values says so (``size``), and
everything else is requested in full, which ``tables.rows`` checks.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Final

from logging_lib.dashboards import formula as formulas
from logging_lib.dashboards import spec as sources
from logging_lib.dashboards.formula import Operation
from logging_lib.dashboards.selection import PanelSelection
from logging_lib.dashboards.spec import (
    CONTROL_FIELDS,
    SERIES_CHARTS,
    TIME,
    Exists,
    Filter,
    Not,
    Panel,
    Range,
)  # fmt: skip
from logging_lib.schema import tokens
from logging_lib.schema.fields import load

Body = dict[str, Any]

PROFILES: Final = "ml-profiles"
BEFORE: Final = timedelta(days=7)
"""The time before the chosen span that ``bins`` compares with."""
MAX_BINS: Final = 20_000
MAX_PROFILES: Final = 10_000
TOKEN_FIELDS: Final = (
    "ml.input.bins",
    "ml.check.unseen_values",
    "ml.check.wrong_type_values",
    "ml.text.oov_words",
)
"""Fields with tokens ``feature=value``."""

_WEIGHT: Final = "ml.sample.weight"
_LUCENE: Final = frozenset('.?+*|{}[]()"\\#@&<>~^$-')


def request(panel: Panel, selection: PanelSelection) -> tuple[str, Body]:
    """Build the indices and the search body of a panel.

    Raises:
        ValueError: the panel has no search (``text``).
    """
    indices = sources.indices(panel.dataset, selection.namespace)
    if panel.chart == "text":
        raise ValueError("a panel of text asks nothing")
    if panel.chart == "events":
        return indices, _build_events(panel, selection)
    if panel.chart == "bins":
        return indices, _build_bins(panel, selection)
    body: Body = {"size": 0, "track_total_hits": False, "query": _build_query(panel, selection)}
    if panel.chart == "rates":
        body["aggs"] = _build_rates(panel, selection)
    else:
        body["aggs"] = _build_series(panel, selection)
    return indices, body


def shared_request(panel: Panel, selection: PanelSelection) -> tuple[str, Body]:
    """Build the request to send instead of a panel's own if one answer serves several panels: all bins of a model,
    not those of one feature alone. ``tables.rows`` takes the panel's part from the answer."""
    if panel.chart == "bins" and panel.feature is not None:
        panel, selection = panel.model_copy(update={"feature": None}), replace(selection, feature=None)
    return request(panel, selection)


def needs_request(panel: Panel, selection: PanelSelection) -> tuple[str, Body] | None:
    """Build the search that has hits if the panel has anything to show; None if it always has."""
    if not panel.needs:
        return None
    needed = panel.model_copy(update={"filter": panel.needs})
    body = {"size": 0, "track_total_hits": True, "query": _build_query(needed, selection)}
    return sources.indices(panel.dataset, selection.namespace), body


def expected_request(panel: Panel, selection: PanelSelection) -> tuple[str, Body] | None:
    """Build the search for the training data's values; None if the panel does not compare with them.

    It selects profiles that are flagged as deployed, or the profile of the chosen version.
    """
    if panel.expected is None or panel.training is not None:
        return None
    conditions: list[Body] = []
    if selection.model is not None:
        conditions.append({"term": {"ml.model.name": selection.model}})
    if selection.version is not None:
        conditions.append({"term": {"ml.model.version": selection.version}})
    else:
        conditions.append({"term": {"deployed": True}})
    source = "expected.bins" if panel.expected == "bins" else f"expected.checks.{panel.expected}"
    return PROFILES, {
        "size": MAX_PROFILES,
        "track_total_hits": False,
        "query": {"bool": {"filter": conditions}},
        "_source": ["ml.model", source],
    }


def metric_aggs(operations: Iterable[Operation], panel: Panel) -> Body:
    """Build the metric aggregations of operations; ``tables`` finds their values by ``agg_name``."""
    aggs: Body = {}
    for operation in operations:
        inner = _build_metric(operation, panel)
        if operation.where:
            inner = {"filter": condition(panel.where[operation.where]), "aggs": {"of": inner}}
        aggs[agg_name(operation)] = inner
    return aggs


def agg_name(operation: Operation) -> str:
    """Return the name of an operation's aggregation: the same operation in two formulas is requested once."""
    name = "count" if operation.name == "per_minute" else operation.name
    parts = [
        name,
        operation.field.replace(".", "_"),
        f"{operation.percentile:g}" if operation.percentile else "",
        operation.where,
    ]
    return "-".join(part for part in parts if part)


def operations(panel: Panel) -> list[Operation]:
    """Return all operations of a panel's formulas, and those of its band."""
    panel_operations = list(
        dict.fromkeys(operation for m in panel.numbers for operation in formulas.operations(m.parsed))
    )
    if panel.band and panel.field:
        panel_operations += [Operation("std", panel.field), Operation("documents", panel.field)]
    return panel_operations


def condition(conditions: Filter) -> Body:
    """Build a filter's query."""
    return {"bool": {"filter": [_build_clause(name, criterion) for name, criterion in conditions.items()]}}


def _build_clause(name: str, criterion: Any) -> Body:
    if isinstance(criterion, Exists):
        exists = {"exists": {"field": name}}
        return exists if criterion.exists else {"bool": {"must_not": [exists]}}
    if isinstance(criterion, Not):
        return {"bool": {"must_not": [_build_clause(name, criterion.not_)]}}
    if isinstance(criterion, Range):
        return {"range": {name: criterion.model_dump(exclude_none=True)}}
    if isinstance(criterion, list):
        return {"terms": {name: criterion}}
    return {"term": {name: criterion}}


def _build_selection_clauses(panel: Panel, selection: PanelSelection) -> list[Body]:
    """Build the conditions of the filter and the controls, without time. The feature narrows what is shown, not
    what is counted, so that a share keeps its denominator."""
    clauses = [_build_clause(name, criterion) for name, criterion in panel.filter.items()]
    for control in CONTROL_FIELDS:
        value, name = getattr(selection, control), sources.control_field(control, panel.dataset)
        if value is not None and name is not None:
            clauses.append({"term": {name: value}})
    return clauses


def _build_query(panel: Panel, selection: PanelSelection) -> Body:
    return {
        "bool": {
            "filter": [
                *_build_selection_clauses(panel, selection),
                _build_time_range(selection.start, selection.end),
            ]
        }
    }


def _build_time_range(start: datetime, end: datetime) -> Body:
    return {"range": {"@timestamp": {"gte": instant(start), "lt": instant(end)}}}


def instant(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds")


def _build_metric(operation: Operation, panel: Panel) -> Body:
    if operation.name in ("count", "per_minute"):
        if panel.weighted:
            return _build_weight(panel)
        return {"value_count": {"field": "@timestamp"}}
    if operation.name == "documents":
        return {"value_count": {"field": operation.field or "@timestamp"}}
    if operation.name == "std":
        return {"extended_stats": {"field": operation.field}}
    if operation.name == "median":
        return {"percentiles": {"field": operation.field, "percents": [50]}}
    if operation.name == "percentile":
        return {"percentiles": {"field": operation.field, "percents": [operation.percentile]}}
    kind = {"average": "avg", "unique": "cardinality"}.get(operation.name, operation.name)
    return {kind: {"field": operation.field}}


def _build_weight(panel: Panel) -> Body:
    """Build the weight: a prediction must have one; a label without one counts once."""
    return {"sum": {"field": _WEIGHT, **({} if panel.dataset == "prediction" else {"missing": 1})}}


def _build_series(panel: Panel, selection: PanelSelection) -> Body:
    """Nest metrics below the time or the field of ``x``, below the splits; the total orders the buckets."""
    aggs = metric_aggs(operations(panel), panel)
    if panel.chart in SERIES_CHARTS or panel.chart == "heatmap":
        aggs = {"x": _build_x(panel, selection, aggs)}
    for place, name in reversed(list(enumerate(panel.splits))):
        aggs = {f"split{place}": _build_terms(panel, selection, name, aggs)}
    return aggs


def _build_x(panel: Panel, selection: PanelSelection, below: Body) -> Body:
    if panel.x == TIME:
        return {"date_histogram": _build_histogram(selection), "aggs": below}
    return _build_terms(panel, selection, panel.x, below)


def _build_histogram(selection: PanelSelection) -> Body:
    return {
        "field": "@timestamp",
        "fixed_interval": selection.step,
        "min_doc_count": 0,
        "extended_bounds": {
            "min": instant(selection.start),
            "max": instant(selection.end - timedelta(milliseconds=1)),
        },
    }


def _build_terms(panel: Panel, selection: PanelSelection, name: str, below: Body) -> Body:
    order = "weight" if panel.weighted else "_count"
    terms: Body = {"field": name, "size": panel.size, "order": [{order: "desc"}, {"_key": "asc"}]}
    aggs = {**({"weight": _build_weight(panel)} if panel.weighted else {}), **below}
    if selection.feature is not None:
        if name in TOKEN_FIELDS:
            terms["include"] = token_pattern(selection.feature)
        elif name.startswith("ml.check."):
            terms["include"] = [selection.feature]
    return {"terms": terms, **({"aggs": aggs} if aggs else {})}


def token_pattern(feature: str) -> str:
    """Build the regular expression (Lucene's) of a feature's tokens."""
    part = tokens.escape(feature)
    return "".join(f"\\{letter}" if letter in _LUCENE else letter for letter in part) + "=.*"


def _build_rates(panel: Panel, selection: PanelSelection) -> Body:
    """Sum the weight of failing events by feature and time, and of all events by time."""
    weight = {"weight": {"sum": {"field": _WEIGHT}}}
    over_time = {"x": {"date_histogram": _build_histogram(selection), "aggs": weight}}
    return {
        "features": _build_terms(panel, selection, panel.field or "", over_time),
        "all": {"filter": {"match_all": {}}, "aggs": {**over_time, **weight}},
    }


def _build_bins(panel: Panel, selection: PanelSelection) -> Body:
    feature = panel.feature if panel.feature is not None else selection.feature
    terms: Body = {"field": "ml.input.bins", "size": MAX_BINS, "order": [{"_key": "asc"}]}
    if feature is not None:
        terms["include"] = token_pattern(feature)
    weight = {"weight": {"sum": {"field": _WEIGHT}}}
    spans = {"now": _build_time_range(selection.start, selection.end)}
    start = selection.start
    if panel.training is None:
        start -= BEFORE
        spans["before"] = _build_time_range(start, selection.start)
    return {
        "size": 0,
        "track_total_hits": False,
        "query": {
            "bool": {
                "filter": [
                    *_build_selection_clauses(panel, selection),
                    _build_time_range(start, selection.end),
                ]
            }
        },
        "aggs": {"when": {"filters": {"filters": spans}, "aggs": {"bins": {"terms": terms, "aggs": weight}}}},
    }


def _build_events(panel: Panel, selection: PanelSelection) -> Body:
    """Search for single events, the newest first; a chosen feature selects those in which it failed a check."""
    query = _build_query(panel, selection)
    if selection.feature is not None and panel.dataset == "prediction":
        failed = [{"term": {name: selection.feature}} for name in check_fields()]
        query["bool"]["filter"].append({"bool": {"should": failed, "minimum_should_match": 1}})
    return {
        "size": panel.size,
        "track_total_hits": False,
        "query": query,
        "sort": [{"@timestamp": "desc"}],
    }


def check_fields() -> list[str]:
    """Return the fields whose values are names of features that failed a check."""
    return [
        field.name
        for field in load().fields
        if field.name.startswith("ml.check.") and field.name not in TOKEN_FIELDS
    ]
