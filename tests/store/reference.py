"""A slow, plain evaluator of the commonest searches: what the store's SQL has to agree with.

It works on small flat documents, ``{field: value or list}``, straight from Elasticsearch's documentation.
"""

from __future__ import annotations

import re
from collections import defaultdict
from datetime import datetime
from typing import Any

Document = dict[str, Any]


def values(document: Document, field: str) -> list[Any]:
    value = document.get(field)
    if value is None:
        return []
    listed = value if isinstance(value, list) else [value]
    return list(dict.fromkeys(value for value in listed if value is not None))


def millis(text: str) -> int:
    moment = datetime.fromisoformat(text)
    return int(moment.timestamp()) * 1000 + moment.microsecond // 1000


def matches(document: Document, query: dict[str, Any]) -> bool:
    ((kind, part),) = query.items()
    if kind == "match_all":
        return True
    if kind == "exists":
        return bool(values(document, part["field"]))
    if kind == "bool":
        should = [matches(document, clause) for clause in part.get("should", [])]
        needed = part.get("must", []) + part.get("filter", [])
        least = part.get("minimum_should_match", 0 if needed or not should else 1)
        return (
            all(matches(document, clause) for clause in needed)
            and not any(matches(document, clause) for clause in part.get("must_not", []))
            and sum(should) >= least
        )
    ((field, wanted),) = part.items()
    field_values = values(document, field)
    if kind == "term":
        return wanted in field_values
    if kind == "terms":
        return any(value in wanted for value in field_values)
    if kind == "wildcard":
        pattern = ".*".join(re.escape(piece) for piece in wanted.split("*"))
        return any(re.fullmatch(pattern, value, re.DOTALL) for value in field_values)
    assert kind == "range"
    dated = field == "@timestamp"
    tests = {"gt": int.__gt__, "gte": int.__ge__, "lt": int.__lt__, "lte": int.__le__}
    if not dated:
        tests = {"gt": float.__gt__, "gte": float.__ge__, "lt": float.__lt__, "lte": float.__le__}  # type: ignore[dict-item]
    convert = millis if dated else float
    return any(
        all(tests[sign](convert(value), convert(end)) for sign, end in wanted.items())  # type: ignore[operator]
        for value in field_values
    )


def aggregate(documents: list[Document], aggs: dict[str, Any]) -> dict[str, Any]:
    return {name: _one(documents, agg) for name, agg in aggs.items()}


def _bucket(documents: list[Document], agg: dict[str, Any]) -> dict[str, Any]:
    return {"doc_count": len(documents), **aggregate(documents, agg.get("aggs", {}))}


def _one(documents: list[Document], agg: dict[str, Any]) -> dict[str, Any]:
    kind = next(key for key in agg if key != "aggs")
    part = agg[kind]
    if kind == "filters":
        return {
            "buckets": {
                name: _bucket([document for document in documents if matches(document, query)], agg)
                for name, query in sorted(part["filters"].items())
            }
        }
    if kind == "filter":
        return _bucket([document for document in documents if matches(document, part)], agg)
    field = part["field"]
    if kind == "sum":
        return {"value": float(sum(value for document in documents for value in values(document, field)))}
    if kind == "min":
        return {
            "value": min(
                (float(value) for document in documents for value in values(document, field)), default=None
            )
        }
    if kind == "value_count":
        return {"value": sum(len(values(document, field)) for document in documents)}
    if kind == "cardinality":
        return {"value": len({value for document in documents for value in values(document, field)})}
    groups: dict[Any, list[Document]] = defaultdict(list)
    if kind == "terms":
        for document in documents:
            for value in values(document, field):
                groups[value].append(document)
        ordered = sorted(groups, key=lambda key: (-len(groups[key]), key))
        top = ordered[: part.get("size", 10)]
        return {
            "doc_count_error_upper_bound": 0,
            "sum_other_doc_count": sum(len(groups[key]) for key in ordered[len(top) :]),
            "buckets": [{"key": key, **_bucket(groups[key], agg)} for key in top],
        }
    assert kind == "date_histogram"
    size = {"1h": 3_600_000, "10m": 600_000}[part["fixed_interval"]]
    for document in documents:
        for value in values(document, field):
            moment = millis(value)
            groups[moment - moment % size].append(document)
    if not groups:
        return {"buckets": []}
    keys = range(min(groups), max(groups) + 1, size)
    return {"buckets": [{"key": key, **_bucket(groups.get(key, []), agg)} for key in keys]}
