"""Infer the shape of a payload as a sample of it; a name in a template that is not in the sample never has a value.

A search's response follows from its body, and a shipped script's result from the keys that its source writes. A
value that is known only in a run is a ``Placeholder``, which has every key.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from typing import Any, Protocol

from logging_lib._util import content
from logging_lib.schema.fields import Schema
from logging_lib.watch.evaluate import extract, with_payload
from logging_lib.watch.model import Input, Script, SearchRequest, Transform
from logging_lib.watch.templating import Placeholder, TemplateError, render_json

Context = Mapping[str, Any]
Payload = Mapping[str, Any]


class PayloadInference(Protocol):
    """The inference of the payload after an input or a transform; the context holds the payload before it."""

    def after_input(self, watch_input: Input, context: Context) -> Payload: ...

    def after_transform(self, transform: Transform, context: Context) -> Payload: ...


class OpaquePayload:
    """Infers only what the watch itself says: a chain's names, all of a simple input, nothing of a response."""

    def after_input(self, watch_input: Input, context: Context) -> Payload:
        if watch_input.chain:
            return {name: self.after_input(step, context) for name, step in watch_input.chain.items()}
        if watch_input.simple is not None:
            return watch_input.simple
        return {} if watch_input.none is not None else Placeholder()

    def after_transform(self, transform: Transform, context: Context) -> Payload:
        return Placeholder()


class StaticPayload:
    """Infers everything that follows from the bodies of searches and the sources of scripts."""

    def __init__(self, schema: Schema) -> None:
        self._schema = schema

    def after_input(self, watch_input: Input, context: Context) -> Payload:
        if watch_input.chain:
            payload: dict[str, Any] = {}
            for name, step in watch_input.chain.items():
                payload[name] = self.after_input(step, with_payload(context, payload))
            return payload
        if watch_input.search:
            response = self._response(watch_input.search.request, context)
            return extract(response, watch_input.search.extract) if watch_input.search.extract else response
        if watch_input.http and watch_input.http.response_content_type == "text":
            return {"_value": Placeholder.TEXT, "_status_code": 200, "_headers": Placeholder()}
        if watch_input.transform:
            return self.after_transform(watch_input.transform, context)
        if watch_input.simple is not None:
            return watch_input.simple
        return {} if watch_input.none is not None else Placeholder()

    def after_transform(self, transform: Transform, context: Context) -> Payload:
        if transform.search:
            return self._response(transform.search.request, context)
        if transform.script:
            return _infer_script_payload(transform.script)
        payload: Payload = context["ctx"]["payload"]
        for step in transform.chain or ():
            payload = self.after_transform(step, with_payload(context, payload))
        return payload

    def _response(self, request: SearchRequest, context: Context) -> Payload:
        try:
            body = render_json(request.text, {**context, **request.params})
        except TemplateError:
            return Placeholder()
        response: dict[str, Any] = {
            "took": 1,
            "timed_out": False,
            "_shards": {"total": 1, "successful": 1, "skipped": 0, "failed": 0},
            "hits": {
                "total": 1 if request.rest_total_hits_as_int else {"value": 1, "relation": "eq"},
                "max_score": 1.0,
                "hits": [] if str(body.get("size")) == "0" else [_sample_hit(body, self._source(request))],
            },
        }
        aggs = body.get("aggs") or body.get("aggregations")
        if isinstance(aggs, Mapping):
            response["aggregations"] = {name: _sample_aggregation(agg) for name, agg in aggs.items()}
        return response

    def _source(self, request: SearchRequest) -> Any:
        names = [name.strip() for entry in request.indices for name in entry.split(",")]
        if not all(name.startswith("logs-ml.") for name in names):
            return Placeholder()
        return _sample_document(self._schema)


def _sample_document(schema: Schema) -> dict[str, Any]:
    root: dict[str, Any] = {}
    for field in schema.fields:
        *parents, last = field.name.removesuffix(".*").split(".")
        node: Any = root
        for part in parents:
            node = node.setdefault(part, {})
            if isinstance(node, Placeholder):
                break
        else:
            node[last] = Placeholder() if field.dynamic or field.type == "object" else Placeholder.TEXT
    return root


def _sample_hit(body: Mapping[str, Any], source: Any) -> dict[str, Any]:
    source_filter = body.get("_source")
    if isinstance(source, dict) and not isinstance(source, Placeholder):
        names = source_filter.get("includes") if isinstance(source_filter, Mapping) else source_filter
        names = [names] if isinstance(names, str) else names
        if isinstance(names, list) and not any("*" in str(name) for name in names):
            source = extract(source, tuple(map(str, names)))
    hit = {"_index": Placeholder.TEXT, "_id": Placeholder.TEXT, "_score": 1.0, "_source": source}
    return {
        **hit,
        **{key: Placeholder() for key in ("sort", "fields", "highlight", "inner_hits", "_ignored")},
    }


