"""Wrong clocks, deletions, partial answers, odd mappings: counts are right, or a search is asked, or it is said."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from logging_lib._util.datemath import to_millis
from logging_lib.store.connection import Connection
from logging_lib.store.counting import ARRIVAL, DAY, MINUTE, CountPlan, Grid, Terms
from logging_lib.store.duckdb.store import EmbeddedStore
from logging_lib.store.elastic_counts import count_slots
from logging_lib.store.elastic_pages import PagedSearch
from logging_lib.store.elasticsearch import ElasticsearchStore
from logging_lib.store.port import SearchError, Store, StoreError
from logging_lib.store.sandbox import Sandbox
from logging_lib.watch.backtest.arrivals import search_arrivals
from logging_lib.watch.backtest.history import EventHistory, ScheduledTick
from logging_lib.watch.evaluate import new_context, store_search
from logging_lib.watch.model import Definition, Watch
from logging_lib.watch.state.base import MemoryState
from tests.store.events import NOW, STREAM, event, iso
from tests.watch import conftest
from tests.watch.conftest import FakeStore, minutes
from tests.watch.test_daemon import Outbox, Time, daemon, settled

ALL = '{"match_all": {}}'
MODEL = Terms("ml.model.name")
TIME = "{{ctx.trigger.scheduled_time}}"
WINDOW = {"range": {ARRIVAL: {"gt": f"{TIME}||-1h", "lte": TIME}}}


def arriving(number: int, moment: str) -> dict[str, Any]:
    document = event(number)
    document["event"]["ingested"] = moment
    return document


def hourly(*indices: str) -> Watch:
    """A watch that counts what arrived within the last hour."""
    body = {"size": 0, "query": WINDOW, "aggs": {"models": {"terms": {"field": "ml.model.name"}}}}
    return Watch(
        "hourly",
        Definition.model_validate(
            {
                "trigger": {"schedule": {"interval": "5m"}},
                "input": {"search": {"request": {"indices": list(indices), "body": body}}},
            }
        ),
    )


def answers(store: Store, watch: Watch) -> tuple[Any, Any, dict[str, str]]:
    """What a backtest and a search say at one of two ticks, and what is not counted."""
    ticks = [ScheduledTick(now, now) for now in (NOW - minutes(5), NOW)]
    (history,) = EventHistory(store).searches([(watch, ticks)])
    context = new_context(watch, now=NOW, scheduled=NOW)
    request = next(watch.definition.searches())[2].request
    counted = history.search(NOW)(request, None, context)
    asked = store_search(store, NOW)(request, None, context)
    return counted["hits"]["total"], asked["hits"]["total"], dict(history.slow)


@pytest.fixture(params=["embedded", pytest.param("elasticsearch", marks=pytest.mark.elasticsearch)])
def store(request: pytest.FixtureRequest) -> Iterator[Store]:
    if request.param == "embedded":
        with EmbeddedStore(None) as embedded:
            yield embedded
    else:
        with closing(Sandbox(request.getfixturevalue("elasticsearch"))) as sandbox:
            yield sandbox


# -- clocks ------------------------------------------------------------------------------------------------


def test_arrivals_by_a_wrong_clock_are_in_their_own_slots(store: Store) -> None:
    """Of 1970, of 2100, and of after the end, which does not matter."""
    moments = ["1970-01-01T00:00:30Z", iso(NOW), "2100-01-01T00:00:00Z", "2100-01-02T00:00:00Z"]
    assert not store.index(STREAM, [arriving(n, at) for n, at in enumerate(moments)]).failed
    store.refresh()
    plan, end = CountPlan((STREAM,), ALL), to_millis(NOW) // DAY * DAY + 51_000 * DAY
    table = dict(store.counts(plan, Grid(0, DAY), None, end))[()]
    assert table.slots.tolist() == [0, to_millis(NOW) // DAY, 47_482, 47_483]
    assert table.counts.tolist() == [1] * 4
    before = dict(store.counts(plan, Grid(0, DAY), None, 47_483 * DAY))[()]
    assert before.counts.tolist() == [1] * 3
    assert answers(store, hourly(STREAM))[:2] == (1, 1)


def test_a_wrong_clock_costs_no_page_for_each_slot_between() -> None:
    """The pages that Elasticsearch would be asked for, answered by the embedded store."""
    asked: list[dict[str, Any]] = []
    with EmbeddedStore(None) as embedded:
        embedded.index(STREAM, [arriving(0, "1970-01-01T00:00:30Z"), arriving(1, iso(NOW))])

        def ask(body: dict[str, Any]) -> dict[str, Any]:
            asked.append(body)
            return embedded.search(STREAM, body)

        end = to_millis(NOW) // MINUTE * MINUTE + MINUTE
        (table,) = dict(count_slots(ask, CountPlan((STREAM,), ALL), Grid(0, MINUTE), None, end)).values()
    assert table.counts.tolist() == [1, 1]
    assert len(asked) < 10


def test_a_clock_that_steps_back_runs_nothing_twice_and_is_reported(caplog: pytest.LogCaptureFixture) -> None:
    clock, state, found = Time(), MemoryState(), FakeStore()
    one = daemon(clock, state, found, conftest.watch(email=conftest.email_action()), channel=Outbox())
    with caplog.at_level(logging.WARNING):
        settled(one, lambda: len(found.searches) == 1)
        clock.pass_(-1800)
        settled(one)
        assert len(found.searches) == 1
        (warning,) = {record.getMessage() for record in caplog.records}
        assert "the clock is behind the last scheduled run, 2018-02-01T12:00:00.000Z" in warning
        clock.pass_(1800 + 300)
        settled(one, lambda: len(found.searches) == 2)


def test_a_tick_that_is_before_its_slot_counts_what_had_arrived(store: Store) -> None:
    """As where the clock was set back between the schedule and the run."""
    store.index(STREAM, [arriving(n, iso(NOW - minutes(10 * n))) for n in range(4)])
    store.refresh()
    watch, early = hourly(STREAM), NOW - minutes(5)
    (history,) = EventHistory(store).searches([(watch, [ScheduledTick(early, NOW)])])
    request = next(watch.definition.searches())[2].request
    answer = history.search(early)(request, None, new_context(watch, now=early, scheduled=NOW))
    assert answer["hits"]["total"] == 3
    assert not history.slow


# -- deletions and partial answers -------------------------------------------------------------------------


class Deleting(ElasticsearchStore):
    """Deletes its index after the first page of counts."""

    index_name = ""

    def _search(self, path: str, body: Any, params: Any) -> dict[str, Any]:
        answer = super()._search(path, body, params)
        if "slots" in body.get("aggs", {}) and self.index_name:
            self._connection.call("DELETE", f"/{self.index_name}")
            self.index_name = ""
        return answer


@pytest.mark.elasticsearch
def test_a_search_fails_if_its_index_is_deleted_between_pages(
    elasticsearch: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is an error; a backtest asks at each tick then, and says why."""
    monkeypatch.setattr("logging_lib.store.elastic_counts._FIRST_PAGE", 1)
    monkeypatch.setattr("logging_lib.store.elastic_counts._MOST_SLOTS", 1)
    store, names = Deleting(elasticsearch), [f"logs-gone-{uuid4().hex[:8]}" for _ in range(2)]
    mapping = {"properties": {"event": {"properties": {"ingested": {"type": "date"}}}}}
    for name in names:
        elasticsearch.call("PUT", f"/{name}", {"mappings": mapping})
        documents = [
            {"event": {"id": str(n), "ingested": iso(NOW - timedelta(minutes=n))}} for n in range(60)
        ]
        assert not store.index(name, documents).failed
        elasticsearch.call("POST", f"/{name}/_refresh")
    try:
        store.index_name = names[0]
        plan = CountPlan(("logs-gone-*",), ALL)
        end = to_millis(NOW) // MINUTE * MINUTE + MINUTE
        with pytest.raises(StoreError):
            dict(store.counts(plan, Grid(0, MINUTE), end - 60 * MINUTE, end))
        store.index_name = names[1]
        counted, asked, slow = answers(store, hourly("logs-gone-*"))
        assert counted == asked == 0
        assert slow
    finally:
        elasticsearch.call("DELETE", f"/{','.join(names)}", params={"ignore_unavailable": "true"})


