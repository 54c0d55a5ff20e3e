"""The command line over the embedded store, with the shipped watches, real servers and real files."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from logging_lib import profile as profiles
from logging_lib._util import content
from logging_lib.cli.watch import app
from logging_lib.schema import fields
from logging_lib.store.duckdb.store import EmbeddedStore
from logging_lib.watch.spec import load_specs
from tests.watch.conftest import MailServer, Webhook, document

START = datetime(2018, 2, 1, 9, 0, tzinfo=UTC)
ONSET = START + timedelta(hours=1)
EVENTS = 600
BUDGETED = sum(spec.settings.get("budget_weight", 0) for spec in load_specs(content.path("watchers")))


def events() -> Iterator[dict[str, Any]]:
    """Two events a minute; a few lack ``title``, as in training, and from the onset a third lacks ``income``."""
    chance = random.Random(3)
    schema = fields.load()
    for number in range(EVENTS):
        moment = START + timedelta(seconds=30 * number)
        missing = chance.random() < (0.02 if moment < ONSET else 0.33)
        stamp = moment.isoformat().replace("+00:00", "Z")
        yield {
            "@timestamp": stamp,
            "ecs": {"version": schema.ecs_version},
            "event": {
                "id": f"e{number}",
                "kind": "event",
                "dataset": "ml.prediction",
                "outcome": "success",
                "ingested": stamp,
            },
            "ml": {
                "schema_version": schema.schema_version,
                "model": {"name": "loans", "version": "1", "role": "live"},
                "profile": {"status": "matched"},
                "sample": {"weight": 1.0},
                "check": {"missing": names}
                if (names := ["income"] * missing + ["title"] * (number % 24 == 0))
                else {},
            },
        }


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    folder = tmp_path / "spool"
    folder.mkdir()
    lines = [json.dumps(event) for event in events()]
    (folder / "a.jsonl").write_text("\n".join([*lines, "not json", '{"torn']))
    return folder


@pytest.fixture
def fitted(profile: profiles.Profile, tmp_path: Path) -> Path:
    path = tmp_path / "profile.json"
    profiles.save(profile, path)
    return path


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    path = tmp_path / "store"
    store = EmbeddedStore(path)
    store.index("logs-ml.prediction-default", events())
    store.close()
    return path


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    for name in ("SMTP_URL", "SMTP_USER", "SMTP_PASSWORD", "MAIL_FROM", "EMAIL_TO", "SLACK_WEBHOOK", "STORE"):
        monkeypatch.delenv(f"LOGGING_LIB_{name}", raising=False)

    def invoke(*arguments: object, code: int = 0) -> Result:
        result = CliRunner().invoke(app, [str(argument) for argument in arguments])
        assert result.exit_code == code, result.output
        assert "Traceback" not in result.output
        return result

    return invoke


def test_the_list_and_show_commands(call: Callable[..., Result]) -> None:
    """Who is notified of what, how often; as a table and as JSON."""
    table = call("list").stdout
    assert "na-spike" in table
    assert "email, slack" in table
    rows = json.loads(call("list", "--json").stdout)
    (row,) = [row for row in rows if row["id"] == "na-spike"]
    assert row["every"] == "5m"
    assert row["windows"] == ["15m", "1h", "6h", "24h"]
    assert row["false_alarms"] == pytest.approx(1 / BUDGETED, abs=1e-6)
    assert "at most once per 1d per incident" in call("show", "na-spike").stdout
    assert json.loads(call("show", "na-spike", "--json").stdout)["metadata"]["title"] == "NA spike"


def test_list_says_how_many_false_alarms_there_may_be(call: Callable[..., Result], tmp_path: Path) -> None:
    """All shipped watches together, what a user's own add, and which have no budget."""
    shipped = content.path("watchers")
    for name, own in (("na-spike", "na-spike"), ("na-spike", "mine"), ("uptime", "uptime")):
        watch = json.loads((shipped / f"{name}.json").read_text("utf-8"))
        (tmp_path / f"{own}.json").write_text(json.dumps(watch))
    table = " ".join(call("list").stdout.split())
    assert "all shipped watches together: 1 No budget" in table
    assert "a limit is passed: dead-letters, dependency-change, model-version, no-traffic" in table
    table = " ".join(call("list", "--watches", tmp_path).stdout.split())
    share = f"{1 / BUDGETED:.3g} Your own watches add: mine {1 / BUDGETED:.6f}"
    assert f"all shipped watches together: {share} No budget" in table
    assert "a limit is passed: uptime" in table


