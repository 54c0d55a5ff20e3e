"""``python -m benchmarks.detection``: runs all cells, keeps what is done, writes the page beside this file.

Cells lie in ``build/detection``; a run that was stopped goes on where it was. ``--seeds`` and ``--clean-weeks``
make it shorter, ``--peers no`` leaves Evidently and NannyML out, ``--report`` only writes the page.
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import os
import pickle
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pandas as pd

from benchmarks._peers import PINNED, QUIET, environment
from benchmarks.detection import replay, report
from benchmarks.detection.faults import FAULTS
from benchmarks.detection.streams import ABSENT, STREAMS, WEEK
from logging_lib._util import content

OUT = Path("build/detection")
HERE = Path(__file__).parent
WINDOW = 500
PEER_SEEDS, PEER_CLEAN = 5, 40


def fingerprint() -> str:
    """Of all that a cell's result depends on: cells of other watches or scripts are run again."""
    digest = hashlib.sha256()
    root = Path(replay.__file__).parent
    package = Path(content.__file__).parents[1]
    for file in [
        *(root / name for name in ("streams.py", "faults.py", "counting.py", "replay.py")),
        *sorted(content.path("watchers").glob("*.json")),
        *sorted((package / "watch" / "scripts").glob("*.py")),
        package / "watch" / "statistics.py",
    ]:
        text = file.read_text("utf-8")
        digest.update((_code(text) if file.suffix == ".py" else text).encode())
    return digest.hexdigest()[:16]


def _code(source: str) -> str:
    """A module without its comments and docstrings."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            node.value = ast.Constant("")
    return ast.dump(tree)


def of_stream(name: str, seeds: int, clean_seeds: int, weeks: int, known: set[str], mark: str) -> None:
    """Every cell of a stream that is not known yet; appended one by one."""
    prepared = replay.prepare(STREAMS[name]())
    with (OUT / f"cells-{name}.jsonl").open("ab") as file:
        for seed in range(seeds):
            for fault in FAULTS:
                key = f"{mark}/{name}/{fault.name}/{seed}"
                if key not in known:
                    record, _, _ = replay.faulty(prepared, fault, seed)
                    file.write(
                        orjson.dumps({"key": key, **record}, option=orjson.OPT_SERIALIZE_NUMPY) + b"\n"
                    )
            file.flush()
        for seed in range(clean_seeds):
            key = f"{mark}/{name}/clean/{seed}/{weeks}"
            if key not in known:
                file.write(
                    orjson.dumps(
                        {"key": key, **replay.clean(prepared, seed, weeks)}, option=orjson.OPT_SERIALIZE_NUMPY
                    )
                    + b"\n"
                )
                file.flush()


def cells(mark: str) -> list[dict[str, Any]]:
    found = []
    for file in sorted(OUT.glob("cells-*.jsonl")):
        for line in file.read_bytes().splitlines():
            record = orjson.loads(line)
            if record["key"].startswith(mark + "/"):
                found.append(record)
    return found


def windows(name: str) -> dict[str, Any]:
    """A stream's windows of 500 events as tables, for the peers: training, clean ones, the first after an onset."""
    stream = STREAMS[name]()
    prepared = replay.prepare(stream)
    reference = stream.reference.astype(object).assign(
        prediction=stream.predict(stream.reference.astype(object))
    )
    chance = np.random.default_rng(5)
    reference["latency_ms"] = np.exp(chance.normal(np.log(20.0), replay.SIGMA, len(reference)))
    reference["model_version"] = stream.version
    tables = list(_tables(prepared))
    made: dict[str, Any] = {"reference": reference, "clean": [], "faults": {}, "kinds": _kinds(stream)}
    all_rows = pd.concat(tables, ignore_index=True)

    def table(found: replay.Events, begin: int) -> pd.DataFrame:
        chosen = slice(begin, begin + WINDOW)
        rows = all_rows.iloc[found.documents[chosen]].reset_index(drop=True)
        return rows.assign(
            latency_ms=found.durations[chosen] / 1e6,
            model_version=np.where(found.other[chosen], "next", stream.version),
        )

    clean = replay.events(
        prepared, [(3 * WEEK, 5 * WEEK)], np.random.default_rng(replay.seed_of(name, "peers"))
    )
    step = (len(clean.at) - WINDOW) // PEER_CLEAN
    made["clean"] = [table(clean, k * step) for k in range(PEER_CLEAN)]
    for fault in FAULTS:
        if fault.ramp:
            continue
        for seed in range(PEER_SEEDS):
            _, found, onset = replay.faulty(prepared, fault, seed)
            window = table(found, int(np.searchsorted(found.at, onset)))
            if fault.name == "vanished column":
                window = window.drop(columns=[stream.missing])
            made["faults"].setdefault(fault.name, []).append(window)
    return made


