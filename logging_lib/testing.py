"""For the tests of a service: what it logged, as a list of events, without a file.

Installed with the library as a pytest plugin: ask for the fixture ``captured_predictions``.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import orjson

from logging_lib.logger.spool import Spool

_OF_ITSELF = ("ml.health", "ml.start")


@contextlib.contextmanager
def capture_predictions() -> Iterator[list[dict[str, Any]]]:
    """Within the block every spool of this process writes into the list, and into no file.

    What a logger says of itself each minute (``ml.health``, ``ml.start``) is left out: it comes when it comes.
    """
    events: list[dict[str, Any]] = []

    def write(spool: Spool, line: bytes) -> bool:
        event = orjson.loads(line)
        if event["event"]["dataset"] not in _OF_ITSELF:
            events.append(event)
        return True

    def write_all(spool: Spool, lines: Sequence[bytes]) -> int:
        return sum(write(spool, line) for line in lines)

    originals = Spool.write, Spool.write_all
    Spool.write, Spool.write_all = write, write_all  # type: ignore[method-assign, assignment]
    try:
        yield events
    finally:
        Spool.write, Spool.write_all = originals  # type: ignore[method-assign]


with contextlib.suppress(ModuleNotFoundError):
    import pytest

    @pytest.fixture
    def captured_predictions() -> Iterator[list[dict[str, Any]]]:
        """The events that the test makes the service log."""
        with capture_predictions() as events:
            yield events