def test_a_backtest_finds_the_incident_and_is_silent_before(
    call: Callable[..., Result], spool: Path, fitted: Path
) -> None:
    """The timeline has the onset's alert and no other; what was not read is said."""
    result = call("backtest", spool, "--profile", fitted, "--every", "15m", "--json")
    replay = json.loads(result.stdout)
    assert replay["events"] == EVENTS
    assert replay["refused"] == {"not_json": 1, "torn": 1}
    assert replay["failures"] == []
    (alert,) = replay["alerts"]
    assert alert["watch"] == "na-spike"
    assert alert["features"] == ["income"]
    assert ONSET < datetime.fromisoformat(alert["time"]) <= ONSET + timedelta(minutes=45)
    only = ("backtest", spool, "--profile", fitted, "--watch", "na-spike", "--every", "30m")
    table = call(*only)
    assert "1 alert, 11 ticks, 600 events" in table.stdout
    assert "not used: 1 not_json, 1 torn" in table.stderr
    quiet = call(*only, "--until", ONSET.isoformat())
    assert "0 alerts" in quiet.stdout


def test_run_once_alerts_throttles_and_remembers(
    call: Callable[..., Result],
    stored: Path,
    fitted: Path,
    mail_server: MailServer,
    webhook: Webhook,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """A dry run prints and remembers nothing; the first run alerts; the second is throttled."""
    monkeypatch.setenv("LOGGING_LIB_SMTP_URL", mail_server.url)
    monkeypatch.setenv("LOGGING_LIB_SLACK_WEBHOOK", webhook.url)
    monkeypatch.setenv("LOGGING_LIB_EMAIL_TO", "team@example.org, Ada <ada@example.org>")
    common = ("run", "--once", "--store", stored, "--now", "2018-02-01T11:00:00Z")
    log = tmp_path / "alerts.jsonl"
    dry = call(*common, "--profile", fitted, "--dry-run", "--alerts", log)
    assert "To: team@example.org, Ada <ada@example.org>" in dry.stdout
    assert not mail_server.mails
    assert not log.exists()
    first = call(*common, "--profile", fitted, "--alerts", log)
    assert "condition met" in first.stdout
    (mail,) = mail_server.mails
    assert mail["Subject"] == "loans v1: income 33.3 % missing (expected 2.0 %)"
    assert mail["To"] == "team@example.org, Ada <ada@example.org>"
    assert mail_server.bodies()[0].startswith(
        "loans v1: income 33.3 % missing (expected 2.0 %), severity high\n"
    )
    assert len(webhook.posts) == 1
    assert "income" in webhook.posts[0]["text"]
    assert json.loads(log.read_text())["features"] == ["income"]
    again = json.loads(call(*common, "--json").stdout)
    run = next(run for run in again["runs"] if run["watch"] == "na-spike")
    assert run["alerts"][0]["actions"]["email"]["status"] == "throttled"
    assert len(mail_server.mails) == 1
    assert json.loads(call(*common, "--dry-run", "--json").stdout)["messages"] == []


def test_recipients_that_nobody_set_stop_a_run_that_delivers_and_no_other(
    call: Callable[..., Result],
    stored: Path,
    fitted: Path,
    mail_server: MailServer,
    webhook: Webhook,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """The error names the setting and a file; a webhook of Slack's has its channel, and a bot needs one."""
    run = ("run", "--once", "--store", stored, "--now", "2018-02-01T11:00:00Z")
    mailing = (*run, "--smtp-url", mail_server.url)
    unset = call(*mailing, code=2).stderr.replace("\n", " ")
    assert "the recipients of email are not set: set LOGGING_LIB_EMAIL_TO, or metadata.email_to in" in unset
    assert "watchers/dead-letters.json and 24 more" in unset
    assert not mail_server.mails
    dry = call(*mailing, "--profile", fitted, "--dry-run")
    assert "To: nobody@example.invalid" in dry.stdout
    call("lint")
    monkeypatch.setenv("LOGGING_LIB_EMAIL_TO", "nobody")
    assert "LOGGING_LIB_EMAIL_TO: 'nobody': write at least one mail address" in call(*mailing, code=2).stderr
    monkeypatch.delenv("LOGGING_LIB_EMAIL_TO")
    watch = json.loads((content.path("watchers") / "na-spike.json").read_text("utf-8"))
    watch["metadata"]["email_to"] = "own@example.org"
    file = tmp_path / "own.json"
    file.write_text(json.dumps(watch))
    call(*mailing, "--watches", file, "--profile", fitted)
    assert mail_server.mails[0]["To"] == "own@example.org"
    monkeypatch.setenv("LOGGING_LIB_SLACK_TOKEN", "xoxb-1")
    refused = call(*run, "--watches", file, code=2).stderr.replace("\n", " ")
    assert (
        "the recipients of slack are not set: set LOGGING_LIB_SLACK_CHANNEL, or metadata.slack_to" in refused
    )
    monkeypatch.delenv("LOGGING_LIB_SLACK_TOKEN")
    monkeypatch.setenv("LOGGING_LIB_SLACK_WEBHOOK", webhook.url)
    call(*run, "--profile", fitted)
    assert "channel" not in webhook.posts[-1]


def test_an_accepted_change_is_expected_until_that_is_undone(
    call: Callable[..., Result],
    stored: Path,
    fitted: Path,
    mail_server: MailServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is listed with who accepted it, in the history, too; a profile that is published again keeps it."""
    monkeypatch.setenv("LOGGING_LIB_EMAIL_TO", "team@example.org")
    first, later = "2018-02-01T10:20:00Z", "2018-02-01T13:50:00Z"
    run = ("run", "--once", "--store", stored, "--watch", "na-spike", "--profile", fitted, "--json")
    run += ("--smtp-url", mail_server.url)

    def found(now: str) -> int:
        (report,) = json.loads(call(*run, "--now", now).stdout)["runs"]
        return len(report["alerts"])

    assert found(first) == 1
    listed = json.loads(call("incidents", "--store", stored, "--json").stdout)
    name = "na-spike/loans/1/income"
    assert [(row["incident"], row["severity"]) for row in listed["open"]] == [(name, "high")]
    assert f"{name}  high" in call("incidents", "--store", stored).stdout
    wrong = call("accept", "na-spike/loans/1/other", "--store", stored, "--now", later, code=2)
    assert "give --now" in wrong.output
    assert "not WATCH/MODEL" in call("accept", "na-spike", "--store", stored, code=2).output
    more = ("--now", later, "--user", "ada", "--comment", "a new form")
    entry = json.loads(call("accept", name, "--store", stored, *more, "--json").stdout)
    listed = json.loads(call("incidents", "--store", stored, "--json").stdout)
    assert listed == {"open": [], "accepted": [entry]}
    assert (entry["by"], entry["comment"], entry["part"]) == ("ada", "a new form", "missing")
    assert "by ada: a new form" in call("incidents", "--store", stored).stdout
    assert found("2018-02-01T13:55:00Z") == 0
    mails = len(mail_server.mails)
    assert (
        "no longer accepted"
        in call("accept", "--undo", entry["id"], "--store", stored, "--user", "eve").stdout
    )
    assert found("2018-02-01T13:58:00Z") == 1
    assert len(mail_server.mails) == mails  # the throttle outlives it
    records = json.loads(
        call("history", "--store", stored, "--kind", "accept", "--kind", "undo", "--json").stdout
    )
    assert [(each["kind"], each["by"]) for each in records] == [("accept", "ada"), ("undo", "eve")]
    assert "no such acceptance" in call("accept", "--undo", entry["id"], "--store", stored, code=2).output


def test_a_failed_delivery_ends_with_1(
    call: Callable[..., Result],
    stored: Path,
    fitted: Path,
    mail_server: MailServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The reason is on standard error; the next run delivers."""
    monkeypatch.setenv("LOGGING_LIB_EMAIL_TO", "team@example.org")
    arguments = ("run", "--once", "--store", stored, "--now", "2018-02-01T11:00:00Z", "--watch", "na-spike")
    arguments = (*arguments, "--smtp-url", mail_server.url, "--mail-from", "w@example.org")
    mail_server.stop()
    failed = call(*arguments, "--profile", fitted, code=1)
    assert "no answer: Connection refused; is it running" in failed.stderr
    assert "the channel slack is not configured" in failed.stderr
    mail_server.start()
    retried = call(*arguments)
    assert "delivered now (attempt 2)" in retried.stderr
    assert mail_server.mails[0]["From"] == "w@example.org"


def test_a_failing_watch_ends_with_1(call: Callable[..., Result], stored: Path, tmp_path: Path) -> None:
    """Its name and reason are shown, the others ran."""
    folder = tmp_path / "watches"
    folder.mkdir()
    broken = document()
    broken["input"] = {
        "search": {"request": {"indices": "x", "body": {"query": {"span_first": {}}}}},
    }
    broken["condition"] = {"always": {}}
    for action in broken["actions"].values():
        action.clear()
        action["logging"] = {"text": "x"}
    (folder / "broken.json").write_text(json.dumps(broken))
    broken["input"] = {"simple": {}}
    (folder / "good.json").write_text(json.dumps(broken))
    result = call("run", "--once", "--store", stored, "--watches", folder, "--json", code=1)
    runs = {run["watch"]: run for run in json.loads(result.stdout)["runs"]}
    assert runs["broken"]["status"] == "failed"
    assert "span_first" in runs["broken"]["error"]
    assert runs["good"]["alerts"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "--store", "STORE", "--dry-run"], "--dry-run, --now and --json need --once"),
        (["run", "--once", "--store", "nowhere", "--dry-run"], "nowhere: no such folder"),
        (["run", "--once", "--store", "STORE"], "no notification channel is configured"),
        (
            ["run", "--once", "--store", "STORE", "--now", "today", "--dry-run"],
            "--now today: not an ISO 8601 time",
        ),
        (
            ["run", "--once", "--store", "STORE", "--dry-run", "--watch", "x"],
            "x: there is no watch with this id",
        ),
        (
            ["run", "--once", "--store", "STORE", "--smtp-url", "ftp://x"],
            "LOGGING_LIB_SMTP_URL: write one of",
        ),
        (["run", "--once", "--store", "STORE", "--dry-run", "--state", "SPOOL/a.jsonl"], "is not a state"),
        (["run", "--once", "--store", "STORE", "--dry-run", "--profile", "SPOOL/a.jsonl"], "a.jsonl"),
        (["show", "nope"], "nope: there is no watch with this id; there are"),
        (["list", "--watches", "SPOOL"], "there is no *.json"),
        (["list", "--watches", "SPOOL/a.jsonl"], "is not JSON"),
        (["backtest", "nowhere"], "nowhere: no such file"),
        (["backtest", "SPOOL", "--every", "5"], "--every 5: not a duration"),
        (["backtest", "SPOOL", "--every", "1ms"], "--every 1ms: must be at least 1s"),
        (["backtest", "SPOOL", "--since", "x"], "--since x: neither a time such as"),
        (["backtest", "EMPTY"], "no event was read"),
    ],
)
def test_wrong_input_ends_with_2(
    call: Callable[..., Result], stored: Path, spool: Path, tmp_path: Path, arguments: list[str], message: str
) -> None:
    """On standard error, with the remedy, without a traceback."""
    (tmp_path / "empty.jsonl").write_text("nothing\n")
    places = {"STORE": stored, "SPOOL": spool, "EMPTY": tmp_path / "empty.jsonl"}
    filled = []
    for argument in arguments:
        name, slash, rest = argument.partition("/")
        filled.append(f"{places[name]}{slash}{rest}" if name in places else argument)
    result = call(*filled, code=2)
    assert message in result.stderr.replace("\n", " ")
    assert result.stdout == ""
