"""The runner: schedules, throttling by incident, failures that stay where they are."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest

from logging_lib.watch.backtest.backtest import backtest, ticks
from logging_lib.watch.findings import Key
from logging_lib.watch.loading import parse_watch
from logging_lib.watch.model import Watch
from logging_lib.watch.notify.base import Delivers, DeliveryError, Notification
from logging_lib.watch.notify.email import EmailChannel
from logging_lib.watch.notify.slack import SlackChannel
from logging_lib.watch.results import RunReport
from logging_lib.watch.runner import Runner
from logging_lib.watch.state.base import MemoryState, WatchState
from logging_lib.watch.state.file import FileState
from tests.watch.conftest import (
    NOW,
    SCRIPTS,
    FakeStore,
    MailServer,
    Webhook,
    build_result,
    document,
    email_action,
    finding,
    minutes,
    notification,
    runner_of,
    slack_action,
    watch,
)

Found = Callable[[datetime], Iterable[dict[str, Any]]]


class Recorder:
    """Takes all messages; ``broken`` makes it refuse."""

    def __init__(self) -> None:
        self.messages: list[Notification] = []
        self.broken: Exception | None = None
        self.tried = 0

    def deliver(self, message: Notification) -> None:
        self.tried += 1
        if self.broken:
            raise self.broken
        self.messages.append(message)

    def texts(self) -> list[str]:
        return [message.text.strip() for message in self.messages]


def runner(
    store: FakeStore, *watches: Watch, channels: dict[str, Delivers] | None = None, **more: Any
) -> Runner:
    channels = {"email": Recorder(), "slack": Recorder()} if channels is None else channels
    return runner_of(store, *watches, channels=channels, **more)


def statuses(report: RunReport) -> list[dict[str, str]]:
    return [
        {name: result.status for name, result in alert.actions.items()}
        for run in report.runs
        for alert in run.alerts
    ]


def test_an_alert_reaches_real_servers(mail_server: MailServer, webhook: Webhook, tmp_path: Path) -> None:
    """Mail and Slack, and one line in the alerts' file."""
    channels: dict[str, Delivers] = {
        "email": EmailChannel(mail_server.url),
        "slack": SlackChannel(webhook.url),
    }
    store = FakeStore(lambda now: [finding("a"), finding("b")])
    path = tmp_path / "deep" / "alerts.jsonl"
    report = runner(store, channels=channels, alerts=path).run_once(NOW)
    assert report.ok
    assert mail_server.bodies() == ["loans 1 a\nloans 1 b\n"]
    assert webhook.posts[0]["text"] == "loans 1 a\nloans 1 b\n"
    (line,) = path.read_text().splitlines()
    assert json.loads(line) == {
        "time": "2018-02-01T12:00:00.000Z",
        "watch": "test",
        "model": "loans",
        "version": "1",
        "features": ["a", "b"],
        "subject": "loans: 2 a",
        "findings": [finding("a"), finding("b")],
        "actions": {"email": {"status": "executed"}, "slack": {"status": "executed"}},
    }
    assert report.runs[0].skipped == ({"reason": "no profile"},)
    assert json.loads(json.dumps(report.document()))["runs"][0]["alerts"][0]["subject"] == "loans: 2 a"


def test_silence_when_nothing_was_found() -> None:
    """The condition is not met, nothing is sent, nothing but the run is remembered."""
    state = MemoryState()
    report = runner(FakeStore(), state=state).run_once(NOW)
    assert report.ok
    assert not report.runs[0].met
    assert report.alerts == ()
    assert state.load("test") == WatchState(last_scheduled=NOW)


def test_a_message_is_about_one_model_version() -> None:
    """Findings of two models are two messages; ten features of one model are one."""
    mail = Recorder()
    found = [finding("a"), finding("a", model="other"), finding("b"), finding("a", version="2")]
    runner(FakeStore(lambda now: found), channels={"email": mail, "slack": Recorder()}).run_once(NOW)
    assert mail.texts() == ["loans 1 a\nloans 1 b", "other 1 a", "loans 2 a"]


