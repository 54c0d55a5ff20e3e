"""Prometheus metrics, scraped from a real endpoint. Under gunicorn's workers: ``tests/examples/test_flask.py``."""

from __future__ import annotations

import math
import statistics
import threading
import urllib.request
from collections import Counter
from pathlib import Path
from typing import Any
from uuid import uuid4

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import example, given
from prometheus_client import start_http_server
from prometheus_client.parser import text_string_to_metric_families

import logging_lib
from logging_lib import profile as profiles
from logging_lib.logger.metrics import (
    VALUES,
    WINDOW_SECONDS,
    OutputWindow,
    PredictionMetrics,
    derive_summaries,
    find_bin,
    find_window,
    summarize,
)
from logging_lib.logger.processor import PredictionProcessor
from logging_lib.ship.metrics import SpoolCollector
from logging_lib.ship.spool_reader import SpoolReader

Labels = dict[str, str]


def scrape(*spools: Path | str) -> dict[str, list[tuple[Labels, float]]]:
    """Sample name → (labels, value), from an HTTP endpoint."""
    server, thread = start_http_server(0, "127.0.0.1", registry=logging_lib.metrics_registry(*spools))
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{server.server_port}/metrics") as answer:
            text = answer.read().decode()
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
    scraped: dict[str, list[tuple[Labels, float]]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            scraped.setdefault(sample.name, []).append((sample.labels, sample.value))
    return scraped


def of(scraped: dict[str, list[tuple[Labels, float]]], name: str, **labels: str) -> float:
    (value,) = [value for have, value in scraped.get(name, ()) if labels.items() <= have.items()]
    return value


@pytest.fixture
def model() -> str:
    return f"loans-{uuid4().hex[:8]}"


def test_an_endpoint_shows_what_was_predicted(
    model: str, profile: profiles.Profile, inputs: dict[str, Any], tmp_path: Path
) -> None:
    log = logging_lib.configure(
        model=model, version="1", profile=profile, spool=tmp_path / "spool", metrics=True, sample=0.01
    )
    outputs = [float(value) for value in np.random.default_rng(3).normal(12, 3, 500)]
    for output in outputs:
        log.prediction(inputs, prediction=output, duration=0.004)
    log.prediction({**inputs, "home": "CASTLE", "new": 1}, error=ValueError("x"))
    scraped = scrape(tmp_path / "spool")
    assert of(scraped, "ml_predictions_total", model=model, outcome="success") == 500
    assert of(scraped, "ml_predictions_total", model=model, outcome="failure") == 1
    assert of(scraped, "ml_prediction_duration_seconds_count", model=model) == 500
    assert of(scraped, "ml_prediction_duration_seconds_bucket", model=model, le="0.0025") == 0
    assert of(scraped, "ml_prediction_duration_seconds_bucket", model=model, le="0.005") == 500
    assert of(scraped, "ml_check_failures_total", model=model, check="unseen", feature="home") == 1
    assert of(scraped, "ml_check_failures_total", model=model, check="unexpected", feature="other") == 1
    assert of(scraped, "ml_prediction_value_bucket", model=model, le="+Inf") == 500
    summary = {name: of(scraped, f"ml_prediction_window_{name}", model=model, version="1", role="live")
               for name in ("count", "mean", "median", "min", "max", "stddev")}  # fmt: skip
    assert summary["count"] == 500
    assert summary["mean"] == pytest.approx(statistics.mean(outputs))
    assert summary["stddev"] == pytest.approx(statistics.stdev(outputs))
    assert (summary["min"], summary["max"]) == (min(outputs), max(outputs))
    assert summary["median"] == pytest.approx(statistics.median(outputs), abs=0.5)
    assert of(scraped, "ml_spool_backlog_bytes", spool=str(tmp_path / "spool")) > 0
    assert "process_resident_memory_bytes" in scraped  # the service's own


def test_without_metrics_nothing_is_counted(model: str, inputs: dict[str, Any], tmp_path: Path) -> None:
    logging_lib.configure(model=model, version="1", spool=tmp_path).prediction(inputs, prediction=1.0)
    assert not [have for rows in scrape().values() for have, _ in rows if have.get("model") == model]


def test_classes_and_batches_are_counted(model: str, training: Any, tmp_path: Path) -> None:
    training = training.assign(rate=np.where(training.rate > 12, "high", "low"))
    profile = profiles.fit(training, model=model, version="1", prediction="rate")
    log = logging_lib.configure(model=model, version="1", profile=profile, spool=tmp_path, metrics=True)
    log.predictions(training.drop(columns=["rate"]).head(100), ["high"] * 60 + ["odd"] * 40)
    scraped = scrape()
    assert of(scraped, "ml_prediction_classes_total", model=model, **{"class": "high"}) == 60
    assert of(scraped, "ml_prediction_classes_total", model=model, **{"class": "other"}) == 40


def test_the_shipper_s_state_is_read_from_the_spool(inputs: dict[str, Any], tmp_path: Path) -> None:
    log = logging_lib.configure(model="loans", version="1", spool=tmp_path, report_every=None)
    log.prediction(inputs, prediction=1.0)
    log.prediction(inputs, prediction=2.0)
    backlog = SpoolReader(tmp_path)
    assert backlog.lock()
    items = backlog.read(1, 1 << 20)
    backlog.acknowledge(items, refused={}, now_ns=1_000_000_000_000)
    backlog.unlock()
    samples = {
        s.name: s.value for f in SpoolCollector(tmp_path, clock=lambda: 1060.0).collect() for s in f.samples
    }
    assert samples["ml_shipper_shipped_total"] == 1
    assert samples["ml_shipper_last_seen_seconds"] == 60
    assert samples["ml_spool_backlog_bytes"] == items[0].end  # two lines of the same length
    assert SpoolCollector(tmp_path / "nowhere")


def hostile(number: int) -> dict[str, Any]:
    """An event in which everything that a caller can choose is one of a million."""
    text = f'"}} {number}\n\\'
    return {
        "event": {"outcome": "success", "duration": number},
        "ml": {
            "check": {
                "unexpected": [text],
                "unseen": [f"{number}"],
                "unseen_values": [text],
                "wrong_type_values": [text],
            },
            "prediction": {"label": text} if number % 2 else {"value": float(number) * 1e3 - 5e8},
        },
    }


def series(model: str) -> int:
    return sum(have.get("model") == model for rows in scrape().values() for have, _ in rows)


def bounded(model: str, profile: profiles.Profile, events: int) -> None:
    metrics = PredictionMetrics(model=model, version="1", role="live", profile=profile)
    for number in range(4):
        metrics.observe(hostile(number))
    before = series(model)
    for number in range(events):
        metrics.observe(hostile(number))
    assert series(model) == before
    held = {key for key in metrics._series if key[0] != "state"}
    assert len(held) < 10
    bins = [key for key in metrics._series if key[0] == "state"]
    assert len(bins) <= 2 * (7 + len(VALUES) + 1)


def test_labels_are_bounded(model: str, profile: profiles.Profile) -> None:
    bounded(model, profile, 20_000)


@pytest.mark.slow
def test_labels_are_bounded_under_a_million_hostile_values(model: str, profile: profiles.Profile) -> None:
    bounded(model, profile, 1_000_000)


def test_hostile_inputs_through_the_logger(
    model: str, profile: profiles.Profile, inputs: dict[str, Any], tmp_path: Path
) -> None:
    log = logging_lib.configure(model=model, version="1", profile=profile, spool=tmp_path, metrics=True)
    for number in range(300):
        log.prediction({**inputs, "home": f"x{number}", f"new{number}": 1}, prediction=f"class {number}")
    features = Counter(
        have["feature"] for have, _ in scrape()["ml_check_failures_total"] if have["model"] == model
    )
    assert features == {"home": 1, "other": 1}


def test_counts_of_threads_are_added(model: str, profile: profiles.Profile) -> None:
    metrics = PredictionMetrics(model=model, version="1", role="live", profile=profile, clock=lambda: 1000.0)
    event = {"event": {"outcome": "success"}, "ml": {"prediction": {"value": 12.0}}}

    def work() -> None:
        for _ in range(2000):
            metrics.observe(event)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert of(scrape(), "ml_predictions_total", model=model, outcome="success") == 8000
    assert sum(window.count for window in metrics._windows.values()) == 8000


def test_a_failure_in_the_metrics_costs_no_event(
    model: str, inputs: dict[str, Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    processor = PredictionProcessor(model=model, version="1", metrics=True)
    assert processor.metrics is not None
    processor.metrics._histogram = None
    for _ in range(2):
        event = processor(None, "info", {"inputs": inputs, "prediction": 1.0})
        assert event["ml"]["prediction"]["value"] == 1.0
    assert caplog.text.count("metrics are incomplete") == 1


_NUMBERS = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=60)


@example(values=[698288.90234375, 698288.900390625, 698288.9019475027], split=0, shift=0.0)
@given(values=_NUMBERS, split=st.integers(0, 60), shift=st.floats(-1e3, 1e3))
def test_the_summary_of_several_processes_covers_all_their_values(
    values: list[float], split: int, shift: float
) -> None:
    """Exact, but for the median, which lies in its bin."""
    edges = tuple(float(edge) for edge in range(-1_000_000, 1_000_001, 100_000))
    now = 10_000.0
    place, started = find_window(now)
    slots = [
        OutputWindow(started, shift),
        OutputWindow(started - WINDOW_SECONDS, shift),
        OutputWindow(started - 2 * WINDOW_SECONDS, shift),
    ]
    for number, value in enumerate(values):
        slots[number >= split].add(value, find_bin(value, edges))
    slots[2].add(5e6, find_bin(5e6, edges))  # too old
    summary = summarize(slots, now=now)
    assert place == find_window(now + 2 * WINDOW_SECONDS)[0] != find_window(now + WINDOW_SECONDS)[0]
    assert summary["count"] == len(values)
    assert summary["mean"] == pytest.approx(statistics.fmean(values), rel=1e-6, abs=1e-6)
    assert (summary["min"], summary["max"]) == (min(values), max(values))
    if len(values) > 1:
        # Of sums of squares half of a double's digits are left, where the shift is far from the values.
        least = 1e-2 + 5e-8 * max(abs(value - shift) for value in values)
        assert summary["stddev"] == pytest.approx(statistics.stdev(values), rel=1e-4, abs=least)
    ordered = sorted(values)
    below, above = ordered[(len(ordered) - 1) // 2], ordered[len(ordered) // 2]
    assert find_bin(below, edges)[0] <= summary["median"] <= min(find_bin(above, edges)[1], max(values))


def test_a_window_that_has_passed_no_longer_counts(model: str, profile: profiles.Profile) -> None:
    moment = [WINDOW_SECONDS * 1000.0]
    metrics = PredictionMetrics(
        model=model, version="1", role="live", profile=profile, clock=lambda: moment[0]
    )
    event = {"event": {"outcome": "success"}, "ml": {"prediction": {"value": 12.0}}}
    counted = []
    for step in (0, WINDOW_SECONDS, WINDOW_SECONDS, WINDOW_SECONDS):
        moment[0] += step
        metrics.observe(event)
        state = metrics._families["state"].collect()
        samples = {f.name: f.samples for f in derive_summaries(iter(state), now=moment[0])}
        counted += [s.value for s in samples["ml_prediction_window_count"] if s.labels["model"] == model]
    assert counted == [1, 2, 2, 2]
    assert not math.isnan(counted[0])