def test_files_deleted_between_tables_change_no_table(tmp_path: Path) -> None:
    """The embedded store counts what it has read."""
    with EmbeddedStore(tmp_path) as writing:
        writing.index(STREAM, [arriving(n, iso(NOW)) for n in range(5)])
    plan = CountPlan((STREAM,), ALL)
    plan.tree.at([MODEL])
    with EmbeddedStore(tmp_path, read_only=True) as reading:
        tables = iter(reading.counts(plan, Grid(0, DAY), None, to_millis(NOW) + DAY))
        _, first = next(tables)
        shutil.rmtree(tmp_path / STREAM)
        _, second = next(tables)
        assert first.counts.tolist() == second.counts.tolist() == [5]


def _pages(spoil: Callable[[dict[str, Any]], dict[str, Any]]) -> dict[str, Any]:
    """The answer of a search in two pages, of which the second one is spoiled."""
    asked = []

    def ask(body: dict[str, Any]) -> dict[str, Any]:
        asked.append(body)
        keys = body["aggs"]["m"]["terms"].get("include", ["a", "b"])
        if "aggs" in body["aggs"]["m"] and len(keys) > 1:
            raise SearchError("too many buckets")
        buckets = [{"key": key, "doc_count": 3} for key in keys]
        answer = {
            "timed_out": False,
            "_shards": {"failed": 0},
            "aggregations": {"m": {"sum_other_doc_count": 0, "buckets": buckets}},
        }
        return spoil(answer) if keys == ["b"] else answer

    body = {"size": 0, "aggs": {"m": {"terms": {"field": "ml.model.name", "size": 9}, "aggs": {"n": {}}}}}
    return PagedSearch().search(ask, body)


