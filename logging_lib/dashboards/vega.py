"""Build panels that Lens cannot draw, as Vega-Lite in Kibana. Pure.

Lens divides within a bucket. The denominator of the share of events with a missing feature is outside the feature's
bucket, and a feature's bins now and before need two spans of time, so these two query Elasticsearch
themselves. The searches are those of ``queries``, with Kibana's own placeholders for time and filters.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from logging_lib.dashboards import queries
from logging_lib.dashboards.queries import BEFORE, PROFILES
from logging_lib.dashboards.selection import PanelSelection
from logging_lib.dashboards.spec import Panel
from logging_lib.dashboards.tables import natural_sort_key
from logging_lib.schema import tokens

Json = dict[str, Any]
CHARTS = ("rates", "bins")

SCHEMA = "https://vega.github.io/schema/vega-lite/v5.json"
BUCKETS = 60
_ANY = PanelSelection(datetime(2000, 1, 1, tzinfo=UTC), datetime(2000, 1, 2, tzinfo=UTC))
_MIN, _MAX = {"%timefilter%": "min"}, {"%timefilter%": "max"}
_BEFORE = {"%timefilter%": "min", "shift": -BEFORE.days, "unit": "d"}
_SHARE: Json = {"type": "quantitative", "axis": {"format": ".1%", "title": None}}


def spec(panel: Panel) -> str:
    """Render the text of the specification.

    Raises:
        ValueError: the chart is not one of ``CHARTS``.
    """
    if panel.chart == "rates":
        layout = _build_rates(panel)
    elif panel.chart == "bins":
        layout = _build_training(panel) if panel.training is not None else _build_bins(panel)
    else:
        raise ValueError(f"a {panel.chart} is not drawn by Vega")
    return json.dumps({"$schema": SCHEMA, "config": {"kibana": {"hideWarnings": True}}, **layout}, indent=1)


def _build_source(panel: Panel) -> Json:
    """Build the panel's search; the answer is one object, without aggregations if there is no index."""
    indices, body = queries.request(panel, _ANY)
    start = _BEFORE if panel.chart == "bins" and panel.training is None else _MIN
    return _build_data(indices, {**_insert_placeholders(body), "query": _build_context(panel, start)})


def _build_data(index: str, body: Json) -> Json:
    return {"url": {"index": index, "body": body}}


def _build_context(panel: Panel, start: Json) -> Json:
    """Build the conditions of the dashboard's controls and filters, the panel's filter, and the span of time."""
    return {
        "bool": {
            "must": ["%dashboard_context-must_clause%"],
            "filter": [
                "%dashboard_context-filter_clause%",
                *([queries.condition(panel.filter)] if panel.filter else []),
                {"range": {"@timestamp": {"gte": start, "lt": _MAX}}},
            ],
            "must_not": ["%dashboard_context-must_not_clause%"],
        }
    }


def _insert_placeholders(node: Any) -> Any:
    """Replace the times of ``_ANY`` in the search by Kibana's placeholders."""
    placeholders = {
        queries.instant(_ANY.start): _MIN,
        queries.instant(_ANY.end): _MAX,
        queries.instant(_ANY.start - BEFORE): _BEFORE,
    }
    if isinstance(node, dict):
        replaced = {key: _insert_placeholders(value) for key, value in node.items()}
        if "fixed_interval" in replaced:
            replaced |= {
                "fixed_interval": {"%autointerval%": BUCKETS},
                "extended_bounds": {"min": _MIN, "max": _MAX},
            }
        return replaced
    if isinstance(node, list):
        return [_insert_placeholders(item) for item in node]
    return placeholders.get(node, node) if isinstance(node, str) else node


