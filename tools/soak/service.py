"""A service that logs predictions: a WSGI application for gunicorn, one model per process.

A request is a list of rows. The answer names the worker, says for each row whether its call wrote an event, and
includes the logger's ``stats()``. So a client with an answer knows the calls that returned.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterable
from typing import Any
from uuid import uuid4

import logging_lib

WORKER = uuid4().hex
_SEGMENT_BYTES = 1 << 20
_MODEL_SECONDS = 0.002
"""The time that a row takes besides its logging, so that a killed worker is often in the middle of a call."""

log = logging_lib.configure(
    model=os.environ["SOAK_MODEL"],
    version="1",
    profile=os.environ["SOAK_PROFILE"],
    spool=logging_lib.Spool(os.environ["SOAK_SPOOL"], rotate_bytes=_SEGMENT_BYTES),
    service=f"{os.environ['SOAK_MODEL']}-api",
    report_every=15,
)


def log_row(row: dict[str, Any]) -> bool:
    """Log one row; return whether the logger counts it as written."""
    time.sleep(_MODEL_SECONDS)
    before = log.stats()["written"]
    log.prediction(
        row["inputs"],
        row["prediction"],
        event_id=row["id"],
        request_id=row["id"],
        **row.get("labels", {}),
    )
    return bool(log.stats()["written"] > before)


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Log the rows of one request."""
    rows = json.loads(environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"])))
    written = [log_row(row) for row in rows]
    answer = json.dumps({"worker": WORKER, "written": written, "stats": log.stats()}).encode()
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(answer)))])
    return [answer]
