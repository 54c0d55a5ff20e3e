"""The demo's simulated time."""

import json
from datetime import UTC, datetime
from pathlib import Path

from typer.testing import CliRunner

import logging_lib
from logging_lib import profile
from logging_lib.cli.app import app
from logging_lib.demo.loans import INCIDENTS
from logging_lib.demo.run import _ship
from logging_lib.demo.serve import INCIDENT_TIME, QUIET_TIME, incident_at
from logging_lib.logger.jsonlines import find_files
from logging_lib.store.duckdb.store import EmbeddedStore

DAY = datetime(2018, 2, 1, 9, tzinfo=UTC)


def test_what_was_served_arrives_on_the_simulated_day_and_the_logger_s_counters_today(tmp_path: Path) -> None:
    """A minute of counters counts weeks of simulated events: beside them, pipeline-loss would see a loss."""
    log = logging_lib.configure(model="loans", version="1", spool=tmp_path / "spool")
    with log.prediction({"amount": 1}, timestamp=DAY, request_id="r") as p:
        p.prediction = 2.0
    log.label("r", 3.0, timestamp=DAY)
    (file,) = find_files([tmp_path / "spool"])
    health = {
        "@timestamp": "2026-01-01T00:00:00Z",
        "message": "health",
        "ecs": {"version": "9.2.0"},
        "event": {"id": "h", "kind": "metric", "dataset": "ml.health"},
        "ml": {"schema_version": 1, "health": {"interval": 60, "logged": 2}},
        "service": {"name": "loan-pricing"},
    }
    with file.open("a") as lines:
        lines.write(json.dumps(health) + "\n")
    store = EmbeddedStore(tmp_path / "store")

    _ship(tmp_path / "spool", 0, store, DAY)

    hits = store.search("logs-ml.*", {"size": 50})["hits"]["hits"]
    days = {hit["_source"]["event"]["dataset"]: hit["_source"]["event"]["ingested"][:4] for hit in hits}
    assert days.pop("ml.prediction") == days.pop("ml.label") == "2018"
    assert {"ml.start", "ml.health"} <= set(days)
    assert "2018" not in days.values()


def test_the_demo_service_logs_real_loans_until_its_limit(tmp_path: Path) -> None:
    folder = tmp_path / "service"
    ran = CliRunner().invoke(app, ["demo-service", str(folder), "--limit", "3", "--rate", "100"])
    assert (ran.exit_code, ran.output.splitlines()[-1]) == (0, "3 predictions logged")
    fitted = profile.load(folder / "profile.json")
    lines = [line for file in find_files([folder / "spool"]) for line in file.read_text().splitlines()]
    events = [json.loads(line) for line in lines]
    predictions = [event["ml"] for event in events if event["event"]["dataset"] == "ml.prediction"]
    assert [ml["profile"] for ml in predictions] == 3 * [{"id": fitted.id, "status": "matched"}]


def test_incidents_take_turns_after_a_quiet_time() -> None:
    period = (QUIET_TIME + INCIDENT_TIME).total_seconds()
    assert incident_at(0) is None
    for turn, incident in enumerate([*INCIDENTS, INCIDENTS[0]]):
        assert incident_at(turn * period + QUIET_TIME.total_seconds() + 1) is incident
