"""Search bodies: one a line, over the random events, for the comparison with Elasticsearch."""

from __future__ import annotations

import random
from typing import Any

T = "2018-02-01T09:00:00Z"
WEIGHT = {"weight": {"sum": {"field": "ml.sample.weight"}}}

QUERIES: list[dict[str, Any]] = [
    {"match_all": {}},
    {"match_none": {}},
    {"term": {"ml.model.name": "loans"}},
    {"term": {"ml.model.name": {"value": "loans"}}},
    {"term": {"ml.model.name": {"value": "LOANS", "case_insensitive": True}}},
    {"term": {"ml.check.missing": "emp.title"}},
    {"term": {"ml.input.category.home": "ÜNICODE"}},
    {"term": {"ml.input.category.home": {"value": "üNICODE", "case_insensitive": True}}},
    {"term": {"ml.input.category.home": ""}},
    {"term": {"ml.input.category.emp.title": "a*b"}},
    {"term": {'ml.input.category.quo"te': 'say "hi"'}},
    {"term": {"ml.input.category.it's": "it's"}},
    {"term": {"ml.input.category.a/b~c": "\\"}},
    {"term": {"ml.input.numeric.income": 7}},
    {"term": {"ml.input.numeric.income": "2.5"}},
    {"term": {"ml.input.boolean.joint": True}},
    {"term": {"ml.input.boolean.joint": "false"}},
    {"term": {"ml.sample.weight": 0.1}},
    {"term": {"ml.sample.weight": 3.3333}},
    {"term": {"event.duration": 2**40 + 1}},
    {"term": {"event.duration": 1.5}},
    {"term": {"ml.text.oov_tokens": 2}},
    {"term": {"ml.text.oov_tokens": 3}},
    {"term": {"labels.tenant": 5}},
    {"term": {"labels.tenant": True}},
    {"term": {"labels.a.b": "x"}},
    {"term": {"no.such.field": 1}},
    {"term": {"@timestamp": "2018-02-01"}},
    {"term": {"_id": "id-3"}},
    {"terms": {"_id": ["id-3", "id-5", "nobody"]}},
    {"ids": {"values": ["id-1", "id-2"]}},
    {"terms": {"ml.model.version": ["1", 2]}},
    {"terms": {"ml.model.version": []}},
    {"terms": {"ml.check.missing": ["income", "home"]}},
    {"terms": {"event.duration": [0, 1, 1.5]}},
    {"terms": {"ml.check.missing": [f"x{i}" for i in range(100)] + ["home"]}},
    {"terms": {"ml.model.name": [f"x{i}" for i in range(100)] + ["churn"]}},
    {"match": {"ml.model.name": "loans"}},
    {"match": {"event.duration": {"query": "1500"}}},
    {"exists": {"field": "ml.check.missing"}},
    {"exists": {"field": "ml.check"}},
    {"exists": {"field": "ml.input.numeric.income"}},
    {"exists": {"field": "ml.input.numeric"}},
    {"exists": {"field": "labels"}},
    {"exists": {"field": "labels.tenant"}},
    {"exists": {"field": "message"}},
    {"exists": {"field": "service.name"}},
    {"exists": {"field": "ml.text.oov_tokens"}},
    {"exists": {"field": "no.such"}},
    {"wildcard": {"ml.model.name": {"value": "loan*"}}},
    {"wildcard": {"ml.model.name": {"value": "*"}}},
    {"wildcard": {"ml.model.name": "l?ans"}},
    {"wildcard": {"ml.model.name": {"value": "LOAN?", "case_insensitive": True}}},
    {"wildcard": {"ml.input.category.home": {"value": "a\\*b"}}},
    {"wildcard": {"ml.input.category.home": {"value": "*[*"}}},
    {"wildcard": {"ml.input.category.home": {"value": "\\\\"}}},
    {"wildcard": {"ml.input.category.home": {"value": "?nicode"}}},
    {"wildcard": {"ml.input.category.home": {"value": "*"}}},
    {"prefix": {"ml.check.missing": "zip"}},
    {"prefix": {"ml.check.missing": {"value": "ZIP", "case_insensitive": True}}},
    {"range": {"@timestamp": {"gte": T}}},
    {"range": {"@timestamp": {"gt": f"{T}||-3h", "lte": f"{T}||+1d/d"}}},
    {"range": {"@timestamp": {"gte": f"{T}||-3h/h", "lt": f"{T}||/d"}}},
    {"range": {"@timestamp": {"gt": "2018-02-01"}}},
    {"range": {"@timestamp": {"lte": "2018-02-01"}}},
    {"range": {"@timestamp": {"gte": "2018-02-01", "lt": "2018-02-02", "time_zone": "+05:30"}}},
    {"range": {"@timestamp": {"gte": "2018-02-01||/d", "time_zone": "America/New_York"}}},
    {"range": {"@timestamp": {"gte": "2018-02-01||/w", "lt": "2018-02-01||/M"}}},
    {"range": {"@timestamp": {"lte": "2018-02-01||/w"}}},
    {"range": {"@timestamp": {"gte": "01/02/2018", "format": "dd/MM/yyyy"}}},
    {"range": {"@timestamp": {"lt": 1517475600000}}},
    {"range": {"@timestamp": {"lt": "1517475600", "format": "epoch_second"}}},
    {"range": {"@timestamp": {"gte": "2018"}}},
    {"range": {"@timestamp": {"lte": "2018-01"}}},
    {"range": {"event.ingested": {"gte": "2018-02-01T10:00:00.123456Z"}}},
    {"range": {"ml.input.date.opened": {"lt": "1970-01-01"}}},
    {"range": {"ml.input.date.opened": {"gte": "1969-12-31||/y", "lt": "1971||+2y-1M/M"}}},
    {"range": {"ml.input.numeric.income": {"gte": 2, "lt": 3}}},
    {"range": {"ml.input.numeric.income": {"gt": 1.5, "lt": 2.5}}},
    {"range": {"ml.sample.weight": {"gt": 0.1}}},
    {"range": {"ml.sample.weight": {"gte": 0.1, "lte": 2.5}}},
    {"range": {"ml.sample.weight": {"lt": 3.3333}}},
    {"range": {"event.duration": {"gt": 0.5, "lte": "1500"}}},
    {"range": {"ml.model.name": {"gte": "d", "lt": "loans-"}}},
    {"range": {"ml.check.missing": {"gt": "home", "lt": "zz"}}},
    {"range": {"event.duration": {}}},
    {"range": {"event.duration": {"gte": None, "lt": 5}}},
    {"constant_score": {"filter": {"term": {"ml.model.name": "churn"}}}},
    {"bool": {}},
    {"bool": {"must_not": {"exists": {"field": "service.name"}}}},
    {"bool": {"must_not": [{"term": {"ml.check.missing": "home"}}, {"term": {"labels.tenant": "eu-1"}}]}},
    {"bool": {"should": [{"term": {"ml.model.name": "loans"}}, {"term": {"ml.model.version": "1"}}]}},
    {
        "bool": {
            "filter": [{"term": {"ml.model.name": "loans"}}],
            "should": [{"term": {"ml.model.version": "1"}}],
        }
    },
    {
        "bool": {
            "should": [{"term": {"ml.model.name": x}} for x in ("loans", "churn")]
            + [{"term": {"ml.model.version": "1"}}, {"exists": {"field": "ml.check.missing"}}],
            "minimum_should_match": 2,
        }
    },
    {
        "bool": {
            "should": [{"term": {"ml.model.version": "1"}}, {"exists": {"field": "service.name"}}] * 2,
            "minimum_should_match": "75%",
        }
    },
    {
        "bool": {
            "should": [{"term": {"ml.model.version": "1"}}, {"exists": {"field": "service.name"}}],
            "minimum_should_match": -1,
        }
    },
    {"bool": {"should": [{"exists": {"field": "message"}}], "minimum_should_match": 0}},
    {"bool": {"must": [{"bool": {"must_not": [{"match_all": {}}]}}]}},
]


