"""All shipped watches over a month at 5-minute ticks, embedded and cold: seconds and peak memory of the command.

The history (``_history``) lies in the folder of a store; ``logging-lib watch backtest --store FOLDER`` runs in a
process of its own, from start to end. Then the same with twice the events, for the ratio.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks import _history
from benchmarks._common import Result

EVENTS = 1_000_000
COMMAND = "from logging_lib.cli import main; main()"


def run() -> Iterator[Result]:
    events = int(os.environ.get("LOGGING_LIB_BENCH_EVENTS", EVENTS))
    once, peak = _measured(events)
    yield Result("backtest", once, "s", "<= 30 s for 1M events")
    yield Result("backtest_memory", peak, "MiB", "<= 2048 MiB for 1M events")
    twice, peak = _measured(2 * events)
    yield Result("backtest_2M", twice, "s", "ratio <= 2.2", f"{events:,} events", once, twice / once)
    yield Result("backtest_2M_memory", peak, "MiB", "reported")


def _measured(events: int) -> tuple[float, float]:
    """Seconds, and MiB of resident memory at the most. Prints the seconds of CPU, too."""
    with tempfile.TemporaryDirectory() as folder:
        _history.write(Path(folder) / "store", events)
        command = [sys.executable, "-c", COMMAND, "watch", "backtest", "--store", f"{folder}/store", "--json"]
        with (Path(folder) / "found.json").open("wb") as out:
            start = time.perf_counter()
            process = subprocess.Popen(command, stdout=out)
            _, status, usage = os.wait4(process.pid, 0)
            taken = time.perf_counter() - start
            process.returncode = os.waitstatus_to_exitcode(status)
        found = json.loads((Path(folder) / "found.json").read_bytes())
    assert process.returncode == 0, found["failures"]
    assert found["events"] >= events
    assert found["ticks"] >= 30 * 24 * 12 - 1
    assert not found["alerts"], "the history is healthy"
    print(f"  {events:,} predictions: {usage.ru_utime + usage.ru_stime:.1f} s of CPU")
    return taken, usage.ru_maxrss / 1024
