"""The Flask service under a real gunicorn: four prefork workers under load, some of them replaced and killed."""

from __future__ import annotations

import itertools
import json
import os
import signal
import statistics
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from logging_lib.logger.segments import list_segments
from logging_lib.ship.receivers import create_receiver
from logging_lib.ship.shipper import Shipper
from logging_lib.ship.spool_reader import SpoolReader
from logging_lib.ship.target import parse_target
from tests.examples.conftest import call, documented, serving
from tests.ports import free_port
from tests.ship.conftest import dead_letters
from tests.ship.receivers import BeatsSink

Valid = Callable[[dict[str, Any]], dict[str, Any]]

REQUESTS, THREADS = 2_000, 6
LOAN = {
    "annual_income": 64_000.0,
    "term": 36,
    "homeownership": "RENT",
    "purpose": "car",
    "emp_title": "lead cook",
}


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def wait_until(holds: Callable[[], bool], seconds: float = 600.0) -> None:
    until = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.01)


def under_load(folder: Path, model_dir: Path, **variables: str) -> dict[str, float]:
    """Serve until 2,000 requests were answered 200, with everything that ends a worker on the way.

    Each worker is replaced after some 200 requests; at a third of the way one is killed, at two thirds gunicorn is
    asked to reload. Returns what was answered, by request id.
    """
    port = free_port()
    numbers, answered = itertools.count(), dict[str, float]()

    def client() -> None:
        while len(answered) < REQUESTS:
            name = f"r-{next(numbers)}"
            try:
                status, _, answer = call(port, "POST", "/price", LOAN, request_id=name)
            except ConnectionError:  # its worker was killed
                continue
            assert status == 200, answer
            answered[name] = answer["interest_rate"]

    def answers(share: float) -> None:
        wait_until(lambda: len(answered) >= share * REQUESTS)

    command = documented("flask_service")
    threads = [threading.Thread(target=client) for _ in range(THREADS)]
    given = {"MODEL_DIR": str(model_dir), "SPOOL": str(folder / "spool"), "MAX_REQUESTS": "200", **variables}
    with serving(command, port, folder, BIND=f"127.0.0.1:{port}", **given) as gunicorn:
        wait_until(lambda: len(children(gunicorn.pid)) == 4)
        for thread in threads:
            thread.start()
        answers(1 / 3)
        os.kill(children(gunicorn.pid)[0], signal.SIGKILL)
        answers(2 / 3)
        gunicorn.send_signal(signal.SIGHUP)
        for thread in threads:
            thread.join()
    assert gunicorn.returncode == 0, (folder / "server.log").read_text()
    assert len(answered) >= REQUESTS, (folder / "server.log").read_text()
    return answered


def test_every_answer_has_one_event_in_its_workers_own_segment(
    tmp_path: Path, model_dir: Path, valid: Valid
) -> None:
    answered = under_load(tmp_path, model_dir)
    requests: Counter[str] = Counter()
    ids = set()
    writers = []
    for segment in list_segments(tmp_path / "spool"):
        data = segment.read_bytes()
        assert data.endswith(b"\n")  # no torn line, though workers were killed
        events = [valid(json.loads(line)) for line in data.splitlines()]
        (pid,) = {event["process"]["pid"] for event in events}
        writers.append(pid)
        assert events[0]["event"]["dataset"] == "ml.start"
        for event in events:
            if event["event"]["dataset"] != "ml.prediction":
                continue
            name, value = event["ml"]["request"]["id"], event["ml"]["prediction"]["value"]
            requests[name] += 1
            ids.add(event["event"]["id"])
            assert event["event"]["outcome"] == "success"
            assert answered.get(name, value) == value
    assert set(requests.values()) == {1}
    assert set(answered) <= set(requests)
    assert len(requests) - len(answered) <= 2  # the killed worker's threads had logged and not answered
    assert len(ids) == len(requests)
    assert len(set(writers)) == len(writers) >= 8  # the first four, and four others after the reload


def test_every_event_arrives_through_the_workers_own_shipping(
    tmp_path: Path, model_dir: Path, valid: Valid
) -> None:
    with BeatsSink() as sink:
        url = f"beats://127.0.0.1:{sink.port}"
        answered = under_load(tmp_path, model_dir, SHIP_TO=url)
        by_workers = len(sink.lines)
        rest = Shipper(tmp_path / "spool", create_receiver(parse_target(url)), name=url)
        assert rest.reader.lock()  # gunicorn and its workers have ended
        while rest.ship_batch():
            pass
        rest.close()
        events = {event["event"]["id"]: valid(event) for event in sink.events}
    predictions = [event for event in events.values() if event["event"]["dataset"] == "ml.prediction"]
    requests = Counter(event["ml"]["request"]["id"] for event in predictions)
    assert by_workers > REQUESTS / 2
    assert set(requests.values()) == {1}
    assert set(answered) <= set(requests)
    assert dead_letters(tmp_path / "spool") == []
    assert SpoolReader(tmp_path / "spool").measure_backlog() == (0, 0, None)


def scraped(port: int) -> dict[str, float]:
    """Sample name and the labels that differ → value, of ``/metrics``."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
        text = answer.read().decode()
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            assert "pid" not in sample.labels, sample  # a series of each worker is not a sum
            rest = [
                value
                for name, value in sample.labels.items()
                if name not in ("model", "version", "role", "spool")
            ]
            found[" ".join([sample.name, *rest])] = sample.value
    return found


def charged(port: int, loan: dict[str, Any]) -> float:
    rate: float = call(port, "POST", "/price", loan)[2]["interest_rate"]
    return rate


def writers(spool: Path) -> list[int]:
    """The processes that have written events."""
    return sorted({int(segment.name.split("-")[-3]) for segment in list_segments(spool)})


def test_metrics_are_the_sum_over_the_workers(tmp_path: Path, model_dir: Path) -> None:
    port = free_port()
    command = documented("flask_service")
    given = {
        "MODEL_DIR": str(model_dir),
        "SPOOL": str(tmp_path / "spool"),
        "PROMETHEUS_MULTIPROC_DIR": str(tmp_path),
    }
    with serving(command, port, tmp_path, BIND=f"127.0.0.1:{port}", **given):
        loans = [{**LOAN, "annual_income": 40_000.0 + 500 * number} for number in range(60)]
        loans[7]["homeownership"] = "CASTLE"
        outputs = [charged(port, loan) for loan in loans[:30]]
        busy = writers(tmp_path / "spool")[0]
        os.kill(busy, signal.SIGSTOP)  # so that another worker has to answer the rest
        outputs += [charged(port, loan) for loan in loans[30:]]
        os.kill(busy, signal.SIGCONT)
        found = scraped(port)
        assert len(writers(tmp_path / "spool")) >= 2
    assert found["ml_predictions_total success"] == 60
    assert found["ml_prediction_duration_seconds_count"] == 60
    assert found["ml_prediction_value_bucket +Inf"] == 60
    assert found["ml_check_failures_total unseen homeownership"] == 1
    assert found["ml_prediction_window_count"] == 60
    assert found["ml_prediction_window_mean"] == pytest.approx(statistics.mean(outputs))
    assert found["ml_prediction_window_stddev"] == pytest.approx(statistics.stdev(outputs))
    assert found["ml_prediction_window_min"] == pytest.approx(min(outputs))
    assert found["ml_prediction_window_max"] == pytest.approx(max(outputs))
    width = (max(outputs) - min(outputs)) / 2
    assert found["ml_prediction_window_median"] == pytest.approx(statistics.median(outputs), abs=width)
    assert found["ml_spool_backlog_bytes"] > 0