def terms(field: str, **options: Any) -> dict[str, Any]:
    return {"terms": {"field": field, **options}}


def histogram(**options: Any) -> dict[str, Any]:
    return {"date_histogram": {"field": "@timestamp", **options}}


MODELS = "ml.model.name"
AGGREGATIONS: list[dict[str, Any]] = [
    terms(MODELS),
    terms("ml.check.missing", size=3),
    terms("ml.check.missing", size=3, order={"_count": "asc"}),
    terms("ml.check.missing", order={"_key": "desc"}),
    {"terms": {"field": "ml.check.missing", "order": {"weight": "desc"}}, "aggs": WEIGHT},
    {
        "terms": {"field": "ml.check.missing", "size": 4, "order": [{"s.avg": "asc"}, {"_key": "desc"}]},
        "aggs": {"s": {"stats": {"field": "event.duration"}}},
    },
    {
        "terms": {"field": "ml.check.missing", "order": {"low": "asc"}},
        "aggs": {"low": {"min": {"field": "ml.input.numeric.income"}}},
    },
    {
        "terms": {"field": "event.duration", "size": 500, "order": {"v": "desc"}},
        "aggs": {"v": {"avg": {"field": "ml.input.numeric.zip_code"}}},
    },
    terms("event.duration"),
    terms("event.duration", include=[0, 1500]),
    terms("ml.input.numeric.income", size=5),
    terms("ml.sample.weight"),
    terms("ml.input.boolean.joint"),
    terms("ml.input.date.opened", size=5, order={"_key": "asc"}),
    terms("ml.input.date.opened", size=5, order={"_key": "asc"}, format="yyyy-MM-dd"),
    terms("ml.input.category.home", size=100, missing="N/A"),
    terms("service.name", missing="pricing"),
    terms("event.duration", missing=-1),
    terms("process.pid", missing=7),
    terms("ml.check.missing", missing="none"),
    terms("ml.input.boolean.joint", missing=True),
    terms("ml.check.missing", include=["home", "income"]),
    terms("ml.check.missing", exclude=["home", "income"]),
    terms("ml.check.missing", include=".*o.*", exclude="emp.*"),
    terms("ml.check.missing", include="[a-i]+"),
    terms("ml.input.category.home", include="a\\*b|\\[10,20\\)"),
    terms("ml.check.missing", min_doc_count=40),
    terms("no.such"),
    terms("no.such", missing="x"),
    terms("labels.tenant"),
    terms("labels.a.b"),
    terms("service.name"),
    terms('ml.input.category.quo"te'),
    {"filter": {"term": {MODELS: "loans"}}, "aggs": WEIGHT},
    {"filter": {"match_none": {}}, "aggs": {**WEIGHT, "m": {"max": {"field": "@timestamp"}}}},
    {"filters": {"filters": {"b": {"term": {MODELS: "loans"}}, "a": {"match_all": {}}}}},
    {"filters": {"filters": [{"term": {MODELS: "loans"}}, {"match_none": {}}], "other_bucket": True}},
    {"filters": {"filters": {"x": {"term": {MODELS: "loans"}}}, "other_bucket_key": "rest"}},
    {"filters": {"filters": {"x": {"term": {MODELS: "loans"}}}, "keyed": False}},
    histogram(fixed_interval="1h"),
    histogram(fixed_interval="5h", offset="-30m"),
    histogram(fixed_interval="1d", min_doc_count=1),
    histogram(calendar_interval="day"),
    histogram(calendar_interval="1d", time_zone="+05:30"),
    histogram(calendar_interval="day", time_zone="America/New_York"),
    histogram(calendar_interval="hour", time_zone="America/New_York"),
    histogram(fixed_interval="30m", time_zone="Asia/Kolkata", min_doc_count=1),
    histogram(calendar_interval="week", format="yyyy-MM-dd"),
    histogram(calendar_interval="day", offset="+6h"),
    histogram(calendar_interval="day", keyed=True, format="yyyy-MM-dd"),
    histogram(calendar_interval="day", order={"_count": "desc"}, min_doc_count=1),
    histogram(fixed_interval="6h", order={"_key": "desc"}),
    histogram(fixed_interval="12h", extended_bounds={"min": "2018-01-29", "max": "2018-02-07"}),
    histogram(fixed_interval="1d", extended_bounds={"min": f"{T}||-9d/d", "max": f"{T}||+9d/d"}),
    histogram(calendar_interval="day", extended_bounds={"min": "2018-01-29", "max": "2018-02-07"}),
    {"date_histogram": {"field": "ml.input.date.opened", "calendar_interval": "year"}},
    {"date_histogram": {"field": "ml.input.date.opened", "calendar_interval": "quarter", "min_doc_count": 1}},
    {"date_histogram": {"field": "ml.input.date.opened", "calendar_interval": "month", "min_doc_count": 2}},
    {
        "date_histogram": {
            "field": "ml.input.date.opened",
            "calendar_interval": "month",
            "time_zone": "Europe/Berlin",
            "min_doc_count": 1,
        }
    },
    {"date_histogram": {"field": "ml.input.date.opened", "fixed_interval": "700d", "missing": "1970-01-01"}},
    {"histogram": {"field": "event.duration", "interval": 100000, "min_doc_count": 1}},
    {"histogram": {"field": "ml.prediction.value", "interval": 0.7, "offset": 0.3}},
    {"histogram": {"field": "ml.input.numeric.home", "interval": 25, "min_doc_count": 1}},
    {"histogram": {"field": "ml.input.numeric.income", "interval": 0.25, "min_doc_count": 1}},
    {
        "histogram": {
            "field": "ml.text.tokens",
            "interval": 1,
            "extended_bounds": {"min": -2, "max": 8},
            "missing": 3,
            "keyed": True,
        }
    },
    {"range": {"field": "ml.prediction.value", "ranges": [{"to": 10}, {"from": 10, "to": 12}, {"from": 12}]}},
    {
        "range": {
            "field": "ml.prediction.value",
            "keyed": True,
            "ranges": [{"key": "low", "to": 12}, {"from": 5, "to": 30.5}],
        }
    },
    {"range": {"field": "ml.input.numeric.income", "ranges": [{"from": 1, "to": 3}, {"from": 2}, {}]}},
    {"range": {"field": "event.duration", "ranges": [{"from": 0.5, "to": 1500.5}]}},
    {
        "date_range": {
            "field": "@timestamp",
            "ranges": [{"to": f"{T}||/d"}, {"from": f"{T}||/d", "to": f"{T}||+1d/d"}, {"from": "2018-02-02"}],
        },
        "aggs": WEIGHT,
    },
    {
        "date_range": {
            "field": "@timestamp",
            "format": "yyyy-MM-dd",
            "keyed": True,
            "ranges": [{"to": "2018-02-02"}],
        }
    },
    {"missing": {"field": "service.name"}, "aggs": WEIGHT},
    {"missing": {"field": "no.such"}},
    {"missing": {"field": "ml.check.missing"}},
    *(
        {kind: {"field": field}}
        for kind in ("sum", "min", "max", "avg", "stats", "value_count")
        for field in (
            "ml.sample.weight",
            "event.duration",
            "ml.input.numeric.income",
            "@timestamp",
            "ml.input.boolean.joint",
            "no.such",
        )
    ),
    *(
        {kind: {"field": field}}
        for kind in ("value_count", "cardinality")
        for field in (
            MODELS,
            "ml.check.missing",
            "ml.input.category.home",
            "service.name",
            "ml.input.date.opened",
        )
    ),
    {"sum": {"field": "ml.prediction.value", "missing": 5}},
    {"avg": {"field": "ml.input.numeric.income", "missing": 5}},
    {"max": {"field": "@timestamp", "format": "yyyy-MM-dd HH:mm:ss"}},
    {"extended_stats": {"field": "ml.prediction.value"}},
    {"extended_stats": {"field": "ml.prediction.value", "sigma": 3}},
    {"extended_stats": {"field": "no.such"}},
    {"percentiles": {"field": "ml.prediction.value"}},
    {"percentiles": {"field": "ml.prediction.value", "percents": [50, 99.9], "keyed": False}},
    {"percentiles": {"field": "no.such"}},
    {"percentiles": {"field": "@timestamp", "percents": [50]}},
    {"percentile_ranks": {"field": "ml.prediction.value", "values": [10, 12.5]}},
    {"top_hits": {"sort": [{"@timestamp": "desc"}], "size": 2, "_source": ["ml.model"]}},
    {
        "terms": {"field": "ml.check.missing", "size": 3},
        "aggs": {
            "last": {"top_hits": {"sort": [{"@timestamp": "desc"}, "event.id"], "size": 2, "_source": False}},
            "models": {**terms(MODELS), "aggs": {"n": {"cardinality": {"field": "ml.model.version"}}}},
        },
        "meta": {"who": "me"},
    },
    {
        "filters": {
            "filters": {"a": {"term": {MODELS: "loans"}}, "b": {"exists": {"field": "service.name"}}}
        },
        "aggs": {
            "c": {"cardinality": {"field": "event.id"}},
            "p": {"percentiles": {"field": "event.duration", "percents": [50]}},
            "h": {"top_hits": {"sort": ["event.id"], "size": 1, "_source": "event.id"}},
        },
    },
    {
        "terms": {"field": MODELS},
        "aggs": {
            "versions": {
                "terms": {"field": "ml.model.version"},
                "aggs": {
                    "windows": {
                        "filters": {
                            "filters": {
                                name: {"range": {"@timestamp": {"gt": f"{T}||-{name}"}}}
                                for name in ("15m", "1h", "6h", "24h")
                            }
                        },
                        "aggs": {
                            **WEIGHT,
                            "features": {
                                "terms": {"field": "ml.check.missing", "size": 1000},
                                "aggs": {**WEIGHT, "first": {"min": {"field": "@timestamp"}}},
                            },
                        },
                    }
                },
            }
        },
    },
    {
        **histogram(fixed_interval="12h"),
        "aggs": {
            "empty": {"filter": {"match_none": {}}, "aggs": {"t": terms(MODELS), **WEIGHT}},
            "inner": histogram(fixed_interval="6h"),
            "s": {"stats": {"field": "ml.input.numeric.income"}},
        },
    },
    {
        "filter": {"match_none": {}},
        "aggs": {
            "f": {"filters": {"filters": {"x": {"match_all": {}}}}, "aggs": WEIGHT},
            "r": {"range": {"field": "event.duration", "ranges": [{"to": 1}]}},
            "h": histogram(fixed_interval="1d"),
            "b": histogram(fixed_interval="1d", extended_bounds={"min": "2018-02-01", "max": "2018-02-03"}),
            "e": {"extended_stats": {"field": "event.duration"}},
            "p": {"percentiles": {"field": "event.duration"}},
            "t": {"top_hits": {"size": 1}},
            "c": {"cardinality": {"field": "event.id"}},
            "v": {"value_count": {"field": "event.id"}},
            "m": {"missing": {"field": "event.id"}},
            "n": {"min": {"field": "@timestamp"}},
        },
    },
]

