"""Define what every store can do, its errors, and the base class of stores that delegate to another."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

Partition = Callable[[], Iterator[bytes | list[bytes]]]
"""Reads some of a data stream's documents, as ``Store.lines`` gives them."""


class StoreError(Exception):
    """A store could not do what it was asked; the message says what and the remedy."""


class SearchError(StoreError):
    """A search body is wrong, or the store refused it. ``path`` is the JSON path of what is at fault."""

    def __init__(self, message: str, path: str = "$") -> None:
        super().__init__(f"{path}: {message}" if path != "$" else message)
        self.path = path


class QueryNotSupported(SearchError):  # noqa: N818
    """The body uses a part of the search language that this store does not answer."""


class ConflictError(StoreError):
    """Somebody else changed the document since it was read."""


@dataclass(frozen=True, slots=True)
class VersionedDocument:
    """One document and which of its changes this is."""

    source: Mapping[str, Any]
    seq_no: int
    primary_term: int


class ScriptError(StoreError):
    """A script was not compiled, or failed. ``offset`` is where in its source, None when that is not known."""

    def __init__(self, reason: str, *, offset: int | None = None) -> None:
        super().__init__(reason)
        self.offset = offset


@dataclass(frozen=True, slots=True)
class IndexResult:
    """What became of the documents: ``created`` + ``duplicates`` + ``len(failed)`` were given.

    ``failed`` holds (document id, reason).
    """

    created: int = 0
    duplicates: int = 0
    failed: tuple[tuple[str, str], ...] = ()


class Store(Protocol):
    """Elasticsearch in production, DuckDB over files on a laptop, in tests and in backtests."""

    def index(
        self,
        target: str,
        documents: Iterable[Mapping[str, Any]],
        *,
        now: datetime | None = None,
        create: bool = False,
    ) -> IndexResult:
        """Add documents to a data stream or an index.

        Args:
            target: a data stream (``logs-ml.prediction-default``), where the id is ``event.id``, a second
                document with the same id is a duplicate, and ``event.ingested`` is set to ``now`` unless
                the document has it; or an index (``ml-profiles``), where the id is the document's ``_id``
                key (taken out of the source) and a second document replaces the first.
            documents: nested JSON objects.
            now: the arrival time; default: the present.
            create: in an index, too, a second document with the same id is a duplicate.
        """
        ...

    def search(
        self,
        indices: str | list[str],
        body: Mapping[str, Any],
        *,
        now: datetime | None = None,
        rest_total_hits_as_int: bool = False,
    ) -> dict[str, Any]:
        """Answer a search body in Elasticsearch's own response shape.

        Args:
            indices: names or patterns with ``*``, comma-separated or a list; none that matches is no error.
            body: the search, already rendered (no Mustache left in it).
            now: what ``now`` means in date maths; default: the present.

        Raises:
            QueryNotSupported: naming the part of the body that this store cannot answer.
        """
        ...

    def streams(self, indices: str | list[str]) -> list[str]:
        """The names of the data streams and indices that an expression means, as ``search`` takes it."""
        ...

    def iter_json(self, target: str, fields: Collection[str]) -> Iterator[bytes | list[bytes]]:
        """All documents of a data stream as lines of JSON, many at a time: for reading a whole history once.

        Args:
            fields: what is needed of them; a store may leave out the rest, but never ``event.id``.
        """
        ...

    def partitions(self, target: str, fields: Collection[str], size: int) -> list[Partition]:
        """What ``iter_json`` gives, in parts of about so many bytes that forks of this process can read as well; none
        where only this process can read it."""
        ...

    def refresh(self) -> None:
        """Make what was indexed visible to searches."""
        ...

    def close(self) -> None: ...


class PainlessStore(Protocol):
    """What a store can, too, that executes Painless; the embedded one cannot, and lacks the method."""

    def execute_painless(self, source: str, params: Mapping[str, Any]) -> str:
        """Run a source and give its result as text; ``params`` are its variable ``params``.

        Raises:
            ScriptFault: it was not compiled, or failed.
            StoreError: the store does not answer, or refuses us.
        """
        ...


class DelegatingStore:
    """Passes everything on to a store, its Painless too where it has any."""

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

    def iter_json(self, target: str, fields: Collection[str]) -> Iterator[bytes | list[bytes]]:
        return self._store.iter_json(target, fields)

    def partitions(self, target: str, fields: Collection[str], size: int) -> list[Partition]:
        return self._store.partitions(target, fields, size)

    def refresh(self) -> None:
        self._store.refresh()

    def close(self) -> None:
        self._store.close()
