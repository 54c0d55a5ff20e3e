"""Deliveries to real servers that fail: down for an hour, 429, refusing; fallback, digest, recovery."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest

from logging_lib.watch.errors import WatchError
from logging_lib.watch.findings import Key
from logging_lib.watch.incidents import Mute, ResolvePolicy, acknowledge
from logging_lib.watch.loading import parse_watch
from logging_lib.watch.model import Watch
from logging_lib.watch.notify.base import Delivers, Notification
from logging_lib.watch.notify.email import EmailChannel
from logging_lib.watch.notify.queue import DeliveryPolicy, DeliveryQueue
from logging_lib.watch.notify.slack import SlackChannel
from logging_lib.watch.runner import Options, Runner
from logging_lib.watch.state.base import Change, HistoryQuery, MemoryState, WatchState
from tests.watch.conftest import (
    NOW,
    SCRIPTS,
    FakeStore,
    MailServer,
    Webhook,
    document,
    email_action,
    finding,
    minutes,
    notification,
    runner_of,
    slack_action,
    watch,
)


def runner(
    store: FakeStore,
    mail: MailServer,
    hook: Webhook,
    *watches: Watch,
    state: MemoryState | None = None,
    **more: Any,
) -> Runner:
    channels: dict[str, Delivers] = {"email": EmailChannel(mail.url), "slack": SlackChannel(hook.url)}
    given = watches or (watch(email=email_action()),)
    state = MemoryState() if state is None else state
    return runner_of(store, *given, channels=channels, state=state, **more)


def present(*spans: tuple[float, float]) -> Callable[[datetime], list[dict[str, Any]]]:
    """A finding at these minutes."""
    return lambda now: [finding()] if any(a <= (now - NOW) / minutes(1) < b for a, b in spans) else []


def subjects(server: MailServer) -> list[str]:
    return [str(mail["Subject"]) for mail in server.mails]


def test_mails_arrive_after_a_server_was_down_for_an_hour(mail_server: MailServer, webhook: Webhook) -> None:
    """Ticks go on, tries grow rarer, and when the server is back each alert arrives once, dated as it was."""
    state = MemoryState()
    store = FakeStore(lambda now: [finding("a"), finding("b", model="other")])
    daily = watch(email=email_action(throttle_period="1d"))
    engine = runner(store, mail_server, webhook, daily, state=state)
    mail_server.stop()
    tries = [engine.tick(NOW + timedelta(seconds=10 * step)).retries for step in range(360)]
    tried = [step for step, retries in enumerate(tries) if retries]
    assert 8 <= len(tried) <= 24
    assert len(state.load("test").queue) == 2
    mail_server.start()
    later = [retry for step in range(91) for retry in engine.tick(NOW + minutes(60 + step / 6)).retries]
    assert [retry.is_delivered for retry in later] == [True, True]
    assert [mail["Date"] for mail in mail_server.mails] == ["Thu, 01 Feb 2018 12:00:00 +0000"] * 2
    assert state.load("test").queue == ()
    outcomes = [each["status"] for each in state.history(HistoryQuery(kinds=("delivery",)))]
    assert outcomes.count("delivered") == 2
    assert outcomes.count("failed") == len(outcomes) - 2


@pytest.mark.parametrize("farewell", ["421 bye", "500 what?", ""])
def test_a_server_that_ends_oddly_gets_each_mail_once(webhook: Webhook, farewell: str) -> None:
    """It accepted the mail: whatever it answers to QUIT, or if it only hangs up, the delivery has not failed."""

    class Odd(MailServer):
        async def handle_QUIT(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802
            if not farewell:
                server.transport.abort()
            return farewell or "221 bye"

    mail = Odd()
    try:
        store = FakeStore(lambda now: [finding(model=f"m{number}") for number in range(3)])
        engine = runner(store, mail, webhook, watch(email=email_action(throttle_period="1d")))
        for step in range(6):
            assert engine.run_once(NOW + minutes(5 * step)).ok
        assert sorted(subjects(mail)) == ["m0: 1 income", "m1: 1 income", "m2: 1 income"]
    finally:
        mail.stop()


def test_a_digest_is_removed_from_the_state_in_one_write(mail_server: MailServer, webhook: Webhook) -> None:
    """However many it lists: one write for the run, one for the digest."""

    class Counting(MemoryState):
        writes = 0

        def update(self, watch_id: str, change: Change) -> WatchState:
            self.writes += 1
            return super().update(watch_id, change)

    state = Counting()
    store = FakeStore(lambda now: [finding(model=f"m{number}") for number in range(50)])
    assert runner(store, mail_server, webhook, state=state).run_once(NOW).ok
    assert len(mail_server.mails) == 1
    assert state.writes == 2
    assert state.load("test").queue == ()


def test_failures_of_a_server_that_is_down_are_one_write(mail_server: MailServer, webhook: Webhook) -> None:
    """Each keeps its own next attempt."""
    mail_server.stop()
    state = MemoryState()
    store = FakeStore(lambda now: [finding(model=f"m{number}") for number in range(5)])
    engine = runner(store, mail_server, webhook, state=state)
    engine.run_once(NOW)
    queue = state.load("test").queue
    assert {each.attempts for each in queue} == {1}
    assert len({each.next_attempt_at for each in queue}) == 5
    mail_server.start()
    assert [retry.is_delivered for retry in engine.run_once(NOW + minutes(1)).retries] == [True] * 5


def test_slacks_retry_after_is_obeyed(mail_server: MailServer, webhook: Webhook) -> None:
    """Not a second earlier, and no other post meanwhile in the same tick."""
    webhook.answers = [(429, {"Retry-After": "120"}, b"")]
    found = [finding(), finding(model="other")]
    engine = runner(FakeStore(lambda now: found), mail_server, webhook, watch(slack=slack_action()))
    first = engine.tick(NOW)
    assert {alert.actions["slack"].status for alert in first.alerts} == {"failed"}
    assert engine.run_once(NOW + timedelta(seconds=119)).retries == ()
    assert webhook.posts == []
    again = engine.tick(NOW + timedelta(seconds=120)).retries
    assert [(retry.is_delivered, retry.attempts) for retry in again] == [(True, 2)] * 2
    assert len(webhook.posts) == 2


def test_one_refused_recipient_does_not_send_to_the_others_again(
    mail_server: MailServer, webhook: Webhook
) -> None:
    """Only he is tried again."""
    mail_server.refuse = {"b@x.org"}
    action = email_action(email={"to": ["a@x.org", "b@x.org"], "body": "x"})
    engine = runner(FakeStore(present((0, 1))), mail_server, webhook, watch(email=action))
    engine.tick(NOW)
    mail_server.refuse = set()
    engine.tick(NOW + minutes(1))
    assert mail_server.envelopes == [["a@x.org"], ["b@x.org"]]


def test_a_message_goes_to_its_fallback_after_some_tries(mail_server: MailServer, webhook: Webhook) -> None:
    """Once; and is not sent by mail any more."""
    options = Options(delivery=DeliveryPolicy(fallback_after=3), fallback={"slack": "#ops"})
    state = MemoryState()
    engine = runner(FakeStore(present((0, 1))), mail_server, webhook, state=state, options=options)
    mail_server.stop()
    for step in range(20):
        engine.tick(NOW + timedelta(seconds=10 * step))
        assert bool(webhook.posts) == (len(state.history(HistoryQuery(kinds=("delivery",)))) >= 3)
    mail_server.start()
    engine.tick(NOW + minutes(4))
    (post,) = webhook.posts
    assert post["channel"] == "#ops"
    assert post["text"].startswith("*loans: 1 income*\nloans 1 income")
    assert mail_server.mails == []
    assert [each.get("sent_by") for each in state.history(HistoryQuery(kinds=("delivery",)))] == [
        None,
        None,
        "slack",
    ]


def test_a_notification_that_no_server_accepts_is_given_up_and_reported(
    mail_server: MailServer, webhook: Webhook
) -> None:
    """After days, in the report and in the history."""
    state = MemoryState()
    mail_server.refuse = {"ml@example.org"}
    engine = runner(FakeStore(present((0, 1))), mail_server, webhook, state=state)
    engine.tick(NOW)
    report = engine.tick(NOW + timedelta(days=3, seconds=1))
    assert not report.ok
    assert report.retries[0].reason.startswith(
        "given up after 3 days: the mail server refused ml@example.org"
    )
    assert state.load("test").queue == ()
    assert state.history(HistoryQuery(kinds=("delivery",)))[-1]["status"] == "given up"


def test_many_alerts_for_one_recipient_are_one_mail(mail_server: MailServer, webhook: Webhook) -> None:
    """Over all watches of a tick; each counts as notified."""
    found = [finding(model=f"m{number}") for number in range(4)]
    watches = [watch("one", email=email_action()), watch("two", email=email_action())]
    state = MemoryState()
    engine = runner(FakeStore(lambda now: found), mail_server, webhook, *watches, state=state)
    report = engine.tick(NOW)
    assert report.ok
    assert len(report.alerts) == 8
    assert {alert.actions["email"].status for alert in report.alerts} == {"executed"}
    assert subjects(mail_server) == ["8 alerts: m0 (2), m1 (2), m2 (2) …"]
    assert mail_server.bodies()[0].count("\nm3: 1 income\n") == 2
    assert {each["digest_of"] for each in state.history(HistoryQuery(kinds=("delivery",)))} == {8}
    assert engine.tick(NOW + minutes(5)).alerts == ()


def test_a_resolution_is_sent_to_the_recipients_of_the_alert(
    mail_server: MailServer, webhook: Webhook
) -> None:
    """By mail and in Slack, once, when the finding has been absent for three runs; back after the throttle, a new
    one is sent."""
    both = watch(email=email_action(throttle_period="30m"), slack=slack_action(throttle_period="30m"))
    store = FakeStore(present((0, 12), (30, 31)))
    engine = runner(store, mail_server, webhook, both)
    said = [len(mail_server.mails) for step in range(7) if engine.tick(NOW + minutes(5 * step))]
    assert said == [1, 1, 1, 1, 1, 2, 3]
    assert [(mail["To"]) for mail in mail_server.mails] == ["ml@example.org"] * 3
    assert len(webhook.posts) == 3
    assert subjects(mail_server)[1] == "[Resolved] loans v1: income (Test)"
    assert mail_server.bodies()[1] == (
        "income: open 15 min (2018-02-01 12:00:00 UTC to 2018-02-01 12:15:00 UTC)\n\n"
        "Alerts sent:\n  loans: 1 income\n\nWatch test, checked at 2018-02-01 12:25:00 UTC\n"
    )
    assert webhook.posts[1]["text"] == "*[Resolved] loans v1: income (Test)*"
    assert webhook.posts[1]["attachments"][0]["text"].startswith("*income*: open 15 min (2018")
    assert webhook.posts[1]["channel"] == "#ml"


def test_a_flapping_finding_causes_neither_a_resolution_nor_an_alert(
    mail_server: MailServer, webhook: Webhook
) -> None:
    """An incident that is absent for two runs of three is one incident."""
    engine = runner(FakeStore(present((0, 1), (15, 16), (30, 31), (45, 46))), mail_server, webhook)
    for step in range(11):
        engine.tick(NOW + minutes(5 * step))
    assert len(mail_server.mails) == 1


def test_an_acknowledged_incident_is_not_sent_and_another_models_is(
    mail_server: MailServer, webhook: Webhook
) -> None:
    """Model B's fault alerts while model A's is acknowledged; the acknowledgment ends with the incident."""
    found = [finding(model="A")]
    state = MemoryState()
    action = email_action(throttle_period="1s")
    engine = runner(FakeStore(lambda now: found), mail_server, webhook, watch(email=action), state=state)
    engine.tick(NOW)
    state.update(
        "test", lambda kept: kept.with_incidents(acknowledge(kept.by_key(), lambda key: True, NOW, "ada")[0])
    )
    found.append(finding(model="B"))
    report = engine.tick(NOW + minutes(5))
    assert [(a.model, a.actions["email"].status) for run in report.runs for a in run.alerts] == [
        ("A", "acknowledged"),
        ("B", "executed"),
    ]
    del found[0]
    for step in (2, 3, 4):
        engine.tick(NOW + minutes(5 * step))
    found.append(finding(model="A"))
    engine.tick(NOW + minutes(25))
    sent = [subject for subject in subjects(mail_server) if "A" in subject]
    assert sent == ["A: 1 income", "[Resolved] A v1: income (Test)", "A: 1 income"]


def test_a_mute_holds_until_its_time(mail_server: MailServer, webhook: Webhook) -> None:
    """By watch, model and feature; what is still wrong afterwards is sent then."""
    found = [finding("a"), finding("b"), finding("a", model="other")]
    state = MemoryState(
        mutes=[Mute(id="m", since=NOW, until=NOW + minutes(10), watch="t*", model="loans", feature="a")]
    )
    engine = runner(FakeStore(lambda now: found), mail_server, webhook, state=state)
    engine.tick(NOW)
    assert mail_server.bodies() == ["loans 1 b\n", "other 1 a\n"]
    report = engine.tick(NOW + minutes(5))
    statuses = {(alert.model, alert.actions["email"].status) for run in report.runs for alert in run.alerts}
    assert statuses == {("loans", "throttled"), ("other", "throttled")}
    engine.tick(NOW + minutes(10))
    assert mail_server.bodies()[2:] == ["loans 1 a\n"]


def test_a_resolution_waits_for_the_end_of_a_mute(mail_server: MailServer, webhook: Webhook) -> None:
    """Whoever was notified is notified of the end, too."""
    state = MemoryState()
    engine = runner(FakeStore(present((0, 1))), mail_server, webhook, state=state)
    engine.tick(NOW)
    state.update_mutes(lambda kept: (Mute(id="m", since=NOW, until=NOW + minutes(30)),))
    for step in range(1, 6):
        engine.tick(NOW + minutes(5 * step))
    assert len(mail_server.mails) == 1
    engine.tick(NOW + minutes(30))
    assert subjects(mail_server)[1:] == ["[Resolved] loans v1: income (Test)"]


@pytest.mark.parametrize(
    ("metadata", "runs"),
    [({"recovery_after": 1}, 1), ({"recovery_after": "20m"}, 5), ({"recovery": False}, None)],
)
def test_a_watch_sets_its_own_resolve_policy(
    mail_server: MailServer, webhook: Webhook, metadata: dict[str, Any], runs: int | None
) -> None:
    """In runs or time, or that it never says so."""
    altered = document(email=email_action())
    altered["metadata"] |= metadata
    loaded = parse_watch(altered, id="test", scripts=SCRIPTS)
    engine = runner(FakeStore(present((0, 1))), mail_server, webhook, loaded)
    sent = []
    for step in range(9):
        engine.tick(NOW + minutes(5 * step))
        sent.append(len(mail_server.mails))
    assert sent == [1] * 9 if runs is None else sent == [1] * runs + [2] * (9 - runs)


@pytest.mark.parametrize("given", [0, True, "soon", [3]])
def test_an_impossible_resolve_policy_is_refused(
    mail_server: MailServer, webhook: Webhook, given: object
) -> None:
    """When the runner is made, by JSON path."""
    altered = document(email=email_action())
    altered["metadata"]["recovery_after"] = given
    loaded = parse_watch(altered, id="test", scripts=SCRIPTS)
    with pytest.raises(WatchError, match=re.escape("$.metadata.recovery_after")):
        runner(FakeStore(), mail_server, webhook, loaded)


def test_the_runners_resolve_policy_is_a_default(mail_server: MailServer, webhook: Webhook) -> None:
    engine = runner(
        FakeStore(present((0, 1))), mail_server, webhook, options=Options(resolve=ResolvePolicy(runs=1))
    )
    engine.tick(NOW)
    engine.tick(NOW + minutes(5))
    assert len(mail_server.mails) == 2


def test_hostile_names_in_a_resolution_are_harmless(mail_server: MailServer, webhook: Webhook) -> None:
    """No header of its own, no call to people in Slack."""
    both = watch(email=email_action(), slack=slack_action())
    name = "a\r\nBcc: evil@x.org\u202e <!channel>"
    store = FakeStore(lambda now: [finding(name)] if now == NOW else [])
    engine = runner(store, mail_server, webhook, both)
    for step in range(4):
        engine.tick(NOW + minutes(5 * step))
    mail = mail_server.mails[1]
    assert mail["Bcc"] is None
    assert mail_server.envelopes[1] == ["ml@example.org"]
    assert "<!channel>" not in webhook.posts[1]["text"]
    assert "\u202e" not in webhook.posts[1]["text"] + mail_server.bodies()[1]


def test_missed_runs_are_skipped_or_caught_up(mail_server: MailServer, webhook: Webhook) -> None:
    """By option; a new runner goes on where the one before it ended."""
    for catch_up, expected in ((False, ["12:30"]), (True, [f"12:{minute:02}" for minute in range(5, 31, 5)])):
        state, store = MemoryState(), FakeStore()
        runner(store, mail_server, webhook, state=state).tick(NOW)
        store.searches.clear()
        again = runner(store, mail_server, webhook, state=state, options=Options(catch_up=catch_up))
        again.tick(NOW + minutes(32))
        windows = [body["query"]["range"]["event.ingested"]["gt"][11:16] for _, body, _ in store.searches]
        assert windows == expected
        assert again.tick(NOW + minutes(34)).runs == ()


def test_a_notification_queued_during_a_delivery_is_not_forgotten() -> None:
    """It is written down between the look into the state and its end."""
    sent: list[str] = []

    class Recorder:
        def deliver(self, message: Notification) -> None:
            sent.append(message.subject)

    class Busy(MemoryState):
        late = False

        def load(self, watch_id: str) -> WatchState:
            kept = super().load(watch_id)
            if self.late:
                self.late = False
                add(self)
            return kept

    def add(state: MemoryState) -> None:
        late = notification("logging", id="1", text="late")
        state.update("w", lambda kept: kept.with_queued([late]))
        queue.expect("w", 1)

    state = Busy()
    queue = DeliveryQueue(state, {"logging": Recorder()}, DeliveryPolicy())
    queue.deliver(NOW)
    queue.expect("w", 1)
    state.late = True
    assert queue.deliver(NOW) == []
    assert queue.size == 1
    assert [each.is_delivered for each in queue.deliver(NOW)] == [True]
    assert (sent, queue.size) == (["late"], 0)


def test_a_resolution_waits_while_its_server_is_down(mail_server: MailServer, webhook: Webhook) -> None:
    """As an alert is."""
    state = MemoryState()
    engine = runner(FakeStore(present((0, 1))), mail_server, webhook, state=state)
    engine.tick(NOW)
    mail_server.stop()
    for step in (1, 2, 3):
        report = engine.tick(NOW + minutes(5 * step))
    assert [(each.features, each.status) for each in report.runs[0].resolved] == [(("income",), "failed")]
    (receipt,) = state.load("test").by_key()[Key("loans", "1", "income")].notified["email"]
    assert receipt.kind == "resolved"
    mail_server.start()
    engine.tick(NOW + minutes(20))
    assert subjects(mail_server)[1:] == ["[Resolved] loans v1: income (Test)"]


def test_an_unknown_channel_in_a_state_does_not_stop_other_watches(
    mail_server: MailServer, webhook: Webhook, caplog: pytest.LogCaptureFixture
) -> None:
    """A state that was written by another version, or by hand."""
    state = MemoryState()
    foreign = notification("logging", text="x").model_copy(update={"channel": "pigeon"})
    state.update("other", lambda stored: stored.with_queued([foreign]))
    assert runner(FakeStore(present((0, 1))), mail_server, webhook, state=state).tick(NOW).ok
    assert len(mail_server.mails) == 1
    assert (
        "the waiting notifications of other are not delivered: its state names a channel 'pigeon'"
        in caplog.text
    )
    assert state.load("other").queue == (foreign,)
