"""Find when past events arrived: the period of a backtest, and the hours with any events."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from logging_lib._util.datemath import from_millis
from logging_lib.store.port import Store
from logging_lib.watch.backtest.event_time import (
    ARRIVED,
    HAPPENED,
    PERCENTS,
    read_percentiles,
    were_loaded_later,
)

PREDICTIONS: Final = "logs-ml.prediction-*"


@dataclass(frozen=True)
class Arrivals:
    """When events arrived.

    Attributes:
        events: the number of events.
        first, last: the first and last arrival of a prediction, or of any event if there are no predictions; None
            without events. A logger's own events, such as those of its health, are not part of the past.
        end: the last arrival of any event.
        hours: the starts of the hours in which an event arrived; ``traffic``: those in which a prediction arrived.
        loaded_later: whether arrival says nothing about when watches would have seen the predictions.
    """

    events: int = 0
    first: datetime | None = None
    last: datetime | None = None
    end: datetime | None = None
    hours: frozenset[datetime] = frozenset()
    traffic: frozenset[datetime] = frozenset()
    loaded_later: bool = False


def search_arrivals(store: Store, indices: Collection[str] = ()) -> Arrivals:
    """Ask a store when its predictions arrived, and the events of further indices."""
    happened = _search_times(store, [PREDICTIONS], HAPPENED)
    predicted = _search_times(store, [PREDICTIONS], ARRIVED)
    everything = _search_times(store, sorted({PREDICTIONS, *indices}), ARRIVED)
    loaded_later = were_loaded_later(happened.percentiles, predicted.percentiles)
    period = predicted if predicted.hours else everything
    if not period.hours:
        return Arrivals(everything.events, loaded_later=loaded_later)
    return Arrivals(
        everything.events,
        period.first,
        period.last,
        everything.last,
        everything.hours,
        predicted.hours,
        loaded_later,
    )


@dataclass(frozen=True)
class _Times:
    """The number of events that have a time, and their hours."""

    events: int = 0
    first: datetime | None = None
    last: datetime | None = None
    hours: frozenset[datetime] = frozenset()
    percentiles: Sequence[float] = ()


def _search_times(store: Store, indices: list[str], field: str) -> _Times:
    aggs = {
        "events": {"value_count": {"field": field}},
        "first": {"min": {"field": field}},
        "last": {"max": {"field": field}},
        "hours": {"date_histogram": {"field": field, "fixed_interval": "1h", "min_doc_count": 1}},
        "times": {"percentiles": {"field": field, "percents": list(PERCENTS)}},
    }
    answer = store.search(indices, {"size": 0, "aggs": aggs}).get("aggregations")
    if not answer or not answer["events"]["value"]:
        return _Times()
    return _Times(
        answer["events"]["value"],
        from_millis(int(answer["first"]["value"]), UTC),
        from_millis(int(answer["last"]["value"]), UTC),
        frozenset(from_millis(bucket["key"], UTC) for bucket in answer["hours"]["buckets"]),
        read_percentiles(answer["times"]),
    )
