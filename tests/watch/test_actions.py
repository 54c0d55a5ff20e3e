"""Messages as people receive them: real SMTP and HTTP servers, hostile values, failures distinguished."""

from __future__ import annotations

import logging
import re
import shutil
import ssl
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.smtp import AuthResult
from hypothesis import given
from hypothesis import strategies as st

from logging_lib.watch.notify.base import DeliveryError, Notification, RenderError, SettingsError
from logging_lib.watch.notify.email import EmailChannel, build_mail
from logging_lib.watch.notify.log import LogChannel
from logging_lib.watch.notify.registry import PreviewChannel, configure_channels, preview, recipients
from logging_lib.watch.notify.slack import SlackChannel
from tests.watch.conftest import MailServer, Webhook, build_result, draft, notification, render, watch

VALUE = "Rented\r\nBcc: evil@example.org\r\n\r\n<script>alert(1)</script><!channel>"


def context(**values: Any) -> dict[str, Any]:
    payload = {"result": build_result([{"feature": "home", "value": VALUE}])}
    return {
        "ctx": {"id": "w_1", "watch_id": "w", "metadata": {"to": "a@x.org"}, "payload": payload, **values}
    }


def email(**fields: Any) -> Notification:
    (mail,) = render(
        {"email": {"to": ["{{ctx.metadata.to}}"], "subject": "S", "body": "T", **fields}}, context()
    )
    return mail


def slack(**fields: Any) -> list[Notification]:
    return render({"slack": {"message": fields}}, context(), "chat")


FIRST = "{{ctx.payload.result.findings.0.value}}"


def test_a_mail_has_text_and_html_and_says_it_is_automatic(mail_server: MailServer) -> None:
    """Two parts, a date that was given, an id, a priority, no Bcc header."""
    message = email(
        to=["Ops Team <ops@example.org>", "b@example.org"],
        cc="c@example.org",
        bcc="d@example.org",
        reply_to="r@example.org",
        priority="high",
        subject="Überraschung: {{ctx.metadata.to}}",
        body={"text": "Grüße {{ctx.watch_id}}", "html": "<b>Grüße</b>"},
        **{"from": "Watch <watch@example.org>"},
    )
    EmailChannel(mail_server.url).deliver(message)
    (mail,) = mail_server.mails
    assert mail["From"] == "Watch <watch@example.org>"
    assert mail["To"] == "Ops Team <ops@example.org>, b@example.org"
    assert mail["Cc"] == "c@example.org"
    assert mail["Bcc"] is None
    assert mail["Reply-To"] == "r@example.org"
    assert mail["Subject"] == "Überraschung: a@x.org"
    assert mail["Date"] == "Thu, 01 Feb 2018 12:00:00 +0000"
    assert mail["Message-ID"].endswith("@example.org>")
    assert mail["Auto-Submitted"] == "auto-generated"
    assert mail["X-Priority"] == "2"
    text, html = mail.get_body(("plain",)), mail.get_body(("html",))
    assert text is not None
    assert html is not None
    assert text.get_content().strip() == "Grüße w"
    assert html.get_content().strip() == "<b>Grüße</b>"
    assert mail_server.envelopes == [["ops@example.org", "b@example.org", "c@example.org", "d@example.org"]]


def test_a_value_cannot_add_headers_recipients_or_markup(mail_server: MailServer) -> None:
    """The value comes from a log and tries all of it."""
    EmailChannel(mail_server.url).deliver(
        email(subject=f"Unseen {FIRST}", body={"text": FIRST, "html": f"<p>{FIRST}</p>"})
    )
    (mail,) = mail_server.mails
    assert mail["Bcc"] is None
    assert mail["Subject"].strip().startswith("Unseen Rented Bcc: evil@example.org")
    assert mail_server.envelopes == [["a@x.org"]]
    html = mail.get_body(("html",))
    assert html is not None
    assert "&lt;script&gt;" in html.get_content()