SORTS: list[Any] = [
    [{"@timestamp": "desc"}, "event.id"],
    ["event.duration", {"event.id": {"order": "desc"}}],
    [{"ml.input.numeric.income": {"order": "asc"}}, "event.id"],
    [{"ml.input.numeric.income": {"order": "desc", "missing": "_first"}}, "event.id"],
    [{"ml.prediction.value": {"order": "asc", "missing": 11.5}}, "event.id"],
    [{"ml.check.missing": "asc"}, "event.id"],
    [{"ml.check.missing": {"order": "desc", "missing": "_first"}}, "event.id"],
    [{"ml.input.category.home": {"order": "desc", "mode": "min"}}, "event.id"],
    [{"ml.input.boolean.joint": "desc"}, "event.id"],
    [{"ml.input.date.opened": "asc"}, "event.id"],
    [{"ml.input.date.opened": {"order": "desc", "format": "yyyy-MM-dd"}}, "event.id"],
    [{"no.such": {"unmapped_type": "long"}}, "event.id"],
    [{"ml.sample.weight": "asc"}, "event.id"],
    [{"process.pid": {"order": "desc"}}, "event.id"],
]
SOURCES: list[Any] = [
    True,
    False,
    "ml.model",
    ["ml.model.*", "event.id"],
    ["ml.model", "no.such"],
    "*.id",
    ["ml.input.*.home"],
    {"includes": ["ml.*"], "excludes": ["ml.input", "*.version"]},
    {"excludes": ["ml", "event.ingest*"]},
    [],
    ["ml.check.missing"],
    {"includes": ["ml.input.numeric.emp.title"]},
    "labels.a.b",
    {"excludes": ["labels.*"]},
]


