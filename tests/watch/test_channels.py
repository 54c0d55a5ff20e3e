"""Slack as a bot, and what is kept of messages of the newer kinds."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from logging_lib.store.duckdb.store import EmbeddedStore
from logging_lib.watch.http import CallError, HttpClient, render_call
from logging_lib.watch.model import HttpRequest
from logging_lib.watch.notify.attachments import attached_file
from logging_lib.watch.notify.base import DeliveryError, Notification, SettingsError
from logging_lib.watch.notify.index import IndexChannel
from logging_lib.watch.notify.registry import configure_channels, preview
from logging_lib.watch.notify.slack import SlackChannel
from tests.watch.conftest import Receiver, draft, notification, render

PATH = "/api/chat.postMessage"


def bot(receiver: Receiver, channel: str | None = None) -> SlackChannel:
    url = f"http://127.0.0.1:{receiver.port}{PATH}"
    return SlackChannel(token="xoxb-topsecret", default_channel=channel, api=url)


def post(channel: str | None, text: str = "x", **content: Any) -> Notification:
    message = {"to": channel, "text": text, **content} if channel else {"text": text, **content}
    return render({"slack": {"message": message}}, {"ctx": {}})[0]


def documents(*sources: dict[str, Any], refresh: bool = False) -> Notification:
    content = {"documents": list(sources), "create": False, "refresh": refresh}
    return draft("store", channel="index", content=content)


def test_a_bot_posts_to_a_channel(receiver: Receiver, caplog: pytest.LogCaptureFixture) -> None:
    """With its token in a header; what names no channel goes to the default one."""
    caplog.set_level(logging.DEBUG)
    receiver.json(PATH, {"ok": True})
    bot(receiver).deliver(post("#a", "hello", attachments=[{"title": "t"}]))
    bot(receiver, "#default").deliver(post(None, "ü"))
    first, second = receiver.requests
    assert first.headers["Authorization"] == "Bearer xoxb-topsecret"
    assert first.headers["Content-Type"] == "application/json; charset=utf-8"
    assert json.loads(first.body) == {
        "channel": "#a",
        "text": "hello",
        "attachments": [{"title": "t"}],
        "unfurl_links": False,
        "unfurl_media": False,
    }
    assert json.loads(second.body)["channel"] == "#default"
    with pytest.raises(DeliveryError, match="LOGGING_LIB_SLACK_CHANNEL"):
        bot(receiver).deliver(post(None))
    assert "topsecret" not in caplog.text + repr(bot(receiver))


@pytest.mark.parametrize(
    ("answer", "down", "wait", "expected"),
    [
        (
            {"ok": False, "error": "channel_not_found"},
            False,
            None,
            "refused the post to #a: channel_not_found; name",
        ),
        ({"ok": False, "error": "not_in_channel"}, False, None, "invite the bot"),
        ({"ok": False, "error": "invalid_auth"}, True, None, "set LOGGING_LIB_SLACK_TOKEN"),
        ({"ok": False, "error": "ratelimited"}, True, 30.0, "ratelimited"),
        ({"ok": False, "error": "x xoxb-topsecret"}, False, None, "refused the post to #a"),
        (["what"], False, None, "the answer is not Slack's"),
    ],
)
def test_a_refusal_with_status_200_is_a_refusal(
    receiver: Receiver, answer: Any, down: bool, wait: float | None, expected: str
) -> None:
    """What concerns the token or the service says that all others would fail, too."""
    headers = {} if wait is None else {"Retry-After": f"{wait:.0f}"}
    receiver.answers[PATH] = (200, headers, json.dumps(answer).encode())
    with pytest.raises(DeliveryError) as caught:
        bot(receiver).deliver(post("#a"))
    assert expected in str(caught.value)
    assert (caught.value.down, caught.value.retry_after) == (down, wait)
    assert "topsecret" not in str(caught.value)


def test_429_says_how_long_to_wait(receiver: Receiver) -> None:
    """By bot and by webhook."""
    receiver.answers[PATH] = (429, {"Retry-After": "12"}, b"")
    for channel in (bot(receiver), SlackChannel(f"http://127.0.0.1:{receiver.port}{PATH}")):
        with pytest.raises(DeliveryError) as caught:
            channel.deliver(post("#a"))
        assert (caught.value.down, caught.value.retry_after) == (True, 12.0)


def test_a_bot_comes_from_the_environment() -> None:
    """Not beside a webhook; the token is not shown."""
    environ = {"LOGGING_LIB_SLACK_TOKEN": "xoxb-1", "LOGGING_LIB_SLACK_CHANNEL": "#ml"}
    assert configure_channels(environ)["slack"] == SlackChannel(token="xoxb-1", default_channel="#ml")
    for wrong in (
        {**environ, "LOGGING_LIB_SLACK_WEBHOOK": "https://hooks.slack.com/x"},
        {"LOGGING_LIB_SLACK_TOKEN": "topsecret"},
        {**environ, "LOGGING_LIB_SLACK_API": "http://example.org/topsecret"},
    ):
        with pytest.raises(SettingsError) as caught:
            configure_channels(wrong)
        assert "topsecret" not in str(caught.value)


def test_stored_notifications_are_read_back_unchanged() -> None:
    """All kinds go through JSON, as the runner's state keeps them."""
    call = {"webhook": {"url": "https://x.org/a?b=c", "method": "post", "body": "{}"}}
    context = {
        "ctx": {"id": "i", "watch_id": "w", "payload": {"a": 1}, "metadata": {}, "execution_time": "t"}
    }
    (webhook,) = render(call, context, "w")
    (index,) = render({"index": {"index": "x"}}, context, "i")
    mail = notification("email", to=["a@x.org"])
    attached = {**mail.content, "attachments": [attached_file("n", "a/b", b"\0\xff")]}
    mail = mail.model_copy(update={"content": attached})
    for message in (webhook, index, mail):
        assert Notification.model_validate_json(message.model_dump_json(exclude_defaults=True)) == message
    assert webhook.subject == "POST https://x.org:443"
    assert "b=c" not in preview(webhook)
    assert render(call, context, "w") == [webhook]
    assert webhook.channel == "webhook"
    assert index.channel == "index"
    assert index.subject == "1 document to x"