_SINGLE_BUCKET = frozenset(
    {"filter", "global", "missing", "nested", "reverse_nested", "sampler", "diversified_sampler", "children"}
)
_MANY_BUCKETS = frozenset(
    {
        "terms",
        "histogram",
        "date_histogram",
        "auto_date_histogram",
        "range",
        "date_range",
        "ip_range",
        "rare_terms",
    }
    | {"significant_terms", "multi_terms", "geohash_grid", "variable_width_histogram", "adjacency_matrix"}
)
_VALUE = frozenset(
    {"avg", "sum", "min", "max", "cardinality", "value_count", "weighted_avg", "median_absolute_deviation"}
    | {
        "bucket_script",
        "derivative",
        "cumulative_sum",
        "moving_fn",
        "serial_diff",
        "avg_bucket",
        "sum_bucket",
    }
    | {"cumulative_cardinality", "scripted_metric", "rate", "normalize"}
)


def _sample_aggregation(agg: Any) -> Any:
    if not isinstance(agg, Mapping):
        return Placeholder()
    children = agg.get("aggs") or agg.get("aggregations") or {}
    kinds = [kind for kind in agg if kind not in ("aggs", "aggregations", "meta")]
    if len(kinds) != 1 or not isinstance(children, Mapping):
        return Placeholder()
    kind, settings = kinds[0], agg[kinds[0]]
    bucket = {
        "doc_count": 1,
        **{name: _sample_aggregation(child) for name, child in children.items()},
    }
    meta = {"meta": Placeholder()} if "meta" in agg else {}
    if kind in _SINGLE_BUCKET:
        return {**meta, **bucket}
    if kind in _MANY_BUCKETS:
        bucket |= {"key": Placeholder.TEXT, "key_as_string": Placeholder.TEXT}
        bucket |= dict.fromkeys(
            ("from", "to", "from_as_string", "to_as_string", "min", "max"), Placeholder.TEXT
        )
        bucket |= {"score": 1.0, "bg_count": 1, "doc_count_error_upper_bound": 0}
        aggregation_keys = {
            "sum_other_doc_count": 0,
            "doc_count_error_upper_bound": 0,
            "interval": Placeholder.TEXT,
        }
        keyed = isinstance(settings, Mapping) and settings.get("keyed")
        return {**meta, **aggregation_keys, "buckets": Placeholder() if keyed else [bucket]}
    if kind == "composite":
        bucket["key"] = Placeholder()
        return {**meta, "buckets": [bucket], "after_key": Placeholder()}
    if kind == "filters" and isinstance(settings, Mapping):
        filters = settings.get("filters")
        if isinstance(filters, Mapping):
            other_key = settings.get("other_bucket_key")
            keys = [*filters, other_key if isinstance(other_key, str) else "_other_"]
            return {**meta, "buckets": dict.fromkeys(keys, bucket)}
        return {**meta, "buckets": [bucket]}
    if kind in _VALUE:
        return {**meta, "value": 1.0, "value_as_string": Placeholder.TEXT, "keys": Placeholder()}
    if kind in ("max_bucket", "min_bucket"):
        return {**meta, "value": 1.0, "value_as_string": Placeholder.TEXT, "keys": Placeholder()}
    if kind in ("stats", "stats_bucket"):
        return {**meta, **{f"{name}{form}": 1.0 for name in _STATS for form in ("", "_as_string")}}
    if kind in ("percentiles", "percentile_ranks"):
        return {**meta, "values": Placeholder()}
    if kind == "top_hits":
        return {
            **meta,
            "hits": {"total": Placeholder(), "max_score": 1.0, "hits": [_sample_hit({}, Placeholder())]},
        }
    return Placeholder()


_STATS = ("count", "min", "max", "avg", "sum")


class KeyedPlaceholder(Placeholder):
    """A placeholder that has only the keys that a script's source writes, at any depth."""

    def __init__(self, keys: frozenset[str], *, deep: bool) -> None:
        super().__init__()
        self.names = keys
        self._deep = deep

    def __contains__(self, key: object) -> bool:
        return key in self.names or (
            self._deep and isinstance(key, str) and (key.isdecimal() or key == "size")
        )

    def __missing__(self, key: str) -> Placeholder:
        return self if self._deep else Placeholder()


_WRITTEN = re.compile(
    r"""['"](?P<literal>\w+)['"]\s*:|\.(?P<property>\w+)\s*=(?!=)|\[['"](?P<index>\w+)['"]\]\s*=(?!=)"""
    r"""|put\(\s*['"](?P<put>\w+)['"]"""
)
_RETURNS = re.compile(r"\breturn\s+(.)")


def find_written_keys(source: str) -> frozenset[str]:
    """Return all keys that a Painless source writes into objects, anywhere."""
    return frozenset(match[match.lastgroup or 0] for match in _WRITTEN.finditer(source))


def _infer_script_payload(script: Script) -> Payload:
    if script.source is None:
        keys = _find_shipped_keys(script.id or "")
        return KeyedPlaceholder(keys, deep=True) if keys else Placeholder()
    # Of a user's script only the first level is known, and only if each result is written out in place.
    results = set(_RETURNS.findall(script.source))
    if results == {"["}:
        return KeyedPlaceholder(find_written_keys(script.source) | {"_value"}, deep=False)
    return Placeholder()


@cache
def _find_shipped_keys(script_id: str) -> frozenset[str]:
    try:
        file = content.path("watchers") / "scripts" / f"{script_id}.painless"
        return find_written_keys(file.read_text("utf-8"))
    except OSError:
        return frozenset()
