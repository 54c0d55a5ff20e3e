"""All shipped watches over a month at 5-minute ticks, embedded and cold: seconds and peak memory of the command.

In the same run, for comparison, DuckDB reads the same files typed (``read_json`` into a table). The history
(``_history``) is in the folder of a store; ``logging-lib watch backtest --store FOLDER`` runs in its own process,
from start to end, with the bytecode that an installation leaves. Then the same runs with twice the events, for the
ratio. Memory is that of the process and its forks together, counting shared pages once (``Pss``).
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import duckdb

from benchmarks import _history
from benchmarks._common import Result

EVENTS = 1_000_000
COMMAND = "from logging_lib.cli import main; main()"


def run() -> Iterator[Result]:
    events = int(os.environ.get("LOGGING_LIB_BENCH_EVENTS", EVENTS))
    once, peak, read = _measured(events)
    yield Result("backtest", once, "s", "ratio <= 7", "DuckDB's typed read_json", read, once / read)
    yield Result("backtest_memory", peak, "MiB", "<= 1024 MiB for 1M events")
    twice, peak, _ = _measured(2 * events)
    yield Result("backtest_2M", twice, "s", "ratio <= 2.2", f"{events:,} events", once, twice / once)
    yield Result("backtest_2M_memory", peak, "MiB", "reported")


def _measured(events: int) -> tuple[float, float, float]:
    """Return seconds, peak memory in MiB, and the seconds that DuckDB reads. Print the CPU seconds as well."""
    with tempfile.TemporaryDirectory() as folder:
        _history.write(Path(folder) / "store", events)
        read = _read_typed(Path(folder) / "store")
        compiled = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
        compiled["PYTHONPYCACHEPREFIX"] = f"{folder}/bytecode"
        python = [sys.executable, "-c", COMMAND, "watch", "backtest"]
        subprocess.run([*python, "--help"], env=compiled, check=True, stdout=subprocess.DEVNULL)
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        with (Path(folder) / "found.json").open("wb") as out:
            start = time.perf_counter()
            process = subprocess.Popen(
                [*python, "--store", f"{folder}/store", "--json"], stdout=out, env=compiled
            )
            peak = 0.0
            while process.poll() is None:
                peak = max(peak, read_memory(process.pid))
                time.sleep(1)  # reading the page statistics of a gigabyte delays the process
            taken = time.perf_counter() - start
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        found = json.loads((Path(folder) / "found.json").read_bytes())
    assert process.returncode == 0, found["failures"]
    assert found["events"] >= events
    assert found["ticks"] >= 30 * 24 * 12 - 1
    assert not found["alerts"], "the history is healthy"
    cpu = usage.ru_utime + usage.ru_stime - before.ru_utime - before.ru_stime
    print(f"  {events:,} predictions: {cpu:.1f} s of CPU")
    return taken, peak, read


_TYPES = """{"@timestamp": 'VARCHAR', event: 'STRUCT(id VARCHAR, ingested VARCHAR, dataset VARCHAR,
outcome VARCHAR, duration BIGINT)', service: 'STRUCT("name" VARCHAR)', host: 'STRUCT("name" VARCHAR)',
process: 'STRUCT(pid BIGINT)', ml: 'STRUCT(model STRUCT("name" VARCHAR, "version" VARCHAR, "role" VARCHAR),
profile STRUCT(id VARCHAR, status VARCHAR), sample STRUCT(weight FLOAT), input STRUCT(bins VARCHAR[]),
"check" STRUCT(missing VARCHAR[], unseen VARCHAR[], oov VARCHAR[]), text STRUCT(oov_words VARCHAR[]),
prediction STRUCT("value" DOUBLE, "label" VARCHAR, bin VARCHAR))'}"""


def _read_typed(folder: Path) -> float:
    files = f"{folder}/logs-*/documents.jsonl"
    with duckdb.connect(":memory:", config={"preserve_insertion_order": "false"}) as connection:
        start = time.perf_counter()
        connection.execute(
            f"CREATE TABLE t AS SELECT * FROM read_json('{files}', format='newline_delimited', columns={_TYPES})"
        ).fetchall()
        return time.perf_counter() - start


def read_memory(pid: int) -> float:
    """Return the memory of a process and its descendants, in MiB."""
    found = 0.0
    try:
        for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            found += read_memory(int(one))
        rolled = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:  # it has ended
        return found
    return found + next(
        (int(line.split()[1]) / 1024 for line in rolled.splitlines() if line.startswith("Pss:")), 0.0
    )