def all_bodies() -> list[dict[str, Any]]:
    """Every query, aggregation, sort and source filter at least once."""
    bodies: list[dict[str, Any]] = [
        {"query": query, "size": 0, "track_total_hits": True, "aggs": {"w": WEIGHT["weight"]}}
        for query in QUERIES
    ]
    bodies += [{"size": 0, "aggs": {"a": aggregation}} for aggregation in AGGREGATIONS]
    bodies += [{"sort": sort, "size": 400} for sort in SORTS]
    bodies += [{"sort": SORTS[0], "size": 20, "from": 3, "_source": source} for source in SOURCES]
    bodies += [
        {"sort": SORTS[0], "size": 20, "search_after": [1517475600000, "id-1"], "_source": False},
        {"sort": SORTS[1], "size": 20, "search_after": [1500, "id-1"], "_source": False},
        {"size": 1, "sort": "event.id", "track_total_hits": False},
        {"size": 1, "sort": "event.id", "track_total_hits": 5},
        {"size": 0, "query": {"range": {"@timestamp": {"gt": "2018-02-01T09:00:00.0Z"}}}},
    ]
    return bodies


def random_body(seed: int) -> dict[str, Any]:
    """A random query with a random tree of aggregations."""
    chance = random.Random(seed)
    return {
        "size": 0,
        "track_total_hits": True,
        "query": _random_query(chance, 2),
        "aggs": _random_tree(chance, 3),
    }


