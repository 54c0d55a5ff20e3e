"""Counts in slots of arrival, the same from both stores: edges, missing values, lists, renamed times."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import numpy as np
import pytest

from logging_lib._util.datemath import to_millis
from logging_lib.store.counting import (
    ARRIVAL,
    DAY,
    MINUTE,
    CountError,
    CountNode,
    CountPath,
    CountPlan,
    CountTable,
    Grid,
    Matching,
    Terms,
    TimeSlots,
    ValueCounts,
)
from logging_lib.store.duckdb.store import EmbeddedStore
from logging_lib.watch.backtest.event_time import EventTimeStore
from tests.store.conftest import Subject
from tests.store.events import NOW, START, event, iso

SLOT = 15 * MINUTE
ALL = '{"match_all": {}}'
MODEL, BINS = Terms("ml.model.name", '"(none)"'), Terms("ml.input.bins")
SUM, LAST = ("sum", "ml.sample.weight", "null"), ("max", "@timestamp", "null")
BEGIN = to_millis(START)


def arriving(number: int, millis: int, **fields: Any) -> dict[str, Any]:
    """An event that arrived so many milliseconds after the start."""
    document = event(number, **fields)
    document["event"]["ingested"] = iso(START + timedelta(milliseconds=millis))
    return document


def rows(table: CountTable) -> list[tuple[Any, ...]]:
    """Slot, keys and count of each row."""
    keys = [[column.values[code] for code in column.codes] for column in table.keys]
    return list(zip(table.slots.tolist(), *keys, table.counts.tolist(), strict=True))


def fill(subject: Subject, documents: list[dict[str, Any]]) -> None:
    subject.search(documents, {"size": 0})


def counted(
    subject: Subject, plan: CountPlan, grid: Grid, start: int | None, end: int
) -> dict[CountPath, CountTable]:
    return dict(subject.store.counts(plan, grid, start, end))


def test_an_event_on_an_edge_belongs_to_the_slot_that_ends_there(subject: Subject) -> None:
    """Windows are (gt, lte]: with edges that are moved by a millisecond, an event exactly at one is before it."""
    grid = Grid(BEGIN + 1, SLOT)
    fill(subject, [arriving(n, at) for n, at in enumerate([-SLOT, 0, 1, SLOT, SLOT + 1, 3 * SLOT])])
    plan = CountPlan((subject.stream,), ALL)
    table = counted(subject, plan, grid, BEGIN + 1 - SLOT, BEGIN + 1 + 2 * SLOT)[()]
    assert rows(table) == [(-1, 1), (0, 2), (1, 1)]
    assert rows(counted(subject, plan, grid, None, BEGIN + 1)[()]) == [(-2, 1), (-1, 1)]


def test_groups_of_lists_and_of_missing_values(subject: Subject) -> None:
    """An event is in the group of each of its values, once; numbers are NaN where there is none."""
    lacking = arriving(2, 5, ml__input={"bins": ["a=1"]})
    del lacking["ml"]["model"], lacking["ml"]["sample"]
    fill(subject, [arriving(0, 5, ml__input={"bins": ["a=1", "b=2", "a=1"]}), arriving(1, SLOT + 5), lacking])
    plan = CountPlan((subject.stream,), ALL, CountNode({SUM, LAST}))
    plan.tree.at([MODEL, BINS]).numbers.add(SUM)
    plan.tree.at([Matching('{"exists": {"field": "ml.input.bins"}}')])
    plan.tree.at([ValueCounts("ml.sample.weight")])
    plan.tree.at([TimeSlots("@timestamp", Grid(0, DAY))])
    tables = counted(subject, plan, Grid(BEGIN, SLOT), BEGIN, BEGIN + DAY // SLOT * SLOT)
    assert rows(tables[()]) == [(0, 2), (1, 1)]
    assert tables[()].numbers[LAST].tolist() == [BEGIN + 2 * MINUTE, BEGIN + MINUTE]
    assert rows(tables[MODEL,]) == [(0, "(none)", 1), (0, "loans", 1), (1, "loans", 1)]
    assert rows(tables[MODEL, BINS]) == [
        (0, "(none)", "a=1", 1),
        (0, "loans", "a=1", 1),
        (0, "loans", "b=2", 1),
    ]
    assert np.nan_to_num(tables[MODEL, BINS].numbers[SUM]).tolist() == [0.0, 1.0, 1.0]
    (condition, values, times) = list(plan.tree.below)[1:]
    assert rows(tables[condition,]) == [(0, 2)]
    assert tables[values,].values is not None
    assert tables[values,].values.tolist() == [1.0, 1.0]
    assert tables[times,].times["@timestamp"].tolist() == [BEGIN // DAY] * 2


def test_nothing_is_counted_as_nothing(subject: Subject) -> None:
    """Where no stream is, where none has arrived yet, and where an event has no arrival."""
    plan = CountPlan(("logs-ml.no-such-*",), ALL)
    plan.tree.at([MODEL])
    for start in (None, BEGIN):
        tables = counted(subject, plan, Grid(BEGIN, SLOT), start, BEGIN + SLOT)
        assert {path: rows(table) for path, table in tables.items()} == {(): [], (MODEL,): []}


def test_slots_are_as_small_as_a_store_can_count() -> None:
    """The embedded one counts milliseconds; a cluster would need a bucket for each."""
    from logging_lib.store.elastic_counts import count_slots

    plan = CountPlan(("logs-ml.prediction-default",), ALL)
    with EmbeddedStore(None) as store:
        store.index(
            "logs-ml.prediction-default", [arriving(n, at) for n, at in enumerate([0, 1, 1])], now=NOW
        )
        assert rows(dict(store.counts(plan, Grid(0, 1), None, BEGIN + 2))[()]) == [(BEGIN, 1), (BEGIN + 1, 2)]
    with pytest.raises(CountError, match="minute"):
        list(count_slots(dict, plan, Grid(0, 1), BEGIN, BEGIN + 2))


def test_a_store_by_event_time_counts_by_it() -> None:
    """In queries and numbers, too, arrival is the event's own time."""
    oldest = ("min", ARRIVAL, "null")
    plan = CountPlan(
        ("logs-ml.prediction-default",), f'{{"exists": {{"field": "{ARRIVAL}"}}}}', CountNode({oldest})
    )
    with EmbeddedStore(None) as store:
        store.index("logs-ml.prediction-default", [arriving(3, 10 * DAY)], now=NOW)
        (table,) = dict(EventTimeStore(store).counts(plan, Grid(BEGIN, MINUTE), None, BEGIN + DAY)).values()
    assert rows(table) == [(3, 1)]
    assert table.numbers[oldest].tolist() == [BEGIN + 3 * MINUTE]
