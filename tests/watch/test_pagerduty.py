"""PagerDuty: events to a real HTTP receiver; each incident is triggered and resolved under one key."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from logging_lib.watch.errors import WatchError
from logging_lib.watch.loading import parse_watch
from logging_lib.watch.model import Watch
from logging_lib.watch.notify.base import Channel, DeliveryError, RenderError, SettingsError
from logging_lib.watch.notify.email import EmailChannel
from logging_lib.watch.notify.pagerduty import PagerDutyChannel, incident_key
from logging_lib.watch.notify.queue import DeliveryPolicy
from logging_lib.watch.notify.registry import configure_channels, preview, recipients
from logging_lib.watch.runner import Options, Runner
from logging_lib.watch.state.base import MemoryState
from tests.watch.conftest import (
    NOW,
    SCRIPTS,
    Document,
    FakeStore,
    MailServer,
    Receiver,
    document,
    draft,
    finding,
    minutes,
    notification,
    render,
    runner_of,
)

PATH = "/v2/enqueue"
ACCEPTED = {"status": "success", "message": "Event processed", "dedup_key": "k"}


def environ(receiver: Receiver, **more: str) -> dict[str, str]:
    url = f"http://127.0.0.1:{receiver.port}{PATH}"
    return {"LOGGING_LIB_PAGERDUTY_KEY": "topsecret", "LOGGING_LIB_PAGERDUTY_URL": url, **more}


def action(**fields: Any) -> Document:
    text = "{{ctx.payload.result.findings.0.model}}: {{ctx.payload.result.findings.0.feature}}"
    return {"throttle_period": "1d", "pagerduty": {"description": text, **fields}}


def paging(watch_id: str = "test", metadata: Document | None = None, **fields: Any) -> Watch:
    definition = document(page=action(**fields))
    definition["metadata"] |= metadata or {}
    return parse_watch(definition, id=watch_id, scripts=SCRIPTS)


@pytest.fixture
def service(receiver: Receiver) -> Receiver:
    receiver.answers[PATH] = (202, {"Content-Type": "application/json"}, json.dumps(ACCEPTED).encode())
    return receiver


def runner(service: Receiver, store: FakeStore, *watches: Watch, **more: Any) -> Runner:
    channels: dict[str, Any] = configure_channels(environ(service))
    return runner_of(
        store, *(watches or [paging()]), channels={**channels, **more.pop("channels", {})}, **more
    )


def events(service: Receiver) -> list[tuple[str, str]]:
    return [(body["event_action"], body["dedup_key"]) for body in bodies(service)]


def bodies(service: Receiver) -> list[Document]:
    return [json.loads(request.body) for request in service.requests]


def test_each_incident_is_triggered_and_resolved(service: Receiver) -> None:
    """Though mails would be about both at once: one is over earlier than the other."""

    def found(now: Any) -> list[Document]:
        minute = (now - NOW) / minutes(1)
        return [finding(name) for name, until in (("a", 3), ("b", 8)) if minute < until]

    engine = runner(service, FakeStore(found))
    seen = []
    for step in range(7):
        before = len(service.requests)
        report = engine.tick(NOW + minutes(5 * step))
        assert report.ok
        seen.append(events(service)[before:])
    a, b = "test/loans/1/a", "test/loans/1/b"
    assert seen == [[("trigger", a), ("trigger", b)], [], [], [("resolve", a)], [("resolve", b)], [], []]
    body = bodies(service)[0]
    assert body["routing_key"] == "topsecret"
    assert body["payload"] == {"summary": "loans: a", "source": "test", "severity": "critical"}
    assert bodies(service)[2]["payload"]["summary"] == "[Resolved] loans v1: a (Test)"


def test_all_of_watchers_fields(service: Receiver) -> None:
    """As its documentation writes them."""
    (event,) = render(
        action(
            account="team one",
            event_type="{{ctx.metadata.event}}",
            incident_key="{{ctx.watch_id}}-key",
            client="/foo/bar/{{ctx.watch_id}}",
            client_url="http://www.example.org/",
            attach_payload=True,
            contexts=[
                {"type": "link", "href": "http://acme.pagerduty.com", "text": "see {{ctx.watch_id}}"},
                {"type": "image", "src": "https://x.org/a.png", "alt": "a"},
            ],
        ),
        {
            "ctx": {
                "watch_id": "w",
                "metadata": {"event": "acknowledge", "severity": "warning"},
                "payload": {"result": {"findings": [{"model": "m\r\n", "feature": "<b>"}]}},
            }
        },
    )
    assert event.content == {
        "event_action": "acknowledge",
        "dedup_key": "w-key",
        "payload": {
            "summary": "m  : <b>",
            "source": "w",
            "severity": "warning",
            "custom_details": {"payload": {"result": {"findings": [{"model": "m\r\n", "feature": "<b>"}]}}},
        },
        "client": "/foo/bar/w",
        "client_url": "http://www.example.org/",
        "links": [{"href": "http://acme.pagerduty.com", "text": "see w"}],
        "images": [{"src": "https://x.org/a.png", "alt": "a"}],
    }
    assert event.address == {"account": "team one", "dedup_key": "w-key"}
    assert preview(event) == "pagerduty acknowledge w-key\nwarning: m  : <b>"
    channel = configure_channels(environ(service, LOGGING_LIB_PAGERDUTY_KEY_TEAM_ONE="other"))["pagerduty"]
    assert channel.deliver(event).startswith('202: {"status": "success"')
    assert bodies(service)[0]["routing_key"] == "other"
    with pytest.raises(DeliveryError, match="set LOGGING_LIB_PAGERDUTY_KEY_TEAM_ONE"):
        configure_channels(environ(service))["pagerduty"].deliver(event)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"event_type": "open"}, "'open': write one of trigger, resolve, acknowledge"),
        ({"contexts": [{"type": "link", "src": "x"}]}, "of type link: give 'href', and no 'src' or 'alt'"),
        (
            {"contexts": [{"type": "image", "src": "x", "text": "y"}]},
            "of type image: give 'src', and no 'text'",
        ),
        ({"proxy": {"host": "x"}}, "set HTTPS_PROXY"),
        ({"severity": "info"}, "unknown field 'severity'"),
    ],
)
def test_an_invalid_event_type_is_refused_when_the_watch_is_loaded(fields: Document, message: str) -> None:
    """With the JSON path; `context`, the older name, is taken."""
    with pytest.raises(WatchError, match=r"\$\.actions\.page\.pagerduty") as caught:
        paging(**fields)
    assert message in str(caught.value)
    old = paging(context=[{"type": "link", "href": "https://x.org"}], account="team")
    assert recipients(old) == ["PagerDuty team"]


def test_a_key_of_several_incidents_is_resolved_with_the_last(service: Receiver) -> None:
    """A watch may give all of its incidents one key."""

    def found(now: Any) -> list[Document]:
        minute = (now - NOW) / minutes(1)
        return [finding(name) for name, until in (("a", 3), ("b", 8)) if minute < until]

    engine = runner(service, FakeStore(found), paging(incident_key="{{ctx.watch_id}}"))
    for step in range(7):
        engine.tick(NOW + minutes(5 * step))
    assert events(service) == [("trigger", "test"), ("trigger", "test"), ("resolve", "test")]
    assert "a and b" in bodies(service)[2]["payload"]["summary"]


def test_events_of_one_incident_arrive_in_order(service: Receiver) -> None:
    """A resolution does not overtake the trigger that is tried again: it would be opened for good."""
    state = MemoryState()
    accepted = service.answers.pop(PATH)
    service.answers[PATH] = (400, {"Retry-After": "3600"}, b"later")
    store = FakeStore(lambda now: [finding()] if now < NOW + minutes(1) else [])
    engine = runner(service, store, state=state)
    for step in range(4):
        engine.run_once(NOW + minutes(5 * step))
    assert events(service) == [("trigger", "test/loans/1/income")]
    assert [each.kind for each in state.load("test").queue] == ["alert", "resolved"]
    service.answers[PATH] = accepted
    engine.run_once(NOW + minutes(61))
    assert events(service)[1:] == [("trigger", "test/loans/1/income"), ("resolve", "test/loans/1/income")]
    assert state.load("test").queue == ()


def test_many_incidents_are_no_digest(service: Receiver) -> None:
    """Each is an alert of its own there."""
    found = [finding(model=f"m{number}") for number in range(9)]
    assert runner(service, FakeStore(lambda now: found)).run_once(NOW).ok
    assert events(service) == [("trigger", f"test/m{number}/1/income") for number in range(9)]


@pytest.mark.parametrize(
    ("severities", "expected"),
    [
        (["low"], "info"),
        (["low", "medium"], "warning"),
        (["high", "low"], "error"),
        (["critical"], "critical"),
        ([None], "critical"),
    ],
)
def test_severity_is_that_of_the_gravest_finding(
    service: Receiver, severities: list[str | None], expected: str
) -> None:
    """Of one incident's findings, as all have the same key; in PagerDuty's words."""
    found = [finding(severity=severity) for severity in severities]
    runner(service, FakeStore(lambda now: found), paging()).run_once(NOW)
    assert [body["payload"]["severity"] for body in bodies(service)] == [expected]


def test_severity_comes_from_the_watch(service: Receiver) -> None:
    """One of PagerDuty's, else it is critical as with Watcher."""
    for severity, expected in (("warning", "warning"), ("loud", "critical"), (None, "critical")):
        watch = paging(f"w-{severity}", {"severity": severity})
        runner(service, FakeStore(lambda now: [finding()]), watch).run_once(NOW)
        assert bodies(service)[-1]["payload"]["severity"] == expected


