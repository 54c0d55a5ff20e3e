"""``log.predictions(df, ...)`` into a real spool: CPU time, against one call per row and pandas' ``to_json``."""

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

        def theirs() -> None:
            data.to_json(orient="records", lines=True)

        a, b, c = _rates([batch, calls, theirs])
    own, other = (statistics.median(1e6 / rate for rate in rates) for rates in (a, c))
    ratio = statistics.median(peer / rate for rate, peer in zip(a, c, strict=True))
    yield Result("batch_cpu", own, "µs CPU", "ratio <= 1", "DataFrame.to_json of the inputs", other, ratio)
    rate, single = statistics.median(a), statistics.median(b)
    yield Result("batch", rate, "rows/s", ">= 150,000/s", "one call a row", single, rate / single)


def _rates(functions: list[Callable[[], None]]) -> list[list[float]]:
    """Return rows per second of CPU time, by function and round; they alternate, so a slow moment hits all."""
    taken: list[list[float]] = [[] for _ in functions]
    for _ in range(ROUNDS):
        for function, rates in zip(functions, taken, strict=True):
            start = time.process_time()  # one thread, so that other work is not included
            function()
            rates.append(ROWS / (time.process_time() - start))
    return taken
