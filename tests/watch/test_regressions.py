"""Defects that were found by use: what was silent is said, what forged or stopped a run no longer does."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

from logging_lib import profile as profiles
from logging_lib._util import content
from logging_lib._util.times import parse_duration, parse_instant
from logging_lib.store.duckdb.store import EmbeddedStore
from logging_lib.watch.backtest.backtest import busy_ticks
from logging_lib.watch.errors import WatchError
from logging_lib.watch.loading import load_watch
from logging_lib.watch.notify.base import SettingsError
from logging_lib.watch.notify.email import EmailChannel
from logging_lib.watch.notify.slack import MARKUP
from logging_lib.watch.runner import Runner, append
from logging_lib.watch.templating import Medium, render
from tests.watch.conftest import NOW, SCRIPTS, FakeStore, MailServer, build_result, finding, minutes, watch
from tests.watch.test_end_to_end import EVENTS, ONSET, START, call, events, fitted, spool, stored

__all__ = ["call", "fitted", "spool", "stored"]
Call = Callable[..., Result]
HOUR = timedelta(hours=1)
AT = "2018-02-01T11:00:00Z"


def write(path: Path, *lines: object) -> Path:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def event(**about: Any) -> dict[str, Any]:
    document = next(events())
    return {**document, "event": {**document["event"], "id": "odd", **about}}


def test_a_store_without_events_is_refused(call: Call, tmp_path: Path, fitted: Path) -> None:
    """Also when it has profiles: it would answer that all is well."""
    folder = tmp_path / "made"
    (folder / "ml-profiles").mkdir(parents=True)
    result = call("run", "--once", "--store", folder, "--dry-run", code=2)
    wanted = f"{folder}: this folder has no events; index some: logging-lib index SPOOL --store {folder}"
    assert wanted in result.stderr.replace("\n", " ")


def test_a_backtest_says_what_it_did_not_evaluate(call: Call, spool: Path, fitted: Path) -> None:
    """Without any profile nothing was evaluated, which is no success."""
    arguments = ("backtest", spool, "--every", "1h", "--watch", "na-spike")
    blind = call(*arguments, code=1)
    assert "not evaluated: loans 1: no profile; give --profile" in blind.stderr
    (entry,) = json.loads(call(*arguments, "--json", code=1).stdout)["not_evaluated"]
    assert (entry["model"], entry["version"], entry["reason"]) == ("loans", "1", "no profile")
    other = event()
    other["ml"] = {**other["ml"], "model": {"name": "other", "version": "7", "role": "live"}}
    write(spool / "b.jsonl", other)
    partly = call(*arguments, "--profile", fitted)
    assert "not evaluated: other 7: no profile" in partly.stderr


def test_a_blind_run_ends_with_1_and_names_the_pattern(call: Call, stored: Path) -> None:
    """A run that evaluated nothing is not quiet."""
    arguments = ("run", "--once", "--store", stored, "--now", AT, "--dry-run", "--watch", "na-spike")
    result = call(*arguments, code=1)
    assert "na-spike: no published profile matches the model '*'; give --profile" in result.stderr
    assert "na-spike: not evaluated: loans 1: no profile; give --profile" in result.stderr


def test_a_backtest_checks_foreign_events(
    call: Call, tmp_path: Path, fitted: Path, inputs: dict[str, Any]
) -> None:
    """With the given profile, as ``index`` does."""
    lines = [
        {
            "model": "loans",
            "version": "1",
            "time": (START + timedelta(seconds=30 * i)).isoformat(),
            "inputs": inputs | ({"income": "N/A"} if i >= 60 else {}),
        }
        for i in range(120)
    ]
    file = write(tmp_path / "foreign.jsonl", *lines)
    replay = json.loads(call("backtest", file, "--profile", fitted, "--every", "15m", "--json").stdout)
    assert "income" in {name for alert in replay["alerts"] for name in alert["features"]}


@pytest.mark.parametrize("ingested", ["yesterday", 5, "0001-01-01T00:00:00+05:00", [], ""])
def test_a_bad_arrival_is_counted(call: Call, spool: Path, fitted: Path, ingested: Any) -> None:
    """One bad line does not stop a backtest."""
    write(spool / "b.jsonl", event(ingested=ingested))
    arguments = ("backtest", spool, "--profile", fitted, "--every", "1h", "--json")
    replay = json.loads(call(*arguments).stdout)
    assert replay["refused"] == {"not_json": 1, "torn": 1, "ingested": 1}
    assert replay["events"] == EVENTS


def test_a_time_that_is_none_in_utc_and_the_future_are_refused(
    call: Call, spool: Path, fitted: Path, inputs: dict[str, Any]
) -> None:
    """A foreign event without a time stays refused, too."""
    ahead = (datetime.now(UTC) + timedelta(days=2)).isoformat()
    write(
        spool / "b.jsonl",
        {**event(), "@timestamp": "0001-01-01T00:00:00+05:00"},
        {**event(ingested=None), "@timestamp": ahead},
        event(ingested=ahead),
        {"model": "loans", "version": "1", "inputs": inputs},
        {"model": "loans", "version": "1", "inputs": inputs, "time": ahead},
    )
    arguments = ("backtest", spool, "--profile", fitted, "--every", "1h", "--json")
    refused = json.loads(call(*arguments).stdout)["refused"]
    assert refused == {"not_json": 1, "torn": 1, "timestamp": 1, "future": 3, "no_timestamp": 1}


def test_a_gap_is_jumped_over(call: Call, spool: Path, fitted: Path) -> None:
    """One event of 1970 makes no millions of ticks, and the incident is found all the same."""
    write(spool / "b.jsonl", {**event(ingested="1970-01-02T00:00:00Z"), "@timestamp": "1970-01-02T00:00:00Z"})
    arguments = ("backtest", spool, "--profile", fitted, "--every", "15m", "--watch", "na-spike", "--json")
    replay = json.loads(call(*arguments).stdout)
    assert replay["start"].startswith("1970")
    assert replay["ticks"] < 1000
    (alert,) = replay["alerts"]
    assert ONSET < datetime.fromisoformat(alert["time"]) <= ONSET + timedelta(minutes=45)


def test_busy_ticks_are_ticks_near_arrivals() -> None:
    """In order, none twice, up to the reach after an arrival's hour and not beyond the end's tick."""
    ticks = list(busy_ticks(NOW, NOW + 10 * HOUR, HOUR, [NOW + 5 * HOUR, NOW, NOW + HOUR], HOUR))
    assert ticks == [NOW + n * HOUR for n in (0, 1, 2, 3, 5, 6, 7)]
    assert list(busy_ticks(NOW, NOW, HOUR, [NOW], HOUR)) == [NOW]
    assert list(busy_ticks(NOW + 5 * HOUR, NOW + 6 * HOUR, HOUR, [NOW], HOUR)) == []


def test_a_start_after_the_end_is_refused(call: Call, spool: Path) -> None:
    """Instead of one tick at the start."""
    result = call("backtest", spool, "--since", "2018-02-02", "--until", "2018-02-01", code=2)
    assert "--since 2018-02-02 is after --until 2018-02-01" in result.stderr.replace("\n", " ")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["--since", "2999-01-01"],
            "--since 2999-01-01: in the future, and after the last event, which is of 20",
        ),
        (["--since", "2999-01-01", "--until", "2999-01-02"], "--since 2999-01-01: in the future"),
        (["--until", "1999-01-01"], "--until 1999-01-01: before the first event, which is of 20"),
    ],
)
def test_a_period_without_events_is_refused(call: Call, spool: Path, words: list[str], message: str) -> None:
    """Instead of a replay that finds nothing, as if all were well."""
    assert message in call("backtest", spool, *words, code=2).stderr.replace("\n", " ")


def test_what_overflows_is_no_time() -> None:
    """ValueError, as for any other text."""
    with pytest.raises(ValueError, match="is not a time between"):
        parse_instant("9999-12-31T23:59:59-05:00")
    for text in ("9" * 30 + "w", "9" * 400 + "w"):
        with pytest.raises(ValueError, match="too long"):
            parse_duration(text)


SHIPPED = content.path("watchers") / "na-spike.json"


@pytest.mark.parametrize(
    ("name", "value", "path", "remedy"),
    [
        ("check", "missin", "$.metadata.check", "write one of missing"),
        ("check", [], "$.metadata.check", "write one of missing"),
        ("windows", ["15m", "1h", "6h"], "$.metadata.windows", "exactly 4 durations"),
        ("windows", "15m", "$.metadata.windows", "exactly 4 durations"),
        ("windows", ["1h", "15m", "6h", "24h"], "$.metadata.windows[1]", "not longer than the one before"),
        ("windows", ["15m", "60m", "1h", "24h"], "$.metadata.windows[2]", "not longer than the one before"),
        ("windows", ["0m", "1h", "6h", "24h"], "$.metadata.windows[0]", "not longer than nothing"),
        ("windows", ["15m", 60, "6h", "24h"], "$.metadata.windows[1]", "is not a duration"),
        ("false_alarms_per_model_month", 0, "$.metadata.false_alarms_per_model_month", "above 0"),
        ("false_alarms_per_model_month", "0.05", "$.metadata.false_alarms_per_model_month", "above 0"),
        ("ticks_per_month", True, "$.metadata.ticks_per_month", "above 0"),
        ("ticks_per_month", float("inf"), "$.metadata.ticks_per_month", "above 0"),
        ("min_effect", -0.1, "$.metadata.min_effect", "from 0 on"),
        ("min_hits", 0, "$.metadata.min_hits", "whole number from 1"),
        ("min_hits", 2.5, "$.metadata.min_hits", "whole number from 1"),
        ("min_hits", None, "$.metadata", "'min_hits' is missing"),
        ("model", " ", "$.metadata.model", "name the model"),
        ("model", ["a"], "$.metadata.model", "name the model"),
        ("email_to", "nobody", "$.metadata.email_to", "at least one mail address"),
        ("slack_to", " ", "$.metadata.slack_to", "write a channel"),
    ],
)
def test_wrong_settings_are_refused_at_load(
    tmp_path: Path, name: str, value: Any, path: str, remedy: str
) -> None:
    """With the file, the JSON path and the remedy; None leaves the setting out."""
    document = json.loads(SHIPPED.read_text("utf-8"))
    document["metadata"][name] = value
    if value is None:
        del document["metadata"][name]
    file = tmp_path / "tuned.json"
    file.write_text(json.dumps(document).replace("Infinity", "1e999"))
    with pytest.raises(WatchError) as caught:
        load_watch(file)
    assert any(p.path == path and remedy in p.message and p.file == str(file) for p in caught.value.problems)


@pytest.mark.parametrize("medium", [Medium.TEXT, Medium.HTML, MARKUP])
def test_values_make_no_lines(medium: Medium) -> None:
    """Only the template does, a join's delimiter included."""
    context = {"x": "a\nb\rc\td\x85e\u2028f\u2029g", "many": ["1\n2", "3"]}
    assert render("{{x}}\n{{{x}}}", context, medium) == "a b c d e f g\na b c d e f g"
    text = "{{#join delimiter='\n'}}many{{/join delimiter='\n'}}"
    assert render(text, context, medium) == "1 2\n3"


