"""A store as it was at a time."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any

from logging_lib.store.port import IndexResult, Store
from logging_lib.watch.times import format_instant


class AsOf:
    """A store as it was at a search's ``now``: later arrivals are not there yet."""

    live = False  # so that no watch asks the present over HTTP

    def __init__(self, store: Store) -> None:
        self._store = store
        self.execute_painless = getattr(store, "execute_painless", None)

    def search(
        self,
        indices: str | list[str],
        body: Mapping[str, Any],
        *,
        now: datetime | None = None,
        rest_total_hits_as_int: bool = False,
    ) -> dict[str, Any]:
        names = indices.split(",") if isinstance(indices, str) else indices
        if now is not None and all(name.startswith("logs-") for name in names):
            arrived = {"range": {"event.ingested": {"lte": format_instant(now)}}}
            query = body.get("query", {"match_all": {}})
            body = {**body, "query": {"bool": {"filter": [query, arrived]}}}
        return self._store.search(indices, body, now=now, rest_total_hits_as_int=rest_total_hits_as_int)

    def index(
        self,
        target: str,
        documents: Iterable[Mapping[str, Any]],
        *,
        now: datetime | None = None,
        create: bool = False,
    ) -> IndexResult:
        return self._store.index(target, documents, now=now, create=create)

    def streams(self, indices: str | list[str]) -> list[str]:
        return self._store.streams(indices)

    def lines(self, target: str, fields: Collection[str]) -> Iterator[bytes | list[bytes]]:
        return self._store.lines(target, fields)

    def refresh(self) -> None:
        self._store.refresh()

    def close(self) -> None:
        self._store.close()
