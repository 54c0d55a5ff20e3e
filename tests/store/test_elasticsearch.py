"""What is particular to the store over Elasticsearch."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from logging_lib.store import IndexResult, SearchError
from logging_lib.store.connection import Connection, ConnectionSettings
from logging_lib.store.elasticsearch import ElasticsearchStore
from tests import elasticsearch_server
from tests.store import elastic
from tests.store.conftest import Subject
from tests.store.events import NOW, event

pytestmark = pytest.mark.elasticsearch
COUNT = {"size": 0, "track_total_hits": True}


def test_ids_are_stored_once_and_partial_failures_counted(subject: Subject) -> None:
    """The same over both stores."""
    again = event(1, ml__model__name="second")
    wrong = event(3, ml__model={"name": {"first": "x"}})
    documents = [
        event(1),
        again,
        event(2),
        {"@timestamp": "2018-02-01"},
        event(4, labels={"x": object()}),
        wrong,
    ]
    result = subject.store.index(subject.stream, documents, now=NOW)
    assert (result.created, result.duplicates) == (2, 1)
    assert sorted(identity for identity, _ in result.failed) == ["", "e3", "e4"]
    assert subject.store.index(subject.stream, [again], now=NOW) == IndexResult(duplicates=1)
    subject.store.refresh()
    assert subject.store.search(subject.stream, COUNT)["hits"]["total"]["value"] == 2


def test_arrival_is_now_unless_the_document_has_it(subject: Subject) -> None:
    """The same over both stores; the caller's document is not touched."""
    absent, flat = event(2), event(3)
    del absent["event"]["ingested"]
    flat["event.id"] = flat.pop("event")["id"]
    subject.store.index(subject.stream, [event(1), absent, flat], now=NOW)
    subject.store.refresh()
    window = {"range": {"event.ingested": {"gte": "now-1s", "lte": "now+1s"}}}
    hits = subject.store.search(subject.stream, {"query": window, "sort": ["@timestamp"]}, now=NOW)["hits"]
    assert [hit["_id"] for hit in hits["hits"]] == ["e2", "e3"]
    assert "ingested" not in absent["event"]


def test_streams_are_listed(subject: Subject) -> None:
    """The same over both stores."""
    subject.store.index(subject.stream, [event(number) for number in range(3)], now=NOW)
    namespace = subject.stream.rpartition("-")[2]
    assert subject.store.streams(f"logs-*-{namespace}") == [subject.stream]
    assert subject.store.streams(["no-such-index", "logs-ml.no-such-*"]) == []


def test_an_index_replaces_by_id(subject: Subject) -> None:
    """The same over both stores."""
    name = "ml-test-" + subject.stream.rpartition("-")[2]
    subject.store.index(name, [{"_id": "a", "n": 1}, {"_id": "b", "n": 2}])
    assert subject.store.index(name, [{"_id": "a", "n": 3}]).created == 1
    subject.store.refresh()
    hits = subject.store.search(name, {"sort": ["n"]})["hits"]["hits"]
    assert [(hit["_id"], hit["_source"]) for hit in hits] == [("b", {"n": 2}), ("a", {"n": 3})]


def test_names_that_match_nothing_are_not_an_error(subject: Subject) -> None:
    """The same over both stores."""
    answer = subject.store.search(["no-such-index", "logs-ml.no-such-*"], COUNT)
    assert answer["hits"]["total"]["value"] == 0
    as_int = subject.store.search("no-such-*", {"size": 0}, rest_total_hits_as_int=True)
    assert as_int["hits"]["total"] == 0


@pytest.mark.parametrize("names", ["logs-ml.label-nowhere", ["no-such-index", "logs-ml.no-such-*"]])
def test_names_that_match_nothing_have_empty_aggregations(subject: Subject, names: str | list[str]) -> None:
    """The same over both stores: a watch's script reads them before the first event, too."""
    by_model: dict[str, Any] = {
        "terms": {"field": "ml.model.name", "size": 5},
        "aggs": {"weight": {"sum": {"field": "ml.sample.weight"}}},
    }
    aggregations = {"models": by_model, "last": {"max": {"field": "@timestamp"}}}
    answers = subject.store.search(names, {"size": 0, "aggs": aggregations}, now=NOW)["aggregations"]
    assert answers["models"]["buckets"] == []
    assert answers["last"]["value"] is None


