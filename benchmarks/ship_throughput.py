"""From the spool to a Beats receiver that acknowledges, by one process; events with 20 features, all checked."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import logging_lib
from benchmarks._common import Result, frame
from benchmarks._services import run as service
from benchmarks._sink import Sink
from logging_lib import profile
from logging_lib.ship.receivers import create_receiver
from logging_lib.ship.shipper import Shipper
from logging_lib.ship.target import parse_target

EVENTS, ROUNDS, CALLS = 100_000, 3, 20_000


@cache
def _model() -> tuple[profile.Profile, list[dict[str, Any]]]:
    data = frame(20_000)
    output = data["number_0"] / 20
    fitted = profile.fit(data.assign(output=output), model="m", version="1", prediction="output")
    return fitted, data.dropna().head(1000).to_dict("records")


def fill(folder: str, events: int) -> float:
    """Log this number of predictions; return the bytes of one."""
    fitted, requests = _model()
    spool = logging_lib.Spool(folder)
    log = logging_lib.configure(
        model="m", version="1", profile=fitted, spool=spool, service="s", report_every=None
    )
    for i in range(events):
        log.prediction(requests[i % len(requests)], prediction=11.5, request_id="r-1")
    spool.close()
    return sum(path.stat().st_size for path in Path(folder).iterdir()) / events


def run() -> Iterator[Result]:
    best = cpu = 0.0
    for _ in range(ROUNDS):
        with tempfile.TemporaryDirectory() as folder:
            size = fill(folder, EVENTS)
            with Sink() as sink:
                shipper = Shipper(folder, create_receiver(parse_target(f"beats://127.0.0.1:{sink.port}")))
                shipper.reader.lock()
                start, started = time.perf_counter(), time.process_time()
                while shipper.ship_batch():
                    pass
                taken, used = time.perf_counter() - start, time.process_time() - started
                shipper.close()
            assert sink.taken == EVENTS
        if EVENTS / taken > best:
            best, cpu = EVENTS / taken, used / EVENTS * 1e6
    yield Result("ship_throughput", best, "events/s", f">= 30,000; {size:.0f} bytes an event, acknowledged")
    yield Result("ship_cpu", cpu, "µs CPU an event", "reported")
    ours, theirs = _whole_cpu("ours"), _whole_cpu("peer")
    name = "python-logstash-async, Beats, in memory"
    yield Result("log_and_ship_cpu", ours, "µs CPU an event", "below the peer", name, theirs, ours / theirs)


def _whole_cpu(which: str) -> float:
    """Return the CPU time of an event from call to acknowledgement, in µs, without the start of the process."""
    used = []
    for calls in (1, CALLS + 1):
        with tempfile.TemporaryDirectory() as folder, Sink() as sink:
            found, _ = service(which, calls, Path(folder), sink.port)
        used.append(found["cpu"])
    assert sink.taken >= CALLS, f"{which}: {sink.taken} events arrived"
    return (used[1] - used[0]) / CALLS * 1e6
