"""The daemon: slow watches, gathering, the election, the runner's own heartbeat. Clocks are arguments."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from logging_lib._util import content
from logging_lib.store.connection import Connection
from logging_lib.store.duckdb.store import EmbeddedStore
from logging_lib.store.elasticsearch import ElasticsearchStore
from logging_lib.watch.daemon import Daemon, Heartbeat, Pace
from logging_lib.watch.lease import LeaderElector, LeaderState
from logging_lib.watch.loading import load_watches
from logging_lib.watch.model import Watch
from logging_lib.watch.notify.base import Delivers
from logging_lib.watch.notify.email import EmailChannel
from logging_lib.watch.results import RunReport
from logging_lib.watch.runner import Runner
from logging_lib.watch.state.base import HistoryQuery, MemoryState, StateStore
from logging_lib.watch.state.elasticsearch import ElasticsearchState
from logging_lib.watch.state.file import FileState
from tests.watch.conftest import (
    NOW,
    SCRIPTS,
    FakeStore,
    MailServer,
    build_result,
    email_action,
    finding,
    minutes,
    watch,
)

LEASE = timedelta(seconds=30)


class Time:
    """A clock that stands still until it is set."""

    def __init__(self) -> None:
        self.now = NOW

    def pass_(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)

    def monotonic(self) -> float:
        return (self.now - NOW).total_seconds()


class Outbox:
    """An channel that remembers; ``gate`` holds it up."""

    def __init__(self) -> None:
        self.subjects: list[str] = []

    def deliver(self, message: Any) -> None:
        self.subjects.append(message.subject)


def daemon(
    clock: Time,
    state: StateStore,
    store: Any,
    *watches: Watch,
    channel: Delivers | None = None,
    pace: Pace | None = None,
    name: str = "one",
    **more: Any,
) -> Daemon:
    elector = LeaderElector(state, LEASE, name)
    runner = Runner(
        store,
        watches or [watch(email=email_action())],
        channels={"email": channel or Outbox()},
        scripts=SCRIPTS,
        summarize=build_result,
        state=LeaderState(state, elector),
        check_leader=lambda: elector.check(clock.now),
    )
    given = {"pace": pace or Pace(), **more}
    return Daemon(runner, elector, clock=lambda: clock.now, monotonic=clock.monotonic, **given)


def settled(one: Daemon, is_done: Callable[[], bool] = lambda: True) -> None:
    """Steps until nothing is at work; the clock stands still."""
    until = time.monotonic() + 300
    while time.monotonic() < until:
        one.step()
        if is_done() and not one._busy and not one._is_delivering and not one._finished_runs:
            return
        threading.Event().wait(0.002)
    raise AssertionError("it does not come to rest")


@pytest.fixture(params=["files", pytest.param("elasticsearch", marks=pytest.mark.elasticsearch)])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[], StateStore]]:
    if request.param == "files":
        yield lambda: FileState(tmp_path / "state")
    else:
        connection: Connection = request.getfixturevalue("elasticsearch")
        index = f"ml-watch-state-{uuid4().hex[:8]}"
        template = connection.call("GET", "/_index_template/ml-watch-state")["index_templates"][0]
        connection.call("PUT", f"/{index}", template["index_template"]["template"])
        yield lambda: ElasticsearchState(ElasticsearchStore(connection, retry_seconds=10), index)
        connection.call("DELETE", f"/{index}")


class Blocking(FakeStore):
    """Searches of the watch that has this in its body wait until they are let go."""

    def __init__(self, text: str) -> None:
        super().__init__(lambda now: [finding()])
        self._text = text
        self.began, self.go_on = threading.Event(), threading.Event()

    def search(self, indices: Any, body: Any, **more: Any) -> Any:
        if self._text in str(body):
            self.began.set()
            assert self.go_on.wait(300)
        return super().search(indices, body, **more)


def slow_watch() -> Watch:
    from logging_lib.watch.loading import parse_watch
    from tests.watch.conftest import document

    made = document(email=email_action())
    request = made["input"]["chain"]["inputs"][0]["window"]["search"]["request"]
    request["body"]["aggs"]["slow"] = request["body"]["aggs"].pop("models")
    request["body"]["track_total_hits"] = False  # so that it is not asked together with others
    return parse_watch(made, id="slow", scripts=SCRIPTS)


def test_a_slow_watch_delays_no_other_and_never_runs_twice_at_once() -> None:
    """With one place only: it gives its place away when it has been slow for a while."""
    clock, outbox, store = Time(), Outbox(), Blocking("slow")
    reports: list[RunReport] = []
    one = daemon(
        clock,
        MemoryState(),
        store,
        slow_watch(),
        watch("quick", email=email_action()),
        channel=outbox,
        pace=Pace(workers=1, slow_after=10),
        on_report=reports.append,
    )
    one.step()
    assert store.began.wait(300)
    one.step()
    assert len(store.searches) == 0
    clock.pass_(10)
    one.step()
    for _ in range(100_000):
        if outbox.subjects:
            break
        one.step()
        threading.Event().wait(0.002)
    assert outbox.subjects == ["loans: 1 income"]
    store.began.clear()
    clock.pass_(600)
    for _ in range(50):
        one.step()
    assert not store.began.is_set()
    store.go_on.set()
    settled(one, lambda: len(outbox.subjects) == 2)
    slots = [
        body["query"]["range"]["event.ingested"]["gt"][11:16]
        for _, body, _ in store.searches
        if "slow" in str(body)
    ]
    assert slots == ["12:00", "12:10"]
    assert all(report.ok for report in reports)


def test_each_of_many_watches_runs_once_per_scheduled_time() -> None:
    """Also where one ends while the next ones are chosen. What all of them search is asked once, also for those
    that wait for a place."""
    clock, store, reports = Time(), FakeStore(), list[RunReport]()
    watches = [watch(f"w{number}", email=email_action()) for number in range(300)]
    pace = Pace(workers=4)
    one = daemon(clock, MemoryState(), store, *watches, pace=pace, on_report=reports.append)
    settled(one, lambda: sum(len(report.runs) for report in reports) >= 300)
    for _ in range(20):
        settled(one)
    assert sorted(run.watch for report in reports for run in report.runs) == sorted(
        each.id for each in watches
    )
    assert len(store.searches) == 1


def test_messages_of_one_tick_are_gathered_into_a_digest(mail_server: MailServer) -> None:
    """Over all watches, though each runs by itself; everything is reported as done."""
    clock, reports = Time(), list[RunReport]()
    watches = [watch(f"w{number}", email=email_action()) for number in range(9)]
    one = daemon(
        clock,
        MemoryState(),
        FakeStore(lambda now: [finding()]),
        *watches,
        channel=EmailChannel(mail_server.url),
        pace=Pace(workers=3),
        on_report=reports.append,
    )
    settled(one, lambda: bool(mail_server.mails))
    assert [mail["Subject"] for mail in mail_server.mails] == ["9 alerts: loans (9)"]
    runs = [run for report in reports for run in report.runs]
    assert len(runs) == 9
    assert {run.alerts[0].actions["email"].status for run in runs} == {"executed"}


def test_one_of_two_runners_works_and_the_other_takes_over(opened: Callable[[], StateStore]) -> None:
    """Within the lease's time of the first one's end; what it had sent is not sent again."""
    clock = Time()
    outboxes = [Outbox(), Outbox()]
    found = [finding("a")]
    stores = [FakeStore(lambda now: found) for _ in range(2)]
    first, second = (
        daemon(clock, opened(), store, channel=outbox, name=name)
        for store, outbox, name in zip(stores, outboxes, ("one", "two"), strict=True)
    )
    settled(first)
    settled(second)
    assert (first.is_leading, second.is_leading) == (True, False)
    for _ in range(3):
        clock.pass_(20)
        settled(first)
        settled(second)
        assert (first.is_leading, second.is_leading) == (True, False)
    found.append(finding("b"))
    clock.pass_(29)  # the first one is dead
    settled(second)
    assert not second.is_leading
    clock.pass_(1)
    settled(second)
    assert second.is_leading
    clock.pass_(300)
    settled(second)
    assert [outbox.subjects for outbox in outboxes] == [["loans: 1 a"], ["loans: 1 b"]]
    # It was not dead, only stopped: it sees that it leads no more before it does anything.
    searches = len(stores[0].searches)
    settled(first)
    assert not first.is_leading
    assert len(stores[0].searches) == searches


def test_notifications_of_a_killed_runner_are_delivered_by_its_successor(
    opened: Callable[[], StateStore],
) -> None:
    """The message that it wrote down and did not send."""
    clock, outbox = Time(), Outbox()

    class Killed(BaseException):
        pass

    class Dying:
        def deliver(self, message: Any) -> None:
            raise Killed

    elector = LeaderElector(opened(), LEASE, "one")
    elector.acquire(clock.now)
    dying = Runner(
        FakeStore(lambda now: [finding()]),
        [watch(email=email_action())],
        channels={"email": Dying()},
        scripts=SCRIPTS,
        summarize=build_result,
        state=LeaderState(opened(), elector),
    )
    with pytest.raises(Killed):
        dying.tick(clock.now)
    clock.pass_(31)
    second = daemon(clock, opened(), FakeStore(), channel=outbox, name="two")
    settled(second)
    clock.pass_(6)
    settled(second, lambda: bool(outbox.subjects))
    assert outbox.subjects == ["loans: 1 income"]
    assert opened().load("test").queue == ()
    assert [each["status"] for each in opened().history(HistoryQuery(kinds=("delivery",)))] == ["delivered"]


def test_a_state_that_cannot_be_reached_stops_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """The runner stands by, and works again when it is back; it says so once."""
    caplog.set_level(logging.INFO, logger="logging_lib.watch")
    from logging_lib.store.port import StoreError

    class Away(MemoryState):
        away = True

        def update_lease(self, change: Any) -> Any:
            if self.away:
                raise StoreError("no answer")
            return super().update_lease(change)

    clock, outbox, state = Time(), Outbox(), Away()
    one = daemon(clock, state, FakeStore(lambda now: [finding()]), channel=outbox)
    for _ in range(5):
        settled(one)
    assert [record.message for record in caplog.records] == ["no answer"]
    state.away = False
    settled(one, lambda: bool(outbox.subjects))
    assert outbox.subjects == ["loans: 1 income"]
    assert sum("the store answers again after " in record.message for record in caplog.records) == 1


def test_one_watchs_damaged_state_silences_no_other(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It fails each time, with its place; a damaged file must not end all alerts."""
    (tmp_path / "watches").mkdir()
    (tmp_path / "watches" / "damaged.json").write_text("{")
    channel, reports = Outbox(), []
    watches = [watch(name, email=email_action()) for name in ("damaged", "sound")]
    store = FakeStore(lambda now: [finding()])
    runner = Runner(
        store,
        watches,
        channels={"email": channel},
        scripts=SCRIPTS,
        state=FileState(tmp_path),
        summarize=build_result,
    )
    for number in range(2):
        reports.append(runner.tick(NOW + minutes(5 * number)))
    assert len(channel.subjects) == 1
    for report in reports:
        errors = {run.watch: run.error for run in report.runs}
        assert "damaged.json: is not a state" in str(errors["damaged"])
        assert errors["sound"] is None
    assert caplog.text.count("the waiting notifications of damaged are not delivered") == 1


