"""Replay a store by the events' own times, for events that were loaded long after they happened."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Final

from logging_lib.store.counting import CountPath, CountPlan, CountTable, Grid
from logging_lib.store.port import DelegatingStore

ARRIVED, HAPPENED = "event.ingested", "@timestamp"
PERCENTS: Final = (5, 50, 95)
"""The percentiles of times that ``were_loaded_later`` compares, so that single wrong clocks do not decide."""
_LATE: Final = timedelta(days=1) / timedelta(milliseconds=1)
_COMPRESSED: Final = 10


def were_loaded_later(happened: Sequence[float], arrived: Sequence[float]) -> bool:
    """Return whether the arrival of events says nothing about when the watches would have seen them.

    This is the case if they typically arrived more than a day late, if the events of a long period arrived within a
    tenth of it, as when a command loads them, or if none has an arrival.

    Args:
        happened, arrived: the ``PERCENTS`` percentiles of the events' times, in milliseconds; empty without any.
    """
    if not happened or not arrived:
        return bool(happened)
    late = arrived[1] - happened[1] > _LATE
    return late or (arrived[2] - arrived[0]) * _COMPRESSED < happened[2] - happened[0]


def read_percentiles(answer: Mapping[str, Any] | None) -> list[float]:
    """Return the values of a ``percentiles`` aggregation in their order; empty if there were no events."""
    if answer is None:
        return []
    values = [value for name, value in answer["values"].items() if not name.endswith("_as_string")]
    return [] if None in values else values


class EventTimeStore(DelegatingStore):
    """A view of a store as if each event had arrived when it happened."""

    def search(
        self,
        indices: str | list[str],
        body: Mapping[str, Any],
        *,
        now: datetime | None = None,
        rest_total_hits_as_int: bool = False,
    ) -> dict[str, Any]:
        return super().search(
            indices, _by_event_time(body), now=now, rest_total_hits_as_int=rest_total_hits_as_int
        )

    def counts(
        self, plan: CountPlan, grid: Grid, start: int | None, end: int
    ) -> Iterable[tuple[CountPath, CountTable]]:
        return super().counts(replace(plan, renamed={ARRIVED: HAPPENED}), grid, start, end)


def _by_event_time(part: Any) -> Any:
    if isinstance(part, Mapping):
        return {_by_event_time(name): _by_event_time(value) for name, value in part.items()}
    if isinstance(part, list):
        return [_by_event_time(item) for item in part]
    return HAPPENED if part == ARRIVED else part
