"""What a process says about itself: its start, its health each minute and at its end, exact counts a model."""

from __future__ import annotations

import gc
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import structlog

import logging_lib
from logging_lib import profile as profiles
from logging_lib.logger import reporter as report
from logging_lib.logger.health import EventCounts
from logging_lib.logger.prediction_logger import PredictionLogger
from logging_lib.logger.reporter import HealthReporter, ReportedModel
from logging_lib.logger.segments import has_writer, list_segments
from logging_lib.logger.spool import Spool
from logging_lib.profile.io import with_content_hash

Valid = Callable[[dict[str, Any]], dict[str, Any]]
NOW = 1_517_486_400_123_456_789


def events(directory: Path, dataset: str) -> list[dict[str, Any]]:
    documents = [
        json.loads(line) for path in list_segments(directory) for line in path.read_bytes().splitlines()
    ]
    return [event for event in documents if event["event"]["dataset"] == f"ml.{dataset}"]


def source(name: str = "loans", **more: Any) -> ReportedModel:
    model = {"name": name, "version": "3", "role": "live"}
    return ReportedModel(
        model, {"status": "none"}, {"name": "pricing"}, {"libraries": ["numpy=2.1.0"]}, **more
    )


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_the_first_event_is_preceded_by_a_start_of_each_model(
    tmp_path: Path, profile: profiles.Profile, valid: Valid
) -> None:
    trained = with_content_hash(
        replace(profile, libraries={"numpy": "0.1", "python": "2.7.18", "gone": "1.0"})
    )
    log = logging_lib.configure(
        model="loans", version="1", profile=trained, spool=tmp_path, service={"name": "s", "version": "2.4.1"}
    )
    assert list_segments(tmp_path) == []
    log.prediction({"income": 1}, 2.0)
    (start,) = map(valid, events(tmp_path, "start"))
    assert start["ml"]["model"] == {"name": "loans", "version": "1", "role": "live"}
    assert start["ml"]["profile"] == {"id": trained.id, "status": "matched"}
    assert start["service"] == {"name": "s", "version": "2.4.1"}
    libraries = start["ml"]["start"]["libraries"]
    assert [name.split("=")[0] for name in libraries] == ["numpy"]
    assert set(start["ml"]["start"]["training_libraries_differ"]) == {
        "numpy=0.1",
        "python=2.7.18",
        "gone=1.0",
    }
    assert (
        list_segments(tmp_path)[0].read_bytes().splitlines()[0]
        == json.dumps(start, separators=(",", ":")).encode()
    )


def test_a_model_that_comes_later_has_a_start_too(tmp_path: Path) -> None:
    logging_lib.configure(model="a", version="1", spool=tmp_path).prediction({}, 1.0)
    logging_lib.configure(model="b", version="1", spool=tmp_path)
    assert [start["ml"]["model"]["name"] for start in events(tmp_path, "start")] == ["a", "b"]


def test_a_service_that_waits_for_its_first_request_can_say_that_it_runs(tmp_path: Path) -> None:
    log = logging_lib.configure(model="a", version="1", spool=tmp_path)
    log.start()
    log.start()
    assert len(events(tmp_path, "start")) == 1


def test_no_reports_are_written_if_they_are_turned_off(tmp_path: Path) -> None:
    log = logging_lib.configure(model="a", version="1", spool=tmp_path, report_every=None)
    log.prediction({}, 1.0)
    assert events(tmp_path, "start") == []
    with pytest.raises(ValueError, match="report_every: expected seconds above 0 or None, found 0"):
        logging_lib.configure(model="a", version="1", spool=tmp_path, report_every=0)


def test_a_script_that_ends_at_once_reports_no_share_of_cpu_time(tmp_path: Path) -> None:
    """It is all of a core while it starts: the watch on resources would call that a shortage."""
    spool, clock = Spool(tmp_path), Clock()
    reporter = HealthReporter(spool, 60, clock=lambda: NOW, monotonic=clock)
    reporter.add(source(counts=EventCounts()), spool)
    spool.on_open.append(lambda _: reporter.open())
    spool.write(b'{"event": {"dataset": "ml.prediction"}}\n')
    clock.now += 0.4
    reporter.report()
    process_event, _ = events(tmp_path, "health")
    assert "cpu" not in process_event["ml"]["health"]
    assert process_event["ml"]["health"]["memory"]["rss"] > 1 << 20


