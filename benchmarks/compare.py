"""``compare`` of 1M x 20 against 1M x 20, beside Evidently's drift report, each in its own process."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks import _peers
from benchmarks._common import Result, frame

ROWS = 1_000_000

OURS = """
import json, resource, sys, time
import pandas as pd
from logging_lib.analysis import compare
a, b = (pd.read_parquet(path) for path in sys.argv[1:3])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
started = time.perf_counter()
used = time.process_time()
made = compare(a, b).document()
seconds, cpu = time.perf_counter() - started, time.process_time() - used
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(json.dumps({"seconds": seconds, "cpu": cpu, "before": before, "peak": peak}))
"""


def run() -> Iterator[Result]:
    with tempfile.TemporaryDirectory() as folder:
        paths = [str(Path(folder, name)) for name in ("reference.parquet", "current.parquet")]
        for seed, path in enumerate(paths):
            data = frame(ROWS, seed, categories=10, texts=0)
            data["number_1"] *= 1 + 0.1 * seed
            data.to_parquet(path)
        made = subprocess.run(
            [sys.executable, "-c", OURS, *paths], check=True, capture_output=True, text=True
        )
        ours = json.loads(made.stdout)
        theirs = _peers.run("evidently", *paths)
    ratio = theirs["seconds"] / ours["seconds"]
    peer, less = "Evidently 0.7", theirs["cpu"] / ours["cpu"]
    yield Result("compare_seconds", ours["seconds"], "s", "10 times faster", peer, theirs["seconds"], ratio)
    yield Result("compare_cpu", ours["cpu"], "s", "10 times less", peer, theirs["cpu"], less)
    yield Result("compare_peak", ours["peak"], "MiB", "stated", peer, theirs["peak"])
    yield Result("compare_own", ours["peak"] - ours["before"], "MiB", "stated, above the two frames")
