"""The shipper's state with any part replaced: no event is lost by it, and each command that reads it ends well."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import orjson
import pytest
from typer.testing import CliRunner

from logging_lib.cli.app import app
from logging_lib.logger.event import build_dead_letter
from logging_lib.logger.segments import DEAD_LETTERS, format_segment_name
from logging_lib.ship.metrics import SpoolCollector
from logging_lib.ship.receivers import ReceiverAnswer
from logging_lib.ship.shipper import Shipper
from logging_lib.ship.spool_reader import STATE
from tests.mutation import CASES, SEEDS, Mutator, mutate_bytes, to_json

SEGMENTS = [format_segment_name("host", 1, 1_700_000_000_000_000_000, number) for number in range(2)]
FILES = {
    name: b"".join(orjson.dumps({"event": {"id": f"{name}-{n}"}}) + b"\n" for n in range(3))
    for name in SEGMENTS
} | {
    DEAD_LETTERS: orjson.dumps(
        build_dead_letter(error_type="refused", message="m", original=b"{}", stage="ship", now_ns=0)
    )
    + b"\n"
}
ACKNOWLEDGED = FILES[SEGMENTS[0]].index(b"\n") + 1
STATES = [
    {
        "offsets": {SEGMENTS[0]: ACKNOWLEDGED, **more},
        "shipped": 1, "dead_lettered": 1, "duplicates": 0, "retries": 2, "rate": 1.5, "receiver": "beats://h:1",
        "last_error": "down", "last_error_at": 1.7e9, "updated": 1.7e9,
    }
    for more in ({}, {DEAD_LETTERS: len(FILES[DEAD_LETTERS])})
]  # fmt: skip


class AcceptingReceiver:
    """Takes each line."""

    def __init__(self) -> None:
        self.lines: list[bytes] = []

    def send(self, lines: Sequence[bytes]) -> ReceiverAnswer:
        self.lines += lines
        return ReceiverAnswer()

    def close(self) -> None: ...


def check(spool: Path, content: bytes, *, with_commands: bool) -> None:
    """Ship a spool that has this state."""
    for name, data in FILES.items():
        (spool / name).write_bytes(data)
    (spool / STATE).write_bytes(content)
    list(SpoolCollector(spool).collect())
    if with_commands:
        for options in ([], ["--json"]):
            done = CliRunner().invoke(app, ["ship", str(spool), "--status", *options])
            assert done.exit_code == 0, (content, done.output, done.exception)
    receiver = AcceptingReceiver()
    shipper = Shipper(spool, receiver)
    assert shipper.reader.lock()
    while shipper.ship_batch():
        pass
    shipper.close()
    lines = b"".join(FILES[name] for name in SEGMENTS).splitlines()
    assert set(lines[1:]) <= set(receiver.lines), content
    assert not any((spool / name).exists() for name in SEGMENTS), content


@pytest.fixture
def spool() -> Iterator[Path]:
    """A folder in memory, where the system has one: each state is a few files."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        yield Path(folder)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_mutated_state_of_the_shipper_is_read_or_refused(seed: int, spool: Path) -> None:
    chance, mutator = random.Random(seed), Mutator(STATES, names=("offsets", "shipped", DEAD_LETTERS))
    for number in range(CASES):
        whole = chance.random() < 0.8
        content = to_json(mutator.draw(chance)) if whole else mutate_bytes(to_json(STATES[0]), chance)
        check(spool, content, with_commands=number % 50 == 0)
