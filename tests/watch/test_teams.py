"""Microsoft Teams: Adaptive Cards to a real HTTP receiver, from watches that Watcher can read as well."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from logging_lib.watch.errors import WatchError
from logging_lib.watch.lint import lint_watch
from logging_lib.watch.loading import parse_watch
from logging_lib.watch.model import Watch
from logging_lib.watch.notify.base import DeliveryError, Notification, RenderError, SettingsError
from logging_lib.watch.notify.registry import (
    channel_of,
    configure_channels,
    parse_action,
    preview,
    recipients,
)
from logging_lib.watch.notify.slack import SlackChannel
from logging_lib.watch.notify.teams import CARD_TYPE, TeamsChannel
from logging_lib.watch.state.base import MemoryState
from tests.watch.conftest import (
    NOW,
    SCRIPTS,
    TEXT,
    Document,
    FakeStore,
    Receiver,
    Webhook,
    document,
    finding,
    minutes,
    notification,
    render,
    runner_of,
)

PATH = "/workflows/1/triggers/manual/paths/invoke"


def card(*texts: str) -> Document:
    body = [{"type": "TextBlock", "text": text, "wrap": True} for text in texts]
    content = {"type": "AdaptiveCard", "version": "1.4", "body": body}
    return {
        "type": "message",
        "attachments": [{"contentType": CARD_TYPE, "contentUrl": None, "content": content}],
    }


def action(receiver: Receiver, *texts: str, **more: Any) -> Document:
    """As Watcher's documentation writes a webhook."""
    request = {
        "scheme": "http",
        "host": "127.0.0.1",
        "port": receiver.port,
        "method": "post",
        "path": PATH,
        "params": {"api-version": "2016-06-01", "sig": "topsecret"},
        "body": card(*(texts or ("{{ctx.payload.result.findings.0.model}}", TEXT))),
    }
    return {"throttle_period": "1h", "webhook": request, **more}


def teams_watch(receiver: Receiver, watch_id: str = "test") -> Watch:
    return parse_watch(document(teams=action(receiver)), id=watch_id, scripts=SCRIPTS)


def cards(receiver: Receiver) -> list[list[str]]:
    """The texts of each card that arrived, those of a container and of facts as well."""
    posts = [json.loads(request.body) for request in receiver.requests]
    assert all(post["type"] == "message" for post in posts)
    contents = [post["attachments"][0]["content"] for post in posts]
    assert all(content["type"] == "AdaptiveCard" for content in contents)
    return [list(texts(content["body"])) for content in contents]


def texts(blocks: list[Document]) -> Iterator[str]:
    for block in blocks:
        if "text" in block:
            yield block["text"]
        yield from texts(block.get("items", []))
        yield from (f"{fact['title']}: {fact['value']}" for fact in block.get("facts", ()))


def test_an_alert_and_its_resolution_are_cards(receiver: Receiver) -> None:
    """To the address that the watch writes, each once."""
    receiver.answers[PATH] = (202, {}, b"")
    store = FakeStore(lambda now: [finding()] if now < NOW + minutes(3) else [])
    engine = runner_of(store, teams_watch(receiver), channels=configure_channels({}))
    for step in range(5):
        report = engine.tick(NOW + minutes(5 * step))
        assert report.ok
    alert, resolved = cards(receiver)
    assert alert == ["loans", "loans 1 income\n"]
    assert resolved[0] == "[Resolved] loans v1: income (Test)"
    assert resolved[1].startswith("income: open ")
    assert resolved[2:] == ["Alerts sent", "- loans", "Watch test, checked at 2018-02-01 12:15:00 UTC"]
    assert receiver.requests[0].path == f"{PATH}?api-version=2016-06-01&sig=topsecret"
    assert receiver.requests[0].headers["Content-Type"] == "application/json"


