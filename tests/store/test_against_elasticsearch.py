"""The embedded store's answers beside those of a real Elasticsearch, over the same random events."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from logging_lib.store import SearchError, Store
from logging_lib.store.connection import Connection
from logging_lib.store.duckdb.store import EmbeddedStore
from tests.store import bodies, elastic, events

pytestmark = pytest.mark.elasticsearch


@dataclass
class Filled:
    """A store and the stream that holds the events."""

    store: Store
    stream: str

    def search(self, body: dict[str, Any]) -> dict[str, Any]:
        return self.store.search(self.stream, body, now=events.NOW)


def filled(store: Store, stream: str) -> Filled:
    result = store.index(stream, events.randomly(300, seed=1), now=events.NOW)
    assert (result.created, result.failed) == (300, ())
    store.refresh()
    return Filled(store, stream)


@pytest.fixture(scope="module")
def real(elasticsearch: Connection) -> Filled:
    return filled(elastic.store(elasticsearch), elastic.new_stream())


@pytest.fixture(scope="module")
def embedded() -> Iterator[Filled]:
    with EmbeddedStore(None) as store:
        yield filled(store, events.STREAM)


@pytest.mark.parametrize("body", bodies.all_bodies(), ids=repr)
def test_bodies_are_answered_as_by_elasticsearch(
    body: dict[str, Any], real: Filled, embedded: Filled
) -> None:
    compare(body, real, embedded)


@pytest.mark.parametrize("seed", range(150))
def test_random_bodies_are_answered_as_by_elasticsearch(seed: int, real: Filled, embedded: Filled) -> None:
    compare(bodies.random_body(seed), real, embedded)


def compare(body: dict[str, Any], real: Filled, embedded: Filled) -> None:
    try:
        expected = real.search(body)
    except SearchError as error:
        with pytest.raises(SearchError):
            embedded.search(body)
        pytest.skip(f"both refuse it: {error!s:.200}")
    assert differences(expected, embedded.search(body)) == []


_ASIDE = {"took", "_shards", "_index", "_score", "max_score"}


def differences(expected: Any, actual: Any, path: str = "$", tolerance: float = 1e-13) -> list[str]:
    """Where two answers differ. Percentiles are approximate in Elasticsearch."""
    if isinstance(expected, dict) and isinstance(actual, dict):
        keys = [key for key in expected if key not in _ASIDE]
        if keys != [key for key in actual if key not in _ASIDE] and set(keys) != set(actual) - _ASIDE:
            return [f"{path}: keys {keys} / {list(actual)}"]
        named = expected.get("buckets")
        if isinstance(named, dict) and list(named) != list(actual["buckets"]):
            return [f"{path}: order {list(named)} / {list(actual['buckets'])}"]
        loose = "values" in expected
        return [
            difference
            for key in keys
            for difference in differences(
                expected[key], actual[key], f"{path}.{key}", 0.05 if loose else tolerance
            )
        ]
    if isinstance(expected, list) and isinstance(actual, list):
        if len(expected) != len(actual):
            return [f"{path}: {len(expected)} / {len(actual)} items: {expected!r:.300} / {actual!r:.300}"]
        pairs = enumerate(zip(expected, actual, strict=True))
        return [
            difference for i, (a, b) in pairs for difference in differences(a, b, f"{path}[{i}]", tolerance)
        ]
    numbers = isinstance(expected, (int, float)) and isinstance(actual, (int, float))
    if numbers and not isinstance(expected, bool) and type(expected) is type(actual):
        same = math.isclose(expected, actual, rel_tol=tolerance, abs_tol=1e-9)
    elif isinstance(expected, str) and path.endswith("_as_string") and tolerance > 1e-6:
        same = isinstance(actual, str) and expected[:10] == actual[:10]
    else:
        same = type(expected) is type(actual) and expected == actual
    return [] if same else [f"{path}: {expected!r} / {actual!r}"]
