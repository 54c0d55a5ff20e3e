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

CALLS, ROUNDS = 1000, 40


def run() -> Iterator[Result]:
    data = frame(20_000)
    output = data["number_0"] / 20  # 0 to 25
    fitted = profile.fit(data.assign(output=output), model="m", version="1", prediction="output")
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

        times = _times([ours, theirs, without_profile], requests)
    name = "structlog + ecs_logging to /dev/null"
    for label, own, goal in (
        ("log_call", times[0], "ratio <= 0.5"),
        ("log_call_without_profile", times[2], "reported"),
    ):
        ratio = statistics.median(a / b for a, b in zip(own, times[1], strict=True))
        yield Result(label, statistics.median(own), "µs CPU", goal, name, statistics.median(times[1]), ratio)


def _times(
    functions: list[Callable[[dict[str, Any]], None]], requests: list[dict[str, Any]]
) -> list[list[float]]:
    """CPU time of a call in µs, by function and round; they take turns, so that a slow moment hits all."""
    taken: list[list[float]] = [[] for _ in functions]
    for _ in range(ROUNDS):
        for function, times in zip(functions, taken, strict=True):
            start = time.process_time()
            for inputs in requests:
                function(inputs)
            times.append((time.process_time() - start) / len(requests) * 1e6)
    return taken
