"""All shipped watches over a month at 5-minute ticks, over a real Elasticsearch and over the files embedded.

Both run on this machine in the same run: ``logging-lib watch backtest`` with ``--elasticsearch`` and with
``--store``. No event is fetched; ``backtest_es_memory`` is the command's peak. ``LOGGING_LIB_BENCH_EVENTS`` sets
the number of predictions. The server must be empty: all its ``logs-ml.*`` events are replayed.
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

from benchmarks import _elasticsearch, _history
from benchmarks._common import Result
from benchmarks.backtest import COMMAND, read_memory
from logging_lib import profile
from logging_lib.store.elasticsearch import ElasticsearchStore

EVENTS = 1_000_000


def run() -> Iterator[Result]:
    events = int(os.environ.get("LOGGING_LIB_BENCH_EVENTS", EVENTS))
    with _elasticsearch.deployed() as connection, tempfile.TemporaryDirectory() as folder:
        if connection is None:
            return
        store = Path(folder) / "store"
        made = _history.write(store, events)
        embedded, _ = _measure(["--store", str(store)])
        ElasticsearchStore(connection).index("ml-profiles", [profile.build_document(made)])
        for target in sorted(store.glob("logs-*")):
            with (target / "documents.jsonl").open("rb") as lines:
                _elasticsearch.fill(connection, target.name, lines)
        counted, peak = _measure(["--elasticsearch", connection.url])
    yield Result("backtest_es", counted, "s", "ratio <= 3", "embedded", embedded, counted / embedded)
    yield Result("backtest_es_memory", peak, "MiB", "flat in events")


def _measure(arguments: list[str]) -> tuple[float, float]:
    """Return the seconds of a backtest, and its peak memory in MiB."""
    with tempfile.TemporaryFile() as out:
        start, peak = time.perf_counter(), 0.0
        python = [sys.executable, "-c", COMMAND, "watch", "backtest", *arguments, "--json"]
        process = subprocess.Popen(python, stdout=out)
        while process.poll() is None:
            peak = max(peak, read_memory(process.pid))
            time.sleep(1)
        taken = time.perf_counter() - start
        out.seek(0)
        found = json.load(out)
    assert not found["failures"], found["failures"]
    assert not found["alerts"], "the history is healthy"
    return taken, peak