def test_the_environment_names_the_workflow(receiver: Receiver) -> None:
    """So that no watch has to hold the secret; it replaces what is written there."""
    url = f"http://127.0.0.1:{receiver.port}/other?sig=topsecret"
    channels = configure_channels({"LOGGING_LIB_TEAMS_WEBHOOK": url})
    runner_of(FakeStore(lambda now: [finding()]), teams_watch(receiver), channels=channels).run_once(NOW)
    assert [request.path for request in receiver.requests] == ["/other?sig=topsecret"]
    assert "topsecret" not in repr(channels["teams"])
    for wrong in ("http://example.org/topsecret", "topsecret"):
        with pytest.raises(SettingsError, match="LOGGING_LIB_TEAMS_WEBHOOK: is not an https") as caught:
            configure_channels({"LOGGING_LIB_TEAMS_WEBHOOK": wrong})
        assert "topsecret" not in str(caught.value)


def test_a_webhook_is_a_teams_message_by_its_card(receiver: Receiver) -> None:
    """Any other is a webhook as before; the watch is checked as one in both cases."""
    watch = teams_watch(receiver)
    assert channel_of(watch.actions["teams"]) is TeamsChannel
    assert recipients(watch) == ["Teams"]
    other = parse_action({"webhook": {"url": "https://x.org/", "body": {"type": "message"}}})
    assert channel_of(other).name == "webhook"
    wrong = document(teams=action(receiver, "{{ctx.payload.unknown}}", "{{#open}}"))
    with pytest.raises(WatchError, match=r"\$\.actions\.teams\.webhook"):
        parse_watch(wrong, id="w", scripts=SCRIPTS)
    rules = {found.rule for found in lint_watch(watch, now=NOW)}
    assert "literal-secret" in rules


def test_many_alerts_are_one_card(receiver: Receiver) -> None:
    """That lists them, and is short enough for Teams."""
    found = [finding(model=f"m{number}" + "x" * 100) for number in range(300)]
    engine = runner_of(FakeStore(lambda now: found), teams_watch(receiver), channels=configure_channels({}))
    assert engine.run_once(NOW).ok
    ((head, *lines),) = cards(receiver)
    assert head.startswith("300 alerts: m0")
    assert lines[0].startswith("• m0")
    assert lines[-1].endswith("more; see: logging-lib watch history")
    assert len(receiver.requests[0].body) < 28_000


@pytest.mark.parametrize(
    ("answer", "down", "expected"),
    [
        ((429, {"Retry-After": "7"}, b"slow"), True, "Teams answered 429, retry after 7 s: slow"),
        ((503, {}, b""), True, "Teams answered 503"),
        ((400, {}, b"bad card topsecret"), False, "Teams answered 400"),
        ((302, {"Location": "http://127.0.0.1:1/"}, b""), False, "Teams answered 302"),
    ],
)
def test_teams_refusals_are_explained(
    receiver: Receiver, answer: Any, down: bool, expected: str, caplog: pytest.LogCaptureFixture
) -> None:
    """What may pass by itself says so; redirects are not followed, and the secret is not shown."""
    caplog.set_level(logging.DEBUG)
    receiver.answers["/hook"] = answer
    channel = TeamsChannel(f"http://127.0.0.1:{receiver.port}/hook?sig=topsecret")
    with pytest.raises(DeliveryError) as caught:
        channel.deliver(notification("teams"))
    assert str(caught.value) == expected
    assert caught.value.down is down
    assert "topsecret" not in str(caught.value) + caplog.text
    assert len(receiver.requests) == 1


def test_an_endless_answer_is_read_up_to_a_size(receiver: Receiver) -> None:
    """It is a delivery all the same: the server took the card."""
    receiver.answers["/hook"] = (200, {"Content-Type": "text/plain"}, b"x" * 5_000_000)
    channel = TeamsChannel(f"http://127.0.0.1:{receiver.port}/hook")
    assert channel.deliver(notification("teams")) == "200: " + "x" * 100
    receiver.answers["/hook"] = (503, {"Content-Encoding": "gzip"}, b"\x1f\x8b\x08\x00 no gzip")
    with pytest.raises(DeliveryError, match="Teams answered 503"):
        channel.deliver(notification("teams"))


