"""The alerts of a period, found by replaying the watches over it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import orjson

from logging_lib._util.text import shorten
from logging_lib._util.times import format_duration
from logging_lib.report import searches
from logging_lib.report.alerts import Told, of_model
from logging_lib.report.model import Judging, Subject
from logging_lib.report.reading import instant
from logging_lib.store.port import DelegatingStore, Partition, Store
from logging_lib.watch.backtest.backtest import backtest
from logging_lib.watch.model import Watch

MAX_TICKS = 9000
_STEPS = tuple(timedelta(minutes=minutes) for minutes in (5, 10, 15, 30, 60, 120, 360, 720, 1440))
_PROBLEMS = 10
_REACH = 25  # hours after an event in which a window still holds it
_ARRIVED, _HAPPENED = "event.ingested", "@timestamp"
_LATE = timedelta(days=1)


def replay(store: Store, watches: Sequence[Watch], subject: Subject, every: timedelta | None = None) -> Told:
    """What the watches would have told of the subject's model, had they run while its events arrived.

    Where they arrived more than a day late on average, they were loaded afterwards: then the replay goes by the
    time at which they happened.

    Args:
        every: the time between ticks; None takes the shortest of at least 5 minutes that needs at most
            ``MAX_TICKS`` ticks.
    """
    mean = store.search(searches.PREDICTIONS, searches.delay(subject)).get("aggregations")
    if not mean or mean["happened"]["value"] is None or mean["arrived"]["value"] is None:
        return Told(judging=Judging("No watch was replayed: no prediction arrived.", 0))
    late = timedelta(milliseconds=mean["arrived"]["value"] - mean["happened"]["value"]) > _LATE
    field = _HAPPENED if late else _ARRIVED
    found = store.search(searches.PREDICTIONS, searches.arrivals(subject, field))["aggregations"]
    hours = [instant(bucket["key"]) for bucket in found["hours"]["buckets"]]
    covered = {hour + timedelta(hours=later) for hour in hours for later in range(_REACH)}
    step = every or next(
        (step for step in _STEPS if len(covered) * timedelta(hours=1) / step <= MAX_TICKS), _STEPS[-1]
    )
    result = backtest(
        _Timely(store) if late else store,
        watches,
        start=instant(found["min"]["value"]),
        end=instant(found["max"]["value"]),
        every=step,
        arrivals=hours,
    )
    problems = [f"{watch}: {runs} runs failed: {error}" for (watch, error), runs in result.failures.items()]
    problems += [
        f"Version {shorten(version)} was not judged in {runs} runs: {reason}."
        for (model, version, reason), runs in result.skipped.items()
        if model == subject.model
    ]
    source = f"Found by replaying {len(watches)} watches every {format_duration(step)} over " + (
        "the events' own time, since they were loaded later." if late else "the events' arrival."
    )
    return Told(
        of_model((alert.document() for alert in result.alerts), subject.model, None, None),
        Judging(source, len(watches), tuple(problems[:_PROBLEMS])),
        f"{len(watches)} watches",
    )


class _Timely(DelegatingStore):
    """A store as if each event had arrived when it happened."""

    def search(
        self,
        indices: str | list[str],
        body: Mapping[str, Any],
        *,
        now: datetime | None = None,
        rest_total_hits_as_int: bool = False,
    ) -> dict[str, Any]:
        return super().search(indices, _on_time(body), now=now, rest_total_hits_as_int=rest_total_hits_as_int)

    def iter_json(self, target: str, fields: Collection[str]) -> Iterator[bytes | list[bytes]]:
        return _blocks_on_time(super().iter_json(target, {*fields, _HAPPENED}))

    def partitions(self, target: str, fields: Collection[str], size: int) -> list[Partition]:
        return [
            partial(_read_on_time, part) for part in super().partitions(target, {*fields, _HAPPENED}, size)
        ]


def _read_on_time(part: Partition) -> Iterator[bytes | list[bytes]]:
    return _blocks_on_time(part())


def _blocks_on_time(blocks: Iterable[bytes | list[bytes]]) -> Iterator[bytes | list[bytes]]:
    for block in blocks:
        yield [_line_on_time(line) for line in (block.splitlines() if isinstance(block, bytes) else block)]


def _line_on_time(line: bytes) -> bytes:
    try:
        event = orjson.loads(line)
        event.pop(_ARRIVED, None)
        event["event"] = {**event.get("event", {}), "ingested": event.get(_HAPPENED)}
    except (orjson.JSONDecodeError, AttributeError, TypeError):  # no event: whoever reads it passes it over
        return line
    return orjson.dumps(event)


def _on_time(part: Any) -> Any:
    if isinstance(part, Mapping):
        return {_on_time(name): _on_time(value) for name, value in part.items()}
    if isinstance(part, list):
        return [_on_time(each) for each in part]
    return _HAPPENED if part == _ARRIVED else part
