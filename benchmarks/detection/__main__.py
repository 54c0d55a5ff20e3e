"""``python -m benchmarks.detection``: run all cells, keep finished ones, write the page beside this file.

Cells are kept in ``build/detection``; a run that was stopped continues where it was. A full run takes
about an hour on two idle cores. ``--seeds`` and ``--folds`` shorten it, ``--peers no`` omits Evidently and NannyML,
``--before`` records the smallest changes that this version finds, for comparison with later versions.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import orjson

from benchmarks._peers import PINNED
from benchmarks.detection import natural, report, rivals, shuffled
from benchmarks.detection.streams import STREAMS

HERE = Path(__file__).parent


def run_shuffled(seeds: int, clean_seeds: int, weeks: int, folder: Path) -> list[dict[str, Any]]:
    with ProcessPoolExecutor(max_workers=min(2, os.cpu_count() or 1)) as pool:
        waiting = [
            pool.submit(shuffled.of_stream, name, seeds, clean_seeds, weeks, str(folder)) for name in STREAMS
        ]
        return [record for each in waiting for record in each.result()]


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--streams", default="all")
    parser.add_argument("--folds", default="")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--clean-seeds", type=int, default=3)
    parser.add_argument("--clean-weeks", type=int, default=4)
    parser.add_argument("--peers", choices=["yes", "no"], default="yes")
    parser.add_argument("--before", action="store_true")
    given = parser.parse_args()
    started = time.perf_counter()
    results_file = HERE / "results.json"
    results = orjson.loads(results_file.read_bytes())
    streams = natural.chosen_streams(given.streams)
    measured = natural.measure(streams, folds=[int(each) for each in given.folds.split(",") if each])
    folder = natural.OUT / natural.fingerprint()
    peers = {}
    for name in PINNED if given.peers == "yes" else ():
        try:
            peers[name] = rivals.verdicts(name, streams, folder)
        except (subprocess.CalledProcessError, FileNotFoundError) as error:
            print(f"{name} could not be run: {error}", file=sys.stderr)
    results["natural"] = report.summarize_natural(measured, peers)
    results["peers"] = {name: pins[0].replace("==", " ") for name, pins in PINNED.items()}
    if given.seeds:
        cells = run_shuffled(given.seeds, given.clean_seeds, given.clean_weeks, folder)
        results["shuffled"] = report.summarize_shuffled(cells)
    if given.before:
        results["before"] = {f"{r['stream']} {r['feature']}": r["smallest"] for r in measured["shifts"]}
    results_file.write_bytes(orjson.dumps(results, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS))
    text = report.page(results)
    (HERE / "README.md").write_text(text, "utf-8")
    print(text)
    print(f"written to {HERE / 'README.md'} in {time.perf_counter() - started:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
