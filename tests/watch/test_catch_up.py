"""Many missed runs of a watch: their searches from counts, against each asked of the store."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from logging_lib.store.connection import Connection
from logging_lib.store.port import Store
from logging_lib.store.sandbox import Sandbox
from logging_lib.watch.backtest.catch_up import MANY_RUNS, prepare_missed_runs
from logging_lib.watch.evaluate import new_context, store_search
from logging_lib.watch.model import Definition, Watch
from logging_lib.watch.runner import Options, Runner
from logging_lib.watch.state.base import MemoryState
from tests.watch.conftest import minutes
from tests.watch.test_backtest import MINUTES, START, WATCHES, fill, filled, odd, outcome, unlike
from tests.watch.test_joined_searches import Counting


def differences(
    store: Store, watches: list[Watch], missed: list[datetime], now: datetime, percentiles: float = 1e-12
) -> Iterator[str]:
    dependencies = prepare_missed_runs(store)([(watch, missed) for watch in watches], now)
    for watch in watches:
        for scheduled in (missed[0], missed[len(missed) // 2], missed[-1]):
            context = new_context(watch, now=now, scheduled=scheduled)
            for *_, search in watch.definition.searches():
                got = outcome(dependencies(watch, scheduled).search, search.request, context)
                wanted = outcome(store_search(store, now), search.request, context)
                for difference in unlike(got, wanted, percentiles):
                    yield f"{watch.id} at {scheduled}: {difference}"


def missed_until(end: datetime, count: int = MANY_RUNS) -> list[datetime]:
    return [end - minutes(5 * place) for place in reversed(range(count))]


@given(seed=st.integers(0, 2**32), events=st.integers(0, 300))
@settings(max_examples=3, deadline=None)
def test_missed_runs_answer_as_the_store_does(seed: int, events: int) -> None:
    """With what arrived since, and with arrivals that are later than now; a clock may be behind the schedule."""
    draw = random.Random(seed)
    end = START + minutes(5 * draw.randrange(MINUTES // 5))
    now = end + minutes(draw.choice([0, 0.1, 90, -3]))
    with filled(seed, events) as store:
        assert next(differences(store, [*WATCHES, *odd()], missed_until(end), now), None) is None


@pytest.mark.elasticsearch
def test_missed_runs_over_a_cluster(elasticsearch: Connection) -> None:
    with closing(Sandbox(elasticsearch)) as store:
        fill(store, 5, 400)
        end = START + minutes(MINUTES // 2)
        assert next(differences(store, WATCHES, missed_until(end), end + minutes(1), 0.01), None) is None


def test_many_missed_runs_ask_for_no_window_of_their_own() -> None:
    """Few do, and what has no end, which would see what arrives later."""
    end = START + minutes(MINUTES)
    watch = next(watch for watch in WATCHES if watch.id == "resources")
    numbers = {}
    with filled(3, 200) as store:
        for count in (MANY_RUNS - 1, MANY_RUNS, 10 * MANY_RUNS):
            state = MemoryState()
            for now, options in (
                (end - count * watch.interval, Options()),
                (end, Options(catch_up=True)),
            ):
                counting = Counting(store)
                runner = Runner(
                    counting,
                    [watch],
                    channels={},
                    state=state,
                    options=options,
                    prepare=prepare_missed_runs(counting),
                )
                runs = runner.tick(now).runs
            assert len(runs) == count
            assert not [run.error for run in runs if run.error]
            numbers[count] = sum("aggs" in body for body in counting.bodies)
    assert numbers == {MANY_RUNS - 1: (MANY_RUNS - 1) * 3, MANY_RUNS: 0, 10 * MANY_RUNS: 0}


def test_an_open_window_is_asked_at_each_run() -> None:
    """An event that arrives in the future is in it, as it is for a single run."""
    body: dict[str, Any] = {
        "size": 0,
        "query": {"range": {"event.ingested": {"gt": "{{ctx.trigger.scheduled_time}}||-15m"}}},
        "aggs": {"models": {"terms": {"field": "ml.model.name"}}},
    }
    document = {
        "trigger": {"schedule": {"interval": "5m"}},
        "input": {"search": {"request": {"indices": "logs-ml.prediction-*", "body": body}}},
    }
    watch = Watch("open", Definition.model_validate(document))
    now = START + minutes(60)
    with filled(1, 300) as store:
        counting = Counting(store)
        assert next(differences(counting, [watch], missed_until(now), now), None) is None
        assert len(counting.bodies) == 2 * 3
        found = store_search(store, now)(
            next(watch.definition.searches())[2].request, None, new_context(watch, now=now, scheduled=now)
        )
        assert found["hits"]["total"] > 0
