"""The batch job and the worker of the standard library, as commands."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from typer.testing import CliRunner

from logging_lib.cli.app import app
from tests.examples.conftest import EXAMPLES, ROOT, documented, run
from tests.pages import Block, blocks
from tests.reader import Reader

Events = Callable[[Path], list[dict[str, Any]]]
Valid = Callable[[dict[str, Any]], dict[str, Any]]


def batch(source: Path, target: Path) -> list[str]:
    """What follows ``python`` in the documented command, with other files."""
    files = {"build/applications.csv": str(source), "build/scored.csv": str(target)}
    return [files.get(word, word) for word in documented("batch_job").split()[1:]]


def test_the_batch_job_logs_one_event_a_row(
    tmp_path: Path, model_dir: Path, spooled: Events, valid: Valid
) -> None:
    source, target, spool = model_dir / "applications.csv", tmp_path / "scored.csv", tmp_path / "spool"
    done = run(
        *batch(source, target),
        "--model-dir", model_dir, "--spool", spool, "--run", "nightly"
    )  # fmt: skip
    loans, scored = pd.read_csv(source), pd.read_csv(target)
    events = [valid(event) for event in spooled(spool)]
    assert "500 loans scored" in done.stderr
    assert [event["ml"]["request"]["id"] for event in events] == loans["loan_id"].tolist()
    logged = [round(event["ml"]["prediction"]["value"], 2) for event in events]
    assert logged == scored["interest_rate"].tolist()
    assert {event["labels"]["run"] for event in events} == {"nightly"}
    missing = [event["ml"].get("check", {}).get("missing") == ["annual_income"] for event in events]
    assert missing == loans["annual_income"].isna().tolist()
    assert any(missing)
    status = CliRunner().invoke(app, ["ship", str(spool), "--status"])
    assert "waiting    503 events" in status.output  # with the start and the last health of process and model


def test_a_sampled_batch_keeps_the_total_and_samples_what_usually_fails(
    tmp_path: Path, model_dir: Path, spooled: Events, valid: Valid
) -> None:
    source, spool = model_dir / "applications.csv", tmp_path / "spool"
    run(
        *batch(source, tmp_path / "scored.csv"),
        "--model-dir", model_dir, "--spool", spool, "--sample", "0.1"
    )  # fmt: skip
    events = [valid(event) for event in spooled(spool)]
    faults = [event for event in events if event["ml"].get("check", {}).get("missing")]
    assert len(faults) < pd.read_csv(source)["annual_income"].isna().sum()  # as many as training had
    assert {event["ml"]["sample"]["weight"] for event in faults} <= {10.0}
    assert len(events) < 150
    assert 300 < sum(event["ml"]["sample"]["weight"] for event in events) < 700


def test_the_worker_logs_through_the_standard_library(
    tmp_path: Path, model_dir: Path, spooled: Events, valid: Valid
) -> None:
    loan = {"annual_income": 64000.0, "term": 36, "homeownership": "RENT", "purpose": "car"}
    tasks = [
        {"id": "r-1", "inputs": {**loan, "emp_title": "senior nurse"}},
        {"id": "r-2", "inputs": {**loan, "annual_income": -1}},
        {"id": "r-3", "inputs": {**loan, "emp_title": "jefe de ventas"}},
    ]
    command, _, _ = documented("stdlib_service").partition("<")
    done = run(
        *command.split()[1:],
        given="".join(json.dumps(task) + "\n" for task in tasks),
        MODEL_DIR=str(model_dir),
        SPOOL=str(tmp_path / "spool"),
    )
    priced = {line["id"]: line["interest_rate"] for line in map(json.loads, done.stdout.splitlines())}
    good, bad, spanish = map(valid, spooled(tmp_path / "spool"))  # "ready" is not a prediction
    assert priced == {
        "r-1": good["ml"]["prediction"]["value"],
        "r-3": spanish["ml"]["prediction"]["value"],
    }
    assert good["message"] == "loan r-1 priced"
    assert good["log"] == {"level": "info", "logger": "pricing"}
    assert good["ml"]["request"]["id"] == "r-1"
    assert bad["event"]["outcome"] == "failure"
    assert bad["error"]["type"] == "ValueError"
    assert bad["ml"]["check"] == {"out_of_range": ["annual_income"], "absent": ["emp_title"]}
    assert spanish["ml"]["check"]["oov"] == ["emp_title"]
    assert "INFO ready" in done.stderr
    assert "loan r-2 cannot be priced" in done.stderr


def test_the_commands_of_the_readme_run_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a copy, as after a checkout: train, an example of the table, then the look at what it logged."""
    ignored = shutil.ignore_patterns("build", "__pycache__")
    shutil.copytree(EXAMPLES, tmp_path / "examples", ignore=ignored)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    reader = Reader(tmp_path, monkeypatch, addresses={})
    first, second = blocks(EXAMPLES / "README.md")
    reader.follow(first)
    reader.follow(Block("examples/README.md", 0, "sh", documented("batch_job")))
    reader.follow(second)
    assert "waiting    503 events" in reader.output