def test_values_do_not_end_code_in_slack() -> None:
    """A backtick would."""
    assert render("`{{x}}`", {"x": "a` <!here>"}, MARKUP) == "`a' &lt;!here&gt;`"


def test_a_dry_run_writes_nothing_and_would_send(call: Call, stored: Path, fitted: Path) -> None:
    """The profile is used, and the store is as it was."""
    before = sorted(stored.rglob("*"))
    arguments = ("run", "--once", "--store", stored, "--now", AT, "--dry-run", "--profile", fitted)
    dry = call(*arguments)
    assert sorted(stored.rglob("*")) == before
    assert "email would send" in dry.stdout
    assert "executed" not in dry.stdout
    assert "no published profile" not in dry.stderr
    document = json.loads(call(*arguments, "--json").stdout)
    run = next(run for run in document["runs"] if run["watch"] == "na-spike")
    assert run["alerts"][0]["actions"]["email"] == {"status": "would_send"}


def test_a_dry_run_sees_what_was_published(
    call: Call, stored: Path, fitted: Path, profile: profiles.Profile
) -> None:
    """Beside what is given."""
    with EmbeddedStore(stored) as store:
        published = {**profiles.build_document(profile), "_id": "kept"}
        published["ml"] = {**published["ml"], "model": {"name": "kept", "version": "1"}}
        store.index("ml-profiles", [published])
    before = (stored / "ml-profiles" / "documents.jsonl").read_bytes()
    arguments = ("run", "--once", "--store", stored, "--now", AT, "--dry-run", "--watch", "na-spike")
    assert "not evaluated" in call(*arguments, code=1).stderr
    assert "income" in call(*arguments, "--profile", fitted).stdout
    assert (stored / "ml-profiles" / "documents.jsonl").read_bytes() == before