def _build_rates(panel: Panel) -> Json:
    """Build lines of the failing share by feature; the rates expected by published profiles are dashed."""
    check = (panel.field or "").rpartition(".")[2]
    color = {"field": "feature", "type": "nominal", "title": "Feature"}
    served: Json = {
        "data": _build_source(panel),
        "transform": [
            {"calculate": "datum.aggregations ? datum.aggregations.features.buckets : []", "as": "found"},
            {"calculate": "datum.aggregations ? datum.aggregations.all.x.buckets : []", "as": "totals"},
            {"flatten": ["found"], "as": ["one"]},
            {"filter": "isValid(datum.one)"},
            {"calculate": "datum.one.key", "as": "feature"},
            {"calculate": "datum.one.x.buckets", "as": "failed"},
            {"flatten": ["failed", "totals"], "as": ["part", "whole"]},
            {"calculate": "toDate(datum.whole.key)", "as": "time"},
            {
                "calculate": "datum.whole.weight.value > 0 ? datum.part.weight.value / datum.whole.weight.value"
                " : null",
                "as": "share",
            },
        ],
        "mark": {"type": "line", "tooltip": True, "invalid": None},
        "encoding": {
            "x": {"field": "time", "type": "temporal", "axis": {"title": None}},
            "y": {"field": "share", **_SHARE},
            "color": color,
        },
    }
    if panel.expected is None:
        return served
    expected = {
        "data": _build_data(
            f"{PROFILES}*",
            {
                "size": queries.MAX_PROFILES,
                "query": {
                    "bool": {
                        "must": ["%dashboard_context-must_clause%"],
                        "filter": ["%dashboard_context-filter_clause%", {"term": {"deployed": True}}],
                        "must_not": ["%dashboard_context-must_not_clause%"],
                    }
                },
                "_source": ["expected.rates"],
            },
        ),
        "transform": [
            {"calculate": "datum.hits.hits", "as": "hits"},
            {"flatten": ["hits"], "as": ["hit"]},
            {"calculate": "datum.hit ? datum.hit._source.expected.rates || [] : []", "as": "rates"},
            {"flatten": ["rates"], "as": ["rate"]},
            {
                "filter": f"isValid(datum.rate) && datum.rate.check == {json.dumps(check)} && datum.rate.count > 0"
            },
            {"calculate": "datum.rate.feature", "as": "feature"},
            {"calculate": "datum.rate.count", "as": "count"},
            {"calculate": "datum.rate.rows", "as": "rows"},
            {
                "aggregate": [
                    {"op": "sum", "field": "count", "as": "count"},
                    {"op": "sum", "field": "rows", "as": "rows"},
                ],
                "groupby": ["feature"],
            },
            {"calculate": "datum.count / datum.rows", "as": "share"},
            {"window": [{"op": "rank", "as": "rank"}], "sort": [{"field": "share", "order": "descending"}]},
            {"filter": f"datum.rank <= {panel.size}"},
            {"calculate": "datum.feature + ', expected'", "as": "meaning"},
        ],
        "mark": {"type": "rule", "strokeDash": [4, 4], "tooltip": True},
        "encoding": {
            "y": {"field": "share", **_SHARE},
            "color": color,
            "tooltip": [
                {"field": "meaning", "title": "feature"},
                {"field": "share", "format": ".3%", "title": "share in training"},
            ],
        },
    }
    return {"layer": [served, expected]}


_BINS: list[Json] = [
    {"calculate": "datum.aggregations ? datum.aggregations.when.buckets : {}", "as": "found"},
    {
        "calculate": "[{when: 'now', buckets: datum.found.now ? datum.found.now.bins.buckets : []},"
        " {when: 'week before', buckets: datum.found.before ? datum.found.before.bins.buckets : []}]",
        "as": "spans",
    },
    {"flatten": ["spans"], "as": ["span"]},
    {"calculate": "datum.span.when", "as": "when"},
    {"calculate": "datum.span.buckets", "as": "buckets"},
    {"flatten": ["buckets"], "as": ["bucket"]},
    {"filter": "isValid(datum.bucket)"},
    {"calculate": "split(datum.bucket.key, '=')[0]", "as": "feature"},
    {"calculate": "slice(datum.bucket.key, indexof(datum.bucket.key, '=') + 1)", "as": "bin"},
    {"calculate": "datum.bucket.weight.value", "as": "weight"},
    {
        "joinaggregate": [{"op": "sum", "field": "weight", "as": "total"}],
        "groupby": ["when", "feature"],
    },
    {"calculate": "datum.total > 0 ? datum.weight / datum.total : 0", "as": "share"},
    {"calculate": "toNumber(replace(split(datum.bin, ',')[0], /[[(]/, '')) || 0", "as": "low"},
]


