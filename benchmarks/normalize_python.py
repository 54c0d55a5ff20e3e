"""Lines from disk through ``normalize``, without checks, on two cores: half foreign, half of our own logger."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path

from benchmarks import _events
from benchmarks._common import Result, frame
from logging_lib import profile
from logging_lib.logger.jsonlines import read_lines
from logging_lib.normalize import Event, normalize

PARTS, REPEATS, WORKERS, DISTINCT = 4, 5, 2, 25_000


def run() -> Iterator[Result]:
    fitted = profile.fit(frame(20_000), model="m", version="1")
    foreign, own = list(_events.foreign(DISTINCT)), list(_events.own(fitted, DISTINCT))
    mixed = list(chain.from_iterable(zip(foreign, own, strict=True)))
    yield _measure("normalize_python", mixed, ">= 150,000/s")
    yield _measure("normalize_python_foreign", foreign * 2, "reported: foreign events alone")


def _measure(name: str, made: list[bytes], goal: str) -> Result:
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / f"{part}.jsonl" for part in range(PARTS)]
        for file in files:
            file.write_bytes(b"".join(made) * REPEATS)
        with ProcessPoolExecutor(WORKERS) as pool:
            list(pool.map(time.sleep, [0.1] * WORKERS))  # all workers have started
            rounds = [_round(pool, files, len(made) * REPEATS * PARTS) for _ in range(3)]
    events = len(made) * REPEATS * PARTS
    seconds, cpu = map(min, zip(*rounds, strict=True))
    return Result(name, events / seconds, "events/s", f"{goal}; {cpu / events * 1e6:.1f} us CPU an event")


def _round(pool: ProcessPoolExecutor, files: list[Path], events: int) -> tuple[float, float]:
    """Return the seconds by the clock, and those of both processes' CPU."""
    start = time.perf_counter()
    done, cpu = map(sum, zip(*pool.map(_read, files), strict=True))
    seconds = time.perf_counter() - start
    assert done == events, done
    return seconds, cpu


def _read(file: Path) -> tuple[int, float]:
    start, now = time.process_time(), datetime.now(UTC)
    done = sum(isinstance(normalize(line.data, now=now), Event) for line in read_lines(file))
    return done, time.process_time() - start