def test_an_undelivered_notification_says_why(receiver: Receiver) -> None:
    """No address, too large a card, no server."""
    with pytest.raises(DeliveryError, match="set LOGGING_LIB_TEAMS_WEBHOOK"):
        TeamsChannel().deliver(notification("teams"))
    with pytest.raises(DeliveryError, match="Teams takes 28000"):
        TeamsChannel("https://x.org/").deliver(Notification(**_large()))
    port = receiver.port
    receiver.stop()
    with pytest.raises(
        DeliveryError, match=r"^Teams: http://127.0.0.1:\d+: no answer: Connection refused; is it running"
    ) as caught:
        TeamsChannel(f"http://127.0.0.1:{port}/hook").deliver(notification("teams"))
    assert caught.value.down
    receiver.__init__()  # type: ignore[misc]  # so that the fixture can stop it


def _large() -> Document:
    return {**notification("teams").model_dump(), "content": card("x" * 30_000)}


def test_a_card_takes_what_another_channel_cannot_send(webhook: Webhook, receiver: Receiver) -> None:
    """And the other way round, by the name of the channel."""
    webhook.answers = [(503, {}, b"")] * 9
    store = FakeStore(lambda now: [finding()])
    post = {"throttle_period": "1d", "slack": {"message": {"to": ["#ml"], "text": TEXT}}}
    definition = document(slack=post)
    definition["metadata"]["fallback"] = {"teams": "default"}
    watch = parse_watch(definition, id="w", scripts=SCRIPTS)
    state = MemoryState()
    channels = {
        "slack": SlackChannel(webhook.url),
        "teams": TeamsChannel(f"http://127.0.0.1:{receiver.port}/hook"),
    }
    engine = runner_of(store, watch, channels=channels, state=state)
    for step in range(5):
        engine.run_once(NOW + minutes(20 * step))
    assert cards(receiver) == [["loans 1 income", "loans 1 income"]]
    assert state.load("w").queue == ()
    assert webhook.posts == []


VALUE = '[click](https://evil.example) "quoted"\n**bold**'


def test_a_value_cannot_make_a_link(receiver: Receiver) -> None:
    """Nor break the JSON."""
    (message,) = render(
        action(receiver, "{{ctx.v}}", "{{#toJson}}ctx.v{{/toJson}}".replace("#", "^")), {"ctx": {"v": VALUE}}
    )
    (block, _) = message.content["attachments"][0]["content"]["body"]
    assert block["text"] == '[click] (https://evil.example) "quoted" **bold**'
    assert preview(message).startswith("teams\n[click] (https")


def test_a_card_that_is_not_json_is_an_error(receiver: Receiver) -> None:
    """Named, and never sent."""
    broken = action(receiver)
    broken["webhook"]["body"] = f'{{"type": "message", "x": "{CARD_TYPE}", {{{{ctx.v}}}}}}'
    with pytest.raises(RenderError, match="the rendered card is not JSON"):
        render(broken, {"ctx": {"v": "x"}})
    broken["webhook"]["body"] = f'["{CARD_TYPE}"]'
    with pytest.raises(RenderError, match="is not a JSON object"):
        render(broken, {"ctx": {"v": "x"}})


@given(st.text())
def test_any_value_makes_a_card(value: str) -> None:
    """As one text of one block."""
    port = type("Port", (), {"port": 80})()
    (message,) = render(action(port, "{{ctx.v}}", "second"), {"ctx": {"v": value}})  # type: ignore[arg-type]
    blocks = message.content["attachments"][0]["content"]["body"]
    assert [set(block) for block in blocks] == [{"type", "text", "wrap"}] * 2
    assert "](" not in blocks[0]["text"]
    assert "\n" not in blocks[0]["text"]
