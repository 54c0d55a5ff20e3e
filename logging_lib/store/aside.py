"""A store of its own within a cluster: what is put into it is seen by nobody else, and gone when it is closed."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any
from uuid import uuid4

from logging_lib.store.connection import Connection, ElasticsearchError
from logging_lib.store.elasticsearch import ElasticsearchStore
from logging_lib.store.port import IndexResult

_PROFILES = "ml-profiles"
_KEYWORD = {"type": "keyword"}
_MAPPING = {
    "dynamic": False,
    "properties": {"ml": {"properties": {"model": {"properties": {"name": _KEYWORD, "version": _KEYWORD}}}}},
}


class Aside:
    """The port, over data streams of a namespace of their own and an index of profiles of its own.

    The templates must be there (``logging-lib stack deploy``).
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._store = ElasticsearchStore(connection)
        self._name = f"aside{uuid4().hex[:12]}"
        self._used: set[str] = set()

    def index(
        self,
        target: str,
        documents: Iterable[Mapping[str, Any]],
        *,
        now: datetime | None = None,
        create: bool = False,
    ) -> IndexResult:
        name = self._renamed(target)
        if not name.startswith("logs-") and name not in self._used:
            self._connection.call("PUT", f"/{name}", {"mappings": _MAPPING})
        self._used.add(name)
        return self._store.index(name, documents, now=now, create=create)

    def search(
        self,
        indices: str | list[str],
        body: Mapping[str, Any],
        *,
        now: datetime | None = None,
        rest_total_hits_as_int: bool = False,
    ) -> dict[str, Any]:
        names = indices.split(",") if isinstance(indices, str) else indices
        # With an asterisk: a stream that has no event yet is no error.
        own = [self._renamed(name) + "*" for name in names]
        return self._store.search(own, body, now=now, rest_total_hits_as_int=rest_total_hits_as_int)

    def streams(self, indices: str | list[str]) -> list[str]:
        names = indices.split(",") if isinstance(indices, str) else indices
        return self._store.streams([self._renamed(name) + "*" for name in names])

    def lines(self, target: str, fields: Collection[str]) -> Iterator[bytes | list[bytes]]:
        return self._store.lines(self._renamed(target), fields)

    def refresh(self) -> None:
        for name in self._used:
            self._store.refresh(name)

    def close(self) -> None:
        """Deletes what was put in; the connection stays open."""
        for name in sorted(self._used):
            self._delete(name)
        self._used.clear()

    def _delete(self, name: str) -> None:
        try:
            self._connection.call(
                "DELETE", f"/_data_stream/{name}" if name.startswith("logs-") else f"/{name}"
            )
        except ElasticsearchError as error:
            # Of no event came no stream; and a server that lacks the API keeps it: the name stands for itself.
            if error.status != 404 and not error.unknown_api:
                raise

    def _renamed(self, name: str) -> str:
        if name == _PROFILES:
            return f"{_PROFILES}-{self._name}"
        stream, _, _ = name.rpartition("-")
        return f"{stream}-{self._name}"
