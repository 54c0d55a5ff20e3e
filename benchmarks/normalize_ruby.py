"""The Ruby twin in JRuby with JIT, one thread: half foreign lines, half of our own logger."""

from __future__ import annotations

import subprocess
import tempfile
import time
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

from benchmarks import _events
from benchmarks._common import Result, frame
from logging_lib import profile
from tests import jruby
from tests.elasticsearch_server import Unavailable

DISTINCT = 10_000
SCRIPT = Path(__file__).with_suffix(".rb")


def run() -> Iterator[Result]:
    try:
        command = jruby.command()
    except Unavailable as reason:
        print(f"  not measured: {reason}")
        return
    fitted = profile.fit(frame(20_000), model="m", version="1")
    foreign, own = list(_events.foreign(DISTINCT)), list(_events.own(fitted, DISTINCT))
    mixed = list(chain.from_iterable(zip(foreign, own, strict=True)))
    yield _measure(command, "normalize_ruby", mixed, ">= 20,000/s; one thread")
    yield _measure(command, "normalize_ruby_foreign", foreign, "reported: foreign events alone")
    yield _measure(command, "normalize_ruby_own", own, "reported: events of our logger alone")


def _measure(command: list[str], name: str, made: list[bytes], goal: str) -> Result:
    with tempfile.NamedTemporaryFile(suffix=".jsonl") as file:
        file.write(b"".join(made))
        file.flush()
        now = str(int(time.time() * 1e6))
        done = subprocess.run(
            [*command, str(SCRIPT), file.name, now], capture_output=True, text=True, check=True
        )
    seconds, cpu = map(float, done.stdout.split())
    return Result(
        name, len(made) / seconds, "events/s", f"{goal}; {cpu / len(made) * 1e6:.0f} us CPU an event"
    )
