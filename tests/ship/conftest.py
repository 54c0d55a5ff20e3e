"""What the tests of shipping share: a spool with events, shippers that never wait, a test CA."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import logging_lib
from logging_lib.logger.segments import DEAD_LETTERS
from logging_lib.logger.spool import Spool
from logging_lib.ship.receivers import create_receiver
from logging_lib.ship.shipper import Shipper
from logging_lib.ship.target import parse_target
from tests.ship.receivers import BeatsSink

ROOT = Path(__file__).parents[2]


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    spool = Spool(tmp_path / "spool")
    yield spool
    spool.close()


@pytest.fixture
def beats() -> Iterator[BeatsSink]:
    with BeatsSink() as sink:
        yield sink


@pytest.fixture
def ship() -> Iterator[Callable[..., Shipper]]:
    """Makes shippers whose waits take no time; they end with the test."""
    shippers: list[Shipper] = []

    def make(spool: Spool | Path, url: str, *, timeout: float = 120.0, **options: Any) -> Shipper:
        files = {name: options.pop(name) for name in ("ca", "cert", "key") if name in options}
        directory = spool.directory if isinstance(spool, Spool) else spool
        options.setdefault("wait", lambda seconds: False)
        shipper = Shipper(directory, create_receiver(parse_target(url, **files), timeout=timeout), **options)
        shippers.append(shipper)
        return shipper

    yield make
    for shipper in shippers:
        shipper.close()


def fill(spool: Spool, events: int, first: int = 0) -> list[str]:
    """Log so many predictions; their ids."""
    log = logging_lib.configure(model="m", version="1", report_every=None, spool=spool)
    ids = [f"e-{n}" for n in range(first, first + events)]
    for name in ids:
        log.prediction({"n": 1}, 1.0, event_id=name)
    return ids


def drain(shipper: Shipper) -> int:
    """Ship until nothing is left; the number of events."""
    assert shipper.reader.lock()
    total = 0
    while settled := shipper.ship_batch():
        total += settled
    return total


def dead_letters(directory: Path) -> list[dict[str, Any]]:
    file = directory / DEAD_LETTERS
    return [json.loads(line) for line in file.read_bytes().splitlines()] if file.exists() else []


def python(code: str, *arguments: object, **options: Any) -> subprocess.Popen[bytes]:
    """Start a Python process with this checkout's code."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    command = [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)]
    return subprocess.Popen(command, env=environment, **options)
