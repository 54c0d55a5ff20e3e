"""The whole way over a real Elasticsearch by the command line: spool, index, watches, mail and Slack, backtest."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pandas as pd
import pytest
from typer.testing import CliRunner, Result

import logging_lib
from logging_lib import profile as profiles
from logging_lib.cli.app import app
from logging_lib.profile.config import Config
from logging_lib.store.connection import Connection
from tests.stack.platinum import serving
from tests.watch.conftest import MailServer, Webhook, mail_server, webhook

__all__ = ["mail_server", "webhook"]
pytestmark = pytest.mark.elasticsearch


@pytest.fixture
def own(training: pd.DataFrame) -> profiles.Profile:
    """A profile of a model that no other test has."""
    name = f"loans-{uuid4().hex[:8]}"
    return profiles.fit(training, model=name, version="1", prediction="rate", config=Config(time="issued_at"))


@pytest.fixture
def call(
    tmp_path: Path, elasticsearch: Connection, own: profiles.Profile, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Result]:
    monkeypatch.chdir(tmp_path)
    for name in ("SMTP_URL", "SLACK_WEBHOOK", "STORE", "ELASTICSEARCH_URL"):
        monkeypatch.delenv(f"LOGGING_LIB_{name}", raising=False)
    profiles.save(own, "profile.json")

    def invoke(*arguments: str, code: int = 0) -> Result:
        result = CliRunner().invoke(app, [*arguments, "--elasticsearch", elasticsearch.url])
        assert result.exit_code == code, result.output
        return result

    return invoke


def log_some(own: profiles.Profile, inputs: dict[str, Any]) -> None:
    log = logging_lib.configure(
        model=own.model, version=own.version, profile=own, spool="spool", report_every=None
    )
    for number in range(200):
        wrong = {"home": "Rented"} if number % 4 == 0 else {}
        log.prediction(inputs | wrong, prediction=12.0)


def test_a_fault_is_sent_by_mail_and_slack_and_only_once(
    call: Callable[..., Result],
    own: profiles.Profile,
    inputs: dict[str, Any],
    mail_server: MailServer,
    webhook: Webhook,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The same commands as over the embedded store; a second run finds that the incident was sent."""
    monkeypatch.setenv("LOGGING_LIB_SMTP_URL", mail_server.url)
    monkeypatch.setenv("LOGGING_LIB_EMAIL_TO", "team@example.org")
    monkeypatch.setenv("LOGGING_LIB_SLACK_WEBHOOK", webhook.url)
    log_some(own, inputs)
    namespace = ("--namespace", own.model.replace("-", "_"))
    index = ("index", "spool", "--profile", "profile.json", "--json", *namespace)
    assert json.loads(call(*index).stdout) == {"indexed": 200, "known": 0, "refused": {}}
    assert json.loads(call(*index).stdout) == {"indexed": 0, "known": 200, "refused": {}}
    # Other tests' models are in the same cluster; theirs may be evaluated or not.
    run = ("watch", "run", "--once", "--watch", "unseen-categories", "--json")
    report = json.loads(call(*run).stdout)
    (alert,) = [one for one in report["runs"][0]["alerts"] if one["model"] == own.model]
    assert alert["features"] == ["home"]
    assert [result["status"] for result in alert["actions"].values()] == ["executed", "executed"]
    mails = [text for text in mail_server.bodies() if own.model in text]
    assert len(mails) == 1
    assert "Rented (50)" in mails[0]
    assert len([post for post in webhook.posts if own.model in post["text"]]) == 1
    again = json.loads(call(*run).stdout)
    (alert,) = [one for one in again["runs"][0]["alerts"] if one["model"] == own.model]
    assert {result["status"] for result in alert["actions"].values()} == {"throttled"}
    since = (datetime.now(UTC) - timedelta(minutes=30)).isoformat()  # others' events are of many years
    replayed = ("watch", "backtest", "--watch", "unseen-categories", "--since", since, "--json")
    backtest = json.loads(call(*replayed).stdout)
    assert own.model in {one["model"] for one in backtest["alerts"]}


def test_what_elasticsearch_refuses_is_kept_as_a_dead_letter(
    call: Callable[..., Result], own: profiles.Profile, inputs: dict[str, Any], elasticsearch: Connection
) -> None:
    """With the reason and the original, as what was refused before it got there."""
    log_some(own, inputs)
    (file,) = Path("spool").glob("*.jsonl")
    lines = file.read_text().splitlines()
    wrong = json.loads(lines[-1])
    wrong["service"] = {"name": {"first": "an object"}}
    wrong["event"]["id"] = "wrong"
    Path("more.jsonl").write_text(json.dumps(wrong) + "\nnot json\n")
    namespace = own.model.replace("-", "_")
    said = json.loads(call("index", "more.jsonl", "--namespace", namespace, "--json", code=1).stdout)
    assert said == {"indexed": 0, "known": 0, "refused": {"not_json": 1, "mapping": 1}}
    stream = f"logs-ml.deadletter-{namespace}"
    body = {"query": {"term": {"error.type": "mapping"}}}
    (hit,) = elasticsearch.call("POST", f"/{stream}/_search", body)["hits"]["hits"]
    letter = hit["_source"]
    assert "service.name" in letter["error"]["message"]
    assert letter["ml"]["deadletter"]["stage"] == "index"
    assert json.loads(letter["event"]["original"])["event"]["id"] == "wrong"


def test_a_dry_run_with_a_profile_publishes_nothing(
    call: Callable[..., Result], own: profiles.Profile, inputs: dict[str, Any], elasticsearch: Connection
) -> None:
    log_some(own, inputs)
    call("index", "spool", "--namespace", own.model.replace("-", "_"))
    dry = call(
        "watch", "run", "--once", "--dry-run", "--profile", "profile.json", "--watch", "unseen-categories"
    )
    assert own.model in dry.stdout
    query = {"query": {"term": {"ml.model.name": own.model}}}
    assert elasticsearch.call("POST", "/ml-profiles/_search", query)["hits"]["total"]["value"] == 0


def test_a_cluster_without_events_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is nothing to evaluate, that is said; the server answers as one without our streams."""
    monkeypatch.chdir(tmp_path)
    with serving() as cluster:
        cluster.empty = True
        command = ["watch", "run", "--once", "--dry-run", "--elasticsearch", cluster.url]
        result = CliRunner().invoke(app, command)
    assert result.exit_code == 2
    assert "no data stream logs-ml.prediction-*" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["watch", "run", "--once", "--dry-run"], "--store PATH, or --elasticsearch URL"),
        (["watch", "run", "--once", "--store", ".", "--elasticsearch", "http://h"], "not both"),
        (["watch", "backtest"], "--store PATH, or --elasticsearch URL"),
        (["watch", "backtest", "x", "--elasticsearch", "http://h"], "either files or a store"),
        (["index", "x", "--store", "s", "--elasticsearch", "http://h"], "not both"),
        (["index", "x"], "--store PATH, or --elasticsearch URL"),
        (
            ["index", "x", "--elasticsearch", "h:9200"],
            "--elasticsearch h:9200: not a URL",
        ),
        (["watch", "backtest", "--elasticsearch", "http://127.0.0.1:9"], "no answer"),
    ],
)
def test_wrong_options_are_named(
    arguments: list[str], message: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("LOGGING_LIB_STORE", "LOGGING_LIB_ELASTICSEARCH_URL"):
        monkeypatch.delenv(name, raising=False)
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2
    assert message in result.stderr.replace("\n", " ")