def _tables(prepared: replay.Prepared) -> list[pd.DataFrame]:
    """The rows behind the documents' numbers, in their order, with the predictions."""
    stream = prepared.stream
    parts = [stream.rows.assign(prediction=stream.predict(stream.rows))]
    for fault in FAULTS:
        if fault.alter is not None:
            rows = fault.alter(stream, stream.rows.iloc[prepared.altered[fault.name][0]])
            answers = stream.predict(rows)
            shown = rows.map(lambda value: None if value is ABSENT else value)
            parts.append(shown.assign(prediction=answers))
    return parts


def _kinds(stream: Any) -> dict[str, list[str]]:
    features = stream.profile.features
    numeric = [name for name, feature in features.items() if feature.kind == "numeric"]
    other = [name for name in features if name not in numeric and name != stream.text]
    return {"numeric": numeric, "category": other, "text": [stream.text]}


def peer(name: str) -> list[dict[str, Any]]:
    """A peer's verdicts, each in an environment of its own; kept in ``build/detection``."""
    out = OUT / f"{name}.json"
    if not out.is_file():
        given = OUT / "windows"
        given.mkdir(exist_ok=True)
        for stream in STREAMS:
            if not (given / f"{stream}.pickle").is_file():
                (given / f"{stream}.pickle").write_bytes(pickle.dumps(portable(windows(stream))))
        subprocess.run(
            [str(environment(name)), str(HERE / "peers" / f"{name}_verdicts.py"), str(given), str(out)],
            check=True,
            env={**os.environ, **QUIET},
        )
    found: list[dict[str, Any]] = orjson.loads(out.read_bytes())
    return found


def portable(given: Any) -> Any:
    """Tables as lists: the peers' pandas is another one."""
    if isinstance(given, pd.DataFrame):
        shown = given.astype(object).where(given.notna(), None)
        return {str(name): shown[name].tolist() for name in shown.columns}
    if isinstance(given, dict):
        return {key: portable(value) for key, value in given.items()}
    if isinstance(given, list):
        return [portable(value) for value in given]
    return given


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--clean-seeds", type=int, default=3)
    parser.add_argument("--clean-weeks", type=int, default=4)
    parser.add_argument("--peers", choices=["yes", "no"], default="yes")
    parser.add_argument("--report", action="store_true")
    given = parser.parse_args()
    OUT.mkdir(parents=True, exist_ok=True)
    started, mark = time.perf_counter(), fingerprint()
    if not given.report:
        known = {record["key"] for record in cells(mark)}
        with ProcessPoolExecutor(max_workers=min(2, os.cpu_count() or 1)) as pool:
            waiting = [
                pool.submit(of_stream, name, given.seeds, given.clean_seeds, given.clean_weeks, known, mark)
                for name in STREAMS
            ]
            for each in waiting:
                each.result()
    peers = {}
    for name in PINNED if given.peers == "yes" else ():
        try:
            peers[name] = peer(name)
        except (subprocess.CalledProcessError, FileNotFoundError) as error:
            print(f"{name} could not be run: {error}", file=sys.stderr)
    results = report.summarize(cells(mark), peers, {name: " ".join(pins) for name, pins in PINNED.items()})
    results_file = HERE / "results.json"
    results_file.write_bytes(orjson.dumps(results, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS))
    (HERE / "README.md").write_text(report.page(results), "utf-8")
    print(report.page(results))
    print(f"written to {HERE / 'README.md'} in {time.perf_counter() - started:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
