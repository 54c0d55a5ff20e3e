"""When the events of a past arrived: the period of a backtest, and the hours in which anything happened."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import numpy as np
from numpy.typing import NDArray

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
_HOUR: Final = 3_600_000


@dataclass(frozen=True)
class Arrivals:
    """Describe when events arrived.

    Attributes:
        events: how many there are.
        first, last: arrival of a prediction; of any event where there are no predictions; None without events.
            A logger's own events, such as those of its health, are no part of the past that it logged.
        end: the last arrival of any event.
        hours: begins of the hours in which an event arrived; ``traffic``: those in which a prediction did.
        loaded_later: whether arrival says nothing about when watches would have seen the predictions.
    """

    events: int = 0
    first: datetime | None = None
    last: datetime | None = None
    end: datetime | None = None
    hours: frozenset[datetime] = frozenset()
    traffic: frozenset[datetime] = frozenset()
    loaded_later: bool = False


def describe_times(
    everything: NDArray[np.int64], predicted: NDArray[np.int64], happened: NDArray[np.int64]
) -> Arrivals:
    """Describe arrivals in milliseconds: of all events and of the predictions, and when the latter happened."""
    period = predicted if len(predicted) else everything
    if not len(period):
        return Arrivals(loaded_later=were_loaded_later(_percentiles(happened), []))
    return Arrivals(
        len(everything),
        from_millis(int(period.min()), UTC),
        from_millis(int(period.max()), UTC),
        from_millis(int(everything.max()), UTC),
        _hours(everything),
        _hours(predicted),
        were_loaded_later(_percentiles(happened), _percentiles(predicted)),
    )


def _percentiles(times: NDArray[np.int64]) -> list[float]:
    return [float(value) for value in np.percentile(times, PERCENTS)] if len(times) else []


def _hours(times: NDArray[np.int64]) -> frozenset[datetime]:
    return frozenset(from_millis(int(hour), UTC) for hour in np.unique(times // _HOUR * _HOUR))


def search_arrivals(store: Store) -> Arrivals:
    """Ask a store for the arrivals of its predictions, where its events cannot be read in one pass."""
    hourly = {"date_histogram": {"field": ARRIVED, "fixed_interval": "1h", "min_doc_count": 1}}
    ends = {end: {end: {"field": ARRIVED}} for end in ("min", "max")}
    times = {
        name: {"percentiles": {"field": field, "percents": list(PERCENTS)}}
        for name, field in (("happened", HAPPENED), ("arrived", ARRIVED))
    }
    body = {"size": 0, "track_total_hits": True, "aggs": {"hours": hourly, **ends, **times}}
    answer = store.search(PREDICTIONS, body)
    events = answer["hits"]["total"]["value"]
    aggregations = answer.get("aggregations")
    if not events or not aggregations:
        return Arrivals()
    loaded_later = were_loaded_later(
        *(read_percentiles(aggregations[name]) for name in ("happened", "arrived"))
    )
    if aggregations["min"]["value"] is None:
        return Arrivals(events, loaded_later=loaded_later)
    first, last = (from_millis(aggregations[end]["value"]) for end in ("min", "max"))
    hours = frozenset(from_millis(bucket["key"]) for bucket in aggregations["hours"]["buckets"])
    return Arrivals(events, first, last, last, hours, hours, loaded_later)
