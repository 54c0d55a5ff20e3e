"""Replay history: find the alerts that watches would have raised if they had run at each tick of a past period."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

from logging_lib._util.times import format_instant, parse_duration
from logging_lib.store.forkpool import available_processes, map_forked
from logging_lib.store.port import Store
from logging_lib.watch.backtest.asof import AsOf
from logging_lib.watch.backtest.history import Answers, EventHistory, ScheduledTick
from logging_lib.watch.backtest.related import Courses, drop_related
from logging_lib.watch.evaluate import Scripts, default_scripts, run_dependencies, store_ask
from logging_lib.watch.examples import complete_values
from logging_lib.watch.findings import Summarize, lists_too_few_values
from logging_lib.watch.loading import with_sample_recipients
from logging_lib.watch.model import Watch
from logging_lib.watch.model.schedule import find_due_time, floor_to_interval
from logging_lib.watch.notify.base import Notification
from logging_lib.watch.notify.registry import CHANNELS
from logging_lib.watch.results import Alert, RunReport
from logging_lib.watch.runner import Runner
from logging_lib.watch.slices import name_slices

MANY_RUNS = 5_000  # from this number on, sharing them among processes pays
MANY_ALERTS = 100  # the origin is asked only for this number of alerts, the first, at about 0.4 s each
_REACH = timedelta(hours=25)
_LOOK_BACK = re.compile(r"-(\d+[smhdw])(?=[\"/|+-])")


@dataclass(frozen=True)
class Backtest:
    """The result of a backtest.

    ``watches`` are the ids of those that ran, ``alerts`` are in the order of time, and ``failures`` are the failed
    runs by watch and reason.

    ``skipped`` are the models that runs could not evaluate, by model, version and reason; ``is_evaluated`` says
    that some run evaluated a model.
    ``slow`` are the searches, by watch and name, that were not answered from counts, and why.
    ``traffic`` are the starts of the hours with predictions; None if they are not known.
    """

    watches: tuple[str, ...]
    start: datetime
    end: datetime
    ticks: int
    alerts: tuple[Alert, ...]
    failures: Mapping[tuple[str, str], int]
    skipped: Mapping[tuple[str, str, str], int] = field(default_factory=dict)
    is_evaluated: bool = True
    slow: Mapping[str, str] = field(default_factory=dict)
    traffic: frozenset[datetime] | None = None

    @property
    def ok(self) -> bool:
        """Return whether no run failed, and a model was evaluated unless there was none."""
        return not self.failures and (self.is_evaluated or not self.skipped)

    def days(self) -> list[date]:
        """Return the days of the replay, in UTC."""
        first, last = self.start.astimezone(UTC).date(), self.end.astimezone(UTC).date()
        return [first + timedelta(days=number) for number in range((last - first).days + 1)]

    def alerts_a_day(self, watch: str) -> list[int]:
        """Return a watch's alerts on each of the days."""
        counts = Counter(alert.time.astimezone(UTC).date() for alert in self.alerts if alert.watch == watch)
        return [counts[day] for day in self.days()]

    @property
    def days_with_traffic(self) -> float:
        """Return the number of days of 24 hours from the start that had predictions; the last counts by its length.

        The result is at least one. All days count if the traffic is not known.
        """
        day = timedelta(days=1)
        length = max(self.end - self.start, timedelta(0))
        if self.traffic is None:
            return max(length / day, 1.0)
        inside = (hour for hour in self.traffic if self.start - timedelta(hours=1) < hour <= self.end)
        places = {max(hour - self.start, timedelta(0)) // day for hour in inside}
        return max(sum(min((length - place * day) / day, 1.0) for place in places), 1.0)

    def mean_a_day(self, watch: str | None = None) -> float:
        """Return the mean number of alerts per day with traffic, of one watch or of all."""
        count = len(self.alerts) if watch is None else sum(self.alerts_a_day(watch))
        return count / self.days_with_traffic

    def document(self) -> dict[str, Any]:
        """Return the timeline as JSON."""
        return {
            "start": format_instant(self.start),
            "end": format_instant(self.end),
            "ticks": self.ticks,
            "days_with_traffic": round(self.days_with_traffic, 4),
            "alerts_a_day": {
                watch: {
                    "mean": round(self.mean_a_day(watch), 4),
                    "days": {
                        f"{day}": count
                        for day, count in zip(self.days(), self.alerts_a_day(watch), strict=True)
                        if count
                    },
                }
                for watch in self.watches
            },
            "alerts": [alert.document() for alert in self.alerts],
            "failures": [
                {"watch": watch, "error": error, "runs": runs}
                for (watch, error), runs in self.failures.items()
            ],
            "not_evaluated": [
                {"model": model, "version": version, "reason": reason, "runs": runs}
                for (model, version, reason), runs in self.skipped.items()
            ],
            "not_in_one_pass": dict(self.slow),
        }


def ticks(start: datetime, end: datetime, every: timedelta) -> Iterator[datetime]:
    """Yield the multiples of ``every``, from the first at or after ``start`` until ``end`` is covered."""
    now = floor_to_interval(every, start)
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
    """Yield ``ticks`` without those that are more than ``reach`` after the last arrival before them.

    Args:
        arrivals: the starts of the hours in which events arrived.
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
    """Return how far the watches look back, as far as their files say."""
    reaches = [_REACH]
    for watch in watches:
        text = watch.definition.model_dump_json()
        windows = watch.metadata.get("windows")
        texts = [*_LOOK_BACK.findall(text), *(windows if isinstance(windows, list) else [windows])]
        for each in texts:
            try:
                reaches.append(parse_duration(str(each)) + timedelta(hours=1))
            except (ValueError, OverflowError):
                continue
    return max(reaches)


def backtest(
    store: Store,
    watches: Iterable[Watch],
    *,
    start: datetime,
    end: datetime,
    every: timedelta,
    scripts: Scripts | None = None,
    summarize: Summarize | None = None,
    arrivals: Iterable[datetime] | None = None,
    traffic: Iterable[datetime] | None = None,
    history: EventHistory | None = None,
) -> Backtest:
    """Run the watches at each tick at which their own schedules make them due, with throttling as in live runs.

    A finding that another watch's open incident about the same feature already reported is not an alert: see
    ``related``.

    No tick sees an event that arrived after it. Nothing is delivered.

    Args:
        store: has all events, with their arrival in ``event.ingested``, and the profiles.
        start: the start of the replay; the first tick is the first multiple of ``every`` from here.
        end: the last tick is the first one at or after it.
        arrivals: the starts of the hours in which events arrived; ticks too long after one are skipped.
        traffic: the starts of the hours in which predictions arrived, for the rates of the result.
        history: a history of the same store, in which several backtests share the counts that they have in common.
    """
    watches = list(watches)
    scripts = default_scripts() if scripts is None else scripts
    moments = list(
        ticks(start, end, every)
        if arrivals is None
        else busy_ticks(start, end, every, arrivals, _reach(watches))
    )
    history = EventHistory(store) if history is None else history
    runs = find_runs(watches, moments)
    answers = history.searches(runs)
    replays = [_Replay(watch, when, found) for (watch, when), found in zip(runs, answers, strict=True)]
    replays.sort(key=lambda replay: -len(replay.moments))  # the longest begins first
    results = map_forked(
        lambda replay: replay.run(store, scripts, summarize),
        replays,
        here=lambda replay: replay.answers.asks,
        processes=available_processes() if sum(len(when) for _, when in runs) >= MANY_RUNS else 1,
    )
    by_watch = {result.watch: result for result in results}
    total = _ReplayResult("")
    for watch in watches:
        total.join(by_watch[watch.id])
    total.alerts.sort(key=lambda pair: pair[1].time)
    alerts = drop_related(total.alerts, total.courses)
    _search_details(store, watches, alerts[:MANY_ALERTS])
    return Backtest(
        tuple(watch.id for watch in watches),
        start,
        end,
        len(moments),
        tuple(alert for _, alert in alerts),
        dict(total.failures),
        dict(total.skipped),
        total.is_evaluated,
        total.slow,
        None if traffic is None else frozenset(traffic),
    )


def _search_details(store: Store, watches: Iterable[Watch], alerts: Iterable[tuple[datetime, Alert]]) -> None:
    """Complete the alerts' examples, and name where they come from.

    This is not part of a replay, since a forked process cannot use the store.
    """
    by_id, past = {watch.id: watch for watch in watches}, AsOf(store)
    for scheduled, alert in alerts:
        ask = store_ask(past, alert.time)
        watch, findings = by_id[alert.watch], alert.findings_sent
        if incomplete := list(filter(lists_too_few_values, findings)):
            complete_values(watch, incomplete, ask, now=alert.time, scheduled=scheduled)
        name_slices(watch, findings, ask, now=alert.time, scheduled=scheduled)


@dataclass
class _ReplayResult:
    """The result of replaying one watch or several; ``alerts`` have the scheduled times of their runs."""

    watch: str
    alerts: list[tuple[datetime, Alert]] = field(default_factory=list)
    failures: Counter[tuple[str, str]] = field(default_factory=Counter)
    skipped: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    is_evaluated: bool = False
    slow: dict[str, str] = field(default_factory=dict)
    courses: Courses = field(default_factory=dict)

    def join(self, other: _ReplayResult) -> None:
        self.alerts.extend(other.alerts)
        self.failures.update(other.failures)
        self.skipped.update(other.skipped)
        self.is_evaluated = self.is_evaluated or other.is_evaluated
        self.slow |= other.slow
        self.courses |= other.courses

    def add(self, report: RunReport) -> None:
        for run in report.runs:
            self.alerts += [(run.scheduled, alert) for alert in run.alerts if alert.is_performed]
            if run.error:
                self.failures[run.watch, run.error] += 1
            for each in run.skipped:
                about = (str(each.get(key, "")) for key in ("model", "version", "reason"))
                self.skipped[tuple(about)] += 1  # type: ignore[index]
            self.is_evaluated = self.is_evaluated or run.evaluated
        for alert in report.alerts:
            for name, result in alert.actions.items():
                if result.status == "failed":
                    self.failures[alert.watch, f"actions.{name}: {result.reason}"] += 1


def find_runs(
    watches: Iterable[Watch], moments: Iterable[datetime]
) -> list[tuple[Watch, list[ScheduledTick]]]:
    """Find the times at which a runner that ticks at these moments runs each watch."""
    due: dict[str, list[ScheduledTick]] = {}  # by trigger, which many watches share
    runs, moments = [], list(moments)
    for watch in watches:
        trigger = watch.definition.trigger.model_dump_json()
        if trigger not in due:
            due[trigger] = _due(watch, moments)
        runs.append((watch, due[trigger]))
    return runs


def _due(watch: Watch, moments: Iterable[datetime]) -> list[ScheduledTick]:
    """Return the times at which a runner that ticks at these moments runs a watch."""
    last: datetime | None = None
    due = []
    for now in moments:
        slot = find_due_time(watch.schedule, last, now)
        if slot is not None:
            due.append(ScheduledTick(now, slot))
            last = slot
    return due


@dataclass(frozen=True)
class _Replay:
    """The replay of one watch: the times of its runs, and the answers to its searches then."""

    watch: Watch
    moments: list[ScheduledTick]
    answers: Answers

    def run(self, store: Store, scripts: Scripts, summarize: Summarize | None) -> _ReplayResult:
        found, past = _ReplayResult(self.watch.id), AsOf(store)
        found.slow = {f"{self.watch.id} {name}": reason for name, reason in self.answers.slow.items()}
        runner = Runner(
            store,
            with_sample_recipients([self.watch]),
            channels=dict.fromkeys(CHANNELS, _Nowhere()),
            scripts=scripts,
            summarize=summarize,
            prepare=lambda _, now: (
                lambda watch, scheduled: replace(
                    run_dependencies(past, now=now, scripts=scripts),
                    search=self.answers.search(now),
                    ask=None,
                )
            ),
        )
        for moment in self.moments:
            found.add(runner.tick(moment.now))
            for incident in runner.state.load(self.watch.id).incidents:
                course = found.courses.setdefault((self.watch.id, incident.key), {})
                course[incident.opened_at] = incident.closed_at
        self.answers.release()  # free the memory for the answers of the next watch
        return found


class _Nowhere:
    def deliver(self, notification: Notification) -> None:
        pass
