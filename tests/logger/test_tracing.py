"""Trace and span ids come from OpenTelemetry, where the service uses it."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import structlog
from opentelemetry import trace
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags

import logging_lib

SPAN = NonRecordingSpan(
    SpanContext(
        0x4BF92F3577B34DA6A3CE929D0E0E4736, 0xF067AA0BA902B7, is_remote=False, trace_flags=TraceFlags(1)
    )
)
IDS = {"trace": {"id": "4bf92f3577b34da6a3ce929d0e0e4736"}, "span": {"id": "00f067aa0ba902b7"}}


def test_events_logged_within_a_span_have_its_ids(
    tmp_path: Any, captured_predictions: list[dict[str, Any]], valid: Any
) -> None:
    log = logging_lib.configure(model="m", version="1", spool=tmp_path, label_cache_size=10)
    with trace.use_span(SPAN):
        log.prediction({"a": 1}, 1.0, request_id="r")
        log.label("r", 2.0)
        log.prediction({"a": 1}, 1.0, trace_id="given")
    log.prediction({"a": 1}, 1.0)
    first, label, explicit, outside = map(valid, captured_predictions)
    for event in (first, label):
        assert {key: event[key] for key in ("trace", "span")} == IDS
    assert explicit["trace"] == {"id": "given"}
    assert "span" not in explicit
    assert "trace" not in outside
    assert "labels" not in outside


def test_a_batch_and_bound_variables_too(tmp_path: Any, captured_predictions: list[dict[str, Any]]) -> None:
    import pandas as pd

    log = logging_lib.configure(model="m", version="1", spool=tmp_path)
    with trace.use_span(SPAN), structlog.contextvars.bound_contextvars(tenant="eu-1"):
        log.predictions(pd.DataFrame({"a": [1.0, 2.0]}), [1.0, 2.0])
    assert [event["trace"] for event in captured_predictions] == [IDS["trace"]] * 2
    assert [event["labels"] for event in captured_predictions] == [{"tenant": "eu-1"}] * 2


def test_the_processor_works_in_a_users_own_structlog_chain() -> None:
    with trace.use_span(SPAN):
        assert logging_lib.add_trace_ids(None, "info", {}) == {
            "trace_id": IDS["trace"]["id"], "span_id": IDS["span"]["id"],
        }  # fmt: skip
    assert logging_lib.add_trace_ids(None, "info", {}) == {}


def test_a_service_without_opentelemetry_does_not_import_it() -> None:
    code = "import sys, logging_lib as lib; lib.add_trace_ids(0, '', {}); assert 'opentelemetry' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=600)
