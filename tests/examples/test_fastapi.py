"""The FastAPI service under a real uvicorn, with concurrent requests."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tests.examples.conftest import EXAMPLES, call, documented, environment, serving
from tests.ports import free_port

REQUESTS = 300
LOAN = {"term": 36, "homeownership": "RENT", "purpose": "car", "emp_title": "senior nurse"}


def test_every_request_is_logged_with_its_own_id(
    tmp_path: Path,
    model_dir: Path,
    spooled: Callable[[Path], list[dict[str, Any]]],
    valid: Callable[[dict[str, Any]], dict[str, Any]],
) -> None:
    port = free_port()
    command = documented("fastapi_service").replace("8000", str(port))
    spool = tmp_path / "spool"

    def price(number: int) -> tuple[str, float]:
        loan = {**LOAN, "annual_income": 20_000.0 + number}
        status, headers, answer = call(port, "POST", "/price", loan, request_id=f"r-{number}")
        assert status == 200
        return headers["x-request-id"], answer["interest_rate"]

    with serving(command, port, tmp_path, MODEL_DIR=str(model_dir), SPOOL=str(spool)):
        with ThreadPoolExecutor(16) as pool:
            answers = dict(pool.map(price, range(REQUESTS)))
        unnamed = call(port, "POST", "/price", {**LOAN, "homeownership": "YURT", "annual_income": None})
        failed = call(port, "POST", "/price", {**LOAN, "annual_income": -1}, request_id="bad")
        refused = call(port, "POST", "/price", {"term": "soon"}, request_id="refused")
        outcome = call(port, "POST", "/outcomes", {"request_id": "r-7", "interest_rate": 12.5})
        health = call(port, "GET", "/health")

    events = [valid(event) for event in spooled(spool)]
    by_request = {event["ml"]["request"]["id"]: event for event in events if "label" not in event["ml"]}
    assert len(answers) == REQUESTS
    for number in range(REQUESTS):  # neither inputs nor contexts of concurrent requests are mixed up
        event = by_request.pop(f"r-{number}")
        assert event["ml"]["input"]["numeric"]["annual_income"] == 20_000.0 + number
        assert event["ml"]["prediction"]["value"] == answers[f"r-{number}"]
        assert event["ml"]["profile"]["status"] == "matched"
        assert event["labels"] == {"route": "/price"}
        assert event["event"]["duration"] > 0
        assert "check" not in event["ml"]

    assert unnamed[0] == 200
    event = by_request.pop(unnamed[1]["x-request-id"])
    assert event["ml"]["check"]["unseen_values"] == ["homeownership=YURT"]
    assert event["ml"]["check"]["missing"] == ["annual_income"]

    assert failed[0] == 500
    event = by_request.pop("bad")
    assert event["event"]["outcome"] == "failure"
    assert event["error"]["type"] == "ValueError"
    assert event["ml"]["check"]["out_of_range"] == ["annual_income"]
    assert "prediction" not in event["ml"]

    assert refused[0] == 422  # it never reached the model
    assert by_request == {}

    assert outcome[0] == 204
    (label,) = [event for event in events if event["event"]["dataset"] == "ml.label"]
    assert label["ml"]["label"]["value"] == 12.5
    assert label["ml"]["label"]["joined"]
    assert label["ml"]["prediction"]["value"] == answers["r-7"]
    assert health[2]["log"] == {
        "written": len(events),
        "dropped": {},
        "sampled_out": 0,
        "unreadable_times": 0,
    }


def test_with_a_damaged_profile_it_does_not_start(tmp_path: Path, model_dir: Path) -> None:
    shutil.copy(model_dir / "model.json", tmp_path)
    damaged = json.loads((model_dir / "profile.json").read_text())
    damaged["features"] = "lost"
    (tmp_path / "profile.json").write_text(json.dumps(damaged))
    done = subprocess.run(
        [sys.executable, "-m", *shlex.split(documented("fastapi_service").replace("8000", str(free_port())))],
        cwd=EXAMPLES, env=environment(MODEL_DIR=str(tmp_path), SPOOL=str(tmp_path / "spool")),
        capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert done.returncode != 0
    assert "ProfileError" in done.stderr
    assert "features" in done.stderr
    assert "Application startup failed" in done.stderr