@pytest.fixture
def store(elasticsearch: Connection) -> ElasticsearchStore:
    return elastic.store(elasticsearch)


def test_without_now_the_clusters_clock_counts(store: ElasticsearchStore) -> None:
    stream = elastic.new_stream()
    document = event(1)
    del document["event"]["ingested"]
    store.index(stream, [document])
    store.refresh()
    (hit,) = store.search(stream, {})["hits"]["hits"]
    arrived = datetime.fromisoformat(hit["_source"]["event"]["ingested"])
    assert abs(arrived - datetime.now(UTC)) < timedelta(minutes=1)


def test_a_refused_body_is_a_search_error(store: ElasticsearchStore) -> None:
    with pytest.raises(SearchError, match=r"unknown query"):
        store.search("ml-profiles", {"query": {"no_such_query": {}}})


def test_now_with_a_format_is_asked_for_another_moment_too(store: ElasticsearchStore) -> None:
    bound = {"gte": "now-1d", "format": "yyyy"}
    body = {"query": {"bool": {"filter": [{"range": {"@timestamp": bound}}]}}}
    store.search("ml-profiles", body, now=NOW)
    store.search("ml-profiles", body)


def test_too_many_buckets_is_an_error_and_no_quiet_cut(
    store: ElasticsearchStore, elasticsearch: Connection
) -> None:
    stream = elastic.new_stream()
    store.index(stream, [event(1), event(2000)])
    store.refresh()
    body = {
        "size": 0,
        "aggs": {
            "a": {"date_histogram": {"field": "@timestamp", "fixed_interval": "1s", "min_doc_count": 0}}
        },
    }
    with pytest.raises(SearchError, match="buckets"):
        store.search(stream, body)


def test_a_replacement_does_not_overwrite_later_changes(store: ElasticsearchStore) -> None:
    stream = elastic.new_stream()
    store.index(stream, [event(1), event(2)])
    store.refresh()
    body = {"sort": ["@timestamp"], "seq_no_primary_term": True}
    hits = store.search(stream, body)["hits"]["hits"]
    first = list(store.replace([(hits[0], {**hits[0]["_source"], "labels": {"a": "1"}})]))
    assert [(outcome.document_id, outcome.is_conflict, outcome.reason) for outcome in first] == [
        ("e1", False, "")
    ]
    outcomes = list(store.replace([(hit, {**hit["_source"], "labels": {"b": "2"}}) for hit in hits]))
    assert [outcome.is_conflict for outcome in outcomes] == [True, False]
    store.refresh()
    hits = store.search(stream, body)["hits"]["hits"]
    assert [hit["_source"]["labels"] for hit in hits] == [{"a": "1"}, {"b": "2"}]
    assert [hit["_id"] for hit in hits] == ["e1", "e2"]


@pytest.mark.slow
def test_a_power_failure_while_events_arrive_loses_none() -> None:
    """Elasticsearch is killed amid the ingest and comes up again: each event is there, once."""
    try:
        server = elasticsearch_server.Server()
    except elasticsearch_server.Unavailable as reason:
        pytest.skip(str(reason))
    count, cut_at = 30_000, 6_000
    reached = threading.Event()
    stream = elastic.new_stream()

    def documents() -> Any:
        for number in range(count):
            if number == cut_at:
                reached.set()
            yield event(number)

    result: list[IndexResult] = []
    with (
        server,
        elastic.deployed(server.url),
        Connection(ConnectionSettings(server.url), timeout=60) as connection,
    ):
        store = ElasticsearchStore(connection, retry_seconds=240)
        writer = threading.Thread(target=lambda: result.append(store.index(stream, documents())))
        writer.start()
        assert reached.wait(600)
        server.kill()
        server.start()
        writer.join(600)
        (outcome,) = result
        assert outcome.created + outcome.duplicates == count
        assert outcome.failed == ()
        store.refresh()
        assert store.search(stream, COUNT)["hits"]["total"] == {"value": count, "relation": "eq"}
