"""One call of the logger against structlog with ecs-logging, on the same inputs, in the same run."""

from __future__ import annotations

import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import ecs_logging
import pandas as pd
import structlog

import logging_lib
from benchmarks._common import Result, frame
from logging_lib import profile

CALLS, ROUNDS = 1000, 40


Call = Callable[[dict[str, Any]], None]


def run() -> Iterator[Result]:
    data = frame(20_000)
    requests = data.dropna().head(CALLS).to_dict("records")
    long = frame(20_000, words_a_text=200)
    wide = frame(20_000, numbers=20, categories=18)
    with tempfile.TemporaryDirectory() as folder, Path("/dev/null").open("w") as null:
        log = _ours(folder, data)
        unchecked = _call(logging_lib.configure(model="m", version="1", spool=folder, service="s"))
        peer = structlog.wrap_logger(
            structlog.PrintLogger(null),
            processors=[ecs_logging.StructlogFormatter()],
            wrapper_class=structlog.BoundLogger,
        ).bind()

        def theirs(inputs: dict[str, Any]) -> None:
            peer.info("prediction", inputs=inputs, prediction=11.5, request_id="r-1", service="s")

        own, other, bare = _times([log, theirs, unchecked], [requests] * 3)
        name = "structlog + ecs_logging to /dev/null"
        yield _result("log_call", own, other, name, "ratio <= 0.4")
        yield _result("log_call_without_profile", bare, other, name, "reported")
        long_requests = long.dropna().head(CALLS).to_dict("records")
        own, other = _times([_ours(folder, long), theirs], [long_requests] * 2)
        yield _result("log_call_200_words", own, other, name, "reported")
        wide_requests = wide.dropna().head(CALLS).to_dict("records")
        own, more = _times([log, _ours(folder, wide)], [requests, wide_requests])
        extra = statistics.median(b - a for a, b in zip(own, more, strict=True)) / 20
        yield Result("log_call_extra_feature", extra, "µs CPU", "reported: half numbers, half categories")
        one, eight = _threads(log, requests, 1), _threads(log, requests, 8)
        yield Result("log_call_8_threads", eight, "µs CPU", "reported", "one thread", one, eight / one)


def _ours(folder: str, data: pd.DataFrame) -> Call:
    fitted = profile.fit(
        data.assign(output=data["number_0"] / 20), model="m", version="1", prediction="output"
    )
    return _call(logging_lib.configure(model="m", version="1", profile=fitted, spool=folder, service="s"))


def _call(log: logging_lib.PredictionLogger) -> Call:
    def call(inputs: dict[str, Any]) -> None:
        log.prediction(inputs, prediction=11.5, request_id="r-1")

    return call


def _result(label: str, own: list[float], other: list[float], peer: str, goal: str) -> Result:
    ratio = statistics.median(a / b for a, b in zip(own, other, strict=True))
    return Result(label, statistics.median(own), "µs CPU", goal, peer, statistics.median(other), ratio)


def _threads(call: Call, requests: list[dict[str, Any]], threads: int) -> float:
    """Return the median CPU time of a call in µs if this number of threads share the calls."""

    def work() -> None:
        for inputs in requests:
            call(inputs)

    taken = []
    for _ in range(ROUNDS // 4):
        workers = [threading.Thread(target=work) for _ in range(threads)]
        start = time.process_time()
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        taken.append((time.process_time() - start) / len(requests) / threads * 1e6)
    return statistics.median(taken)


def _times(functions: list[Call], requests: list[list[dict[str, Any]]]) -> list[list[float]]:
    """Return the CPU time of a call in µs, by function and round; they alternate, so a slow moment hits all."""
    taken: list[list[float]] = [[] for _ in functions]
    for _ in range(ROUNDS):
        for function, inputs_of, times in zip(functions, requests, taken, strict=True):
            start = time.process_time()
            for inputs in inputs_of:
                function(inputs)
            times.append((time.process_time() - start) / len(inputs_of) * 1e6)
    return taken