def test_only_the_documents_that_the_store_refuses_are_left() -> None:
    """The others are stored; a name that is none is the store's own error."""
    with EmbeddedStore(None) as store:
        both = documents(
            {"index": "ml-notes", "id": "1", "source": {"@timestamp": "2018-01-01"}},
            {"index": "ml-notes", "id": "2", "source": {"@timestamp": "when?"}},
            refresh=True,
        )
        with pytest.raises(DeliveryError, match="refused 1 of 2 documents: @timestamp") as caught:
            IndexChannel(store).deliver(both)
        assert caught.value.remaining is not None
        assert [each["id"] for each in caught.value.remaining.content["documents"]] == ["2"]
        assert store.search("ml-notes", {"size": 10})["hits"]["total"]["value"] == 1
        with pytest.raises(DeliveryError, match="is not a name for an index") as caught:
            IndexChannel(store).deliver(documents({"index": "A B", "id": "1", "source": {}}))
        assert caught.value.down


def test_documents_of_a_data_stream_get_an_id_and_a_time() -> None:
    """An id and a time, where the payload has none."""
    action = {"index": {"index": "logs-ml.label-default"}}
    ctx = {"id": "i", "watch_id": "w", "payload": {"event": {"dataset": "d"}}, "execution_time": "2018-01-01"}
    (message,) = render(action, {"ctx": ctx}, "i")
    (stored,) = message.content["documents"]
    assert stored["source"] == {"event": {"dataset": "d", "id": stored["id"]}, "@timestamp": "2018-01-01"}


HOSTILE = st.text(st.characters(codec="utf-8"), max_size=30) | st.sampled_from(
    ["\r\nX: y", '"},{"', "../..", "?a=b#c"]
)


@given(HOSTILE)
def test_a_value_stays_in_its_place(value: str) -> None:
    """In a path, a parameter, a header and a JSON body: no other part of the request changes."""
    request = HttpRequest.model_validate(
        {
            "host": "x.org",
            "path": "/a/{{ctx.v}}/b",
            "params": {"p": "{{ctx.v}}"},
            "headers": {"X-V": "v {{ctx.v}}"},
            "body": '{"v": "{{ctx.v}}", "w": "{{#toJson}}ctx.v{{/toJson}}"}',
        }
    )
    call = render_call(request, {"ctx": {"v": value}})
    path, _, query = call.url.partition("?")
    assert path.startswith("http://x.org:80/a/")
    assert path.endswith("/b")
    assert path.count("/") == 5
    assert query.count("&") == 0
    assert not {"\r", "\n"} & set(call.headers["X-V"])
    assert set(call.headers) == {"X-V", "Content-Type"}
    assert json.loads(call.body or "") == {"v": value, "w": value}


def test_an_answer_is_read_up_to_a_size(receiver: Receiver) -> None:
    """And no longer than allowed."""
    receiver.answers["/"] = (200, {}, b"x" * 200_000)
    call = render_call(HttpRequest.model_validate({"host": "127.0.0.1", "port": receiver.port}), {"ctx": {}})
    with pytest.raises(CallError, match="longer than 100000 bytes"):
        HttpClient(max_bytes=100_000)(call)
    with pytest.raises(CallError, match="took longer than"):
        HttpClient(longest=-1.0)(call)


def test_certificates_are_verified() -> None:
    """By the system's authorities, whatever the watch says."""
    import ssl
    import threading
    from http.server import BaseHTTPRequestHandler, HTTPServer

    import trustme

    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    server = HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
    server.handle_error = lambda *args: None  # type: ignore[method-assign]
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        call = render_call(
            HttpRequest.model_validate({"url": f"https://127.0.0.1:{server.server_port}/secret"}), {"ctx": {}}
        )
        with pytest.raises(CallError, match=r"verify failed: .*; set REQUESTS_CA_BUNDLE") as caught:
            HttpClient()(call)
        assert "secret" not in str(caught.value)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