def test_throttling_lets_new_incidents_pass() -> None:
    """Of a group only what is not throttled is sent, and its counts are of that."""
    mail = Recorder()
    found = [finding("a")]
    engine = runner(FakeStore(lambda now: found), watch(email=email_action()), channels={"email": mail})
    engine.run_once(NOW)
    found.append(finding("b"))
    found.append(finding("a", model="other"))
    second = engine.run_once(NOW + minutes(5))
    assert mail.texts() == ["loans 1 a", "loans 1 b", "other 1 a"]
    assert [m.subject for m in mail.messages] == ["loans: 1 a", "loans: 1 b", "other: 1 a"]
    assert [alert.features for alert in second.alerts] == [("b",), ("a",)]
    third = engine.run_once(NOW + minutes(10))
    assert statuses(third) == [{"email": "throttled"}] * 2
    assert third.alerts == ()
    assert third.ok
    engine.run_once(NOW + minutes(60))
    assert mail.texts()[3:] == ["loans 1 a"]


def test_each_action_has_its_own_throttle() -> None:
    """The action's period, else the watch's, else 5 seconds."""
    altered = document(email=email_action(), slack=slack_action(), second=email_action())
    del altered["actions"]["slack"]["throttle_period"]
    altered["actions"]["second"]["throttle_period"] = "0s"
    mail, chat = Recorder(), Recorder()
    loaded = parse_watch(altered, id="w", scripts=SCRIPTS)
    engine = runner(FakeStore(lambda now: [finding()]), loaded, channels={"email": mail, "slack": chat})
    engine.run_once(NOW)
    assert statuses(engine.run_once(NOW + minutes(0.05))) == [
        {"email": "throttled", "slack": "throttled", "second": "executed"}
    ]
    assert statuses(engine.run_once(NOW + minutes(0.1)))[0]["slack"] == "executed"


def test_an_incident_that_returns_is_still_throttled() -> None:
    """Flapping is not a new alert; after the period it is sent again."""
    mail = Recorder()
    present = {0, 10, 65}
    store = FakeStore(lambda now: [finding()] if (now - NOW) / minutes(1) in present else [])
    state = MemoryState()
    engine = runner(store, watch(email=email_action()), channels={"email": mail}, state=state)
    for minute in (0, 5):
        engine.run_once(NOW + minutes(minute))
    (incident,) = state.load("test").incidents
    assert (incident.absent_since, incident.closed_at) == (NOW + minutes(5), None)
    for minute in (10, 65):
        engine.run_once(NOW + minutes(minute))
    assert len(mail.messages) == 2


def test_throttling_survives_a_restart(tmp_path: Path) -> None:
    """A new runner on the same state stays silent."""
    mail = Recorder()
    for step in range(3):
        engine = runner(
            FakeStore(lambda now: [finding()]),
            watch(email=email_action()),
            channels={"email": mail},
            state=FileState(tmp_path / "state.json"),
        )
        engine.run_once(NOW + minutes(step))
    assert len(mail.messages) == 1


def test_a_watch_without_findings_is_one_incident() -> None:
    """Keyed by the watch alone; its payload is whatever its input gave."""
    altered = document(email=email_action(email={"to": "a@x.org", "body": "{{ctx.payload.hits}} hits"}))
    altered["input"] = {"simple": {"hits": 3}}
    altered["condition"] = {"compare": {"ctx.payload.hits": {"gt": 2}}}
    mail = Recorder()
    loaded = parse_watch(altered, id="w", scripts=SCRIPTS)
    engine = runner(FakeStore(), loaded, channels={"email": mail})
    (alert,) = engine.run_once(NOW).alerts
    assert mail.texts() == ["3 hits"]
    assert (alert.model, alert.version, alert.features, alert.findings) == ("", "", (), ())
    assert statuses(engine.run_once(NOW + minutes(1))) == [{"email": "throttled"}]


def test_one_failing_watch_does_not_stop_the_others() -> None:
    """It is named with its reason; its incidents stay as they were."""
    store = FakeStore(lambda now: [finding()])
    broken = document(email=email_action())
    body = broken["input"]["chain"]["inputs"][0]["window"]["search"]["request"]["body"]
    body["aggs"]["broken"] = body["aggs"].pop("models")
    mail, state = Recorder(), MemoryState()
    engine = runner(
        store,
        parse_watch(broken, id="broken", scripts=SCRIPTS),
        watch("good", email=email_action()),
        channels={"email": mail},
        state=state,
    )
    engine.run_once(NOW)
    store.broken_at = "broken"
    report = engine.run_once(NOW + minutes(60))
    assert not report.ok
    assert [(run.watch, run.error) for run in report.runs] == [
        ("broken", "input.window.search: $.query: the shard is gone"),
        ("good", None),
    ]
    assert len(mail.messages) == 3
    assert state.load("broken").incidents[0].closed_at is None
    assert report.document()["runs"][0]["status"] == "failed"