def test_the_daemon_finishes_running_watches_and_returns_the_lease() -> None:
    """The next one need not wait."""
    clock, outbox, store, state = Time(), Outbox(), Blocking("slow"), MemoryState()
    one = daemon(clock, state, store, slow_watch(), channel=outbox)
    one.step()
    assert store.began.wait(300)
    threading.Timer(0.05, store.go_on.set).start()
    one.close(grace=300)
    assert outbox.subjects == ["loans: 1 income"]
    assert LeaderElector(state, LEASE, "two").acquire(clock.now)


@pytest.fixture(params=["embedded", pytest.param("elasticsearch", marks=pytest.mark.elasticsearch)])
def store(request: pytest.FixtureRequest) -> Iterator[Any]:
    if request.param == "embedded":
        with EmbeddedStore(None) as made:
            yield made
    else:
        yield ElasticsearchStore(request.getfixturevalue("elasticsearch"), retry_seconds=10)


def test_the_heartbeat_says_what_the_runner_did(
    store: Any, valid: Callable[[dict[str, Any]], dict[str, Any]]
) -> None:
    """Each minute, by the event's schema."""
    clock = Time()
    space = f"test{uuid4().hex[:8]}"
    beat = Heartbeat(store, NOW, namespace=space)
    fake = FakeStore(lambda now: [finding()])
    broken = slow_watch()
    fake.broken_at = "slow"
    one = daemon(clock, MemoryState(), fake, watch(email=email_action()), broken, heartbeat=beat)
    settled(one)
    for _ in range(130):
        clock.pass_(1)
        settled(one)
    store.refresh()
    body = {"size": 10, "sort": [{"@timestamp": "asc"}]}
    hits = store.search(f"logs-ml.health-{space}", body, now=clock.now)["hits"]["hits"]
    events = [valid(hit["_source"]) for hit in hits]
    assert [event["ml"]["health"]["interval"] for event in events] == [60, 60]
    first = events[0]["ml"]["health"]["runner"]
    assert {
        key: first[key] for key in ("state", "runs", "failures", "running", "delivered", "undelivered")
    } == {
        "state": "leading",
        "runs": 2,
        "failures": 1,
        "running": 0,
        "delivered": 1,
        "undelivered": 0,
    }
    assert events[1]["ml"]["health"]["runner"]["runs"] == 0
    assert events[0]["service"]["name"] == "logging-lib-watch"


