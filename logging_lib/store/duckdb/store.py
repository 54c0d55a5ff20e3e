"""The embedded store: Elasticsearch's search language over JSON-lines and Parquet files, using DuckDB.

    <path>/logs-ml.prediction-default/documents.jsonl     what the store wrote
    <path>/logs-ml.prediction-default/history.parquet     a file added manually is read, too
    <path>/ml-profiles/documents.jsonl

A target whose name begins with ``logs-`` is a data stream of events (``fields.yml``); any other is an index of
documents without a schema. An open store holds its targets completely in memory; a read-only store holds only the
columns that searches asked for.

Known differences from Elasticsearch:

* Scores are not computed: hits come in order of arrival unless ``sort`` is given, with ``_score`` 1.0.
* ``cardinality`` and ``percentiles`` are exact, and there are no shards: ``terms`` has no error bound.
* Queries on analyzed text are refused, except ``exists``.
* A ``logs-`` document is mapped strictly: fields that are not in ``fields.yml`` are kept in ``_source`` only, and
  ``index`` refuses a document with a value that does not fit its field's type, where Elasticsearch stores it and
  lists the field in ``_ignored``. Keywords of any length are searchable.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import reduce
from pathlib import Path
from threading import RLock, Timer
from typing import Any, Final

import duckdb

from logging_lib._util import datemath
from logging_lib._util.text import find_half_characters
from logging_lib.store.counting import CountError, CountPath, CountPlan, CountTable, Grid
from logging_lib.store.duckdb import execution, hits
from logging_lib.store.duckdb.counts import CountStatements
from logging_lib.store.duckdb.documents import DocumentTable
from logging_lib.store.duckdb.events import EventTable
from logging_lib.store.duckdb.execution import SearchExecution
from logging_lib.store.duckdb.file_table import FileTable, Progress
from logging_lib.store.duckdb.files import TargetFolder
from logging_lib.store.duckdb.hits import HitsRequest
from logging_lib.store.duckdb.query import ALWAYS, parse_query
from logging_lib.store.duckdb.scope import Scope
from logging_lib.store.port import ExecutePainless, IndexResult, SearchError, StoreError
from logging_lib.store.validators import check_keys, child_path, expect_bool, expect_int, expect_object

_BODY_KEYS: Final = (
    "query", "size", "from", "sort", "search_after", "_source", "track_total_hits", "aggs", "aggregations",
    "timeout",
)  # fmt: skip
_TARGET_NAME = re.compile(r"[^\s\\/*?\"<>|,#:A-Z\-_+.\x00-\x1f][^\s\\/*?\"<>|,#:A-Z\x00-\x1f]{0,200}")
_SMALL_ROWS: Final = 50_000
_ATTEMPTS: Final = (
    4  # to resolve the fields of a search, because reading events can reveal that a field holds lists
)
_DURATION: Final = re.compile(r"(\d+)(ms|s|m|h|d)")
_UNIT_SECONDS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
SEARCH_TIMEOUT: Final = 45.0  # seconds, if the body sets no timeout
_DEFAULT_TRACKED_HITS: Final = 10_000  # Elasticsearch's default limit of exact hit counts


class EmbeddedStore:
    """A store that answers Elasticsearch's searches over files, without a server. Safe to share between threads.

    Args:
        path: the folder of the targets; None keeps everything in memory.
        read_only: refuse ``index``; nothing is created or written. Several processes may read while one
            writes: ``refresh`` shows what it added.
        progress: a function that is called while a read-only store reads large files.
    """

    is_live = True
    execute_painless: ExecutePainless | None = None

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
        # DuckDB draws its bar on standard output, also of `python -c`, where a command writes its result.
        self._connection.execute("SET enable_progress_bar = false")
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
        if not _TARGET_NAME.fullmatch(target):
            raise StoreError(
                f"{target!r:.200} is not a name for an index: use lower case, digits, '.', '-', '_'"
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
        body = expect_object(body, "$")
        check_keys(body, _BODY_KEYS, "$")
        for place, message in find_half_characters(body):
            raise SearchError(message, reduce(child_path, place, "$"))
        with self._lock:
            tables = {target: self._table(target) for target in self._matching_targets(indices)}
            moment = datemath.to_millis(now or datetime.now(UTC))
            for _ in range(_ATTEMPTS):
                scope = Scope(tables, moment)
                where = ALWAYS if body.get("query") is None else parse_query(body["query"], scope, "$.query")
                chosen = hits.parse_hits(body, scope, "$")
                tree = execution.parse_aggregations(execution.aggregation_bodies(body, "$"), scope, "$.aggs")
                relation = scope.relation()
                if scope.is_consistent():
                    break
            if where != ALWAYS:
                relation = f"(SELECT * FROM {relation} WHERE {where})"  # noqa: S608
            with self._time_limit(_timeout_seconds(body)):
                answer = self._answer(body, scope, relation, chosen, tree, as_int=rest_total_hits_as_int)
        answer["took"] = round((time.perf_counter() - started) * 1000)
        return answer

    @contextmanager
    def _time_limit(self, seconds: float) -> Iterator[None]:
        """Interrupt the block's statements after this number of seconds. Raises SearchError."""
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
            timer.join()  # this returns at once; a thread that still runs would prevent forks

    def _answer(
        self,
        body: Mapping[str, Any],
        scope: Scope,
        relation: str,
        chosen: HitsRequest,
        tree: execution.AggregationNode,
        *,
        as_int: bool,
    ) -> dict[str, Any]:
        def execute(sql: str) -> list[tuple[Any, ...]]:
            if time.perf_counter() > self._deadline:  # the time ran out between two statements
                raise duckdb.InterruptException
            return self._connection.execute(sql, scope.binder.used_in(sql)).fetchall()

        targets = list(scope.tables)

        def fetch(wanted: HitsRequest, rows: list[tuple[Any, ...]]) -> list[Any]:
            sources = {}
            for number, table in enumerate(scope.tables.values()):
                for row, id_and_source in table.fetch_sources(
                    [row[1] for row in rows if row[0] == number]
                ).items():
                    sources[number, row] = id_and_source
            return [wanted.render(row, targets[row[0]], *sources[row[0], row[1]]) for row in rows]

        small = sum(table.rows for table in scope.tables.values()) <= _SMALL_ROWS
        rows = execute(chosen.select_sql(relation)) if chosen.size else []
        answers: dict[str, Any] = {}
        if not tree.order and chosen.is_complete(len(rows)):
            total = len(rows)
        else:
            total, answers = SearchExecution(execute, fetch, small).run(tree, relation)
        documents = fetch(chosen, rows) if chosen.size else []
        hits_section: dict[str, Any] = {}
        counted = format_hits_total(body, total, as_int=as_int)
        if counted is not None:
            hits_section["total"] = counted
        hits_section["max_score"] = 1.0 if documents and not chosen.sort else None
        hits_section["hits"] = documents
        shards = max(1, len(targets))
        answer: dict[str, Any] = {
            "took": 0,
            "timed_out": False,
            "_shards": {"total": shards, "successful": shards, "skipped": 0, "failed": 0},
            "hits": hits_section,
        }
        if tree.order:
            answer["aggregations"] = answers
        return answer

    def counts(
        self, plan: CountPlan, grid: Grid, start: int | None, end: int
    ) -> Iterator[tuple[CountPath, CountTable]]:
        """Count in slots; see the port. A slot may be as short as a millisecond."""
        with self._lock:
            tables = {target: self._table(target) for target in self._matching_targets(list(plan.indices))}
            for _ in range(_ATTEMPTS):
                scope = Scope(tables, 0)
                statements = CountStatements(plan, scope, grid, start, end)
                relation = scope.relation()
                if scope.is_consistent():
                    break

            def fetch(sql: str) -> Any:
                try:
                    return self._connection.sql(sql, params=scope.binder.used_in(sql)).to_arrow_table()
                except duckdb.Error as error:  # DuckDB refuses some patterns, for example
                    raise CountError(str(error)) from error

            yield from statements.run(fetch, relation)

    def streams(self, indices: str | list[str]) -> list[str]:
        """List the targets that match an expression."""
        with self._lock:
            return self._matching_targets(indices)

    def refresh(self) -> None:
        """Read the documents that other processes wrote, and files that were added manually."""
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
        """Count the skipped lines that are not JSON objects, such as torn ones, in the targets used so far."""
        with self._lock:
            return sum(table.torn_lines for table in self._tables.values())

    def _matching_targets(self, indices: str | list[str]) -> list[str]:
        expressions = [
            part.strip()
            for expression_list in ([indices] if isinstance(indices, str) else indices)
            for part in expression_list.split(",")
            if part.strip()
        ]
        present = sorted(self._list_targets())
        chosen: dict[str, None] = {}
        for expression in expressions or ["*"]:
            excluded = expression.startswith("-")
            pattern = "*" if expression == "_all" else expression.removeprefix("-")
            matches = re.compile(hits.source_regex(pattern), re.DOTALL).fullmatch
            for target in present:
                if matches(target):
                    if excluded:
                        chosen.pop(target, None)
                    else:
                        chosen[target] = None
        return list(chosen)

    def _list_targets(self) -> Iterator[str]:
        yield from self._tables
        if self._path is not None and self._path.is_dir():
            for folder in self._path.iterdir():
                if (
                    folder.name not in self._tables
                    and folder.is_dir()
                    and _TARGET_NAME.fullmatch(folder.name)
                ):
                    yield folder.name

    def _table(self, target: str) -> EventTable | FileTable | DocumentTable:
        if target not in self._tables:
            folder = TargetFolder(self._path / target) if self._path is not None else None
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


def _timeout_seconds(body: Mapping[str, Any]) -> float:
    """Return the body's ``timeout`` in seconds, or the default."""
    timeout = body.get("timeout")
    match = _DURATION.fullmatch(timeout) if isinstance(timeout, str) else None
    return float(match[1]) * _UNIT_SECONDS[match[2]] if match else SEARCH_TIMEOUT


def format_hits_total(body: Mapping[str, Any], total: int, *, as_int: bool) -> Any:
    """Return ``hits.total``, or None if the body turns it off."""
    path = child_path("$", "track_total_hits")
    asked = body.get("track_total_hits")
    if as_int:
        if asked not in (None, True):
            raise SearchError("has to be true where hits.total is to be a number", path)
        return total
    if asked is None:
        limit = _DEFAULT_TRACKED_HITS
    elif isinstance(asked, (bool, str)):
        if not expect_bool(asked, path):
            return None
        return {"value": total, "relation": "eq"}
    else:
        limit = expect_int(asked, path, least=0)
    if total > limit:
        return {"value": limit, "relation": "gte"}
    return {"value": total, "relation": "eq"}
