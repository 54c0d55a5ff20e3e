"""``python -m benchmarks [NAME ...]``: run the benchmarks and print each figure beside its goal.

Write ``build/bench/results.json``: a list of {"name", "value", "unit", "peer", "peer_value", "ratio"}.
"""

from __future__ import annotations

import sys
import time
from dataclasses import asdict
from importlib import import_module
from pathlib import Path

import orjson

NAMES = (
    "log_call",
    "batch",
    "profile_fit",
    "compare",
    "read_check",
    "normalize_python",
    "normalize_ruby",
    "logstash_ratio",
    "ship_throughput",
    "ship_es_throughput",
    "receiver_down",
    "event_size",
    "es_ingest",
    "preview",
    "backtest",
    "backtest_es",
    "ticks",
    "watch_es",
    "runner",
    "incidents",
)


def main(wanted: list[str]) -> int:
    results = []
    for name in wanted or NAMES:
        started = time.perf_counter()
        print(f"{name} ...", flush=True)
        for result in import_module(f"benchmarks.{name}").run():
            results.append(result)
            peer = f"; {result.peer}: {result.peer_value:,.4g} {result.unit}" if result.peer else ""
            ratio = f"; ratio {result.ratio:.3f}" if result.ratio is not None else ""
            print(
                f"  {result.name}: {result.value:,.4g} {result.unit}{peer}{ratio}   [{result.goal}]",
                flush=True,
            )
        print(f"  ({time.perf_counter() - started:.0f} s)", flush=True)
    out = Path("build/bench/results.json")
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_bytes(orjson.dumps([asdict(result) for result in results], option=orjson.OPT_INDENT_2))
    print(f"written to {out}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