def test_uptime_sees_that_a_runner_died() -> None:
    """The shipped watch, run by whoever is left."""
    (uptime,) = (one for one in load_watches(content.path("watchers")) if one.id == "uptime")
    outbox = Outbox()
    with EmbeddedStore(None) as kept:
        beat = Heartbeat(kept, NOW)
        engine = Runner(kept, [uptime], channels={"email": outbox})
        for minute in range(1, 61):
            beat.beat(NOW + minutes(minute), leading=True, running=0, undelivered=0)
        assert engine.run_once(NOW + minutes(60)).alerts == ()
        (alert,) = engine.run_once(NOW + minutes(75)).alerts
    assert "logging-lib-watch" in str(alert.findings)


def test_a_heartbeat_that_cannot_be_written_stops_nothing(
    caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    """And is said once."""
    with EmbeddedStore(tmp_path, read_only=True) as kept:
        beat = Heartbeat(kept, NOW)
        for minute in (1, 2):
            beat.beat(NOW + minutes(minute), leading=True, running=0, undelivered=0)
    assert len(caplog.records) == 1
    assert "read-only" in caplog.text


def test_old_history_is_deleted() -> None:
    """Runs that found nothing after a week, all else after three months."""
    clock, state = Time(), MemoryState()
    days = (8, 6)
    for age in days:
        for kind in ("quiet", "alert"):
            moment = (NOW - timedelta(days=age)).isoformat()
            state.record([{"time": moment, "kind": kind, "watch": "old"}])
    state.record([{"time": (NOW - timedelta(days=91)).isoformat(), "kind": "alert", "watch": "old"}])
    one = daemon(clock, state, FakeStore())
    settled(one, lambda: len(state.history(HistoryQuery(watch="old"))) == 3)
    assert [each["kind"] for each in state.history(HistoryQuery(watch="old"))] == ["alert", "quiet", "alert"]
