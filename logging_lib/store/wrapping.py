"""A store seen in another way: what passes all on, for those that change one thing."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any

from logging_lib.store.port import ExecutePainless, IndexResult, Part, Store


class Wrapper:
    """Passes everything on to a store, its Painless too where it has any."""

    def __init__(self, store: Store) -> None:
        self._store = store

    @property
    def is_live(self) -> bool:
        return self._store.is_live

    @property
    def execute_painless(self) -> ExecutePainless | None:
        return self._store.execute_painless

    def search(
        self,
        indices: str | list[str],
        body: Mapping[str, Any],
        *,
        now: datetime | None = None,
        rest_total_hits_as_int: bool = False,
    ) -> dict[str, Any]:
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

    def parts(self, target: str, fields: Collection[str], size: int) -> list[Part]:
        return self._store.parts(target, fields, size)

    def refresh(self) -> None:
        self._store.refresh()

    def close(self) -> None:
        self._store.close()
