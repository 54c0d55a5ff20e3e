"""Define the interface of every store, its errors, and the base class of stores that delegate to another."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol

from logging_lib._util.errors import LoggingLibError

if TYPE_CHECKING:
    from logging_lib.store.counting import CountPath, CountPlan, CountTable, Grid


class StoreError(LoggingLibError):
    """Raised if an operation of a store failed; the message names the cause and the remedy."""


class SearchError(StoreError):
    """Raised if a search body is wrong or was refused.

    Attributes:
        path: the JSON path of the faulty part.
    """

    def __init__(self, message: str, path: str = "$") -> None:
        super().__init__(f"{path}: {message}" if path != "$" else message)
        self.path = path


class QueryNotSupported(SearchError):  # noqa: N818
    """Raised for a part of the search language that this store does not support."""


class ConflictError(StoreError):
    """Raised if someone else has changed the document since it was read."""


@dataclass(frozen=True, slots=True)
class VersionedDocument:
    """One document with the version at which it was read."""

    source: Mapping[str, Any]
    seq_no: int
    primary_term: int


class ScriptExecutionError(StoreError):
    """Raised if a script does not compile or failed; ``offset`` is the position in its source, if known."""

    def __init__(self, reason: str, *, offset: int | None = None) -> None:
        super().__init__(reason)
        self.offset = offset


@dataclass(frozen=True, slots=True)
class IndexResult:
    """The numbers of documents of one ``index`` call; the three add up to the number of those passed in.

    Attributes:
        created: documents that were indexed.
        duplicates: documents that were skipped, since their id was already indexed.
        failed: (document id, reason) of each refused document.
    """

    created: int = 0
    duplicates: int = 0
    failed: tuple[tuple[str, str], ...] = ()


ExecutePainless = Callable[[str, Mapping[str, Any]], str]
"""Run a source and return its result as text; the mapping is its variable ``params``.

Raises:
    ScriptExecutionError: the script does not compile, or failed.
    StoreError: the store does not answer, or denies access.
"""


class Store(Protocol):
    """The port: Elasticsearch in production, DuckDB over files on a laptop, in tests and in backtests."""

    @property
    def is_live(self) -> bool:
        """Return whether the store shows the present; False for a view of the past."""
        ...

    @property
    def execute_painless(self) -> ExecutePainless | None:
        """Return the function that executes Painless; None if the store cannot, such as the embedded store."""
        ...

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
            indices: names or patterns with ``*``, comma-separated or a list; a pattern may match nothing.
            body: the search, already rendered (no Mustache left in it).
            now: the meaning of ``now`` in date math; default: the present.
            rest_total_hits_as_int: return ``hits.total`` as a number.

        Raises:
            QueryNotSupported: the body uses a part of the language that this store does not support; the message
                names it.
            SearchError: the body is wrong.
            StoreError: the store does not respond.
        """
        ...

    def streams(self, indices: str | list[str]) -> list[str]:
        """List the data streams and indices that match an expression.

        Args:
            indices: names or patterns, as for ``search``.
        """
        ...

    def counts(
        self, plan: CountPlan, grid: Grid, start: int | None, end: int
    ) -> Iterable[tuple[CountPath, CountTable]]:
        """Count documents in slots of arrival, completely: no group is omitted.

        Args:
            plan: the indices, and what to count of their documents.
            grid: the slots.
            start: the first arrival in milliseconds, at the edge of a slot; None: the first of all documents.
            end: the time in milliseconds, at the edge of a slot, before which they arrived.

        Raises:
            CountError: this store cannot count this; use searches instead.
            StoreError: the plan's queries are wrong, or the response is incomplete.
        """
        ...

    def refresh(self) -> None:
        """Make indexed documents visible to searches."""
        ...

    def close(self) -> None:
        """Release files and connections."""
        ...


class DelegatingStore:
    """Base class of stores that delegate everything to another store, including Painless if that store has it."""

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

    def counts(
        self, plan: CountPlan, grid: Grid, start: int | None, end: int
    ) -> Iterable[tuple[CountPath, CountTable]]:
        return self._store.counts(plan, grid, start, end)

    def refresh(self) -> None:
        self._store.refresh()

    def close(self) -> None:
        self._store.close()
