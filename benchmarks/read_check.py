"""1M foreign events from disk through normalize and the checks, on two cores."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import orjson

from benchmarks._common import Result, frame
from logging_lib import profile
from logging_lib.capture.checks import Checker
from logging_lib.capture.reading import lines
from logging_lib.normalize import Event, normalize_line

EVENTS, PARTS = 1_000_000, 4


def run() -> Iterator[Result]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        profile.save(profile.fit(frame(20_000), model="m", version="1"), folder / "profile.json")
        files = _write(folder)
        size = sum(file.stat().st_size for file in files) / EVENTS
        with ProcessPoolExecutor(2) as pool:
            list(pool.map(time.sleep, [0.1, 0.1]))  # both workers are up
            start = time.perf_counter()
            done = sum(pool.map(_read, files, [folder / "profile.json"] * PARTS))
            seconds = time.perf_counter() - start
    assert done == EVENTS, done
    yield Result("read_check", EVENTS / seconds, "events/s", f">= 200,000/s; {size:.0f} bytes an event")


def _write(folder: Path) -> list[Path]:
    data = frame(EVENTS // 20, seed=1)
    rows = []
    for i, row in enumerate(data.to_dict("records")):
        when = f"2018-02-01T10:{i // 60 % 60:02d}:{i % 60:02d}Z"
        event = {"model": "m", "version": "1", "inputs": row, "prediction": 11.5, "timestamp": when}
        rows.append(orjson.dumps(event, option=orjson.OPT_APPEND_NEWLINE))
    files = []
    for part in range(PARTS):
        file = folder / f"{part}.jsonl"
        with file.open("wb") as out:
            for _ in range(20 // PARTS):
                out.writelines(rows)
        files.append(file)
    return files


def _read(file: Path, profile_file: Path) -> int:
    checker = Checker(profile.load(profile_file), foreign=True)
    done = 0
    for line in lines(file):
        event = normalize_line(line, checks=lambda model, version: checker)
        done += isinstance(event, Event) and "bins" in event.document["ml"]["input"]
    return done