@given(st.text())
def test_any_value_makes_a_mail_with_the_same_headers(value: str) -> None:
    """In subject, sender name and bodies."""
    action = {"email": {"to": "a@x.org", "subject": "{{v}}", "body": {"text": "{{v}}", "html": "{{v}}"}}}
    (message,) = render(action, {**context(), "v": value})
    head = build_mail(message, "w@x.org").as_bytes().partition(b"\n\n")[0]
    names = [line.partition(b":")[0] for line in head.splitlines() if not line.startswith((b" ", b"\t"))]
    assert sorted(names) == sorted(
        [
            b"From",
            b"To",
            b"Subject",
            b"Date",
            b"Message-ID",
            b"Auto-Submitted",
            b"MIME-Version",
            b"Content-Type",
        ]
    )


def test_addresses_may_be_several_or_none() -> None:
    """Commas divide, empty ones are left out, and a text that is not an address is refused."""
    assert email(to=["a@x.org, B <b@x.org>", "{{ctx.metadata.none}}"]).address["to"] == [
        "a@x.org",
        "B <b@x.org>",
    ]
    with pytest.raises(RenderError, match="no recipient"):
        email(to=["{{ctx.metadata.none}}"])
    for wrong in ("nobody", "a@b@c", "<>", "@x.org"):
        with pytest.raises(RenderError, match="is not a mail address"):
            email(to=[wrong])
    long = email(subject="x" * 1000).subject
    assert len(long) == 250


def test_the_same_alert_has_the_same_id() -> None:
    """So that what is sent again after a crash can be distinguished from what is new."""
    assert email().id == email().id
    assert email().id != email(body="other").id


def test_a_refused_recipient_is_tried_again_alone(mail_server: MailServer) -> None:
    """Those who got the mail do not get it twice."""
    mail_server.refuse = {"b@x.org"}
    channel = EmailChannel(mail_server.url)
    with pytest.raises(DeliveryError, match=r"refused b@x\.org: 550 no such user") as caught:
        channel.deliver(email(to=["a@x.org", "B <b@x.org>"]))
    assert not caught.value.down
    assert caught.value.remaining is not None
    mail_server.refuse = set()
    channel.deliver(caught.value.remaining)
    assert mail_server.envelopes == [["a@x.org"], ["b@x.org"]]
    mail_server.refuse = {"a@x.org"}
    with pytest.raises(DeliveryError, match="550") as caught:
        channel.deliver(email())
    assert caught.value.remaining is None