def test_a_store_that_breaks_in_an_unknown_way_is_one_failed_run() -> None:
    """Nothing that a store raises ends the runner."""

    def explode(now: datetime) -> Any:
        raise MemoryError("no more")

    report = runner(FakeStore(explode)).run_once(NOW)
    assert report.runs[0].error == "MemoryError: no more"


def test_a_failed_delivery_is_kept_and_tried_again(mail_server: MailServer, webhook: Webhook) -> None:
    """The other action is performed; the mail arrives later, once, as it was written."""
    channels: dict[str, Delivers] = {
        "email": EmailChannel(mail_server.url),
        "slack": SlackChannel(webhook.url),
    }
    state = MemoryState()
    found = [finding("a")]
    engine = runner(FakeStore(lambda now: found), channels=channels, state=state)
    mail_server.stop()
    first = engine.run_once(NOW)
    assert not first.ok
    assert statuses(first) == [{"email": "failed", "slack": "executed"}]
    assert "no answer: Connection refused" in first.alerts[0].actions["email"].reason
    assert len(webhook.posts) == 1
    second = engine.run_once(NOW + minutes(5))
    assert [(retry.is_delivered, retry.attempts) for retry in second.retries] == [(False, 2)]
    assert statuses(second) == [{"email": "throttled", "slack": "throttled"}]
    assert not second.ok
    mail_server.start()
    third = engine.run_once(NOW + minutes(10))
    assert third.ok
    assert [(retry.is_delivered, retry.attempts) for retry in third.retries] == [(True, 3)]
    assert [mail["Date"] for mail in mail_server.mails] == ["Thu, 01 Feb 2018 12:00:00 +0000"]
    assert state.load("test").queue == ()
    assert engine.run_once(NOW + minutes(15)).retries == ()


def test_slacks_429_is_a_failed_delivery_not_a_lost_one(webhook: Webhook) -> None:
    """It is delivered at the next run."""
    webhook.answers = [(429, {"Retry-After": "1"}, b"")]
    channels: dict[str, Delivers] = {"slack": SlackChannel(webhook.url)}
    engine = runner(FakeStore(lambda now: [finding()]), watch(slack=slack_action()), channels=channels)
    assert not engine.run_once(NOW).ok
    assert engine.tick(NOW + minutes(1)).retries[0].is_delivered
    assert len(webhook.posts) == 1


def test_a_server_that_is_down_is_tried_once_a_run() -> None:
    """The others wait in the state with the same reason, and are not lost."""
    mail, state = Recorder(), MemoryState()
    mail.broken = DeliveryError("down", down=True)
    found = [finding(model=name) for name in "abc"]
    engine = runner(
        FakeStore(lambda now: found), watch(email=email_action()), channels={"email": mail}, state=state
    )
    engine.run_once(NOW)
    assert mail.tried == 1
    assert len(state.load("test").queue) == 3
    engine.run_once(NOW + minutes(5))
    assert mail.tried == 2
    assert [kept.attempts for kept in state.load("test").queue] == [2, 2, 2]
    mail.broken = None
    assert len(engine.run_once(NOW + minutes(10)).retries) == 3
    assert len(mail.messages) == 3


def test_the_remaining_part_of_a_notification_is_stored() -> None:
    """Only those who did not get it are tried again."""
    mail, state = Recorder(), MemoryState()
    left = notification("email", to=("a@x.org",))
    mail.broken = DeliveryError("refused", remaining=left)
    action = email_action(email={"to": "a@x.org, b@x.org", "body": "x"})
    engine = runner(
        FakeStore(lambda now: [finding()]), watch(email=action), channels={"email": mail}, state=state
    )
    engine.run_once(NOW)
    kept = state.load("test").queue[0]
    assert (kept.address["to"], kept.recipients) == (["a@x.org", "b@x.org"], ("a@x.org",))
    mail.broken = ValueError("secret inside")
    report = engine.run_once(NOW + minutes(1))
    assert report.retries[0].reason == "ValueError while sending"
    again = state.load("test").queue[0]
    assert (again.address, again.content, again.recipients) == (kept.address, kept.content, kept.recipients)


