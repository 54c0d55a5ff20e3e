"""Replays history: what would have fired, had these watches run at each tick of a past time."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from logging_lib.store.port import IndexResult, Store
from logging_lib.watch.actions import Outlet
from logging_lib.watch.evaluate import Scripts
from logging_lib.watch.incidents import Judged
from logging_lib.watch.messages import Message
from logging_lib.watch.model import ACTION_KINDS, Watch
from logging_lib.watch.results import Alert
from logging_lib.watch.runner import Runner
from logging_lib.watch.schedule import latest_slot
from logging_lib.watch.times import format_instant, parse_duration

_REACH = timedelta(hours=25)
_LOOK_BACK = re.compile(r"-(\d+[smhdw])(?=[\"/|+-])")


@dataclass(frozen=True)
class Backtest:
    """``alerts`` in the order of time; ``failures`` counts the runs that failed, by watch and reason.

    ``skipped`` counts the runs that did not judge, by model, version and reason; ``judged``: some run did.
    """

    start: datetime
    end: datetime
    ticks: int
    alerts: tuple[Alert, ...]
    failures: Mapping[tuple[str, str], int]
    skipped: Mapping[tuple[str, str, str], int] = field(default_factory=dict)
    judged: bool = True

    @property
    def ok(self) -> bool:
        """No run failed, and something was judged unless there was nothing to judge."""
        return not self.failures and (self.judged or not self.skipped)

    def document(self) -> dict[str, Any]:
        """The timeline as JSON."""
        return {
            "start": format_instant(self.start),
            "end": format_instant(self.end),
            "ticks": self.ticks,
            "alerts": [alert.document() for alert in self.alerts],
            "failures": [
                {"watch": watch, "error": error, "runs": runs}
                for (watch, error), runs in self.failures.items()
            ],
            "not_judged": [
                {"model": model, "version": version, "reason": reason, "runs": runs}
                for (model, version, reason), runs in self.skipped.items()
            ],
        }


def ticks(start: datetime, end: datetime, every: timedelta) -> Iterator[datetime]:
    """The instants that ``every`` divides, from the first one at or after ``start``, until ``end`` is covered."""
    now = latest_slot(every, start)
    if now < start:
        now += every
    while True:
        yield now
        if now >= end:
            return
        now += every


def busy_ticks(
    start: datetime, end: datetime, every: timedelta, arrivals: Iterable[datetime], reach: timedelta
) -> Iterator[datetime]:
    """``ticks``, without those that are further than ``reach`` after the last arrival before them.

    Args:
        arrivals: begins of the hours in which events arrived.
    """
    last: datetime | None = None
    for hour in sorted(arrivals):
        if hour > end:
            return
        until = hour + min(timedelta(hours=1) + reach, end - hour)
        begin = max(start, hour, last or hour)
        if begin > until:
            continue
        for now in ticks(begin, until, every):
            if last is None or now > last:
                yield now
                last = now


def _reach(watches: Iterable[Watch]) -> timedelta:
    """How far the watches look back, as far as their files say it."""
    found = [_REACH]
    for watch in watches:
        text = watch.definition.model_dump_json()
        windows = watch.metadata.get("windows")
        texts = [*_LOOK_BACK.findall(text), *(windows if isinstance(windows, list) else [windows])]
        for each in texts:
            try:
                found.append(parse_duration(str(each)) + timedelta(hours=1))
            except (ValueError, OverflowError):
                continue
    return max(found)


def backtest(
    store: Store,
    watches: Iterable[Watch],
    *,
    start: datetime,
    end: datetime,
    every: timedelta,
    scripts: Scripts | None = None,
    judged: Judged | None = None,
    arrivals: Iterable[datetime] | None = None,
) -> Backtest:
    """Run the watches at each tick, each when it is due by its own schedule, with throttling as in life.

    No tick sees an event that arrived after it. Nothing is delivered.

    Args:
        store: holds all events, their arrival in ``event.ingested``, and the profiles.
        start: of the replay; the first tick is the first multiple of ``every`` from here.
        end: the last tick is the first one at or after it.
        arrivals: begins of the hours in which events arrived; ticks too long after one are passed over.
    """
    watches = list(watches)
    outlets: dict[str, Outlet] = dict.fromkeys(ACTION_KINDS, _Nowhere())
    runner = Runner(AsOf(store), watches, outlets=outlets, scripts=scripts, judged=judged)
    alerts: list[Alert] = []
    failures: Counter[tuple[str, str]] = Counter()
    skipped: Counter[tuple[str, str, str]] = Counter()
    count, any_judged = 0, False
    moments = (
        ticks(start, end, every)
        if arrivals is None
        else busy_ticks(start, end, every, arrivals, _reach(watches))
    )
    for now in moments:
        report = runner.tick(now)
        count += 1
        alerts.extend(report.alerts)
        failures.update((run.watch, run.error) for run in report.runs if run.error)
        skipped.update(
            (str(each.get("model", "")), str(each.get("version", "")), str(each.get("reason", "")))
            for run in report.runs
            for each in run.skipped
        )
        any_judged = any_judged or any(run.judged for run in report.runs)
        failures.update(
            (alert.watch, f"actions.{name}: {result.reason}")
            for alert in report.alerts
            for name, result in alert.actions.items()
            if result.status == "failed"
        )
    return Backtest(start, end, count, tuple(alerts), dict(failures), dict(skipped), any_judged)


class _Nowhere:
    def deliver(self, message: Message) -> None:
        pass


class AsOf:
    """A store as it was at a search's ``now``: later arrivals are not there yet."""

    live = False  # so that no watch asks the present over HTTP

    def __init__(self, store: Store) -> None:
        self._store = store
        self.execute_painless = getattr(store, "execute_painless", None)

    def search(
        self,
        indices: str | list[str],
        body: Mapping[str, Any],
        *,
        now: datetime | None = None,
        rest_total_hits_as_int: bool = False,
    ) -> dict[str, Any]:
        names = indices.split(",") if isinstance(indices, str) else indices
        if now is not None and all(name.startswith("logs-") for name in names):
            arrived = {"range": {"event.ingested": {"lte": format_instant(now)}}}
            query = body.get("query", {"match_all": {}})
            body = {**body, "query": {"bool": {"filter": [query, arrived]}}}
        return self._store.search(indices, body, now=now, rest_total_hits_as_int=rest_total_hits_as_int)

    def index(
        self,
        target: str,
        documents: Iterable[Mapping[str, Any]],
        *,
        now: datetime | None = None,
        create: bool = False,
    ) -> IndexResult:
        return self._store.index(target, documents, now=now, create=create)

    def refresh(self) -> None:
        self._store.refresh()

    def close(self) -> None:
        self._store.close()
