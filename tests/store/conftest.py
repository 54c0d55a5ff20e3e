"""The stores that the contract is for: embedded in memory, over files, and read only; and Elasticsearch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from logging_lib.store import Store
from logging_lib.store.duckdb.store import EmbeddedStore
from tests.store import elastic, events

KINDS = ["memory", "files", "read only", pytest.param("elasticsearch", marks=pytest.mark.elasticsearch)]


class Subject:
    """An empty store; ``again`` opens what the next process sees."""

    def __init__(
        self, make: Callable[[], Store], stream: str, *, again: Callable[[], Store] | None = None
    ) -> None:
        self._again = again
        self.stream = stream
        self.store = make()

    def search(self, documents: list[dict[str, Any]], body: Mapping[str, Any]) -> dict[str, Any]:
        """The answer of a store with these documents in it, asked at a fixed moment."""
        result = self.store.index(self.stream, documents, now=events.NOW)
        assert (result.created, result.failed) == (len(documents), ())
        self.store.refresh()
        if self._again is not None:
            self.close()
            self.store = self._again()
        return self.store.search(self.stream, body, now=events.NOW)

    def close(self) -> None:
        self.store.close()


@pytest.fixture(params=KINDS)
def subject(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Subject]:
    if request.param == "elasticsearch":
        connection = request.getfixturevalue("elasticsearch")
        yield Subject(lambda: elastic.store(connection), elastic.new_stream())
        return
    again = {
        "memory": None,
        "files": lambda: EmbeddedStore(tmp_path),
        "read only": lambda: EmbeddedStore(tmp_path, read_only=True),
    }[request.param]
    new_subject = Subject(lambda: EmbeddedStore(tmp_path if again else None), events.STREAM, again=again)
    yield new_subject
    new_subject.close()


@pytest.fixture
def store() -> Iterator[EmbeddedStore]:
    """An empty store in memory."""
    with EmbeddedStore(None) as embedded:
        yield embedded
