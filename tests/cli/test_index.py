"""From a spool to an alert by the command line alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import logging_lib
from logging_lib import profile as profiles
from logging_lib.cli.app import app
from logging_lib.store.duckdb.store import EmbeddedStore

run = CliRunner().invoke


@pytest.fixture
def desk(tmp_path: Path, profile: profiles.Profile, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    profiles.save(profile, "profile.json")
    return tmp_path


def test_a_spool_is_indexed_once_and_its_fault_is_found(
    desk: Path, profile: profiles.Profile, inputs: dict[str, Any]
) -> None:
    log = logging_lib.configure(model="loans", version="1", profile=profile, spool="spool", report_every=None)
    for i in range(200):
        log.prediction(inputs | ({"home": "Rented"} if i % 4 == 0 else {}), prediction=12.0)
    command = ["index", "spool", "--store", "store", "--profile", "profile.json", "--json"]
    assert json.loads(run(app, command).output) == {"indexed": 200, "known": 0, "refused": {}}
    assert json.loads(run(app, command).output) == {"indexed": 0, "known": 200, "refused": {}}
    dry_run = run(
        app, ["watch", "run", "--once", "--store", "store", "--dry-run", "--watch", "unseen-categories"]
    )
    assert dry_run.exit_code == 0, dry_run.output
    assert "home: 25.00 % unseen, expected 0.00 %" in dry_run.output
    assert "Rented (50)" in dry_run.output


def test_foreign_events_are_checked_and_refused_ones_are_kept(desk: Path, inputs: dict[str, Any]) -> None:
    lines = [
        json.dumps(
            {"model": "loans", "version": "1", "inputs": inputs | {"income": "N/A"}, "prediction": "11.5"}
        ),
        json.dumps({"model": "other", "inputs": {"a": 1}}),
        "not json",
        json.dumps({"inputs": {}}),
        '{"model": ',
    ]
    Path("events.jsonl").write_text("\n".join(lines))
    result = run(app, ["index", "events.jsonl", "--store", "store", "--profile", "profile.json", "--json"])
    assert json.loads(result.output) == {
        "indexed": 2, "known": 0, "refused": {"not_json": 1, "no_model": 1, "torn": 1},
    }  # fmt: skip
    with EmbeddedStore(Path("store"), read_only=True) as store:
        body = {"query": {"term": {"ml.check.missing": "income"}}}
        (hit,) = store.search("logs-ml.prediction-*", body)["hits"]["hits"]
        assert hit["_source"]["ml"]["profile"]["status"] == "matched"
        dead = store.search("logs-ml.deadletter-*", {"sort": ["log.offset"]})["hits"]["hits"]
    assert [each["_source"]["event"]["original"] for each in dead] == [lines[2], lines[3], lines[4]]
    assert {each["_source"]["log"]["file"]["path"] for each in dead} == {"events.jsonl"}


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("index nowhere --store store", "nowhere: no such file"),
        ("index empty --store store", "a folder without *.jsonl"),
        ("index events.jsonl --store store --profile nope.json", "nope.json: cannot be read"),
        ("watch run --once --store nowhere", "nowhere: no such folder"),
    ],
)
def test_what_is_not_there_is_named(desk: Path, command: str, says: str) -> None:
    Path("events.jsonl").write_text("{}")
    Path("empty").mkdir()
    result = run(app, command.split())
    assert result.exit_code == 2
    assert says in result.stderr