def test_health_counts_exactly_what_happened_since_the_last_report(tmp_path: Path, valid: Valid) -> None:
    spool, clock = Spool(tmp_path), Clock()
    reporter = HealthReporter(spool, 60, clock=lambda: NOW, monotonic=clock)
    counts = EventCounts()
    reporter.add(source(counts=counts), spool)
    spool.on_open.append(lambda _: reporter.open())
    for _ in range(3):
        spool.write(b'{"event": {"dataset": "ml.prediction"}}\n')
    counts.built, counts.sampled_out, counts.unwritten, counts.failed = 10, 4, 2, 1
    counts.unreadable_times = 1
    clock.now += 59
    assert reporter.seconds_until_due() > 0
    clock.now += 1.5
    assert reporter.seconds_until_due() <= 0
    reporter.report()
    process_event, model = map(valid, events(tmp_path, "health"))
    health = process_event["ml"]["health"]
    assert (health["interval"], health["logged"], health["uptime"]) == (60, 3, 60)
    starts = events(tmp_path, "start")
    assert health["bytes"] == 3 * 40 + len(json.dumps(starts[0], separators=(",", ":"))) + 1
    assert health["memory"]["rss"] > 1 << 20
    assert health["disk"]["free"] > 0
    assert health["cpu"]["pct"] >= 0
    assert model["ml"]["model"]["name"] == "loans"
    assert "profile" not in model["ml"]
    assert model["ml"]["health"] == {
        "interval": 60,
        "logged": 4,
        "sampled_out": 4,
        "dropped": 3,
        "unreadable_times": 1,
    }
    assert process_event["service"] == model["service"] == {"name": "pricing"}

    counts.built += 5
    spool.write(b'{"event": {"dataset": "ml.prediction"}}\n')
    clock.now += 60
    reporter.report()
    process_event, model = events(tmp_path, "health")[2:]
    assert process_event["ml"]["health"]["logged"] == 1
    assert model["ml"]["health"] == {
        "interval": 60,
        "logged": 5,
        "sampled_out": 0,
        "dropped": 0,
        "unreadable_times": 0,
    }


def test_what_could_not_be_reported_is_part_of_the_next_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool, clock = Spool(tmp_path), Clock()
    reporter = HealthReporter(spool, 60, clock=lambda: NOW, monotonic=clock)
    counts = EventCounts()
    reporter.add(source(counts=counts), spool)
    spool.on_open.append(lambda _: reporter.open())
    spool.write(b"{}\n")
    counts.built = 7
    clock.now += 60
    with monkeypatch.context() as patch:
        patch.setattr(Spool, "write", lambda spool, line: False)
        reporter.report()
    clock.now += 60
    reporter.report()
    *_, process_event, model = [
        json.loads(line) for line in list_segments(tmp_path)[0].read_bytes().splitlines()
    ]
    assert process_event["ml"]["health"]["interval"] == 120
    assert model["ml"]["health"]["logged"] == 7


