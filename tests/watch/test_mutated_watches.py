"""Watches with any part replaced: what is wrong with one is said with its place, never by a traceback."""

from __future__ import annotations

import json
import random
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from logging_lib.watch.errors import WatchError, WatchProblem
from logging_lib.watch.lint import lint_watch
from logging_lib.watch.loading import parse_watch
from tests.mutation import CASES, SEEDS, Mutator

ROOT = Path(__file__).parents[2]
NOW = datetime(2026, 1, 1, tzinfo=UTC)
WATCHES = {
    file.stem: json.loads(file.read_text("utf-8")) for file in sorted((ROOT / "watchers").glob("*.json"))
}


def check(document: dict[str, Any]) -> str:
    """Load and lint a watch; whether it is refused or taken."""
    problems: tuple[WatchProblem, ...] = ()
    try:
        watch = parse_watch(document, id="mutated")
    except WatchError as error:
        problems = tuple(error.problems)
        if not problems:
            raise
    assert all(problem.path.startswith("$") and problem.message for problem in problems), problems
    if problems:
        return "refused"
    for finding in lint_watch(watch, now=NOW):
        assert finding.path.startswith("$"), finding
    return "taken"


@pytest.mark.parametrize("name", WATCHES)
def test_every_shipped_watch_survives_mutation(name: str) -> None:
    chance, mutator = random.Random(name), Mutator([WATCHES[name]])
    assert "refused" in {check(mutator.draw(chance)) for _ in range(15)}


@pytest.mark.parametrize("seed", SEEDS)
def test_a_mutated_watch_is_loaded_or_refused_with_its_place(seed: int) -> None:
    chance, mutator = random.Random(seed), Mutator(WATCHES.values())
    results = [check(mutator.draw(chance)) for _ in range(CASES)]
    assert 0.1 < results.count("taken") / CASES < 0.9
