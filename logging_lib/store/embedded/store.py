"""The embedded store: Elasticsearch's search language over JSON-lines and Parquet files, by DuckDB.

    <path>/logs-ml.prediction-default/documents.jsonl     what the store wrote
    <path>/logs-ml.prediction-default/history.parquet     a file added by hand is read, too
    <path>/ml-profiles/documents.jsonl

A target whose name begins with ``logs-`` is a data stream of events (``fields.yml``); any other is an index
of free documents. The whole of a target is held in memory while the store is open; of one that
is opened to be read only, the columns that were asked for.

Where it differs from Elasticsearch, knowingly:

* Scores are not computed: hits come in order of arrival unless ``sort`` is given, with ``_score`` 1.0.
* ``cardinality`` and ``percentiles`` are exact, and there are no shards: ``terms`` has no error bound.
* Queries on analysed text are refused, except ``exists``.
* A ``logs-`` document is mapped strictly: fields that are not in ``fields.yml`` stay in ``_source`` only, and a
  value that its field's type does not take makes ``index`` refuse the document, where Elasticsearch stores it
  and lists the field in ``_ignored``. Keywords of any length are searchable.
"""

from __future__ import annotations

import re
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from threading import RLock, Timer
from typing import Any, Final

import duckdb

from logging_lib.store import datemath
from logging_lib.store.body import a_bool, an_int, an_object, child, known
from logging_lib.store.embedded import aggregations, hits, patterns
from logging_lib.store.embedded.documents import DocumentTable
from logging_lib.store.embedded.evaluation import Evaluation
from logging_lib.store.embedded.events import EventTable
from logging_lib.store.embedded.files import Folder, extents
from logging_lib.store.embedded.hits import Hits
from logging_lib.store.embedded.query import ALWAYS, condition
from logging_lib.store.embedded.reading import FileTable, Progress
from logging_lib.store.embedded.scope import Scope
from logging_lib.store.port import IndexResult, Part, SearchError, StoreError

_BODY: Final = (
    "query", "size", "from", "sort", "search_after", "_source", "track_total_hits", "aggs", "aggregations",
    "timeout",
)  # fmt: skip
_TARGET = re.compile(r"[^\s\\/*?\"<>|,#:A-Z\-_+.\x00-\x1f][^\s\\/*?\"<>|,#:A-Z\x00-\x1f]{0,200}")
_AT_ONCE: Final = 1 << 20  # bytes of lines: what is made of them stays in the processor's cache
_FEW: Final = 50_000
_DURATION: Final = re.compile(r"(\d+)(ms|s|m|h|d)")
_UNITS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
SEARCH_TIMEOUT: Final = 45.0  # seconds, where the body says nothing
_COUNTED: Final = 10_000  # Elasticsearch counts hits up to here unless told otherwise


