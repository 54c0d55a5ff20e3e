"""scikit-learn, MLflow, Celery and KServe, each as its page says: real pipelines, a real registry, real workers."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml
from typer.testing import CliRunner

from logging_lib.cli.app import app
from tests.examples.conftest import EXAMPLES, ROOT, documented, environment, run

Events = Callable[[Path], list[dict[str, Any]]]
Valid = Callable[[dict[str, Any]], dict[str, Any]]
LOAN = {
    "annual_income": 64000.0,
    "term": 36,
    "homeownership": "RENT",
    "purpose": "car",
    "emp_title": "lead cook",
}


def test_a_scikit_learn_pipeline(tmp_path: Path, spooled: Events, valid: Valid) -> None:
    *command, _ = documented("sklearn_pipeline").split()[1:]
    run(*command, tmp_path)
    one, *batch = [valid(event) for event in spooled(tmp_path / "spool")]
    assert one["ml"]["check"]["unseen_values"] == ["homeownership=Mortgage"]
    assert one["ml"]["profile"]["status"] == "matched"
    assert len(batch) == 200
    assert all(event["ml"]["prediction"]["bin"] for event in batch)


def test_the_version_is_the_registry_s_and_the_profile_its_artifact(
    tmp_path: Path, spooled: Events, valid: Valid
) -> None:
    """On MLflow's file store: its server and its SQL store need far more than mlflow-skinny."""
    given = {"MLFLOW_TRACKING_URI": (tmp_path / "mlruns").as_uri(), "SPOOL": str(tmp_path / "spool")}
    given["MLFLOW_ALLOW_FILE_STORE"] = "true"
    register = documented("mlflow_registry").split()[1:]
    assert run(*register, **given).stdout.split()[-1] == "1"
    request = json.dumps({"id": "r-1", "inputs": LOAN}) + "\n"
    answer = json.loads(run("-m", "mlflow_registry.serve", given=request, **given).stdout)
    (event,) = [valid(event) for event in spooled(tmp_path / "spool")]
    assert event["ml"]["model"] == {"name": "loans", "version": "1", "role": "live"}
    assert event["ml"]["profile"]["status"] == "matched"
    assert event["ml"]["prediction"]["value"] == answer["interest_rate"]
    assert len(event["labels"]["mlflow_run"]) == 32


def test_celery_s_workers_log_each_task_once(
    tmp_path: Path, model_dir: Path, spooled: Events, valid: Valid
) -> None:
    """Two prefork workers and a broker of files; the tasks are sent from this process."""
    (tmp_path / "broker").mkdir()
    given = {"BROKER": "filesystem://", "BROKER_FOLDER": str(tmp_path / "broker"), "MODEL_DIR": str(model_dir),
             "SPOOL": str(tmp_path / "spool")}  # fmt: skip
    send = (
        "import json, sys; from celery_tasks.tasks import price, settled\n"
        "ids = [price.delay(dict(json.loads(sys.argv[1]), term=12 * (n + 1))).id for n in range(20)]\n"
        "settled.delay(ids[0], 10.2)\n"
        "print(json.dumps(ids))"
    )
    ids = json.loads(run("-c", send, json.dumps(LOAN), **given).stdout)
    command = [sys.executable, "-m", *shlex.split(documented("celery_tasks")), "--loglevel", "WARNING"]
    log = (tmp_path / "worker.log").open("wb")
    worker = subprocess.Popen(command, cwd=EXAMPLES, env=environment(**given), stdout=log, stderr=log)
    try:
        until = time.monotonic() + 600
        while len(spooled(tmp_path / "spool")) < 21:
            assert time.monotonic() < until, (tmp_path / "worker.log").read_text()
            time.sleep(0.1)
    finally:
        worker.terminate()
        worker.wait(300)
        log.close()
    events = [valid(event) for event in spooled(tmp_path / "spool")]
    predictions = [event for event in events if event["event"]["dataset"] == "ml.prediction"]
    assert sorted(event["ml"]["request"]["id"] for event in predictions) == sorted(ids)
    assert {event["event"]["id"] for event in predictions} == {f"{one}:loans:3:live" for one in ids}
    (label,) = [event for event in events if event["event"]["dataset"] == "ml.label"]
    assert label["ml"]["request"]["id"] == ids[0]
    starts = [file.read_text().splitlines()[0] for file in (tmp_path / "spool").glob("*.jsonl")]
    assert len(starts) == 2
    assert {json.loads(line)["event"]["dataset"] for line in starts} == {"ml.start"}


def test_kserve_s_payload_log_becomes_checked_events(tmp_path: Path, model_dir: Path) -> None:
    """Through the Python twin; the Logstash input itself: ``tests/pipelines/test_logstash.py``."""
    asked = ["index", str(EXAMPLES / "kserve" / "payloads.jsonl"), "--store", str(tmp_path / "store")]
    done = CliRunner().invoke(app, [*asked, "--profile", str(model_dir / "profile.json"), "--json"])
    assert json.loads(done.stdout) == {"indexed": 1, "known": 0, "refused": {}}
    (file,) = (tmp_path / "store" / "logs-ml.prediction-default").glob("*.jsonl")
    event = json.loads(file.read_text())
    assert event["ml"]["model"]["version"] == "3"
    assert event["ml"]["request"]["id"] == "7d1c2a4e-1"
    assert event["ml"]["check"]["unseen_values"] == ["homeownership=Mortgage"]


def test_kserves_logger_sends_to_the_address_of_logstash() -> None:
    service = yaml.safe_load((EXAMPLES / "kserve" / "inferenceservice.yaml").read_text())
    port = urlsplit(service["spec"]["predictor"]["logger"]["url"]).port
    assert f"ML_HTTP_PORT:{port}" in (ROOT / "pipelines/inputs/tls-false/12-input-http.conf").read_text()