def _build_bins(panel: Panel) -> Json:
    """Build a chart of how far each feature moved on the left; a click on a feature shows its bins on the right."""
    return {
        "data": _build_source(panel),
        "autosize": {"type": "pad"},
        "transform": _BINS,
        "hconcat": [
            {
                "title": f"Share of events in other bins than in the {BEFORE.days} days before. Click one.",
                "width": 260,
                "height": {"step": 16},
                "params": [
                    {"name": "chosen", "select": {"type": "point", "fields": ["feature"], "toggle": False}}
                ],
                "transform": [
                    {
                        "joinaggregate": [{"op": "distinct", "field": "when", "as": "times"}],
                        "groupby": ["feature"],
                    },
                    {"filter": "datum.times == 2"},
                    {"pivot": "when", "value": "share", "groupby": ["feature", "bin"], "op": "max"},
                    {"calculate": "abs((datum.now || 0) - (datum['week before'] || 0)) / 2", "as": "moved"},
                    {
                        "aggregate": [{"op": "sum", "field": "moved", "as": "distance"}],
                        "groupby": ["feature"],
                    },
                    {
                        "window": [{"op": "row_number", "as": "rank"}],
                        "sort": [{"field": "distance", "order": "descending"}],
                    },
                    {"filter": f"datum.rank <= {panel.size}"},
                ],
                "mark": {"type": "bar", "tooltip": True, "cursor": "pointer"},
                "encoding": {
                    "y": {"field": "feature", "type": "nominal", "sort": "-x", "title": None},
                    "x": {"field": "distance", **_SHARE},
                    "opacity": {"condition": {"param": "chosen", "value": 1}, "value": 0.4},
                },
            },
            {
                "title": "Bins now and in the week before",
                "width": 420,
                "height": {"step": 9},
                "transform": [{"filter": {"param": "chosen", "empty": False}}],
                "mark": {"type": "bar", "tooltip": True},
                "encoding": {
                    "y": {
                        "field": "bin",
                        "type": "nominal",
                        "title": None,
                        "sort": {"field": "low", "op": "min"},
                    },
                    "yOffset": {"field": "when", "type": "nominal", "sort": ["now", "week before"]},
                    "x": {"field": "share", **_SHARE},
                    "color": {
                        "field": "when",
                        "type": "nominal",
                        "sort": ["now", "week before"],
                        "title": None,
                    },
                },
            },
        ],
    }


def _build_training(panel: Panel) -> Json:
    """Build bars of one feature's served bins, with ticks for training."""
    training_shares = panel.training or {}
    names = sorted(training_shares, key=natural_sort_key)
    y = {"field": "bin", "type": "nominal", "title": None, "sort": [_unescape_bin(name) for name in names]}
    return {
        "layer": [
            {
                "data": _build_source(panel),
                "transform": [
                    *_BINS,
                    {"filter": "datum.when == 'now'"},
                    {"calculate": _UNESCAPED, "as": "bin"},
                ],
                "mark": {"type": "bar", "tooltip": True},
                "encoding": {"y": y, "x": {"field": "share", **_SHARE}},
            },
            {
                "data": {
                    "values": [{"bin": _unescape_bin(name), "share": training_shares[name]} for name in names]
                },
                "mark": {"type": "tick", "thickness": 3, "color": "#d36086", "tooltip": True},
                "encoding": {"y": y, "x": {"field": "share", **_SHARE}},
            },
        ],
    }


_UNESCAPED = (
    "replace(replace(replace(datum.bin, /%3D/g, '='), /%21/g, '!'), /%25/g, '%')"  # as tokens.split does
)


def _unescape_bin(name: str) -> str:
    return tokens.split("=" + name)[1]
