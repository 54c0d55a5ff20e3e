"""Which tests go to one process of pytest-xdist: those of a file, and all that need the same server.

A server is started by the process whose tests need it. So that each is started once, and that no two processes
change the same cluster at the same time, all tests of a server are one unit. The processes know what a test needs,
and their controller hands out units: the first process to have collected writes them to a file for it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadFileScheduling

UNITS = "units-of-tests"
"""What a process finds the file's path under, in what its controller says to it."""

EARLY = (
    "secured",
    "elasticsearch",
    "watcher",
    "tests/report/test_pages.py",
    "tests/pipelines/test_twins.py",
    "tests/report/test_preview_bad_input.py",
    "tests/examples/test_integrations.py",
    "tests/watch/test_backtest.py",
)
"""Units that take long: they begin first, so that no process ends long after the others."""


def unit(item: pytest.Item) -> str:
    """Return the name of the unit that a test belongs to."""
    fixtures = getattr(item, "fixturenames", ())
    if "watcher" in fixtures:
        return "watcher"
    mark = item.get_closest_marker("elasticsearch")
    if mark is None:
        return item.nodeid.split("::")[0]
    secured = mark.kwargs.get("secured", "secured" in fixtures)
    return "secured" if secured else "elasticsearch"


def arrange(items: list[pytest.Item]) -> None:
    """Put tests in the order in which their units are handed out; the order within a unit is kept."""
    ranks = {name: rank for rank, name in enumerate(EARLY)}
    items.sort(key=lambda item: ranks.get(unit(item), len(EARLY)))


def write(path: Path, items: Sequence[pytest.Item]) -> None:
    own = path.with_name(f"{path.name}.{os.getpid()}")
    own.write_text(json.dumps({item.nodeid: unit(item) for item in items}))
    own.replace(path)


class ByServer(LoadFileScheduling):
    """Hands out units in the order in which the tests were collected."""

    def __init__(self, config: pytest.Config, log: Any, path: Path) -> None:
        super().__init__(config, log)
        config.option.loadscopereorder = False
        self._path = path
        self._units: dict[str, str] = {}

    def _split_scope(self, nodeid: str) -> str:
        if not self._units:
            self._units = json.loads(self._path.read_text())
        return self._units[nodeid]