def test_a_channel_that_is_not_configured_loses_no_alert() -> None:
    """With one channel set the run is good; with none that the alert could use it is not."""
    mail = Recorder()
    store = FakeStore(lambda now: [finding()])
    report = runner(store, channels={"email": mail}).run_once(NOW)
    assert statuses(report) == [{"email": "executed", "slack": "not_configured"}]
    assert report.ok
    engine = runner(store, watch(slack=slack_action()), channels={"email": mail})
    unheard = engine.run_once(NOW)
    assert not unheard.ok
    assert unheard.alerts == ()
    assert statuses(engine.run_once(NOW + minutes(1))) == [{"slack": "not_configured"}]


def test_conditions_and_transforms_of_actions_and_watches() -> None:
    """Order: throttle, condition, transform, action, as in Watcher; each group is transformed by itself."""
    scripts = {
        **SCRIPTS,
        "names": lambda ctx, params: {"names": [f["feature"] for f in ctx["payload"]["result"]["findings"]]},
        "loud": lambda ctx, params: {"names": [name.upper() for name in ctx["payload"]["names"]]},
        "broken": lambda ctx, params: 1 / 0,
    }
    mail = {"email": {"to": "a@x.org", "body": "{{#join}}ctx.payload.names{{/join}}"}}
    altered = document(
        plain=mail,
        loud={**mail, "transform": {"script": {"id": "loud"}}},
        broken={**mail, "transform": {"script": {"id": "broken"}}},
        never={**mail, "condition": {"never": {}}},
        some={**mail, "condition": {"compare": {"ctx.payload.names.0": {"eq": "a"}}}},
    )
    altered["transform"] = {"script": {"id": "names"}}
    recorder = Recorder()
    found = [finding("a"), finding("b"), finding("c", model="other")]
    engine = Runner(
        FakeStore(lambda now: found),
        [parse_watch(altered, id="w", scripts=scripts)],
        channels={"email": recorder},
        scripts=scripts,
        summarize=build_result,
    )
    report = engine.run_once(NOW)
    assert recorder.texts() == ["a,b", "A,B", "a,b", "c", "C"]
    assert statuses(report)[1] == {
        "plain": "executed",
        "loud": "executed",
        "broken": "failed",
        "never": "condition_failed",
        "some": "condition_failed",
    }
    assert "division by zero" in report.alerts[0].actions["broken"].reason
    assert not report.ok


def test_findings_that_the_watchs_transform_makes() -> None:
    """``ctx.payload.findings`` after a transform are incidents like any."""
    scripts = {"make": lambda ctx, params: build_result([finding("a"), finding("b", model="other")])}
    action = {
        "email": {"to": "a@x.org", "body": "{{#ctx.payload.findings}}{{feature}}{{/ctx.payload.findings}}"}
    }
    altered = document(email=action)
    altered.update(input={"simple": {}}, condition={"always": {}}, transform={"script": {"id": "make"}})
    recorder = Recorder()
    engine = Runner(
        FakeStore(),
        [parse_watch(altered, id="w", scripts=scripts)],
        channels={"email": recorder},
        scripts=scripts,
        summarize=build_result,
    )
    assert [alert.model for alert in engine.run_once(NOW).alerts] == ["loans", "other"]
    assert recorder.texts() == ["a", "b"]


def test_a_notification_that_cannot_be_rendered_fails_alone() -> None:
    """And is tried anew at the next run, since nobody was notified."""
    altered = document(email=email_action(), slack=slack_action())
    altered["metadata"]["to"] = "nobody"
    chat = Recorder()
    engine = runner(
        FakeStore(lambda now: [finding()]),
        parse_watch(altered, id="w", scripts=SCRIPTS),
        channels={"email": Recorder(), "slack": chat},
    )
    assert statuses(engine.run_once(NOW)) == [{"email": "failed", "slack": "executed"}]
    assert statuses(engine.run_once(NOW + minutes(1))) == [{"email": "failed", "slack": "throttled"}]