def test_a_folder_that_was_deleted_does_not_come_back_by_a_report(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    spool, clock = Spool(tmp_path / "spool"), Clock()
    reporter = HealthReporter(spool, 60, clock=lambda: NOW, monotonic=clock)
    reporter.add(source(counts=EventCounts()), spool)
    spool.on_open.append(lambda _: reporter.open())
    spool.write(b"{}\n")
    shutil.rmtree(tmp_path / "spool")
    clock.now += 60
    reporter.report()
    assert not (tmp_path / "spool").exists()
    assert reporter.seconds_until_due() == 60
    assert caplog.text == ""


def test_a_failed_report_is_logged_once_and_retried_in_a_minute(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool, clock = Spool(tmp_path), Clock()
    reporter = HealthReporter(spool, 60, clock=lambda: NOW, monotonic=clock)
    spool.write(b"{}\n")

    def broken(_: Path) -> None:
        raise OSError("no such device")

    monkeypatch.setattr(report, "disk_usage", broken)
    for _ in range(2):
        clock.now += 60
        assert reporter.seconds_until_due() <= 0
        reporter.report()
        assert reporter.seconds_until_due() == 60
    assert caplog.text.count("no health event could be made") == 1


PROGRAM = """
import sys, logging_lib
log = logging_lib.configure(model="m", version="1", spool=sys.argv[1], sample=0.5)
for n in range(100):
    log.prediction({"a": n}, 1.0, request_id=f"r-{n}")
"""


def test_a_short_program_reports_its_counts_before_it_ends(tmp_path: Path, valid: Valid) -> None:
    subprocess.run([sys.executable, "-c", PROGRAM, str(tmp_path)], check=True, timeout=600)
    process_event, model = map(valid, events(tmp_path, "health"))
    stored = len(events(tmp_path, "prediction"))
    assert 25 < stored < 75
    assert process_event["ml"]["health"]["logged"] == stored
    assert model["ml"]["health"]["logged"] == stored
    assert model["ml"]["health"]["sampled_out"] == 100 - stored
    assert model["ml"]["health"]["dropped"] == 0


def test_a_forked_worker_has_a_start_and_counts_of_its_own(tmp_path: Path) -> None:
    log = logging_lib.configure(model="m", version="1", spool=tmp_path)
    log.prediction({"a": 0}, 1.0)
    child = os.fork()
    if not child:
        log.prediction({"a": 1}, 1.0)
        log.prediction({"a": 2}, 1.0)
        report._reporter_thread._finish()
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert {event["process"]["pid"] for event in events(tmp_path, "start")} == {os.getpid(), child}
    counts = [e["ml"]["health"] for e in events(tmp_path, "health") if "model" in e["ml"]]
    assert [count["logged"] for count in counts] == [2]


def test_a_users_own_chain_reports_on_request(tmp_path: Path) -> None:
    processor = logging_lib.PredictionProcessor(model="m", version="1")
    logger = structlog.wrap_logger(
        logging_lib.SpoolLoggerFactory(tmp_path, processor)(),
        processors=[processor, logging_lib.EventRenderer()],
    )
    logger.info("scored", inputs={"a": 1}, prediction=1.0)
    assert [event["ml"]["model"]["name"] for event in events(tmp_path, "start")] == ["m"]
    assert processor.counts.as_fields() == {
        "logged": 1,
        "sampled_out": 0,
        "dropped": 0,
        "unreadable_times": 0,
    }


def configure_again(folder: Path) -> PredictionLogger:
    return logging_lib.configure(model="m", version="1", spool=folder, service="s")


def report_on(spool: Spool) -> None:
    report._reporter_thread._reporters[spool].report()


def test_a_model_that_is_configured_again_has_one_start_and_one_sequence_of_reports(tmp_path: Path) -> None:
    for number in range(5):
        configure_again(tmp_path).prediction({"a": number}, 1.0)
    log = configure_again(tmp_path)
    other = logging_lib.configure(model="m", version="2", spool=tmp_path, service="s")
    report_on(log._logger)
    versions = [event["ml"]["model"]["version"] for event in events(tmp_path, "start")]
    assert versions == ["1", "2"]
    counts = [
        (event["ml"]["model"]["version"], event["ml"]["health"]["logged"])
        for event in events(tmp_path, "health")
        if "model" in event["ml"]
    ]
    assert counts == [("1", 5), ("2", 0)]
    assert (log.stats()["written"], other.stats()["written"]) == (5, 0)


def test_the_segment_of_deleted_loggers_is_closed(tmp_path: Path) -> None:
    log = configure_again(tmp_path)
    log.prediction({"a": 1}, 1.0)
    spool = log._logger
    report_on(spool)
    report_on(spool)
    assert (
        len(events(tmp_path, "health")) == 4
    )  # its logger lives: two reports of the process and of the model
    del log
    gc.collect()
    (segment,) = list_segments(tmp_path)
    assert has_writer(segment)
    report_on(spool)
    report_on(spool)
    assert not has_writer(segment)
    assert len(events(tmp_path, "health")) == 4
    log = configure_again(tmp_path)
    log.prediction({"a": 2}, 1.0)
    report_on(spool)
    assert len(list_segments(tmp_path)) == 2
    assert len(events(tmp_path, "start")) == 1
    assert events(tmp_path, "health")[-1]["ml"]["health"]["logged"] == 1


def test_what_was_logged_last_is_reported_before_the_segment_is_closed(tmp_path: Path) -> None:
    log = configure_again(tmp_path)
    spool = log._logger
    log.prediction({"a": 1}, 1.0)
    del log
    gc.collect()
    report_on(spool)
    assert [event["ml"]["health"]["logged"] for event in events(tmp_path, "health")] == [1, 1]


def test_a_prediction_without_a_with_is_logged_at_exit(tmp_path: Path) -> None:
    """No destructor runs for what a module's global refers to when the interpreter ends."""
    program = (
        "import sys, logging_lib\n"
        "log = logging_lib.configure(model='m', version='1', spool=sys.argv[1], report_every={})\n"
        "log.prediction({{'a': 0}}, 1.0)\n"
        "class Keeper: pass\n"
        "keeper = Keeper(); keeper.keeper = keeper\n"
        "keeper.pending = log.prediction({{'a': 1}})\n"
        "sys.modules['kept'] = keeper\n"
    )
    for every in ("60", "None"):
        folder = tmp_path / every
        subprocess.run([sys.executable, "-c", program.format(every), folder], check=True, timeout=600)
        assert [event["ml"]["input"]["numeric"] for event in events(folder, "prediction")] == [
            {"a": 0},
            {"a": 1},
        ]
    logged = [event["ml"]["health"]["logged"] for event in events(tmp_path / "60", "health")]
    assert logged == [2, 2]


def test_memory_is_reported_on_systems_without_proc(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: Any) -> None:
        raise FileNotFoundError

    monkeypatch.setattr("builtins.open", missing)
    assert report.resident_bytes() > 1 << 20
