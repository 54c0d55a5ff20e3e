"""A context manager and a pytest fixture that capture the events of a service in its tests, without a file.

The library is a pytest plugin: a test uses the fixture ``captured_predictions`` by naming it as an argument.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import orjson

from logging_lib.logger.spool import Spool

__all__ = ["capture_predictions", "captured_predictions"]

_REPORTS = ("ml.health", "ml.start")


@contextlib.contextmanager
def capture_predictions() -> Iterator[list[dict[str, Any]]]:
    """Capture the events of every spool of this process within the block; nothing is written to a file.

    The logger's own reports (``ml.health``, ``ml.start``) are omitted, because their time is not fixed.

    Yields:
        The list of events; it grows while the block runs.
    """
    events: list[dict[str, Any]] = []

    def write(spool: Spool, line: bytes) -> bool:
        event = orjson.loads(line)
        if event["event"]["dataset"] not in _REPORTS:
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
        """Capture the events that the service logs during the test; a pytest fixture with their list."""
        with capture_predictions() as events:
            yield events