def test_a_tick_runs_the_due_watches() -> None:
    """Slots are aligned to the interval; the windows refer to the slot, not to the tick. What both search is asked
    once."""
    hourly = document()
    hourly["trigger"]["schedule"]["interval"] = "1h"
    store = FakeStore()
    engine = runner(store, watch("five"), parse_watch(hourly, id="hour", scripts=SCRIPTS))
    due = []
    for minute in (2, 4, 5, 9, 11, 60):
        report = engine.tick(NOW + minutes(minute))
        due.append([run.watch for run in report.runs])
    assert due == [["five", "hour"], [], ["five"], [], ["five"], ["five", "hour"]]
    slots = [search[1]["query"]["range"]["event.ingested"]["gt"][11:16] for search in store.searches]
    assert slots == ["12:00", "12:05", "12:10", "13:00"]


def test_run_once_can_be_limited_to_some_watches() -> None:
    """An unknown id is an error."""
    engine = runner(FakeStore(), watch("a"), watch("b"))
    assert [run.watch for run in engine.run_once(NOW, ["b"]).runs] == ["b"]
    with pytest.raises(KeyError):
        engine.run_once(NOW, ["c"])


def test_a_backtest_is_the_runner_on_a_simulated_clock() -> None:
    """Alerts at their ticks, throttled as in life, nothing seen before it arrived."""
    store = FakeStore(lambda now: [finding()] if now >= NOW + minutes(12) else [])
    result = backtest(
        store,
        [watch()],
        start=NOW - minutes(3),
        end=NOW + minutes(91),
        every=minutes(5),
        scripts=SCRIPTS,
        summarize=build_result,
    )
    assert result.ok
    assert [alert.time for alert in result.alerts] == [NOW + minutes(15), NOW + minutes(75)]
    assert result.ticks == 20
    for _, body, now in store.searches:
        assert body["query"]["bool"]["filter"][1] == {
            "range": {"event.ingested": {"lte": f"{now:%Y-%m-%dT%H:%M:%S}.000Z"}}
        }
    assert result.document()["alerts"][0]["watch"] == "test"


def of_watch(ctx: Mapping[str, Any], params: Mapping[str, Any]) -> dict[str, Any]:
    """The findings that name this watch, or none."""
    findings = ctx["payload"]["window"]["findings"]
    return build_result([each for each in findings if each.get("of", ctx["watch_id"]) == ctx["watch_id"]])


OF_WATCH = {**SCRIPTS, "pass-through": of_watch}


def by_mail(watch_id: str, **metadata: Any) -> Watch:
    altered = document(email=email_action())
    altered["metadata"] |= metadata
    return parse_watch(altered, id=watch_id, scripts=SCRIPTS)


def test_one_cause_that_two_watches_find_is_one_alert() -> None:
    """The second is recorded as belonging to the first, and notifies itself where it is graver."""
    mail, state = Recorder(), MemoryState()
    found = [finding("a", severity="medium"), finding("b", severity="low", of="two")]
    engine = runner(
        FakeStore(lambda now: found),
        by_mail("one"),
        by_mail("two"),
        channels={"email": mail},
        state=state,
        scripts=OF_WATCH,
    )
    report = engine.run_once(NOW)
    assert mail.texts() == ["loans 1 a", "loans 1 b"]
    assert statuses(report) == [{"email": "executed"}, {"email": "executed"}]
    related = {key.feature: each.related for key, each in state.load("two").by_key().items()}
    assert related == {"a": "one", "b": ""}
    assert statuses(engine.run_once(NOW + minutes(5))) == [{"email": "throttled"}] * 2
    found[:] = [finding("a", severity="high", of="two"), finding("a", severity="medium", of="one")]
    engine.run_once(NOW + minutes(10))
    assert mail.texts()[2:] == ["loans 1 a"]
    assert state.load("two").by_key()[Key("loans", "1", "a")].related == ""


def test_a_finding_of_another_watchs_incident_notifies_when_that_is_resolved() -> None:
    mail = Recorder()
    one, two = (finding("a", severity="low", of=name) for name in ("one", "two"))
    found = [one, two]
    engine = runner(
        FakeStore(lambda now: found),
        by_mail("one"),
        by_mail("two"),
        channels={"email": mail},
        scripts=OF_WATCH,
    )
    assert statuses(engine.run_once(NOW)) == [{"email": "executed"}, {"email": "related"}]
    found.remove(one)
    said = [engine.run_once(NOW + minutes(5 * step)).ok and len(mail.messages) for step in (1, 2, 3)]
    assert said == [1, 1, 3]
    assert [message.kind for message in mail.messages] == ["alert", "resolved", "alert"]