def test_unwritable_alerts_are_refused_before_anything_is_sent(
    call: Call,
    stored: Path,
    fitted: Path,
    mail_server: MailServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also where the folder cannot be made."""
    monkeypatch.setenv("LOGGING_LIB_EMAIL_TO", "team@example.org")
    (tmp_path / "file").write_text("")
    arguments = ("run", "--once", "--store", stored, "--now", AT, "--profile", fitted)
    for place in (tmp_path, tmp_path / "file" / "alerts.jsonl"):
        result = call(*arguments, "--smtp-url", mail_server.url, "--alerts", place, code=2)
        assert f"--alerts {place}: cannot be written" in result.stderr.replace("\n", " ")
    assert not mail_server.mails


def test_alerts_that_become_unwritable_are_reported(tmp_path: Path) -> None:
    """The run goes on; the report says so."""

    class Delivers:
        def deliver(self, message: Any) -> None: ...

    engine = Runner(
        FakeStore(lambda now: [finding()]),
        [watch("a"), watch("b")],
        channels={"email": Delivers(), "slack": Delivers()},
        scripts=SCRIPTS,
        summarize=build_result,
        alerts=tmp_path,
    )
    report = engine.run_once(NOW)
    assert [len(run.alerts) for run in report.runs] == [1, 1]
    assert not report.ok
    assert "the alert was not written" in report.document()["runs"][0]["unwritten"]
    append(tmp_path / "a" / "b.jsonl", "x\n")
    assert not engine.run_once(NOW + minutes(1)).runs[0].unwritten


@pytest.mark.parametrize("port", ["99999", "-1", "x", "0"])
def test_a_port_out_of_range_is_refused(port: str) -> None:
    """When the channel is made, not when the first mail is sent."""
    with pytest.raises(SettingsError, match="LOGGING_LIB_SMTP_URL"):
        EmailChannel(f"smtp://localhost:{port}")