def test_pagerduty_has_a_fallback_and_is_one(service: Receiver, mail_server: MailServer) -> None:
    """By name, after the failed attempts."""
    options = Options(delivery=DeliveryPolicy(fallback_after=1), fallback={"email": "oncall@example.org"})
    channels: dict[str, Channel] = {"email": EmailChannel(mail_server.url)}
    service.answers[PATH] = (400, {}, b"invalid")
    runner(service, FakeStore(lambda now: [finding()]), channels=channels, options=options).run_once(NOW)
    assert [str(mail["Subject"]) for mail in mail_server.mails] == ["loans: income"]
    assert mail_server.envelopes == [["oncall@example.org"]]
    event = notification("pagerduty", id="i", to=["team"], subject="s", text="t", watch="w")
    assert event.address == {"account": "team", "dedup_key": "w"}
    assert event.content["payload"]["custom_details"] == {"text": "t"}


@pytest.mark.parametrize(
    ("answer", "down", "expected"),
    [
        (
            (429, {"Retry-After": "60"}, b"Too Many Requests"),
            True,
            "429, retry after 60 s: Too Many Requests",
        ),
        ((500, {}, b""), True, "500"),
        ((400, {}, b'{"status": "invalid event"}'), False, '400: {"status": "invalid event"}'),
        ((400, {}, b"bad key topsecret"), False, "400"),
        ((307, {"Location": "http://127.0.0.1:1/"}, b""), False, "307"),
    ],
)
def test_pagerdutys_refusals_are_explained(
    service: Receiver, answer: Any, down: bool, expected: str, caplog: pytest.LogCaptureFixture
) -> None:
    """What may pass by itself says so; the key is never shown, and sent nowhere else."""
    caplog.set_level(logging.DEBUG)
    service.answers[PATH] = answer
    channel = configure_channels(environ(service))["pagerduty"]
    with pytest.raises(DeliveryError) as caught:
        channel.deliver(notification("pagerduty"))
    assert str(caught.value) == f"PagerDuty answered {expected}"
    assert caught.value.down is down
    assert "topsecret" not in str(caught.value) + caplog.text + repr(channel)
    assert len(service.requests) == 1


