"""Foreign events through normalize and their profile's checks, beside orjson and from disk, and our own."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import orjson

from benchmarks import _events
from benchmarks._common import Result, frame
from benchmarks._events import DISTINCT
from logging_lib import profile
from logging_lib.logger.checks import Checker
from logging_lib.logger.jsonlines import read_lines
from logging_lib.normalize import Event, normalize, normalize_line

EVENTS, PARTS = 1_000_000, 4
WORKERS = 2
LINES, ROUNDS = 2000, 15


def run() -> Iterator[Result]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        fitted = profile.fit(frame(20_000), model="m", version="1")
        profile.save(fitted, folder / "profile.json")
        yield _measure_cpu(fitted)
        yield _measure("read_check", folder, _events.foreign(), _read_foreign, ">= 200,000/s")
        yield _measure("read_own", folder, _events.own(fitted), _read_own, "reported: events of our logger")


def _measure_cpu(fitted: profile.Profile) -> Result:
    """Measure the CPU time of an event beside orjson's ``loads`` and ``dumps`` of its line, in alternation."""
    checker = Checker(fitted, foreign=True)
    lines = [line.rstrip() for line in _events.foreign(LINES)]

    def ours(line: bytes) -> object:
        return normalize(line, checks=lambda model, version: checker)

    def theirs(line: bytes) -> object:
        return orjson.dumps(orjson.loads(line))

    taken: list[tuple[float, float]] = []
    for _ in range(ROUNDS):
        taken.append((_time_each(ours, lines), _time_each(theirs, lines)))
    own, other = (statistics.median(times) for times in zip(*taken, strict=True))
    ratio = statistics.median(a / b for a, b in taken)
    return Result("read_check_cpu", own, "µs CPU", "ratio <= 4", "orjson's loads + dumps", other, ratio)


def _time_each(function: Callable[[bytes], object], lines: list[bytes]) -> float:
    start = time.process_time()
    for line in lines:
        function(line)
    return (time.process_time() - start) / len(lines) * 1e6


def _measure(
    name: str, folder: Path, made: Iterable[bytes], read: Callable[[Path, Path], int], goal: str
) -> Result:
    files = _write(folder, list(made))
    size = sum(file.stat().st_size for file in files) / EVENTS
    with ProcessPoolExecutor(WORKERS) as pool:
        list(pool.map(time.sleep, [0.1] * WORKERS))  # all workers have started
        start = time.perf_counter()
        done = sum(pool.map(read, files, [folder / "profile.json"] * PARTS))
        seconds = time.perf_counter() - start
    assert done == EVENTS, done
    return Result(name, EVENTS / seconds, "events/s", f"{goal}; {size:.0f} bytes an event")


def _write(folder: Path, made: list[bytes]) -> list[Path]:
    files = [folder / f"{part}.jsonl" for part in range(PARTS)]
    for file in files:
        with file.open("wb") as out:
            for _ in range(EVENTS // PARTS // DISTINCT):
                out.writelines(made)
    return files


def _read_foreign(file: Path, profile_file: Path) -> int:
    checker = Checker(profile.load(profile_file), foreign=True)
    done = 0
    for line in read_lines(file):
        event = normalize_line(line, checks=lambda model, version: checker)
        done += isinstance(event, Event) and "bins" in event.document["ml"]["input"]
    return done


def _read_own(file: Path, _: Path) -> int:
    return sum(isinstance(normalize_line(line), Event) for line in read_lines(file))
