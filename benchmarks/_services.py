"""Services that log while the receiver is down, ours and python-logstash-async's, each in its own process.

``python -m benchmarks._services ours|peer CALLS FOLDER PORT`` prints one line of JSON: the time of each call if
requested, memory before and after, and the time at which the program ended. With a receiver that is up, the CPU
time of the whole process is the cost of an event from the call to the acknowledgement.
"""

from __future__ import annotations

import gc
import json
import logging
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

INPUTS = {f"number_{i}": i * 1.5 for i in range(10)} | {f"category_{i}": f"label_{i}" for i in range(10)}


def run(which: str, calls: int, folder: Path, port: int) -> tuple[dict[str, Any], float]:
    """Return the service's own report, and the seconds from its last statement to its end."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    process = subprocess.run(
        [sys.executable, "-m", "benchmarks._services", which, str(calls), str(folder), str(port)],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True,
    )  # fmt: skip
    ended, after = time.time(), resource.getrusage(resource.RUSAGE_CHILDREN)
    found: dict[str, Any] = json.loads(process.stdout)
    found["cpu"] = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return found, ended - found["end"]


def main() -> None:
    which, calls, folder, port = sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4])
    log: Callable[[], None] = _ours(folder, port) if which == "ours" else _peer(port)
    for _ in range(200):
        log()
    time.sleep(0.5)  # the background thread has started by then
    gc.collect()
    before = _memory()
    clock, times = time.perf_counter, [0.0] * min(calls, 20_000)
    for i in range(len(times)):
        start = clock()
        log()
        times[i] = clock() - start
    for _ in range(calls - len(times)):
        log()
    gc.collect()
    found = {
        "p99": sorted(times)[int(len(times) * 0.99)] * 1e6,
        "growth": (_memory() - before) / 2**20,
        "end": time.time(),
    }
    print(json.dumps(found), flush=True)


def _ours(folder: str, port: int) -> Callable[[], None]:
    import logging_lib

    spool = logging_lib.Spool(folder, budget_bytes=8 << 30)
    log = logging_lib.configure(
        model="m", version="1", spool=spool, service="s", ship_to=f"beats://127.0.0.1:{port}"
    )
    return lambda: log.prediction(INPUTS, prediction=11.5, request_id="r-1")


def _peer(port: int) -> Callable[[], None]:
    from logstash_async.handler import AsynchronousLogstashHandler

    logger = logging.getLogger("peer")
    logger.propagate = False
    logger.setLevel(logging.INFO)
    transport = "logstash_async.transport.BeatsTransport"
    logger.addHandler(AsynchronousLogstashHandler("127.0.0.1", port, None, transport=transport))
    return lambda: logger.info(
        "prediction", extra={"inputs": INPUTS, "prediction": 11.5, "request_id": "r-1"}
    )


def _memory() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


if __name__ == "__main__":
    main()