def _random_query(chance: random.Random, depth: int) -> dict[str, Any]:
    if depth == 0 or chance.random() < 0.4:
        return chance.choice(QUERIES)
    clauses = {
        key: [_random_query(chance, depth - 1) for _ in range(chance.randrange(1, 3))]
        for key in chance.sample(["must", "filter", "should", "must_not"], chance.randrange(1, 4))
    }
    return {"bool": clauses}


# ``missing`` of an unmapped field below a ``range`` counts documents of other ranges in Elasticsearch 9.4.3.
_BUCKETS = [
    aggregation
    for aggregation in AGGREGATIONS
    if next(iter(aggregation))
    in ("terms", "filter", "filters", "date_histogram", "histogram", "range", "date_range", "missing")
    and "aggs" not in aggregation
    and aggregation != {"missing": {"field": "no.such"}}
]
_METRICS = [
    aggregation
    for aggregation in AGGREGATIONS
    if next(iter(aggregation)) in ("sum", "min", "max", "avg", "stats", "value_count", "cardinality")
]


def _random_tree(chance: random.Random, depth: int) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for place in range(chance.randrange(1, 3)):
        aggregation = dict(chance.choice(_BUCKETS if depth > 0 and chance.random() < 0.75 else _METRICS))
        if aggregation in _BUCKETS and depth > 0 and chance.random() < 0.8:
            aggregation["aggs"] = _random_tree(chance, depth - 1)
        tree[f"a{place}"] = aggregation
    return tree
