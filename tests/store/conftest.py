"""The stores that the contract is for: the embedded one in memory and over files, and Elasticsearch if given."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from logging_lib.schema.fields import load
from logging_lib.store.embedded import EmbeddedStore
from tests.store import events
from tests.store.elastic import Elasticsearch

KINDS = ["memory", "files", pytest.param("elasticsearch", marks=pytest.mark.elasticsearch)]


class Subject:
    """A store with some events in it, asked at a fixed moment."""

    def __init__(self, kind: str, path: Path, url: str = "") -> None:
        self._kind = kind
        self._path = path
        self._opened: list[EmbeddedStore] = []
        self._client = Elasticsearch(url) if kind == "elasticsearch" else None

    def search(self, documents: list[dict[str, Any]], body: Mapping[str, Any]) -> dict[str, Any]:
        if self._client is not None:
            self._client.delete("logging-lib-contract")
            self._client.create("logging-lib-contract", load())
            self._client.index("logging-lib-contract", documents)
            return self._client.search("logging-lib-contract", body)
        store = EmbeddedStore(None if self._kind == "memory" else self._path)
        self._opened.append(store)
        result = store.index(events.STREAM, documents, now=events.NOW)
        assert (result.created, result.failed) == (len(documents), ())
        if self._kind == "files":  # what counts is what lies in the files
            store = EmbeddedStore(self._path, read_only=True)
            self._opened.append(store)
        return store.search(events.STREAM, body, now=events.NOW)

    def close(self) -> None:
        for store in self._opened:
            store.close()
        if self._client is not None:
            self._client.delete("logging-lib-contract")


@pytest.fixture(params=KINDS)
def subject(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Subject]:
    url = request.getfixturevalue("elasticsearch_url") if request.param == "elasticsearch" else ""
    made = Subject(request.param, tmp_path, url)
    yield made
    made.close()


@pytest.fixture
def store() -> Iterator[EmbeddedStore]:
    """An empty store in memory."""
    with EmbeddedStore(None) as made:
        yield made
