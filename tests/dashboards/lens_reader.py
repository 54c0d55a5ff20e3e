"""Reads a compiled Lens panel as Kibana would: into a search of its own, and the numbers that it draws.

Written from what Lens does with a layer, without a look at the spec, so that the two can be compared.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any

Json = dict[str, Any]

_KINDS = {
    "sum": "sum", "average": "avg", "min": "min", "max": "max", "unique_count": "cardinality",
    "standard_deviation": "extended_stats", "median": "percentiles", "percentile": "percentiles",
}  # fmt: skip


def dsl(kql: str) -> Json:
    """The query of the KQL that we write: clauses that all hold."""
    return {"bool": {"filter": [_clause(one) for one in re.split(r" and (?=[\w.]+ [:<>]|not )", kql) if one]}}


def _clause(text: str) -> Json:
    if text.startswith("not "):
        return {"bool": {"must_not": [_clause(text[4:])]}}
    field, sign, value = re.fullmatch(r"([\w.]+) (:|>=|>|<=|<) (.*)", text, re.DOTALL).groups()  # type: ignore[union-attr]
    if sign != ":":
        return {"range": {field: {{">=": "gte", ">": "gt", "<=": "lte", "<": "lt"}[sign]: float(value)}}}
    if value == "*":
        return {"exists": {"field": field}}
    if value.startswith("("):
        return {"terms": {field: [json.loads(one) for one in value[1:-1].split(" or ")]}}
    return {"term": {field: json.loads(value)}}


def search(attributes: Json, interval: str, start: str, end: str) -> Json:
    """The search of a panel's first layer, at a time range."""
    layer = attributes["state"]["datasourceStates"]["formBased"]["layers"]["data"]
    span = {"range": {"@timestamp": {"gte": start, "lte": end}}}
    aggs: Json = {}
    for name in layer["columnOrder"]:
        column = layer["columns"][name]
        if not column["isBucketed"] and "sourceField" in column:
            aggs[name] = _metric(column)
    for name in reversed(layer["columnOrder"]):
        column = layer["columns"][name]
        if column["isBucketed"]:
            aggs = {name: _bucket(column, aggs, interval, start, end)}
    query = {"bool": {"filter": [dsl(attributes["state"]["query"]["query"]), span]}}
    return {"size": 0, "query": query, "aggs": aggs}


def _metric(column: Json) -> Json:
    operation, source = column["operationType"], column["sourceField"]
    if operation == "count":
        made: Json = {"value_count": {"field": "@timestamp" if source == "___records___" else source}}
    else:
        made = {_KINDS[operation]: {"field": source}}
        if operation in ("median", "percentile"):
            made["percentiles"]["percents"] = [column["params"].get("percentile", 50)]
    return {"filter": dsl(column.get("filter", {"query": ""})["query"]), "aggs": {"of": made}}


def _bucket(column: Json, below: Json, interval: str, start: str, end: str) -> Json:
    if column["operationType"] == "date_histogram":
        bounds = {"min": start, "max": end}
        histogram = {"field": column["sourceField"], "fixed_interval": interval}
        return {"date_histogram": {**histogram, "extended_bounds": bounds, "min_doc_count": 0}, "aggs": below}
    params = column["params"]
    terms: Json = {"field": column["sourceField"], "size": params["size"]}
    if params["orderBy"]["type"] == "alphabetical":
        terms["order"] = {"_key": params["orderDirection"]}
        return {"terms": terms, "aggs": below}
    order = params["orderAgg"]
    if order["operationType"] == "count":
        terms["order"] = [{"_count": params["orderDirection"]}, {"_key": "asc"}]
        return {"terms": terms, "aggs": below}
    terms["order"] = [{"ordered": params["orderDirection"]}, {"_key": "asc"}]
    ordered = {_KINDS[order["operationType"]]: {"field": order["sourceField"]}}
    return {"terms": terms, "aggs": {"ordered": ordered, **below}}


def numbers(attributes: Json, response: Json, minutes: float) -> list[float | None]:
    """Every number that the panel draws, bucket by bucket, in the order of the visualization's columns."""
    layer = attributes["state"]["datasourceStates"]["formBased"]["layers"]["data"]
    buckets = [name for name in layer["columnOrder"] if layer["columns"][name]["isBucketed"]]
    drawn = [name for name in layer["columnOrder"] if name in _drawn(attributes)]
    found: list[float | None] = []

    def down(place: int, bucket: Json) -> None:
        if place < len(buckets):
            for one in bucket[buckets[place]]["buckets"]:
                down(place + 1, one)
            return
        found.extend(_value(name, layer["columns"], bucket, minutes) for name in drawn)

    down(0, response["aggregations"])
    return found


def _drawn(attributes: Json) -> set[str]:
    shown = attributes["state"]["visualization"]
    layers = [one for one in shown.get("layers", [shown]) if one["layerId"] == "data"]
    names: set[str] = set()
    for layer in layers:
        names |= {*layer.get("accessors", ()), *layer.get("metrics", ())}
        names |= {layer[key] for key in ("metricAccessor", "valueAccessor") if key in layer}
        names |= {one["columnId"] for one in layer.get("columns", ()) if one["isMetric"]}
    return names


def _value(name: str, columns: Json, bucket: Json, minutes: float) -> float | None:
    column = columns[name]
    operation = column["operationType"]
    if operation == "formula":
        return _value(column["references"][0], columns, bucket, minutes)
    if operation == "math":
        return _calculated(column["params"]["tinymathAst"], columns, bucket, minutes)
    found = bucket[name]["of"]
    if operation == "standard_deviation":
        value = found["std_deviation_sampling"]
    elif operation in ("median", "percentile"):
        (value,) = found["values"].values()
    else:
        value = found["value"]
    if value is None or isinstance(value, str) or not math.isfinite(value):
        return None
    return value / minutes if column.get("timeScale") == "m" else value


def _calculated(node: Any, columns: Json, bucket: Json, minutes: float) -> float | None:
    if isinstance(node, str):
        return _value(node, columns, bucket, minutes)
    if not isinstance(node, dict):
        return float(node)
    arguments = [_calculated(one, columns, bucket, minutes) for one in node["args"]]
    if None in arguments:
        return None
    match node["name"], arguments:
        case "divide", [left, right]:
            return left / right if right else None  # type: ignore[operator]
        case "multiply", [left, right]:
            return left * right  # type: ignore[operator]
        case "add", [left, right]:
            return left + right  # type: ignore[operator]
        case "subtract", [left, right]:
            return left - right  # type: ignore[operator]
        case "sqrt", [one]:
            return math.sqrt(one)  # type: ignore[arg-type]
    raise AssertionError(node)
