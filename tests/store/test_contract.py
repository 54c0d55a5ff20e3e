"""What every store answers: documents, a body, and the part of Elasticsearch's answer that matters.

Runs over the embedded store in memory and over files, and over a real Elasticsearch with our templates.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from logging_lib.store import SearchError
from tests.store.conftest import Subject
from tests.store.events import event


@dataclass(frozen=True)
class Case:
    name: str
    documents: list[dict[str, Any]]
    body: dict[str, Any]
    expected: dict[str, Any]


def models(*names: str) -> list[dict[str, Any]]:
    return [event(number, ml__model__name=name) for number, name in enumerate(names)]


def ids(*numbers: int) -> dict[str, Any]:
    return {"hits": {"hits": [{"_id": f"e{number}"} for number in numbers]}}


def asked(query: dict[str, Any], *matching: int, documents: list[dict[str, Any]], name: str) -> Case:
    body = {"query": query, "sort": ["@timestamp"], "_source": False}
    return Case(name, documents, body, ids(*matching))


def aggregated(name: str, documents: list[dict[str, Any]], agg: dict[str, Any], expected: Any) -> Case:
    return Case(name, documents, {"size": 0, "aggs": {"a": agg}}, {"aggregations": {"a": expected}})


ARRAYS = [
    event(0, ml__check__missing=["a", "b"]),
    event(1, ml__check__missing=["b"]),
    event(2, ml__check__missing=[]),
    event(3),
    event(4, ml__check__missing=None),
]
NUMBERS = [event(n, ml__prediction__value=value) for n, value in enumerate([1.0, 2.0, 2.0, 7.5, None])]
WEIGHTS = [
    event(0, ml__sample__weight=1.0, ml__check__missing=["a"]),
    event(1, ml__sample__weight=10.0, ml__check__missing=["a", "b"]),
    event(2, ml__sample__weight=0.5, ml__model__name="churn"),
]
ODD_NAMES = ["a.b", "a", 'say "hi"', "it's", "a/b~c", "ünï", "%", "x]", "'; DROP TABLE raw_1; --"]

CASES = [
    asked({"match_all": {}}, 0, 1, documents=models("a", "b"), name="match_all"),
    asked({"match_none": {}}, documents=models("a", "b"), name="match_none"),
    asked(
        {"term": {"ml.check.missing": "b"}}, 0, 1, documents=ARRAYS, name="term matches any value of an array"
    ),
    asked(
        {"bool": {"must_not": {"term": {"ml.check.missing": "a"}}}},
        *(1, 2, 3, 4),
        documents=ARRAYS,
        name="must_not matches documents without the field",
    ),
    asked({"exists": {"field": "ml.check.missing"}}, 0, 1, documents=ARRAYS, name="null and [] do not exist"),
    asked({"exists": {"field": "ml.check"}}, 0, 1, documents=ARRAYS, name="an object exists with its fields"),
    asked({"term": {"ml.check": "a"}}, documents=ARRAYS, name="an unmapped field matches nothing"),
    asked({"terms": {"ml.model.name": ["a", "c"]}}, 0, 2, documents=models("a", "b", "c"), name="terms"),
    asked(
        {"wildcard": {"ml.model.name": {"value": "l*n?"}}},
        0,
        documents=models("loans", "loan"),
        name="wildcard",
    ),
    asked({"wildcard": {"ml.model.name": "a\\*"}}, 1, documents=models("ab", "a*"), name="an escaped star"),
    asked(
        {"wildcard": {"ml.model.name": {"value": "LO*", "case_insensitive": True}}},
        0,
        documents=models("loans", "Übel"),
        name="case-insensitive wildcard",
    ),
    asked(
        {"wildcard": {"ml.model.name": ".*"}}, 1, documents=models("ab", ".x"), name="no regular expression"
    ),
    asked({"prefix": {"ml.model.name": "lo"}}, 0, documents=models("loans", "l%"), name="prefix"),
    asked({"ids": {"values": ["e1", "e7"]}}, 1, documents=models("a", "b"), name="ids"),
    asked(
        {"range": {"@timestamp": {"gt": "2018-02-01T09:10:00Z||-8m", "lte": "2018-02-01T09:04:00Z"}}},
        *(3, 4),
        documents=models(*"abcdef"),
        name="date maths on an anchor",
    ),
    asked(
        {"range": {"@timestamp": {"gte": "2018-02-01T09:01:59Z||/m", "lt": "2018-02-01T09:02:30Z||/m"}}},
        1,
        documents=models(*"abcdef"),
        name="gte and lt round down",
    ),
    asked(
        {"range": {"@timestamp": {"gt": "2018-02-01T09:01:59Z||/m", "lte": "2018-02-01T09:02:30Z||/m"}}},
        2,
        documents=models(*"abcdef"),
        name="gt and lte round up",
    ),
    asked(
        {"range": {"@timestamp": {"gt": "2018-02-01T09:00:00.123Z"}}},
        1,
        documents=[
            event(0, **{"@timestamp": "2018-02-01T09:00:00.123999Z"}),
            event(1, **{"@timestamp": "2018-02-01T09:00:00.124Z"}),
        ],
        name="dates are cut to milliseconds",
    ),
    asked({"term": {"@timestamp": "2018-02-01"}}, 0, documents=models("a"), name="a day is a range"),
    asked({"range": {"ml.prediction.value": {"gte": 2, "lt": "7.5"}}}, 1, 2, documents=NUMBERS, name="range"),
    asked(
        {"term": {"event.duration": 1.5}},
        documents=[event(0, event__duration=1)],
        name="no rounding of terms",
    ),
    asked(
        {"range": {"ml.check.missing": {"gt": "a", "lt": "b"}}},
        documents=[event(0, ml__check__missing=["a", "b"])],
        name="one value has to meet both ends of a range",
    ),
    asked(
        {"bool": {"should": [{"term": {"ml.model.name": n}} for n in "ab"], "filter": [{"match_all": {}}]}},
        *(0, 1, 2),
        documents=models("a", "b", "c"),
        name="should is optional beside filter",
    ),
    asked(
        {"bool": {"should": [{"term": {"ml.model.name": n}} for n in "ab"]}},
        *(0, 1),
        documents=models("a", "b", "c"),
        name="should alone has to match",
    ),
    asked(
        {
            "bool": {
                "should": [
                    {"term": {"ml.model.name": "a"}},
                    {"exists": {"field": "ml.model.name"}},
                    {"ids": {"values": ["e1"]}},
                ],
                "minimum_should_match": 2,
            }
        },
        *(0, 1),
        documents=models("a", "b", "c"),
        name="minimum_should_match",
    ),
    *(
        asked(
            {"term": {f"ml.input.category.{name}": value}},
            0,
            documents=[
                event(0, ml__input={"category": {name: value}}),
                event(1, ml__input={"category": {name: "other"}}),
                event(2, ml__input={"category": {f"{name}x": value}}),
            ],
            name=f"the feature {name}",
        )
        for name, value in zip(ODD_NAMES, reversed(ODD_NAMES), strict=True)
    ),
    asked(
        {"term": {"ml.input.numeric.n": 2.5}},
        *(0, 1),
        documents=[
            event(0, ml__input={"numeric": {"n": "2.5"}}),
            event(1, ml__input={"numeric": {"n": [1, 2.5]}}),
            event(2, ml__input={"numeric": {"n": None}}),
        ],
        name="numbers in texts and in arrays",
    ),
    Case(
        "ten hits by default",
        models(*"abcdefghijkl"),
        {"sort": [{"@timestamp": "desc"}], "_source": ["ml.model.name"]},
        {
            "hits": {
                "total": {"value": 12, "relation": "eq"},
                "hits": [
                    {"_source": {"ml": {"model": {"name": name}}}, "_score": None}
                    for name in reversed("cdefghijkl")
                ],
            }
        },
    ),
    Case(
        "from and size, and what the sort says",
        models("b", "a", "c"),
        {"sort": [{"ml.model.name": "desc"}], "from": 1, "size": 1, "_source": False},
        {"hits": {"hits": [{"_id": "e0", "sort": ["b"]}]}},
    ),
    Case(
        "documents without a value come last",
        NUMBERS,
        {"sort": [{"ml.prediction.value": "desc"}, {"@timestamp": "asc"}], "_source": False},
        ids(3, 1, 2, 0, 4),
    ),
    Case(
        "search_after",
        NUMBERS,
        {"sort": ["ml.prediction.value", "event.id"], "search_after": [2, "e1"], "_source": False},
        ids(2, 3, 4),
    ),
    Case(
        "_source with and without",
        [event(0, labels={"a": "1", "b.c": "2"})],
        {"_source": {"includes": ["labels", "event.id"], "excludes": ["labels.b*"]}},
        {"hits": {"hits": [{"_source": {"labels": {"a": "1"}, "event": {"id": "e0"}}}]}},
    ),
    Case("track_total_hits false", models("a"), {"track_total_hits": False}, {"hits": {"total": ...}}),
    Case(
        "track_total_hits counts up to",
        models(*"abc"),
        {"size": 0, "track_total_hits": 2},
        {"hits": {"total": {"value": 2, "relation": "gte"}}},
    ),
    aggregated(
        "terms: by count, then by key; the rest is counted",
        models(*"bacab"),
        {"terms": {"field": "ml.model.name", "size": 2}},
        {
            "doc_count_error_upper_bound": 0,
            "sum_other_doc_count": 1,
            "buckets": [{"key": "a", "doc_count": 2}, {"key": "b", "doc_count": 2}],
        },
    ),
    aggregated(
        "weighted counts of an array's values",
        WEIGHTS,
        {
            "terms": {"field": "ml.check.missing", "order": {"w": "desc"}},
            "aggs": {"w": {"sum": {"field": "ml.sample.weight"}}},
        },
        {
            "buckets": [
                {"key": "a", "doc_count": 2, "w": {"value": 11.0}},
                {"key": "b", "doc_count": 1, "w": {"value": 10.0}},
            ]
        },
    ),
    aggregated(
        "terms: missing, exclude",
        ARRAYS,
        {"terms": {"field": "ml.check.missing", "missing": "none", "exclude": "[ax]"}},
        {"buckets": [{"key": "none", "doc_count": 3}, {"key": "b", "doc_count": 2}]},
    ),
    aggregated(
        "terms on booleans",
        [
            event(n, ml__input={"boolean": {"joint": value}})
            for n, value in enumerate([True, "true", False, None])
        ],
        {"terms": {"field": "ml.input.boolean.joint"}},
        {
            "buckets": [
                {"key": 1, "key_as_string": "true", "doc_count": 2},
                {"key": 0, "key_as_string": "false", "doc_count": 1},
            ]
        },
    ),
    aggregated(
        "filters overlap; each has its own buckets below",
        WEIGHTS,
        {
            "filters": {
                "filters": {
                    "all": {"match_all": {}},
                    "loans": {"term": {"ml.model.name": "loans"}},
                    "none": {"match_none": {}},
                }
            },
            "aggs": {
                "w": {"sum": {"field": "ml.sample.weight"}},
                "f": {
                    "terms": {"field": "ml.check.missing"},
                    "aggs": {"n": {"cardinality": {"field": "event.id"}}},
                },
            },
        },
        {
            "buckets": {
                "all": {"doc_count": 3, "w": {"value": 11.5}},
                "loans": {
                    "doc_count": 2,
                    "w": {"value": 11.0},
                    "f": {
                        "buckets": [
                            {"key": "a", "doc_count": 2, "n": {"value": 2}},
                            {"key": "b", "doc_count": 1, "n": {"value": 1}},
                        ]
                    },
                },
                "none": {"doc_count": 0, "w": {"value": 0.0}, "f": {"buckets": [], "sum_other_doc_count": 0}},
            }
        },
    ),
    aggregated(
        "anonymous filters and the other bucket",
        models("a", "b", "b"),
        {"filters": {"filters": [{"term": {"ml.model.name": "a"}}], "other_bucket": True}},
        {"buckets": [{"doc_count": 1}, {"doc_count": 2}]},
    ),
    aggregated(
        "date_histogram fills gaps",
        [event(0), event(125)],
        {"date_histogram": {"field": "@timestamp", "fixed_interval": "1h"}},
        {
            "buckets": [
                {"key_as_string": "2018-02-01T09:00:00.000Z", "key": 1517475600000, "doc_count": 1},
                {"key_as_string": "2018-02-01T10:00:00.000Z", "key": 1517479200000, "doc_count": 0},
                {"key_as_string": "2018-02-01T11:00:00.000Z", "key": 1517482800000, "doc_count": 1},
            ]
        },
    ),
    aggregated(
        "date_histogram by calendar in a time zone",
        [event(0)],
        {
            "date_histogram": {
                "field": "@timestamp",
                "calendar_interval": "day",
                "time_zone": "America/New_York",
            }
        },
        {
            "buckets": [
                {"key_as_string": "2018-02-01T00:00:00.000-05:00", "key": 1517461200000, "doc_count": 1}
            ]
        },
    ),
    aggregated(
        "histogram",
        NUMBERS,
        {"histogram": {"field": "ml.prediction.value", "interval": 5, "offset": 1}},
        {"buckets": [{"key": 1.0, "doc_count": 3}, {"key": 6.0, "doc_count": 1}]},
    ),
    aggregated(
        "range",
        NUMBERS,
        {"range": {"field": "ml.prediction.value", "ranges": [{"from": 2}, {"to": 2, "key": "low"}]}},
        {
            "buckets": [
                {"key": "low", "to": 2.0, "doc_count": 1},
                {"key": "2.0-*", "from": 2.0, "doc_count": 3},
            ]
        },
    ),
    aggregated("missing", NUMBERS, {"missing": {"field": "ml.prediction.value"}}, {"doc_count": 1}),
    aggregated("sum of nothing is zero", models("a"), {"sum": {"field": "no.such"}}, {"value": 0.0}),
    aggregated(
        "average of nothing is null", models("a"), {"avg": {"field": "ml.label.error"}}, {"value": None}
    ),
    aggregated(
        "minimum of dates",
        [event(0), event(5)],
        {"min": {"field": "@timestamp"}},
        {"value": 1517475600000.0, "value_as_string": "2018-02-01T09:00:00.000Z"},
    ),
    aggregated(
        "stats",
        NUMBERS,
        {"stats": {"field": "ml.prediction.value"}},
        {"count": 4, "min": 1.0, "max": 7.5, "avg": 3.125, "sum": 12.5},
    ),
    aggregated(
        "a float has 32 bits",
        [event(0, ml__sample__weight=0.1)],
        {"sum": {"field": "ml.sample.weight"}},
        {"value": 0.10000000149011612},
    ),
    aggregated(
        "top_hits",
        WEIGHTS,
        {
            "terms": {"field": "ml.check.missing"},
            "aggs": {
                "last": {"top_hits": {"size": 1, "sort": [{"@timestamp": "desc"}], "_source": ["event.id"]}}
            },
        },
        {
            "buckets": [
                {"key": "a", "last": {"hits": {"total": {"value": 2}, "hits": [{"_id": "e1"}]}}},
                {
                    "key": "b",
                    "last": {"hits": {"total": {"value": 1}, "hits": [{"_source": {"event": {"id": "e1"}}}]}},
                },
            ]
        },
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_each_store_gives_the_expected_answer(case: Case, subject: Subject) -> None:
    contains(subject.search(case.documents, case.body), case.expected, "$")


def contains(actual: Any, expected: Any, path: str) -> None:
    """Objects may hold more than expected; ``...`` stands for a key that must not be there."""
    if isinstance(expected, dict):
        for key, value in expected.items():
            if value is ...:
                assert key not in actual, f"{path}.{key}"
            else:
                assert key in actual, f"{path}.{key} is not in {actual!r:.300}"
                contains(actual[key], value, f"{path}.{key}")
    elif isinstance(expected, list):
        assert len(actual) == len(expected), f"{path}: {actual!r:.300}"
        for place, value in enumerate(expected):
            contains(actual[place], value, f"{path}[{place}]")
    else:
        assert (type(actual), actual) == (type(expected), expected), path


WRONG = [
    {"query": {"term": {"ml.model.name": None}}},
    {"query": {"range": {"@timestamp": {"gt": "yesterday"}}}},
    {"query": {"range": {"@timestamp": {"gt": "now-1x"}}}},
    {"query": {"range": {"event.duration": {"gt": "abc"}}}},
    {"query": {"term": {"ml.input.boolean.joint": "maybe"}}},
    {"query": {"no_such_query": {}}},
    {"query": {"bool": {"must": [{"match_all": {}}], "ought": []}}},
    {"query": {"term": {"error.stack_trace": "x"}}},
    {"aggs": {"a": {"terms": {"field": "message"}}}},
    {"aggs": {"a": {"sum": {"field": "ml.model.name"}}}},
    {"aggs": {"a": {"terms": {"field": "ml.model.name", "size": 0}}}},
    {"aggs": {"a": {"date_histogram": {"field": "@timestamp"}}}},
    {"aggs": {"a": {"date_histogram": {"field": "@timestamp", "calendar_interval": "2d"}}}},
    {
        "aggs": {
            "a": {"sum": {"field": "event.duration"}, "aggs": {"b": {"sum": {"field": "event.duration"}}}}
        }
    },
    {"aggs": {"a": {"date_histogram": {"field": "@timestamp", "fixed_interval": "1ms"}}}},
    {"sort": ["no.such"]},
    {"sort": ["message"]},
    {"from": 9999, "size": 10},
    {"size": -5},
    {"no_such_part": 1},
]


@pytest.mark.parametrize("body", WRONG, ids=repr)
def test_each_store_refuses_an_invalid_body(body: dict[str, Any], subject: Subject) -> None:
    with pytest.raises(SearchError):
        subject.search(
            [event(0, ml__check__missing=["a"], ml__input__boolean={"joint": True}), event(2000)], body
        )
