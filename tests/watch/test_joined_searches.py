"""The searches of one tick, asked together where they are over the same documents, against each asked by itself."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import datetime
from threading import Event
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from logging_lib.store.connection import Connection
from logging_lib.store.joining import JoinedStore, Search
from logging_lib.store.port import DelegatingStore, SearchError, Store
from logging_lib.store.sandbox import Sandbox
from logging_lib.watch.evaluate import new_context, prepare_live_runs, store_search
from logging_lib.watch.model import SearchInput, SearchTransform, Watch
from tests.watch.conftest import NOW, FakeStore, minutes
from tests.watch.test_backtest import MINUTES, START, WATCHES, fill, filled, odd, outcome, unlike


class Counting(DelegatingStore):
    """Records the searches, and spoils the joined ones."""

    def __init__(self, store: Store, spoil: Mapping[str, Any] | Exception | None = None) -> None:
        super().__init__(store)
        self.spoil = spoil
        self.bodies: list[Mapping[str, Any]] = []

    def search(self, indices: Any, body: Mapping[str, Any], **more: Any) -> dict[str, Any]:
        self.bodies.append(body)
        if self.spoil is None or not any(name.startswith("~") for name in body.get("aggs", ())):
            return super().search(indices, body, **more)
        if isinstance(self.spoil, Exception):
            raise self.spoil
        return {**super().search(indices, body, **more), **self.spoil}


def known(watch: Watch) -> Iterator[SearchInput | SearchTransform]:
    return (search for *_, search in watch.definition.input.searches((), ""))


def differences(
    store: Store, watches: list[Watch], now: datetime, scheduled: datetime, percentiles: float = 1e-12
) -> Iterator[str]:
    """Where what is asked together is not what each search would answer."""
    dependencies = prepare_live_runs(store)([(watch, [scheduled]) for watch in watches], now)
    for watch in watches:
        context = new_context(watch, now=now, scheduled=scheduled)
        together = dependencies(watch, scheduled).search
        for search in known(watch):
            got = outcome(together, search.request, context)
            wanted = outcome(store_search(store, now), search.request, context)
            for difference in unlike(got, wanted, percentiles):
                yield f"{watch.id}: {difference}"


@given(seed=st.integers(0, 2**32), events=st.integers(0, 300))
@settings(max_examples=6, deadline=None)
def test_combined_searches_answer_as_each_alone(seed: int, events: int) -> None:
    """Those of all shipped watches and odd ones, at any tick; errors, too, are the same."""
    draw = random.Random(seed)
    scheduled = START + minutes(draw.randrange(MINUTES + 300))
    with filled(seed, events) as store:
        assert next(differences(store, [*WATCHES, *odd()], scheduled, scheduled), None) is None


@pytest.mark.elasticsearch
def test_a_cluster_answers_combined_searches_as_each_alone(elasticsearch: Connection) -> None:
    with closing(Sandbox(elasticsearch)) as store:
        fill(store, 7, 400)
        counting = Counting(store)
        scheduled = START + minutes(MINUTES)
        assert next(differences(counting, [*WATCHES, *odd()], scheduled, scheduled, 0.01), None) is None
        assert any("~0" in body.get("aggs", {}) for body in counting.bodies)


def asked(store: Store, watches: list[Watch], now: datetime) -> int:
    """The number of searches of a tick."""
    counting = Counting(store)
    dependencies = prepare_live_runs(counting)([(watch, [now]) for watch in watches], now)
    for watch in watches:
        for search in known(watch):
            dependencies(watch, now).search(search.request, None, new_context(watch, now=now, scheduled=now))
    return len(counting.bodies)


def test_a_tick_asks_for_the_same_documents_once() -> None:
    """However many watches group them; one watch alone asks for each of its own."""
    with filled(1, 100) as store:
        searches = sum(len(list(known(watch))) for watch in WATCHES)
        assert asked(store, WATCHES, START + minutes(MINUTES)) <= searches - 15
        assert asked(store, WATCHES[:1], START + minutes(MINUTES)) == len(list(known(WATCHES[0])))


@pytest.mark.parametrize(
    "spoil",
    [{"timed_out": True}, {"_shards": {"failed": 1}}, SearchError("too many buckets"), {"aggregations": {}}],
    ids=["timed out", "partial", "refused", "without aggregations"],
)
def test_searches_that_cannot_be_combined_are_sent_alone(spoil: Mapping[str, Any] | Exception) -> None:
    """A partial answer to all of them does not count as an answer to any."""
    scheduled = START + minutes(MINUTES)
    with filled(2, 200) as store:
        spoiled = Counting(store, spoil)
        assert next(differences(spoiled, WATCHES, scheduled, scheduled), None) is None
        joined = [body for body in spoiled.bodies if "~0" in body.get("aggs", {})]
        assert len(joined) == len({str(body) for body in joined}) > 0  # once, and not for each search again


def test_no_search_waits_long_for_another_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever waits for the answer that another run asked for asks by itself after a while."""
    monkeypatch.setattr("logging_lib.store.joining._MOST_SECONDS", 0.05)
    began, go_on = Event(), Event()

    class Slow(FakeStore):
        def search(self, *given: Any, **more: Any) -> dict[str, Any]:
            is_first = not began.is_set()
            began.set()
            assert not is_first or go_on.wait(60)
            return super().search(*given, **more)

    body = {"size": 0, "query": {"match_all": {}}}
    store = Slow()
    joined = JoinedStore(store, NOW, [Search(("logs-x",), body)] * 2)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(joined.search, ["logs-x"], body, now=NOW)
        assert began.wait(60)
        answer = joined.search(["logs-x"], body, now=NOW)
        go_on.set()
        assert first.result(60) == answer
    assert len(store.searches) == 2


def test_threads_share_one_search_and_each_gets_its_answer() -> None:
    """As the daemon's, whose runs are side by side; an answer is not kept after its last use."""
    store = FakeStore()
    body = {"size": 0, "query": {"match_all": {}}}
    joined = JoinedStore(store, NOW, [Search(("logs-x",), body)] * 8)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: joined.search(["logs-x"], body, now=NOW), range(8)))
    assert answers == [answers[0]] * 8
    assert len(store.searches) == 1
    joined.search(["logs-x"], body, now=NOW)
    joined.search(["logs-x"], body, now=NOW + minutes(1))
    assert len(store.searches) == 3