def test_a_mail_server_that_is_down_is_said_to_be_down(mail_server: MailServer) -> None:
    """Also one that does not speak the TLS it should."""
    secure = mail_server.url.replace("smtp:", "smtp+starttls:")
    with pytest.raises(
        DeliveryError, match=rf"^mail server {re.escape(secure)}: STARTTLS extension not supported"
    ) as caught:
        EmailChannel(secure, user="u", password="hunter2").deliver(email())
    assert caught.value.down
    assert "hunter2" not in str(caught.value) + repr(EmailChannel(secure, user="u", password="hunter2"))
    mail_server.stop()
    with pytest.raises(
        DeliveryError, match=f"^mail server {mail_server.url}: no answer: Connection refused; is it r"
    ) as caught:
        EmailChannel(mail_server.url).deliver(email())
    assert caught.value.down


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that nobody trusts by default."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl is not installed")
    folder = tmp_path_factory.mktemp("tls")
    cert, key = folder / "cert.pem", folder / "key.pem"
    command = [openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    command += ["-keyout", str(key), "-out", str(cert), "-days", "2", "-subj", "/CN=test"]
    command += ["-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run(command, check=True, capture_output=True)
    return cert, key


@pytest.mark.parametrize("scheme", ["smtp+starttls", "smtps"])
def test_tls_is_verified_and_logins_are_made_inside_it(
    certificate: tuple[Path, Path], scheme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An unknown certificate or another host name ends the delivery before the password is sent."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    logins: list[bytes] = []

    def authenticate(server: Any, session: Any, envelope: Any, mechanism: str, data: Any) -> AuthResult:
        logins.append(data.password)
        right = data.password == b"hunter2"
        return AuthResult(success=right, handled=right)

    tls: dict[str, Any] = {"tls_context": context, "require_starttls": True}
    server = MailServer(
        authenticator=authenticate,
        **(tls if scheme == "smtp+starttls" else {"ssl_context": context, "auth_require_tls": False}),
    )
    try:
        channel = EmailChannel(f"{scheme}://127.0.0.1:{server.port}", user="u", password="hunter2")
        with pytest.raises(DeliveryError, match=r"verify failed: .*; set SSL_CERT_FILE") as caught:
            channel.deliver(email())
        assert caught.value.down
        assert logins == []
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
        with pytest.raises(DeliveryError, match="use a host name or address that its certificate is for"):
            replace(channel, url=f"{scheme}://localhost:{server.port}").deliver(email())
        channel.deliver(email())
        assert logins == [b"hunter2"]
        assert len(server.mails) == 1
        with pytest.raises(DeliveryError, match="535") as caught:
            replace(channel, password="wrong").deliver(email())
        assert caught.value.down
        assert "wrong" not in str(caught.value)
    finally:
        server.stop()


def test_a_slack_post_a_channel(webhook: Webhook) -> None:
    """Values cannot call people; links are not unfolded; addresses are not escaped."""
    messages = slack(
        to=["#a", "#b"],
        **{"from": "watch"},
        icon=":eyes:",
        text=f"*x* <https://example.org|book> {FIRST}",
        attachments=[
            {
                "title": FIRST,
                "title_link": "https://x.org/?a=1&b=2",
                "fields": [{"title": "t", "value": FIRST}],
            }
        ],
    )
    for message in messages:
        SlackChannel(webhook.url).deliver(message)
    assert [post["channel"] for post in webhook.posts] == ["#a", "#b"]
    post = webhook.posts[0]
    assert post["username"] == "watch"
    assert post["icon_emoji"] == ":eyes:"
    assert post["unfurl_links"] is False
    assert post["text"].startswith("*x* <https://example.org|book> Rented  Bcc")
    assert "&lt;!channel&gt;" in post["text"]
    (attachment,) = post["attachments"]
    assert "<" not in attachment["title"] + attachment["fields"][0]["value"]
    assert attachment["title_link"] == "https://x.org/?a=1&b=2"
    assert attachment["fields"][0]["short"] is False
    assert messages[0].subject.startswith("x <https://example.org|book> Rented")
    listed = SlackChannel.compose(draft(), {}, messages[0].subject, "")
    assert "&lt;!channel&gt;" in listed.content["text"]
    (plain,) = slack(text="x")
    SlackChannel(webhook.url).deliver(plain)
    assert webhook.posts[-1] == {"text": "x", "unfurl_links": False, "unfurl_media": False}


@pytest.mark.parametrize(
    ("answer", "down", "expected"),
    [
        (
            (429, {"Retry-After": "30"}, b"rate_limited"),
            True,
            "Slack answered 429, retry after 30 s: rate_limited",
        ),
        ((503, {}, b""), True, "Slack answered 503"),
        ((404, {}, b"no_service\x1b[31m"), False, "Slack answered 404: no_service"),
        ((302, {"Location": "http://127.0.0.1:1/"}, b""), False, "Slack answered 302"),
    ],
)
def test_slacks_refusals_name_the_remedy(webhook: Webhook, answer: Any, down: bool, expected: str) -> None:
    """What may pass by itself says so; redirects are not followed."""
    webhook.answers = [answer]
    with pytest.raises(DeliveryError) as caught:
        SlackChannel(webhook.url).deliver(slack(text="x")[0])
    assert str(caught.value).startswith(expected)
    assert caught.value.down is down


def test_the_webhook_is_never_shown(webhook: Webhook, caplog: pytest.LogCaptureFixture) -> None:
    """Not in errors, not in logs, not in a repr."""
    caplog.set_level(logging.DEBUG)
    channel = SlackChannel(webhook.url)
    channel.deliver(slack(text="x")[0])
    webhook.answers = [(500, {}, f"no way to {webhook.url}".encode())]
    with pytest.raises(DeliveryError) as answered:
        channel.deliver(slack(text="x")[0])
    webhook.stop()
    with pytest.raises(DeliveryError) as unreached:
        channel.deliver(slack(text="x")[0])
    assert unreached.value.down
    assert unreached.value.__cause__ is None
    shown = [repr(channel), str(answered.value), str(unreached.value), caplog.text]
    assert not any("topsecret" in text for text in shown)


def test_the_log_keeps_one_line_an_alert(caplog: pytest.LogCaptureFixture) -> None:
    """At the action's level, below our logger."""
    given = {"logging": {"text": f"bad {FIRST} %s", "level": "warn", "category": "ml"}}
    (message,) = render(given, context(), "log")
    LogChannel().deliver(message)
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("logging_lib.watch.ml", logging.WARNING)
    assert record.getMessage().startswith("bad Rented  Bcc:")


def test_previews_show_what_would_be_sent() -> None:
    """As text, for each kind."""
    shown: list[str] = []
    for message in (email(), slack(text="hello", to="#a")[0], notification("logging", text="line")):
        PreviewChannel(shown.append).deliver(message)
    assert shown == ["email\nTo: a@x.org\nSubject: S\n\nT", "slack #a\nhello", "log info: line"]
    assert preview(email(body={"html": "<b>x</b>"})).endswith("<b>x</b>")
    (post,) = slack(attachments=[{"title": "t"}])
    assert preview(post) == "slack\nt"


def test_channels_come_from_the_environment() -> None:
    """By name; what needs no setting is always there."""
    environ = {
        "LOGGING_LIB_SMTP_URL": "smtps://mail.example.org",
        "LOGGING_LIB_SMTP_USER": "u",
        "LOGGING_LIB_SMTP_PASSWORD": "p",
        "LOGGING_LIB_MAIL_FROM": "w@example.org",
        "LOGGING_LIB_SLACK_WEBHOOK": "https://hooks.slack.com/services/x",
    }
    found = configure_channels(environ)
    assert set(found) == {"email", "slack", "teams", "webhook", "logging"}
    more = {"LOGGING_LIB_SMTP_URL": "smtp+starttls://other:2525", "LOGGING_LIB_MAIL_FROM": "me@x.org"}
    mail = configure_channels({**environ, **more})["email"]
    assert mail == EmailChannel("smtp+starttls://other:2525", sender="me@x.org", user="u", password="p")
    assert set(configure_channels({})) == {"teams", "webhook", "logging"}


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"LOGGING_LIB_SMTP_URL": "mail.example.org"}, "write one of smtp, smtp+starttls, smtps"),
        ({"LOGGING_LIB_SMTP_URL": "smtp://u:p@mail"}, "leave user and password out"),
        ({"LOGGING_LIB_SMTP_URL": "smtp://mail", "LOGGING_LIB_SMTP_USER": "u"}, "or neither"),
        (
            {
                "LOGGING_LIB_SMTP_URL": "smtp://mail",
                "LOGGING_LIB_SMTP_USER": "u",
                "LOGGING_LIB_SMTP_PASSWORD": "p",
            },
            "a login needs smtp+starttls",
        ),
        ({"LOGGING_LIB_SMTP_URL": "smtp://mail", "LOGGING_LIB_MAIL_FROM": "@"}, "is not a mail address"),
        ({"LOGGING_LIB_SLACK_WEBHOOK": "http://hooks.slack.com/secret"}, "is not an https:// address"),
    ],
)
def test_unsafe_settings_are_refused(environ: dict[str, str], expected: str) -> None:
    """The setting is named, its value is not repeated where it may be secret."""
    with pytest.raises(SettingsError) as caught:
        configure_channels(environ)
    assert expected in str(caught.value)
    assert "secret" not in str(caught.value)
    assert "u:p" not in str(caught.value)


def test_recipients_of_a_watch() -> None:
    """As its metadata names them."""
    assert recipients(watch()) == ["ml@example.org", "#ml"]