@pytest.mark.parametrize(
    ("second", "metadata"),
    [
        (finding("a", of="two"), {}),  # its script says no severity
        (finding("", severity="low", of="two"), {}),  # it is about the model
        (finding("a", model="other", severity="low", of="two"), {}),
        (finding("a", severity="low", of="two"), {"to": "others@example.org"}),
    ],
)
def test_another_cause_or_recipient_is_another_alert(
    second: dict[str, Any], metadata: dict[str, Any]
) -> None:
    mail = Recorder()
    first = {**second, "severity": "low", "model": "loans", "of": "one"}
    engine = runner(
        FakeStore(lambda now: [first, second]),
        by_mail("one"),
        by_mail("two", **metadata),
        channels={"email": mail},
        scripts=OF_WATCH,
    )
    assert statuses(engine.run_once(NOW)) == [{"email": "executed"}] * 2


def test_watches_that_run_at_once_are_one_alert_too() -> None:
    """A daemon runs each in a thread of its own."""
    together = Barrier(4)

    def found(now: datetime) -> list[dict[str, Any]]:
        together.wait(60)
        return [finding("a", severity="low")]

    watches = [by_mail(name) for name in ("one", "two", "three", "four")]
    mail = Recorder()
    engine = runner(FakeStore(found), *watches, channels={"email": mail})
    with ThreadPoolExecutor(4) as pool:
        run = lambda each: engine.run_watch(each, NOW, NOW, engine.prepare([(each, [NOW])], NOW))  # noqa: E731
        runs = list(pool.map(run, watches))
    engine.finish(NOW, runs, engine.queue.deliver(NOW))
    assert [run.error for run in runs] == [None] * 4
    assert mail.texts() == ["loans 1 a"]


def test_a_backtest_has_one_alert_of_one_cause() -> None:
    """Though each watch is replayed by itself."""
    span = timedelta(hours=3)

    def found(now: datetime) -> list[dict[str, Any]]:
        low = finding("a", severity="low", effect=1.0, window="5m")
        high = finding("a", severity="high", effect=5.0, window="5m", of="two")
        if now < NOW + minutes(30):
            return [low]
        return [high, {**low, "of": "one"}] if now < NOW + minutes(60) else [low]

    watches = [by_mail("one"), by_mail("two")]
    result = backtest(
        FakeStore(found),
        watches,
        start=NOW,
        end=NOW + span,
        every=minutes(5),
        scripts=OF_WATCH,
        summarize=build_result,
    )
    assert [(alert.watch, (alert.time - NOW) / minutes(1)) for alert in result.alerts] == [
        ("one", 0),
        ("two", 30),
        ("one", 60),
        ("two", 90),
        ("one", 120),
        ("two", 150),
        ("one", 180),
    ]


def test_a_backtest_counts_its_failures() -> None:
    """By watch and reason, not one line a tick."""
    store = FakeStore()
    store.broken_at = "models"
    result = backtest(
        store,
        [watch()],
        start=NOW,
        end=NOW + minutes(10),
        every=minutes(5),
        scripts=SCRIPTS,
        summarize=build_result,
    )
    assert not result.ok
    assert list(result.failures.values()) == [3]
    altered = document(email=email_action(email={"to": "nobody", "body": "x"}))
    loaded = parse_watch(altered, id="w", scripts=SCRIPTS)
    result = backtest(
        FakeStore(lambda now: [finding()]),
        [loaded],
        start=NOW,
        end=NOW,
        every=minutes(5),
        scripts=SCRIPTS,
        summarize=build_result,
    )
    ((name, reason),) = result.failures
    assert name == "w"
    assert reason.startswith("actions.email: 'nobody' is not a mail address")


def test_ticks_cover_the_end() -> None:
    """The last event is seen by the last tick."""
    assert list(ticks(NOW, NOW, minutes(5))) == [NOW]
    assert list(ticks(NOW + minutes(1), NOW + minutes(6), minutes(5))) == [
        NOW + minutes(5),
        NOW + minutes(10),
    ]
