"""Search bodies with any part replaced: the embedded store and lint say what is wrong, never by a traceback."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from logging_lib.store.duckdb.store import EmbeddedStore
from logging_lib.store.port import SearchError
from logging_lib.watch.errors import WatchError
from logging_lib.watch.lint import lint_watch
from logging_lib.watch.loading import parse_watch
from logging_lib.watch.model import Watch
from tests.mutation import CASES, SEEDS, Mutator
from tests.store.bodies import all_bodies, random_body
from tests.store.events import NOW, STREAM, randomly

ROOT = Path(__file__).parents[2]
LINTED_AT = datetime(2026, 1, 1, tzinfo=UTC)


def list_shipped_bodies() -> Iterator[dict[str, Any]]:
    """List the bodies of the shipped watches, with times in place of their templates."""
    for file in sorted((ROOT / "watchers").glob("*.json")):
        text = file.read_text("utf-8").replace("{{ctx.trigger.scheduled_time}}", "2018-02-03T15:00:00Z")
        metadata = json.loads(text)["metadata"]
        for number, window in enumerate(metadata.get("windows", ())):
            text = text.replace(f"{{{{ctx.metadata.windows.{number}}}}}", window)
        for step in json.loads(text)["input"].get("chain", {}).get("inputs", ()):
            for source in step.values():
                if "search" in source:
                    yield source["search"]["request"]["body"]


BODIES = [*all_bodies(), *map(random_body, range(100)), *list_shipped_bodies()]


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[EmbeddedStore]]:
    """One that holds documents, and one that reads files by columns, with the same events."""
    folder = tmp_path_factory.mktemp("store")
    with EmbeddedStore(None) as in_memory, EmbeddedStore(folder) as writing:
        for embedded in (in_memory, writing):
            assert not embedded.index(STREAM, randomly(30, seed=1), now=NOW).failed
        with EmbeddedStore(folder, read_only=True) as reading:
            yield [in_memory, reading]


def search(store: EmbeddedStore, body: Any) -> str:
    """Ask the store; return whether it refuses or answers."""
    try:
        answer = store.search(STREAM, body, now=NOW)
    except SearchError as error:
        if not error.path.startswith("$"):
            raise
        return "refused"
    assert answer["hits"]["hits"] is not None
    return "answered"


@pytest.mark.parametrize("seed", SEEDS)
def test_a_mutated_body_is_answered_or_refused_by_the_embedded_store(
    seed: int, stores: list[EmbeddedStore]
) -> None:
    chance, mutator = random.Random(seed), Mutator(BODIES)
    store = stores[seed % len(stores)]
    results = [search(store, mutator.draw(chance)) for _ in range(CASES)]
    assert 0.1 < results.count("answered") / CASES < 0.9


def lint(body: Any) -> str:
    """Load and lint a watch that has this body; return whether it is refused or taken."""
    request = {"indices": ["logs-ml.prediction-*"], "body": body}
    document = {
        "trigger": {"schedule": {"interval": "5m"}},
        "input": {"search": {"request": request}},
        "actions": {"log": {"logging": {"text": "x"}}},
    }
    try:
        watch: Watch = parse_watch(document, id="mutated")
    except WatchError as error:
        if not error.problems or not all(problem.path.startswith("$") for problem in error.problems):
            raise
        return "refused"
    for finding in lint_watch(watch, now=LINTED_AT):
        assert finding.path.startswith("$"), finding
    return "taken"


@pytest.mark.parametrize("seed", SEEDS)
def test_a_mutated_body_is_checked_by_lint(seed: int) -> None:
    chance, mutator = random.Random(seed), Mutator(BODIES)
    results = [lint(mutator.draw(chance)) for _ in range(CASES)]
    assert 0.1 < results.count("taken") / CASES < 0.9
