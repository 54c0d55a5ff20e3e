"""The store's port: index documents, answer an Elasticsearch search body."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

Part = Callable[[], Iterator[bytes | list[bytes]]]
"""Reads some of a data stream's documents, as ``Store.lines`` gives them."""


class StoreError(Exception):
    """Raised if a store could not do its work; the message says what failed and the remedy."""


class SearchError(StoreError):
    """Raised if a search body is wrong, or the store refused it.

    Attributes:
        path: the JSON path of the part that is wrong.
    """

    def __init__(self, message: str, path: str = "$") -> None:
        super().__init__(f"{path}: {message}" if path != "$" else message)
        self.path = path


class QueryNotSupported(SearchError):  # noqa: N818
    """Raised if a body uses a part of the search language that this store does not support."""


class Conflict(StoreError):  # noqa: N818 - what happened, and no fault
    """Somebody else changed the document since it was read."""


@dataclass(frozen=True, slots=True)
class Stored:
    """One document and which of its changes this is."""

    source: Mapping[str, Any]
    seq_no: int
    primary_term: int


class ScriptFault(StoreError):  # noqa: N818
    """A script was not compiled, or failed. ``offset`` is where in its source, None when that is not known."""

    def __init__(self, reason: str, *, offset: int | None = None) -> None:
        super().__init__(reason)
        self.offset = offset


@dataclass(frozen=True, slots=True)
class IndexResult:
    """The outcome of ``Store.index``; the three add up to the documents.

    Attributes:
        created: documents that were indexed.
        duplicates: documents that were skipped, since their id was already indexed.
        failed: (document id, reason) of each refused document.
    """

    created: int = 0
    duplicates: int = 0
    failed: tuple[tuple[str, str], ...] = ()


class Store(Protocol):
    """The port of a store: Elasticsearch in production, DuckDB over files on a laptop and in tests."""

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
            now: the time of arrival; default: the present.
            create: count a second document with the same id as a duplicate in an index, too.
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
            indices: names or patterns with ``*``, comma-separated or a list; it is no error if none matches.
            body: the search, already rendered (without Mustache).
            now: what ``now`` means in date math; default: the present.
            rest_total_hits_as_int: return ``hits.total`` as a number.

        Raises:
            QueryNotSupported: the body uses what this store does not support; the message names the part.
            SearchError: the body is wrong.
            StoreError: the store does not answer.
        """
        ...

    def streams(self, indices: str | list[str]) -> list[str]:
        """List the data streams and indices that match an expression.

        Args:
            indices: names or patterns, as for ``search``.
        """
        ...

    def lines(self, target: str, fields: Collection[str]) -> Iterator[bytes | list[bytes]]:
        """Read all documents of a data stream as lines of JSON, many at a time.

        Args:
            target: the data stream.
            fields: the fields that are needed; a store may omit all others except ``event.id``.
        """
        ...

    def parts(self, target: str, fields: Collection[str], size: int) -> list[Part]:
        """Split what ``lines`` reads into parts that forks of this process can read.

        Args:
            target: the data stream.
            fields: as for ``lines``.
            size: bytes of a part, about.

        Returns:
            No part if only this process can read the documents.
        """
        ...

    def refresh(self) -> None:
        """Make indexed documents visible to searches."""
        ...

    def close(self) -> None:
        """Release files and connections."""
        ...


class PainlessStore(Protocol):
    """What a store can, too, that executes Painless; the embedded one cannot, and lacks the method."""

    def execute_painless(self, source: str, params: Mapping[str, Any]) -> str:
        """Run a source and give its result as text; ``params`` are its variable ``params``.

        Raises:
            ScriptFault: it was not compiled, or failed.
            StoreError: the store does not answer, or refuses us.
        """
        ...
