"""One call of the logger against structlog with ecs-logging, on the same inputs, in the same run."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import ecs_logging
import structlog

import logging_lib
from benchmarks._common import Result, frame
from logging_lib import profile

CALLS, ROUNDS = 1000, 15


def run() -> Iterator[Result]:
    data = frame(20_000)
    fitted = profile.fit(data, model="m", version="1")
    requests = data.dropna().head(CALLS).to_dict("records")
    with tempfile.TemporaryDirectory() as folder, Path("/dev/null").open("w") as null:
        log = logging_lib.configure(model="m", version="1", profile=fitted, spool=folder, service="s")
        unchecked = logging_lib.configure(model="m", version="1", spool=folder, service="s")
        peer = structlog.wrap_logger(
            structlog.PrintLogger(null),
            processors=[ecs_logging.StructlogFormatter()],
            wrapper_class=structlog.BoundLogger,
        ).bind()

        def ours(inputs: dict[str, Any]) -> None:
            log.prediction(inputs, prediction=11.5, request_id="r-1")

        def without_profile(inputs: dict[str, Any]) -> None:
            unchecked.prediction(inputs, prediction=11.5, request_id="r-1")

        def theirs(inputs: dict[str, Any]) -> None:
            peer.info("prediction", inputs=inputs, prediction=11.5, request_id="r-1", service="s")

        a, b, c = _medians([ours, theirs, without_profile], requests)
    name = "structlog + ecs_logging to /dev/null"
    yield Result("log_call", a, "µs CPU", "ratio <= 0.5", name, b, a / b)
    yield Result("log_call_without_profile", c, "µs CPU", "reported", name, b, c / b)


def _medians(functions: list[Callable[[dict[str, Any]], None]], requests: list[dict[str, Any]]) -> list[float]:
    """Median CPU time of a call in µs; the functions take turns, so that a slow moment hits all."""
    taken: list[list[float]] = [[] for _ in functions]
    for _ in range(ROUNDS):
        for function, times in zip(functions, taken, strict=True):
            start = time.process_time()
            for inputs in requests:
                function(inputs)
            times.append((time.process_time() - start) / len(requests) * 1e6)
    return [statistics.median(times) for times in taken]
