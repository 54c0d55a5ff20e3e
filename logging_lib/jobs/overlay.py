"""Profiles in a store: where watches look for them, or beside a store that stays as it is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from logging_lib import profile
from logging_lib.store.embedded.store import EmbeddedStore
from logging_lib.store.port import IndexResult, Store, StoreError
from logging_lib.store.wrapping import Wrapper

_PROFILES = "ml-profiles"


def index_profiles(store: Store, files: Iterable[Path]) -> None:
    """Put profiles where watches look for them.

    Raises:
        ProfileError: when a file is no profile.
        StoreError: when the store refuses one.
    """
    documents = [profile.document(profile.load(file)) for file in files]
    if documents:
        result = store.index(_PROFILES, documents)
        if result.failed:
            raise StoreError(f"ml-profiles: {result.failed[0][0]}: {result.failed[0][1]}")


def with_profiles(store: Store, files: Iterable[Path]) -> Store:
    """A store as it would be with these profiles published; nothing is written into it.

    Raises:
        ProfileError: when a file is no profile.
        StoreError: when the store refuses one.
    """
    overlay = _Overlay(store)
    index_profiles(overlay, files)
    return overlay


class _Overlay(Wrapper):
    """A store whose ``ml-profiles`` are a copy in memory."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self._profiles = EmbeddedStore(None)
        hits = store.search(_PROFILES, {"size": 10_000})["hits"]["hits"]
        self._profiles.index(_PROFILES, [{**hit["_source"], "_id": hit["_id"]} for hit in hits])

    def search(
        self,
        indices: str | list[str],
        body: Mapping[str, Any],
        *,
        now: datetime | None = None,
        rest_total_hits_as_int: bool = False,
    ) -> dict[str, Any]:
        names = indices.split(",") if isinstance(indices, str) else indices
        of_profiles = all(fnmatchcase(_PROFILES, name.strip()) for name in names)
        store: Store = self._profiles if of_profiles else self._store
        return store.search(indices, body, now=now, rest_total_hits_as_int=rest_total_hits_as_int)

    def index(
        self,
        target: str,
        documents: Iterable[Mapping[str, Any]],
        *,
        now: datetime | None = None,
        create: bool = False,
    ) -> IndexResult:
        store: Store = self._profiles if target == _PROFILES else self._store
        return store.index(target, documents, now=now, create=create)

    def close(self) -> None:
        self._profiles.close()
        super().close()
