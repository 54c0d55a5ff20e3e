"""From a spool to an alert by the command line alone."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import logging_lib
from logging_lib import profile as profiles
from logging_lib._util import content
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
    assert "home 25.0 % unseen (expected 0 %)" in dry_run.output
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
        ("index events.jsonl --store store --profile nope.json", "nope.json: no such file"),
        ("watch run --once --store nowhere", "nowhere: no such folder"),
    ],
)
def test_what_is_not_there_is_named(desk: Path, command: str, says: str) -> None:
    Path("events.jsonl").write_text("{}")
    Path("empty").mkdir()
    result = run(app, command.split())
    assert result.exit_code == 2
    assert says in result.stderr


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("train.csv", "a,b\n" + "1,2\n" * 30, "none of the first 31 lines is one (not JSON"),
        (
            "train.jsonl",
            '{"income": 1, "home": "RENT"}\n' * 3000,
            "none of the first 200 lines is one (no model",
        ),
        ("numbers.jsonl", "[1, 2]\n" * 30, "a JSON array, not an object"),
        ("train.parquet", "PAR1\x00\n" * 30, "not JSON"),
    ],
)
def test_a_file_of_something_else_is_not_indexed_at_all(desk: Path, name: str, text: str, says: str) -> None:
    Path(name).write_text(text)
    result = run(app, ["index", name, "--store", "store", "--profile", "profile.json"])
    assert result.exit_code == 2
    assert f"{name}: holds no events" in result.stderr
    assert says in result.stderr
    with EmbeddedStore(Path("store"), read_only=True) as store:
        for stream in ("logs-ml.deadletter-*", "ml-profiles"):
            assert store.search(stream, {"track_total_hits": True})["hits"]["total"]["value"] == 0


def test_events_among_other_lines_are_indexed(desk: Path, inputs: dict[str, Any]) -> None:
    event = json.dumps({"model": "m", "inputs": inputs, "prediction": 1})
    Path("service.log").write_text("starting\n" * 50 + f"{event}\n" + "stopping\n" * 50)
    result = run(app, ["index", "service.log", "--store", "store", "--json"])
    assert result.exit_code == 0
    assert json.loads(result.output) == {"indexed": 1, "known": 0, "refused": {"not_json": 100}}


def test_records_of_another_log_are_read_where_a_file_says_and_checked(
    desk: Path, inputs: dict[str, Any]
) -> None:
    row = io.StringIO()
    csv.writer(row).writerow((inputs | {"home": "Rented"}).values())
    capture = {
        "captureData": {"endpointInput": {"data": row.getvalue(), "encoding": "CSV"}},
        "eventMetadata": {"eventId": "e-1", "inferenceTime": "2018-03-01T10:00:00Z"},
    }
    Path("capture.jsonl").write_text(json.dumps(capture) + "\n")
    shipped = (content.path("pipelines") / "aliases" / "sagemaker.yml").read_text()
    Path("loans.yml").write_text(shipped.replace("[income, age, home]", json.dumps(list(inputs))))
    command = ["index", "capture.jsonl", "--store", "store", "--profile", "profile.json", "--json"]
    assert json.loads(run(app, command).output)["refused"] == {"no_model": 1}
    result = run(app, [*command, "--aliases", "loans.yml"])
    assert json.loads(result.output) == {"indexed": 1, "known": 0, "refused": {}}, result.output
    with EmbeddedStore(Path("store"), read_only=True) as store:
        found = store.search("logs-ml.prediction-*", {"query": {"term": {"ml.check.unseen": "home"}}})
    (hit,) = found["hits"]["hits"]
    assert hit["_source"]["ml"]["profile"]["status"] == "matched"
    assert hit["_source"]["ml"]["check"] == {"unseen": ["home"], "unseen_values": ["home=Rented"]}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("extend: {modle: a}", "loans.yml: extend.modle: is not known; write one of model, "),
        (None, "no such file"),
    ],
)
def test_a_file_of_aliases_that_cannot_be_used_says_why(desk: Path, text: str | None, says: str) -> None:
    Path("events.jsonl").write_text('{"model":"m","inputs":{"a":1}}\n')
    if text is not None:
        Path("loans.yml").write_text(text)
    result = run(app, ["index", "events.jsonl", "--store", "store", "--aliases", "loans.yml"])
    assert result.exit_code == 2
    assert says in result.stderr
    assert not Path("store").exists()


def test_nothing_but_refused_events_is_no_success(desk: Path, inputs: dict[str, Any]) -> None:
    Path("few.jsonl").write_text('{"log":"{}","stream":"stdout"}\nnot json\nnot json\n')
    assert run(app, ["index", "few.jsonl", "--store", "store"]).exit_code == 1
    event = json.dumps({"model": "m", "inputs": inputs, "prediction": 1})
    Path("some.jsonl").write_text(f"{event}\nnot json\n")
    assert run(app, ["index", "some.jsonl", "--store", "store"]).exit_code == 0
    assert run(app, ["index", "some.jsonl", "--store", "store"]).exit_code == 0  # already indexed


LABELS = "id{0}outcome\n" + "r{0}1\n" * 300


@pytest.mark.parametrize(
    ("text", "options", "says"),
    [
        (
            LABELS.format(","),
            "",
            "there is no column 'actual'; columns: id, outcome; name that of the actual values with --actual",
        ),
        (
            LABELS.format(";"),
            "--actual outcome",
            "has neither 'request_id' nor 'event_id'; columns: id, outcome",
        ),
        ("<html>\n" * 40, "", "there is no column 'actual'; columns: <html>"),
    ],
)
def test_a_file_that_holds_no_labels_is_refused_at_once(
    desk: Path, text: str, options: str, says: str
) -> None:
    Path("labels.csv").write_text(text)
    Path("store").mkdir()
    result = run(
        app, ["labels", "ingest", "labels.csv", "--store", "store", "--model", "m", *options.split()]
    )
    assert result.exit_code == 2
    assert result.stderr.count("\n") == 1
    assert says in result.stderr


def test_labels_of_any_separator_are_ingested(desk: Path) -> None:
    Path("store").mkdir()
    for number, separator in enumerate(",;\t|"):
        Path("labels.csv").write_text(f"request_id{separator}actual\nr-{number}{separator}1.5\n")
        command = ["labels", "ingest", "labels.csv", "--store", "store", "--model", "m", "--json"]
        result = run(app, command)
        assert json.loads(result.output)["waiting"] == 1, result.output
