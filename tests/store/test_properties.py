"""Random documents and random bodies: the store agrees with the plain evaluator of ``reference``."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from logging_lib.store.duckdb.store import EmbeddedStore
from tests.store import reference
from tests.store.events import NOW, STREAM, put
from tests.strategies import examples

TEXTS = st.sampled_from(["a", "b", "ab", "", "A", "it's", 'x"y', "[1,2)", "*", "é", "\U0001f986", "\uffff"])
FIELDS = {
    "ml.model.name": TEXTS,
    "ml.check.missing": st.lists(TEXTS, max_size=3),
    "service.name": st.one_of(TEXTS, st.lists(TEXTS, max_size=2)),
    "ml.input.category.a.b": TEXTS,
    "event.duration": st.integers(-3, 3),
    "ml.prediction.value": st.sampled_from([-1.5, 0.0, 0.5, 2.0, 2.25]),
    "@timestamp": st.sampled_from(
        [
            f"2018-02-01T{hour:02}:{minute}:59.{fraction}Z"
            for hour in (8, 9, 11)
            for minute in (10, 59)
            for fraction in ("000", "999999", "9995")
        ]
    ),
}
KEYWORDS = ["ml.model.name", "ml.check.missing", "service.name", "ml.input.category.a.b", "no.such"]
NUMBERS = ["event.duration", "ml.prediction.value"]

documents = st.lists(
    st.fixed_dictionaries({}, optional={name: st.none() | strategy for name, strategy in FIELDS.items()}),
    max_size=12,
)


def pair(key: str, first: str, second: Any) -> dict[str, Any]:
    return {key: {first: second}}


leaf = st.one_of(
    st.just({"match_all": {}}),
    st.builds(lambda field, text: pair("term", field, text), st.sampled_from(KEYWORDS), TEXTS),
    st.builds(
        lambda field, listed: pair("terms", field, listed),
        st.sampled_from(KEYWORDS),
        st.lists(TEXTS, max_size=3),
    ),
    st.builds(lambda number: pair("term", "event.duration", number), st.integers(-3, 3)),
    st.builds(
        lambda field: {"exists": {"field": field}}, st.sampled_from([*KEYWORDS, *NUMBERS, "@timestamp"])
    ),
    st.builds(
        lambda field, text: pair("wildcard", field, text),
        st.sampled_from(KEYWORDS),
        st.sampled_from(["*", "a*", "*b", "*a*", "[1*", "", "é*"]),
    ),
    st.builds(
        lambda field, ends: pair("range", field, ends),
        st.sampled_from(NUMBERS),
        st.dictionaries(
            st.sampled_from(["gt", "gte", "lt", "lte"]), st.sampled_from([-1.5, 0, 0.5, 2]), min_size=1
        ),
    ),
    st.builds(
        lambda ends: pair("range", "@timestamp", ends),
        st.dictionaries(st.sampled_from(["gt", "gte", "lt", "lte"]), FIELDS["@timestamp"], min_size=1),
    ),
)


def combined(inner: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    clauses = st.lists(inner, min_size=1, max_size=2)
    keys = dict.fromkeys(("must", "filter", "should", "must_not"), clauses)
    return st.fixed_dictionaries({}, optional={**keys, "minimum_should_match": st.integers(0, 2)}).map(
        lambda part: {"bool": part}
    )


queries = st.recursive(leaf, combined, max_leaves=4)
metrics = st.one_of(
    st.builds(
        lambda kind, field: {kind: {"field": field}},
        st.sampled_from(["sum", "min"]),
        st.sampled_from(NUMBERS),
    ),
    st.builds(
        lambda kind, field: {kind: {"field": field}},
        st.sampled_from(["value_count", "cardinality"]),
        st.sampled_from([*KEYWORDS, *NUMBERS]),
    ),
)
buckets = st.one_of(
    st.builds(
        lambda field, size: {"terms": {"field": field, "size": size}},
        st.sampled_from([*KEYWORDS, *NUMBERS]),
        st.integers(1, 12),
    ),
    st.builds(
        lambda filters: {"filters": {"filters": filters}},
        st.dictionaries(TEXTS, queries, min_size=1, max_size=3),
    ),
    st.builds(lambda query: {"filter": query}, queries),
    st.builds(
        lambda size: {"date_histogram": {"field": "@timestamp", "fixed_interval": size}},
        st.sampled_from(["1h", "10m"]),
    ),
)


def tree(inner: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    below = st.dictionaries(st.sampled_from(["x", "y"]), inner, max_size=2)
    return st.builds(lambda bucket, aggs: {**bucket, "aggs": aggs}, buckets, below)


aggregations = st.dictionaries(
    st.sampled_from(["a", "b"]), st.recursive(metrics | buckets, tree, max_leaves=4), max_size=2
)


@settings(max_examples=examples(120), deadline=None)
@given(documents, queries, aggregations)
def test_the_store_agrees_with_the_reference_implementation(
    flat: list[dict[str, Any]], query: dict[str, Any], aggs: dict[str, Any]
) -> None:
    with EmbeddedStore(None) as store:
        store.index(STREAM, [nested(number, document) for number, document in enumerate(flat)], now=NOW)
        answer = store.search(
            STREAM, {"query": query, "size": 50, "sort": ["event.id"], "aggs": aggs}, now=NOW
        )
    chosen = [
        (number, document) for number, document in enumerate(flat) if reference.matches(document, query)
    ]
    assert [hit["_id"] for hit in answer["hits"]["hits"]] == [f"e{number:02}" for number, _ in chosen]
    expected = reference.aggregate([document for _, document in chosen], aggs)
    assert plain(answer.get("aggregations", {})) == expected


def nested(number: int, flat: dict[str, Any]) -> dict[str, Any]:
    document: dict[str, Any] = {"event": {"id": f"e{number:02}"}}
    for name, value in flat.items():
        if name == "ml.input.category.a.b":
            put(document, "ml.input.category", {"a.b": value})
        else:
            put(document, name, value)
    return document


def plain(answer: Any) -> Any:
    """Without the texts beside dates; -0.0 as 0.0."""
    if isinstance(answer, dict):
        return {key: plain(value) for key, value in answer.items() if not key.endswith("_as_string")}
    return [plain(item) for item in answer] if isinstance(answer, list) else answer
