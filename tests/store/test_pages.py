"""Many models: searches and counts with more buckets than Elasticsearch allows in one answer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from typing import Any

import pytest

from logging_lib._util.datemath import to_millis
from logging_lib.store.connection import Connection
from logging_lib.store.counting import ARRIVAL, DAY, MINUTE, CountError, CountPlan, Grid, Terms
from logging_lib.store.elastic_counts import MAX_BUCKETS, count_slots
from logging_lib.store.port import SearchError, StoreError
from logging_lib.store.sandbox import Sandbox
from tests.store.events import NOW, event

MODELS, TOKENS = 40, 1_800
STREAM = "logs-ml.prediction-default"
WINDOW = {"range": {ARRIVAL: {"gte": "2018-01-01", "lt": "2019-01-01"}}}
WEIGHT = {"weight": {"sum": {"field": "ml.sample.weight"}}}

pytestmark = pytest.mark.elasticsearch


@pytest.fixture(scope="module")
def fleet(elasticsearch: Connection) -> Iterator[Sandbox]:
    """An event of each of many models, with so many bins that those of all are too many, and one without."""
    with closing(Sandbox(elasticsearch)) as store:
        documents: list[dict[str, Any]] = [
            event(
                number,
                ml={
                    "model": {"name": f"m{number:02d}", "version": "1", "role": "live"},
                    "sample": {"weight": 1 + number},
                    "input": {"bins": [f"x{token}=a" for token in range(TOKENS)]},
                },
            )
            for number in range(MODELS)
        ]
        lacking = event(MODELS, ml__input={"bins": ["x=none"]})
        del lacking["ml"]["model"]
        documents.append(lacking)
        assert not store.index(STREAM, documents, now=NOW).failed
        store.refresh()
        yield store


def test_a_search_with_too_many_buckets_is_asked_in_pages(fleet: Sandbox) -> None:
    """With all models, those without one among them, in their order; at the next tick at once."""
    terms = {"field": "ml.model.name", "size": 500, "missing": "(none)"}
    tokens = {"terms": {"field": "ml.input.bins", "size": 20_000}, "aggs": WEIGHT}
    body = {
        "size": 0,
        "query": WINDOW,
        "aggs": {"models": {"terms": terms, "meta": {"a": 1}, "aggs": {"bins": tokens}}},
    }
    assert MODELS * TOKENS > MAX_BUCKETS
    for _ in range(2):
        answer = fleet.search(STREAM, body, now=NOW + timedelta(minutes=1))
        models = answer["aggregations"]["models"]
        assert answer["hits"]["total"]["value"] == MODELS + 1
        assert models["meta"] == {"a": 1}
        assert models["sum_other_doc_count"] == 0
        assert [bucket["key"] for bucket in models["buckets"]] == [
            "(none)",
            *(f"m{n:02d}" for n in range(MODELS)),
        ]
        assert [len(bucket["bins"]["buckets"]) for bucket in models["buckets"]] == [1, *[TOKENS] * MODELS]
        sums = [bucket["bins"]["buckets"][0]["weight"]["value"] for bucket in models["buckets"][1:]]
        assert sums == [1.0 + number for number in range(MODELS)]


def test_a_search_that_cannot_be_paged_is_refused_as_before(fleet: Sandbox) -> None:
    body = {"size": 0, "aggs": {"a": {"filter": {"match_all": {}}, "aggs": {
        "m": {"terms": {"field": "ml.model.name", "size": 500}, "aggs": {
            "b": {"terms": {"field": "ml.input.bins", "size": 20_000}}}}}}}}  # fmt: skip
    with pytest.raises(SearchError, match="buckets"):
        fleet.search(STREAM, body, now=NOW)


def test_a_slot_with_too_many_buckets_is_counted_in_partitions(fleet: Sandbox) -> None:
    """Each group once, and what is above the models once."""
    plan = CountPlan((STREAM,), '{"match_all": {}}')
    number = ("sum", "ml.sample.weight", "null")
    plan.tree.numbers.add(number)
    bins = (Terms("ml.model.name"), Terms("ml.input.bins"))
    plan.tree.at(bins).numbers.add(number)
    end = to_millis(NOW) // DAY * DAY + DAY
    tables = dict(fleet.counts(plan, Grid(0, DAY), end - 30 * DAY, end))
    assert tables[()].counts.tolist() == [MODELS + 1]
    assert tables[bins[:1]].counts.tolist() == [1] * MODELS
    assert len(tables[bins].counts) == MODELS * TOKENS
    assert tables[bins].numbers[number].sum() == TOKENS * sum(range(1, MODELS + 1))


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        ({"timed_out": True}, CountError),
        ({"timed_out": False, "_shards": {"failed": 1}}, StoreError),
    ],
)
def test_an_incomplete_page_is_not_counted(answer: dict[str, Any], error: type[StoreError]) -> None:
    """One that times out is asked in smaller parts first."""
    asked: list[dict[str, Any]] = []
    times = {"first": {"value": 0.0}, "last": {"value": 4.0 * MINUTE - 1}}

    def ask(body: dict[str, Any]) -> dict[str, Any]:
        asked.append(body)
        return answer if "slots" in body["aggs"] else {"timed_out": False, "aggregations": times}

    with pytest.raises(error):
        list(count_slots(ask, CountPlan((STREAM,), '{"match_all": {}}'), Grid(0, MINUTE), 0, 4 * MINUTE))
    assert len(asked) == 1 + (3 if answer["timed_out"] else 1)
