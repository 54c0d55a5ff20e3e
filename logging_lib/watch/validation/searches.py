"""Validate a search body before it runs: fields against the schema, date math, names of queries."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import Any

from logging_lib._util.suggestions import suggest
from logging_lib._util.times import resolve_date_math
from logging_lib.schema.fields import Field, Schema
from logging_lib.watch.templating import Placeholder

Path = tuple[str | int, ...]
Problems = Iterator[tuple[Path, str]]
"""(path within the body, message)"""

_FIELD_QUERIES = frozenset(
    {"term", "terms", "range", "prefix", "wildcard", "regexp", "fuzzy", "terms_set", "intervals", "span_term"}
    | {"match", "match_phrase", "match_phrase_prefix", "match_bool_prefix"}
)
_MULTI_FIELD_QUERIES = frozenset({"query_string", "simple_query_string", "multi_match", "combined_fields"})
_OTHER_QUERIES = frozenset(
    {"match_all", "match_none", "ids", "script", "script_score", "distance_feature", "rank_feature", "knn"}
    | {"more_like_this", "percolate", "pinned", "geo_bounding_box", "geo_distance", "geo_shape", "wrapper"}
    | {"nested", "has_child", "has_parent", "parent_id", "span_near", "span_or", "span_not", "span_first"}
)
_COMPOUND_QUERIES = frozenset({"constant_score", "boosting", "dis_max", "function_score"})
_BOOL = frozenset({"must", "filter", "should", "must_not"})
_BOUNDS = frozenset({"gt", "gte", "lt", "lte"})
_RANGE_OPTIONS = _BOUNDS | {"format", "time_zone", "boost", "relation", "_name"}
_TEXT_TYPES = frozenset({"text", "match_only_text"})
_NOT_SORTED_BY_FIELD = frozenset({"_score", "_doc", "_shard_doc", "_script", "_geo_distance"})
_SAMPLE_DATE = "2018-02-01T00:00:00.000Z"
_NOW = datetime(2018, 2, 1, tzinfo=UTC)  # any time: dates are resolved only to check that they can be


class SearchValidator:
    """The validator of one search body.

    Args:
        indices: the indices that the request searches; fields are checked if all of them are ``logs-ml.*``.
    """

    def __init__(self, indices: tuple[str, ...], schema: Schema) -> None:
        names = [name.strip() for entry in indices for name in entry.split(",")]
        self._indices = ",".join(names)
        self._schema = schema if all(name.startswith("logs-ml.") for name in names) else None
        self._datasets = frozenset(
            dataset
            for dataset in schema.datasets
            if any(
                fnmatchcase(f"logs-{dataset}-default", name) or name.startswith(f"logs-{dataset}-")
                for name in names
            )
        )

    def find_problems(self, body: Mapping[str, Any]) -> Problems:
        """Yield the problems of a rendered body."""
        if self._schema is not None and not self._datasets:
            patterns = ", ".join(f"logs-{name}-*" for name in self._schema.datasets)
            yield (), f"{self._indices} matches no dataset; there are {patterns}"
            return
        if "query" in body:
            yield from self._check_query(body["query"], ("query",))
        yield from self._check_aggs(body, ())
        yield from self._check_sort(body.get("sort", ()), ("sort",))
        yield from self._check_source(body.get("_source"), ("_source",))

    # --- queries

    def _check_query(self, query: Any, path: Path) -> Problems:
        if not isinstance(query, Mapping) or len(query) != 1:
            yield path, "a query is an object with exactly one key, the query's name"
            return
        ((name, body),) = query.items()
        here = (*path, name)
        if not isinstance(body, Mapping):
            yield here, f"what a query holds is an object, not {body!r:.80}"
        elif name == "bool":
            yield from self._check_bool(body, here)
        elif name in _COMPOUND_QUERIES:
            for key in ("filter", "positive", "negative", "queries", "query"):
                if key in body:
                    yield from self._check_queries(body[key], (*here, key))
        elif name == "exists":
            yield from self._check_field(body.get("field"), (*here, "field"), "query")
        elif name in _FIELD_QUERIES:
            for field in body:
                if field not in {"boost", "_name"}:
                    yield from self._check_field(field, (*here, field), "query")
                    if name == "range":
                        yield from self._check_range(field, body[field], (*here, field))
        elif name in _MULTI_FIELD_QUERIES:
            for index, field in _list_names(body.get("fields")):
                field_name = field.partition("^")[0] if isinstance(field, str) else field
                yield from self._check_field(field_name, (*here, "fields", *index), "query")
        elif name not in _OTHER_QUERIES:
            query_names = sorted(
                _FIELD_QUERIES
                | _MULTI_FIELD_QUERIES
                | _OTHER_QUERIES
                | _COMPOUND_QUERIES
                | {"bool", "exists"}
            )
            yield here, f"{name!r} is not a query{suggest(name, query_names)}"

    def _check_queries(self, queries: Any, path: Path) -> Problems:
        if isinstance(queries, list):
            for index, query in enumerate(queries):
                yield from self._check_query(query, (*path, index))
        else:
            yield from self._check_query(queries, path)

    def _check_bool(self, clauses: Mapping[str, Any], path: Path) -> Problems:
        for key, queries in clauses.items():
            if key in _BOOL:
                yield from self._check_queries(queries, (*path, key))
            elif key not in {"minimum_should_match", "boost", "_name"}:
                yield (*path, key), f"a bool query has no {key!r}{suggest(key, sorted(_BOOL))}"

    def _check_range(self, field: str, bounds: Any, path: Path) -> Problems:
        if not isinstance(bounds, Mapping):
            yield path, 'a range is an object such as {"gt": ..., "lte": ...}'
            return
        schema_field = self._schema.field(field) if self._schema else None
        for key, bound in bounds.items():
            if key not in _RANGE_OPTIONS:
                yield (*path, key), f"a range has no {key!r}; give gt, gte, lt or lte"
            elif key in _BOUNDS and isinstance(bound, str) and "format" not in bounds:
                is_date = (
                    schema_field.type == "date"
                    if schema_field
                    else bound.startswith(("now", Placeholder.TEXT)) or "||" in bound
                )
                if is_date:
                    yield from _check_date(bound, (*path, key))

    # --- aggregations, sort, _source

    def _check_aggs(self, node: Mapping[str, Any], path: Path) -> Problems:
        for key in ("aggs", "aggregations"):
            aggs = {} if node.get(key) is None else node[key]
            if not isinstance(aggs, Mapping):
                yield (*path, key), f"aggregations are an object, name → aggregation, not {aggs!r:.80}"
                continue
            for name, agg in aggs.items():
                here = (*path, key, name)
                if not isinstance(agg, Mapping):
                    yield here, f"an aggregation is an object, not {agg!r:.80}"
                    continue
                kinds = [k for k in agg if k not in {"aggs", "aggregations", "meta"}]
                if len(kinds) != 1:
                    yield here, f"an aggregation has exactly one type; there is {', '.join(kinds) or 'none'}"
                    continue
                kind = kinds[0]
                yield from self._check_agg(kind, agg[kind], (*here, kind))
                yield from self._check_aggs(agg, here)

    def _check_agg(self, kind: str, settings: Any, path: Path) -> Problems:
        if not isinstance(settings, Mapping):
            yield path, f"what an aggregation holds is an object, not {settings!r:.80}"
        elif kind == "filter":
            yield from self._check_query(settings, path)
        elif kind in {"filters", "adjacency_matrix"}:
            filters = settings.get("filters", {})
            if not isinstance(filters, Mapping | list):
                yield (*path, "filters"), f"filters are an object or a list of queries, not {filters!r:.80}"
                return
            entries = filters.items() if isinstance(filters, Mapping) else enumerate(filters)
            for name, query in entries:
                yield from self._check_query(query, (*path, "filters", name))
        elif kind == "top_hits":
            yield from self._check_sort(settings.get("sort", ()), (*path, "sort"))
            yield from self._check_source(settings.get("_source"), (*path, "_source"))
        else:
            yield from self._check_named_fields(settings, path)

    def _check_named_fields(self, node: Any, path: Path) -> Problems:
        entries: Any = ()
        if isinstance(node, Mapping):
            entries = node.items()
        elif isinstance(node, list):
            entries = enumerate(node)
        for key, value in entries:
            if key == "field" and isinstance(value, str):
                yield from self._check_field(value, (*path, key), "aggregation")
            else:
                yield from self._check_named_fields(value, (*path, key))

    def _check_sort(self, sort: Any, path: Path) -> Problems:
        for index, entry in enumerate(sort if isinstance(sort, list | tuple) else [sort]):
            for field in entry if isinstance(entry, Mapping) else [entry]:
                if not isinstance(field, str) or field not in _NOT_SORTED_BY_FIELD:
                    yield from self._check_field(field, (*path, index), "sort")

    def _check_source(self, source: Any, path: Path) -> Problems:
        if isinstance(source, Mapping):
            for key in ("includes", "excludes", "include", "exclude"):
                yield from self._check_source(source.get(key), (*path, key))
            return
        if isinstance(source, bool):
            return
        for index, name in _list_names(source):
            if not isinstance(name, str):
                yield (*path, *index), f"{name!r:.80} is not a field name"
            elif self._schema is None or Placeholder.TEXT in name:
                continue
            elif "*" not in name and not any(
                field.name.startswith(f"{name}.") for field in self._schema.fields
            ):
                yield from self._check_field(name, (*path, *index), "_source")

    def _check_field(self, name: Any, path: Path, use: str) -> Problems:
        if not isinstance(name, str):
            yield path, f"{name!r:.80} is not a field name"
            return
        if self._schema is None or name.startswith("_") or Placeholder.TEXT in name:
            return
        field = self._schema.field(name)
        if field is None:
            field_names = [entry.name for entry in self._schema.fields]
            yield path, f"no field {name!r} in the schema{suggest(name, field_names)}; see docs/fields.md"
        else:
            yield from ((path, message) for message in self._describe_misuse(field, name, use))

    def _describe_misuse(self, field: Field, name: str, use: str) -> Iterator[str]:
        if self._datasets.isdisjoint(field.datasets):
            where = ", ".join(f"logs-{dataset}-*" for dataset in field.datasets)
            yield f"field {name!r} is not in {self._indices} but in {where}"
        elif use != "_source" and not field.indexed:
            yield f"field {name!r} is not indexed: it can be read from _source, not searched"
        elif use in {"aggregation", "sort"} and field.type in _TEXT_TYPES:
            yield f"field {name!r} is text ({field.type}): use a keyword field in an {use}"


def _list_names(names: Any) -> Iterator[tuple[Path, Any]]:
    """List names, given as one text or as a list: (path below, name)."""
    if isinstance(names, list | tuple):
        yield from (((index,), name) for index, name in enumerate(names))
    elif names is not None:
        yield (), names


def _check_date(bound: str, path: Path) -> Problems:
    expression = bound
    if expression.startswith(Placeholder.TEXT):
        expression = _SAMPLE_DATE + expression[len(Placeholder.TEXT) :]
    expression = expression.replace(Placeholder.TEXT, "1d")
    try:
        resolve_date_math(expression, _NOW)
    except ValueError as error:
        yield path, f"date expression: {error}; write such as now-15m/m or 2018-02-01T00:00:00Z||-1d"
