"""Watches with any part replaced: what is wrong with one is said with its place, never by a traceback."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from logging_lib.watch.errors import WatchError, WatchProblem
from logging_lib.watch.lint import lint_watch
from logging_lib.watch.loading import parse_watch

ROOT = Path(__file__).parents[2]
NOW = datetime(2026, 1, 1, tzinfo=UTC)
WATCHES = {
    file.stem: json.loads(file.read_text("utf-8")) for file in sorted((ROOT / "watchers").glob("*.json"))
}
ODD: tuple[Any, ...] = (
    *(
        "x",
        "",
        "{{ctx.payload}}",
        "{{",
        "<{now",
        "now-",
        7,
        -1,
        1.5,
        10**400,
        None,
        True,
        [],
        {},
        ["x"],
        [None],
    ),
    *(
        [[]],
        {"x": 1},
        {"": {}},
        {"x": []},
        {"field": {}},
        {"field": ["x"]},
        {"bool": 7},
        {"terms": "x"},
        [{}, 7],
    ),
    *(
        {"range": {"@timestamp": []}},
        {"x": {"aggs": 7}},
        {"id": []},
        {"id": {}},
        {"source": 7},
        "\ud800",
        "\0",
    ),
)


def list_places(node: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    entries = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in entries:
        yield (*path, key)
        yield from list_places(value, (*path, key))


def mutate(document: dict[str, Any], chance: random.Random) -> dict[str, Any]:
    """Copy a watch with one to three places replaced, removed, renamed, or wrapped."""
    document = copy.deepcopy(document)
    for _ in range(chance.choice((1, 1, 1, 2, 3))):
        places = list(list_places(document))
        if not places:
            break
        *parents, key = chance.choice(places)
        node = document
        for parent in parents:
            node = node[parent]
        kind = chance.randrange(6)
        if kind == 0:
            del node[key]
        elif kind == 1 and isinstance(node, dict):
            name = chance.choice(("x", "aggs", "query", "field", "id", "chain", "bool", "filter", ""))
            node[name] = node.pop(key)
        elif kind == 2:
            node[key] = [node[key]]
        else:
            node[key] = copy.deepcopy(chance.choice(ODD))
    return document


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
def test_mutated_watches(name: str) -> None:
    chance = random.Random(name)
    results = {check(mutate(WATCHES[name], chance)) for _ in range(15)}
    assert "refused" in results


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10))
def test_ten_thousand_mutated_watches(seed: int) -> None:
    chance = random.Random(seed)
    documents = list(WATCHES.values())
    results = [check(mutate(chance.choice(documents), chance)) for _ in range(10_000)]
    assert 1000 < results.count("taken") < 9000