@pytest.mark.parametrize(
    ("spoiled", "said"),
    [({"timed_out": True}, "timed_out"), ({"_shards": {"failed": 1}}, "_shards")],
)
def test_a_partial_page_makes_the_whole_answer_partial(spoiled: dict[str, Any], said: str) -> None:
    answer = _pages(lambda answer: {**answer, **spoiled})
    assert answer[said] in (True, {"failed": 1})
    assert [bucket["key"] for bucket in answer["aggregations"]["m"]["buckets"]] == ["a", "b"]


def test_a_model_that_is_deleted_between_pages_is_not_left_out() -> None:
    with pytest.raises(StoreError, match="'b' was deleted while it was searched"):
        _pages(lambda answer: {**answer, "aggregations": {"m": {"sum_other_doc_count": 0, "buckets": []}}})


# -- mappings ----------------------------------------------------------------------------------------------


@pytest.mark.elasticsearch
@pytest.mark.parametrize(("kind", "total"), [(None, 0), ("keyword", None)])
def test_a_mapping_without_arrival(elasticsearch: Connection, kind: str | None, total: int | None) -> None:
    """Events that a search does not find are not counted, nor are values that are not dates."""
    name = f"logs-bare-{uuid4().hex[:8]}"
    arrival = {"event": {"properties": {"ingested": {"type": kind}}}} if kind else {}
    happened = {"@timestamp": {"type": "date"}}
    elasticsearch.call(
        "PUT", f"/{name}", {"mappings": {"dynamic": False, "properties": {**happened, **arrival}}}
    )
    try:
        document = {"@timestamp": iso(NOW), "event": {"ingested": iso(NOW)}}
        elasticsearch.call("POST", f"/{name}/_doc", document, params={"refresh": "true"})
        store = ElasticsearchStore(elasticsearch)
        counted, asked, slow = answers(store, hourly(name))
        assert counted == asked
        assert total in (None, counted)
        assert bool(slow) is (kind is not None)
        if kind is None:
            body = {"aggs": {"n": {"value_count": {"field": "@timestamp"}}}}
            assert store.search(name, body)["aggregations"]["n"]["value"] == 1
    finally:
        elasticsearch.call("DELETE", f"/{name}")


def test_events_without_arrival_are_reported(tmp_path: Path) -> None:
    """A backtest goes by their own time; by arrival no window would have them."""
    (tmp_path / STREAM).mkdir()
    documents = [arriving(n, "") for n in range(3)]
    for document in documents:
        del document["event"]["ingested"]
    (tmp_path / STREAM / "x.jsonl").write_text("".join(json.dumps(line) + "\n" for line in documents))
    with EmbeddedStore(tmp_path, read_only=True) as reading:
        assert answers(reading, hourly(STREAM)) == (0, 0, {})
        assert search_arrivals(reading).loaded_later
