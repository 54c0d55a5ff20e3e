"""What is known of one event, over the embedded store; on Elasticsearch: ``tests/stack/test_erase.py``."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import logging_lib
from logging_lib import profile as profiles
from logging_lib._util.times import format_instant, parse_instant
from logging_lib.cli.app import app
from logging_lib.privacy.audit import match_alert
from logging_lib.store.duckdb.store import EmbeddedStore

ARRIVED = "2018-02-01T09:00:00Z"


@pytest.fixture
def stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, profile: profiles.Profile, inputs: dict[str, Any]
) -> list[dict[str, Any]]:
    """The events that were logged and indexed: a prediction with a fault, its label, a shadow's prediction."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LOGGING_LIB_ELASTICSEARCH_URL", raising=False)
    profiles.save(profile, "profile.json")
    log = logging_lib.configure(
        model="loans", version="1", profile=profile, spool="spool", label_cache_size=9, service="pricing"
    )
    wrong = {**inputs, "home": "\x1b[31mHOUSE", "income": None, "count": "two"}
    log.prediction(wrong, prediction=9.0, request_id="r-1")
    log.label("r-1", 9.5)
    shadow = logging_lib.configure(model="loans", version="2", spool="spool", role="shadow")
    shadow.prediction(wrong, prediction=8.0, request_id="r-1")
    done = CliRunner().invoke(app, ["index", "spool", "--store", "store", "--profile", "profile.json"])
    assert done.exit_code == 0, done.output
    lines = [line for file in Path("spool").glob("*.jsonl") for line in file.read_text().splitlines()]
    all_events = [json.loads(line) for line in lines]
    return [event for event in all_events if event["event"]["dataset"] == "ml.prediction"]


def test_an_audit_has_all_that_belongs_to_the_event(stored: list[dict[str, Any]]) -> None:
    alert_time = format_instant(parse_instant(stored[0]["@timestamp"]) + timedelta(minutes=1))
    finding = {"model": "loans", "version": "1", "feature": "home", "check": "unseen", "window": "15m"}
    alert = {"time": alert_time, "watch": "unseen-categories", "subject": "HOUSE", "findings": [finding]}
    Path("alerts.jsonl").write_text(json.dumps(alert) + '\n{"torn')
    asked = ["audit", stored[0]["event"]["id"], "--store", "store", "--alerts", "alerts.jsonl"]
    audited = json.loads(CliRunner().invoke(app, [*asked, "--json"]).stdout)
    assert audited["event"]["event"]["id"] == stored[0]["event"]["id"]
    assert audited["checks"]["missing"] == [{"feature": "income", "value": None, "bin": "!missing"}]
    assert audited["checks"]["unseen"][0]["feature"] == "home"
    assert audited["checks"]["wrong_type"] == [{"feature": "count", "value": "two", "bin": "!type"}]
    assert audited["checks"].keys() == {"missing", "unseen", "wrong_type"}
    assert audited["same_profile"] is True
    assert audited["start"]["ml"]["start"]["python"]
    assert [label["ml"]["label"]["value"] for label in audited["labels"]] == [9.5]
    assert [sibling["ml"]["model"]["role"] for sibling in audited["siblings"]] == ["shadow"]
    assert [(part["part"], part["feature"]) for part in audited["alerts"]] == [("failed", "home")]
    text = CliRunner().invoke(app, asked).output
    for part in ("pricing", "failed: missing", "alert (failed)", "loans 2 (shadow)", "the published one"):
        assert part in text
    assert "\x1b" not in text


def test_an_event_that_is_not_there(stored: list[dict[str, Any]]) -> None:
    gone = CliRunner().invoke(app, ["audit", "no-such-id", "--store", "store"])
    assert gone.exit_code == 1
    assert "erased" in gone.output


def test_the_runner_s_history_in_the_store_is_looked_at(stored: list[dict[str, Any]]) -> None:
    alert_time = format_instant(parse_instant(stored[0]["@timestamp"]) + timedelta(minutes=1))
    about = {"watch": "na-spike", "model": "loans", "version": "1"}
    entry = {"time": alert_time, "kind": "alert", **about, "features": ["income"], "subject": "s"}
    record = {
        "@timestamp": alert_time,
        "kind": "history",
        "record": "alert",
        "model": "loans",
        "entry": entry,
    }
    with EmbeddedStore("store") as store:
        store.index("ml-watch-state", [record])
    asked = ["audit", stored[0]["event"]["id"], "--store", "store", "--json"]
    (alert,) = json.loads(CliRunner().invoke(app, asked).stdout)["alerts"]
    assert (alert["watch"], alert["part"], alert["feature"]) == ("na-spike", "failed", "income")


def _event(**check: list[str]) -> dict[str, Any]:
    return {
        "@timestamp": ARRIVED,
        "event": {"ingested": ARRIVED},
        "ml": {"model": {"name": "loans", "version": "1"}, "check": check},
    }


@pytest.mark.parametrize(
    ("finding", "minutes", "part"),
    [
        ({"feature": "home", "check": "unseen", "window": "15m"}, 1, "failed"),
        ({"feature": "home", "check": "unseen", "window": "15m"}, 15, None),
        ({"feature": "home", "check": "unseen", "window": "15m"}, -1, None),
        ({"feature": "state", "check": "unseen", "window": "15m"}, 1, None),
        ({"feature": "income", "window": "1h"}, 59, "counted"),
        ({"window": "1h", "version": "2"}, 1, None),
        ({}, 60 * 23, "counted"),
        ({}, 60 * 24, None),
    ],
)
def test_an_event_belongs_to_the_alerts_whose_windows_contain_it(
    finding: dict[str, Any], minutes: int, part: str | None
) -> None:
    alert_time = format_instant(parse_instant(ARRIVED) + timedelta(minutes=minutes))
    alert = {"time": alert_time, "findings": [{"model": "loans", "version": "1", **finding}]}
    matched = match_alert(_event(unseen=["home"]), alert)
    assert (matched and matched.part) == part