class EmbeddedStore:
    """Answer Elasticsearch's searches by DuckDB over files, without a server. Safe to share between threads.

    Args:
        path: the folder; None keeps everything in memory.
        read_only: refuse ``index`` and write nothing. Several processes may read while one writes: ``refresh``
            makes visible what it added.
        progress: called while large files are read, if the store is read-only.
    """

    def __init__(
        self, path: Path | str | None, *, read_only: bool = False, progress: Progress | None = None
    ) -> None:
        self._path = Path(path) if path is not None else None
        self._read_only = read_only
        self._progress = progress
        self._lock = RLock()
        self._tables: dict[str, EventTable | FileTable | DocumentTable] = {}
        self._opened = 0
        self._deadline = 0.0
        # Rows are numbered, so DuckDB need not keep their order, and its threads can insert side by side.
        self._connection = duckdb.connect(":memory:", config={"preserve_insertion_order": "false"})
        if self._path is not None and not read_only:
            self._path.mkdir(parents=True, exist_ok=True)

    def index(
        self,
        target: str,
        documents: Iterable[Mapping[str, Any]],
        *,
        now: datetime | None = None,
        create: bool = False,
    ) -> IndexResult:
        if self._read_only:
            raise StoreError(f"cannot index into {target!r}: the store was opened read-only")
        if not _TARGET.fullmatch(target):
            raise StoreError(
                f"{target!r:.200} is no name for an index: use lower case, digits, '.', '-', '_'"
            )
        with self._lock:
            table = self._table(target)
            if isinstance(table, DocumentTable):
                return table.index(documents, create=create)
            assert isinstance(table, EventTable)
            return table.index(documents, now or datetime.now(UTC))

    def search(
        self,
        indices: str | list[str],
        body: Mapping[str, Any],
        *,
        now: datetime | None = None,
        rest_total_hits_as_int: bool = False,
    ) -> dict[str, Any]:
        started = time.perf_counter()
        body = an_object(body, "$")
        known(body, _BODY, "$")
        with self._lock:
            tables = {target: self._table(target) for target in self._matching(indices)}
            moment = datemath.to_millis(now or datetime.now(UTC))
            for _ in range(4):
                scope = Scope(tables, moment)
                where = ALWAYS if body.get("query") is None else condition(body["query"], scope, "$.query")
                chosen = hits.parse(body, scope, "$")
                tree = aggregations.parse(aggregations.names(body, "$"), scope, "$.aggs")
                relation = scope.relation()
                if scope.holds():
                    break
            if where != ALWAYS:
                relation = f"(SELECT * FROM {relation} WHERE {where})"  # noqa: S608
            with self._limited(_timeout(body)):
                answer = self._answer(body, scope, relation, chosen, tree, as_int=rest_total_hits_as_int)
        answer["took"] = round((time.perf_counter() - started) * 1000)
        return answer

    @contextmanager
    def _limited(self, seconds: float) -> Iterator[None]:
        """Ends what the block asks after so long. Raises SearchError."""
        self._deadline = time.perf_counter() + seconds
        timer = Timer(seconds, self._connection.interrupt)
        timer.daemon = True
        timer.start()
        try:
            yield
        except duckdb.InterruptException:
            raise SearchError(f"the search took longer than its timeout, {seconds:g} s") from None
        finally:
            timer.cancel()
            timer.join()  # at once; no thread is left behind, beside which no process can be forked

    def _answer(
        self,
        body: Mapping[str, Any],
        scope: Scope,
        relation: str,
        chosen: Hits,
        tree: aggregations.Node,
        *,
        as_int: bool,
    ) -> dict[str, Any]:
        def execute(sql: str) -> list[tuple[Any, ...]]:
            if time.perf_counter() > self._deadline:  # it ran out between two statements
                raise duckdb.InterruptException
            return self._connection.execute(sql, scope.binder.used_in(sql)).fetchall()

        targets = list(scope.tables)

        def fetch(wanted: Hits, rows: list[tuple[Any, ...]]) -> list[Any]:
            sources = {}
            for number, table in enumerate(scope.tables.values()):
                for row, found in table.sources([row[1] for row in rows if row[0] == number]).items():
                    sources[number, row] = found
            return [wanted.show(row, targets[row[0]], *sources[row[0], row[1]]) for row in rows]

        small = sum(table.rows for table in scope.tables.values()) <= _FEW
        rows = execute(chosen.statement(relation)) if chosen.size else []
        answers: dict[str, Any] = {}
        if not tree.order and chosen.holds_all(len(rows)):
            total = len(rows)
        else:
            total, answers = Evaluation(execute, fetch, small).run(tree, relation)
        documents = fetch(chosen, rows) if chosen.size else []
        found: dict[str, Any] = {}
        counted = hits_total(body, total, as_int=as_int)
        if counted is not None:
            found["total"] = counted
        found["max_score"] = 1.0 if documents and not chosen.sort else None
        found["hits"] = documents
        shards = max(1, len(targets))
        answer: dict[str, Any] = {
            "took": 0,
            "timed_out": False,
            "_shards": {"total": shards, "successful": shards, "skipped": 0, "failed": 0},
            "hits": found,
        }
        if tree.order:
            answer["aggregations"] = answers
        return answer

    def streams(self, indices: str | list[str]) -> list[str]:
        """The names of the targets that an expression means."""
        with self._lock:
            return self._matching(indices)

    def lines(self, target: str, fields: Collection[str]) -> Iterator[bytes | list[bytes]]:
        """A data stream's documents; see the port. Read from the files where no search has loaded them yet."""
        with self._lock:
            table = self._tables.get(target)
            if isinstance(table, EventTable):
                yield from table.lines()
            elif self._path is not None and target.startswith("logs-"):
                yield from (block for _, block in Folder(self._path / target).unread(_AT_ONCE))

    def parts(self, target: str, fields: Collection[str], size: int) -> list[Part]:
        """See the port; none where ``lines`` asks the database, which does not survive a fork."""
        with self._lock:
            if self._path is None or target in self._tables or not target.startswith("logs-"):
                return []
            return [partial(one.blocks, _AT_ONCE) for one in extents(self._path / target, size)]

    def refresh(self) -> None:
        """Read what other processes wrote, and files that were added by hand."""
        with self._lock:
            for table in self._tables.values():
                table.refresh()

    def close(self) -> None:
        with self._lock:
            for table in self._tables.values():
                table.close()
            self._tables.clear()
            self._connection.close()

    def __enter__(self) -> EmbeddedStore:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    @property
    def torn_lines(self) -> int:
        """Lines that are no JSON objects, skipped: torn by a kill, or damaged. Of the targets used so far."""
        with self._lock:
            return sum(table.torn_lines for table in self._tables.values())

    def _matching(self, indices: str | list[str]) -> list[str]:
        expressions = [
            part.strip()
            for one in ([indices] if isinstance(indices, str) else indices)
            for part in one.split(",")
            if part.strip()
        ]
        present = sorted(self._targets())
        chosen: dict[str, None] = {}
        for expression in expressions or ["*"]:
            excluded = expression.startswith("-")
            pattern = "*" if expression == "_all" else expression.removeprefix("-")
            matches = re.compile(patterns.source_regex(pattern), re.DOTALL).fullmatch
            for target in present:
                if matches(target):
                    if excluded:
                        chosen.pop(target, None)
                    else:
                        chosen[target] = None
        return list(chosen)

    def _targets(self) -> Iterator[str]:
        yield from self._tables
        if self._path is not None and self._path.is_dir():
            for folder in self._path.iterdir():
                if folder.name not in self._tables and folder.is_dir() and _TARGET.fullmatch(folder.name):
                    yield folder.name

    def _table(self, target: str) -> EventTable | FileTable | DocumentTable:
        if target not in self._tables:
            folder = Folder(self._path / target) if self._path is not None else None
            self._opened += 1
            if target.startswith("logs-") and folder is not None and self._read_only:
                self._tables[target] = FileTable(self._connection, self._opened, folder, self._progress)
            elif target.startswith("logs-"):
                self._tables[target] = EventTable(self._connection, self._opened, folder)
            else:
                self._tables[target] = DocumentTable(
                    self._connection, self._opened, folder, writable=not self._read_only
                )
        return self._tables[target]


def _timeout(body: Mapping[str, Any]) -> float:
    """The body's own ``timeout`` in seconds, else as on Elasticsearch."""
    given = body.get("timeout")
    match = _DURATION.fullmatch(given) if isinstance(given, str) else None
    return float(match[1]) * _UNITS[match[2]] if match else SEARCH_TIMEOUT


def hits_total(body: Mapping[str, Any], total: int, *, as_int: bool) -> Any:
    """``hits.total``, or None where it is not to be told."""
    path = child("$", "track_total_hits")
    asked = body.get("track_total_hits")
    if as_int:
        if asked not in (None, True):
            raise SearchError("has to be true where hits.total is to be a number", path)
        return total
    if asked is None:
        limit = _COUNTED
    elif isinstance(asked, (bool, str)):
        if not a_bool(asked, path):
            return None
        return {"value": total, "relation": "eq"}
    else:
        limit = an_int(asked, path, least=0)
    if total > limit:
        return {"value": limit, "relation": "gte"}
    return {"value": total, "relation": "eq"}
