"""Lines with any part replaced: each becomes an event or a dead letter, and is the same when it is read again."""

from __future__ import annotations

import random
from collections.abc import Iterator

import orjson
import pytest

from logging_lib.normalize import DeadLetter, Event, normalize
from logging_lib.store.duckdb.store import EmbeddedStore
from tests.mutation import CASES, SEEDS, Mutator, mutate_bytes, to_json
from tests.pipelines.cases import NOW, cases

_LARGE = 5_000
ODD_VALUES = (
    "N/A",
    "1,5",
    "1e400",
    "2018-02-01T12:00:00Z",
    1517479200,
    ["a", "b"],
    {"label": "x", "score": 2},
)
NAMES = (
    "model",
    "inputs",
    "prediction",
    "ml",
    "event",
    "time",
    "message",
    "log",
    "id",
    "labels",
    "@timestamp",
)


def list_lines() -> list[bytes]:
    """List the golden cases' lines that are not made to be large."""
    return [case.raw for case in cases() if len(case.raw) <= _LARGE]


def list_documents(lines: list[bytes]) -> Iterator[dict[str, object]]:
    for line in lines:
        try:
            document = orjson.loads(line)
        except orjson.JSONDecodeError:
            continue
        if isinstance(document, dict):
            yield document


def check(line: bytes) -> Event | DeadLetter:
    """Normalize a line, and what it became once more."""
    result = normalize(line, now=NOW)
    written = orjson.dumps(result.document)
    again = normalize(written, now=NOW)
    assert isinstance(again, Event), (line, again)
    assert orjson.dumps(again.document) == written, line
    return result


@pytest.mark.parametrize("seed", SEEDS)
def test_a_mutated_line_becomes_an_event_or_a_dead_letter(seed: int) -> None:
    lines = list_lines()
    chance, mutator = random.Random(seed), Mutator(list_documents(lines), odd=ODD_VALUES, names=NAMES)
    events, letters = [], 0
    for _ in range(CASES):
        whole = chance.random() < 0.7
        line = to_json(mutator.draw(chance)) if whole else mutate_bytes(chance.choice(lines), chance)
        result = check(line)
        letters += isinstance(result, DeadLetter)
        if isinstance(result, Event) and result.document["event"]["dataset"] == "ml.prediction":
            events.append(result.document)
    assert 0.1 < letters / CASES < 0.9
    # The store takes each, or says why not; the ids of mutated lines may be the same.
    with EmbeddedStore(None) as store:
        indexed = store.index("logs-ml.prediction-default", events, now=NOW)
        assert indexed.created + indexed.duplicates + len(indexed.failed) == len(events)
        assert indexed.created > len(events) / 2
