"""``log.predictions(df, ...)``: rows per second of CPU time into a real spool, against one call per row."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator

import logging_lib
from benchmarks._common import Result, frame
from logging_lib import profile

ROWS, ROUNDS = 20_000, 7


def run() -> Iterator[Result]:
    data = frame(ROWS)
    output = (data["number_0"] / 20).tolist()
    fitted = profile.fit(data.assign(output=output), model="m", version="1", prediction="output")
    with tempfile.TemporaryDirectory() as folder:
        log = logging_lib.configure(model="m", version="1", profile=fitted, spool=folder, service="s")

        def batch() -> None:
            log.predictions(data, output)

        def calls() -> None:
            for inputs, prediction in zip(data.to_dict("records"), output, strict=True):
                log.prediction(inputs, prediction)

        a, b = _rates(batch), _rates(calls)
    yield Result("batch", a, "rows/s", ">= 150,000/s", "one call a row", b, a / b)


def _rates(function: Callable[[], None]) -> float:
    taken = []
    for _ in range(ROUNDS):
        start = time.process_time()  # one thread, so that other work is not included
        function()
        taken.append(ROWS / (time.process_time() - start))
    return statistics.median(taken)
