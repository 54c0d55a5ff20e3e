"""``watch notify-test``: one marked notification by each channel to a real server, and what that answered."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from logging_lib.cli.watch import app
from logging_lib.cli.watch.notify_test import SUBJECT
from logging_lib.store.duckdb.store import EmbeddedStore
from tests.watch.conftest import MailServer, Receiver
from tests.watch.test_end_to_end import events

Call = Callable[..., Result]


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch) -> Call:
    for name in ("STORE", "ELASTICSEARCH_URL", "SMTP_URL", "SLACK_WEBHOOK", "TEAMS_WEBHOOK", "PAGERDUTY_KEY"):
        monkeypatch.delenv(f"LOGGING_LIB_{name}", raising=False)

    def invoke(*words: object, code: int = 0, **environ: str) -> Result:
        for name, value in environ.items():
            monkeypatch.setenv(f"LOGGING_LIB_{name}", value)
        result = CliRunner().invoke(app, ["notify-test", *map(str, words)], env={"COLUMNS": "200"})
        assert result.exit_code == code, result.output
        assert "Traceback" not in result.output
        return result

    return invoke


def test_notify_test_sends_a_mail(call: Call, mail_server: MailServer) -> None:
    """The server's own words come back."""
    result = call("--channel", "email", "--recipient", "Team <a@x.org>, b@x.org", SMTP_URL=mail_server.url)
    assert result.stdout == "email: delivered; the server answered: 250 OK\n"
    (mail,) = mail_server.mails
    assert mail["Subject"] == SUBJECT
    assert mail_server.envelopes == [["a@x.org", "b@x.org"]]
    assert "logging-lib watch notify-test" in mail_server.bodies()[0]
    mail_server.refuse = {"a@x.org"}
    refused = call("--channel", "email", "--recipient", "a@x.org", code=1)
    assert "email: not delivered: the mail server refused a@x.org: 550 no such user" in refused.stderr


def test_notify_test_sends_over_http(call: Call, receiver: Receiver) -> None:
    """Slack, Teams, PagerDuty and any webhook."""
    place = f"http://127.0.0.1:{receiver.port}"
    receiver.answers["/pd"] = (202, {}, b'{"status":"success"}')
    settings = {
        "SLACK_WEBHOOK": f"{place}/slack",
        "TEAMS_WEBHOOK": f"{place}/teams",
        "PAGERDUTY_KEY": "k",
        "PAGERDUTY_URL": f"{place}/pd",
    }
    for channel, more, answer in (
        ("slack", ["--recipient", "#ml"], "200: ok"),
        ("teams", [], "200: ok"),
        ("pagerduty", [], '202: {"status":"success"}'),
        ("webhook", ["--recipient", f"{place}/hook?key=1"], "200: ok"),
    ):
        result = call("--channel", channel, *more, **settings)
        assert result.stdout == f"{channel}: delivered; the server answered: {answer}\n"
        assert "[Test] logging-lib" in receiver.requests[-1].body
    assert json.loads(receiver.requests[0].body)["channel"] == "#ml"
    event = json.loads(receiver.requests[2].body)
    assert (event["dedup_key"], event["payload"]["severity"]) == ("logging-lib-notify-test", "info")
    receiver.answers["/slack"] = (404, {}, b"no_service")
    result = call("--channel", "slack", "--json", code=1)
    assert json.loads(result.stdout) == {
        "channel": "slack",
        "delivered": False,
        "answer": "Slack answered 404: no_service",
    }


def test_notify_test_writes_to_the_log_and_the_store(
    call: Call, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A line, a document."""
    assert "logging: delivered" in call("--channel", "logging").stdout
    assert SUBJECT in caplog.text
    with EmbeddedStore(tmp_path) as store:
        store.index("logs-ml.prediction-default", list(events())[:1])
    result = call("--channel", "index", "--recipient", "ml-notes", "--store", tmp_path)
    assert "stored 1 document to ml-notes" in result.stdout
    with EmbeddedStore(tmp_path) as store:
        (hit,) = store.search("ml-notes", {"size": 5})["hits"]["hits"]
    assert hit["_source"]["message"].startswith(SUBJECT)


@pytest.mark.parametrize(
    ("words", "environ", "message"),
    [
        (["--channel", "pigeon"], {}, "--channel pigeon: not one of email, slack, teams, pagerduty"),
        (["--channel", "email"], {}, "the channel email is not configured: set LOGGING_LIB_SMTP_URL"),
        (
            ["--channel", "pagerduty"],
            {},
            "the channel pagerduty is not configured: set LOGGING_LIB_PAGERDUTY_KEY",
        ),
        (["--channel", "index"], {}, "set --store or --elasticsearch"),
        (["--channel", "email"], {"SMTP_URL": "smtp://127.0.0.1:1"}, "name a mail address"),
        (
            ["--channel", "email", "--recipient", "x"],
            {"SMTP_URL": "smtp://127.0.0.1:1"},
            "is not a mail address",
        ),
        (["--channel", "email"], {"SMTP_URL": "mail"}, "LOGGING_LIB_SMTP_URL: write one of"),
        (["--channel", "webhook"], {}, "name an address"),
    ],
)
def test_wrong_input_ends_with_2(call: Call, words: list[str], environ: dict[str, str], message: str) -> None:
    """With the remedy."""
    assert message in call(*words, code=2, **environ).stderr.replace("\n", " ")