def test_a_server_that_does_not_run_counts_as_down(service: Receiver) -> None:
    """Which the others need not try."""
    channel = configure_channels(environ(service))["pagerduty"]
    service.stop()
    with pytest.raises(
        DeliveryError, match=r"^PagerDuty: http://127.0.0.1:\d+: no answer: Connection refused; is it running"
    ) as caught:
        channel.deliver(notification("pagerduty"))
    assert caught.value.down
    service.__init__()  # type: ignore[misc]  # so that the fixture can stop it


def test_the_settings_of_pagerduty_are_checked() -> None:
    """Without a key there is no such channel; its address is https."""
    assert "pagerduty" not in configure_channels({})
    with pytest.raises(SettingsError, match="LOGGING_LIB_PAGERDUTY_URL: is not an https"):
        configure_channels({"LOGGING_LIB_PAGERDUTY_KEY": "k", "LOGGING_LIB_PAGERDUTY_URL": "http://x.org"})
    with pytest.raises(SettingsError, match="LOGGING_LIB_PAGERDUTY_KEY"):
        PagerDutyChannel()


def test_long_texts_are_cut_to_the_limits_of_the_api() -> None:
    """A summary of 1,024 characters, a key of 255, details that fit."""
    payload = {"result": {"findings": [{"model": "m" * 3000, "feature": "f"}]}, "more": "x" * 600_000}
    fields = {"incident_key": "{{ctx.payload.result.findings.0.model}}", "attach_payload": True}
    (event,) = render(action(**fields), {"ctx": {"payload": payload, "metadata": {}}})
    assert len(event.content["payload"]["summary"]) == 1024
    assert len(event.content["dedup_key"]) <= 255
    assert "left out: 6" in event.content["payload"]["custom_details"]["payload"]
    with pytest.raises(RenderError, match="rendered to nothing"):
        render(action(description="{{ctx.none}}"), {"ctx": {"metadata": {}}})
    with pytest.raises(RenderError, match="event_type rendered to 'x'"):
        render(action(event_type="{{ctx.v}}"), {"ctx": {"v": "x", "metadata": {}}})


names = st.text(st.sampled_from("a/%2F "), max_size=4)


@given(names, names, names, names)
def test_different_incidents_have_different_keys(model: str, feature: str, other: str, another: str) -> None:
    """Whatever a log put into a name."""
    one, two = (
        incident_key(draft(watch="w", model=m, version="1", features=(f,)))
        for m, f in ((model, feature), (other, another))
    )
    assert (one == two) == ((model, feature) == (other, another))
