"""Store events in Elasticsearch, using the templates in ``pipelines/elasticsearch``.

Known differences from the embedded store:

* A value that does not fit its field's type is not indexed, and the field is listed in ``_ignored``;
  the embedded store refuses such a document.
* Keywords over 1,024 characters are stored but not searchable.
* ``cardinality`` and ``percentiles`` are approximate.
* The same ``event.id`` is recognized within one backing index: a redelivery across a rollover is stored twice.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from datetime import datetime
from typing import Any, Final
from urllib.parse import quote

from logging_lib._util.text import printable
from logging_lib._util.times import format_instant
from logging_lib.store import mapping
from logging_lib.store.connection import BulkOperation, BulkOutcome, Connection, ElasticsearchError, send_bulk
from logging_lib.store.counting import CountPath, CountPlan, CountTable, Grid
from logging_lib.store.duckdb.store import EmbeddedStore
from logging_lib.store.elastic_counts import count_slots
from logging_lib.store.elastic_pages import PagedSearch
from logging_lib.store.port import (
    ConflictError,
    IndexResult,
    ScriptExecutionError,
    SearchError,
    StoreError,
    VersionedDocument,
)

RETRY_SECONDS: Final = 120.0
_KEEP_ALIVE: Final = "5m"  # how long a page's point in time lasts until the next page is requested
SEARCH_TIMEOUT: Final = "45s"
_BOUNDS: Final = frozenset({"gt", "gte", "lt", "lte", "from", "to"})
_NOW = re.compile(r"now(?=$|[+\-/|])")


class ElasticsearchStore:
    """The store interface over a cluster. Safe to share between threads.

    Args:
        connection: the cluster.
        retry_seconds: how long ``index`` keeps retrying while there is no response.
        sleep: waits between attempts.
    """

    is_live = True

    def __init__(
        self,
        connection: Connection,
        *,
        retry_seconds: float = RETRY_SECONDS,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._connection = connection
        self._retry_seconds = retry_seconds
        self._sleep = sleep
        self._written: set[str] = set()
        self._paged = PagedSearch()

    def index(
        self,
        target: str,
        documents: Iterable[Mapping[str, Any]],
        *,
        now: datetime | None = None,
        create: bool = False,
    ) -> IndexResult:
        """Add documents; see the port. Without ``now`` the cluster's clock gives ``event.ingested``.

        A document that was stored although its first attempt got no response counts as a duplicate.

        Raises:
            ElasticsearchError: no response for ``retry_seconds``, or the whole request was refused.
        """
        refused: list[tuple[str, str]] = []
        stream = target.startswith("logs-")
        prepared = (
            _event_operations(documents, now, refused)
            if stream
            else _document_operations(documents, create, refused)
        )
        self._written.add(target)
        created = duplicates = 0
        for outcome in self._send_bulk(_quoted(target), prepared):
            if not outcome.reason:
                created += 1
            elif outcome.is_conflict:
                duplicates += 1
            else:
                refused.append((outcome.document_id, outcome.reason))
        return IndexResult(created, duplicates, tuple(refused))

    def replace(
        self, changes: Iterable[tuple[Mapping[str, Any], Mapping[str, Any]]]
    ) -> Iterator[BulkOutcome]:
        """Replace stored documents, given as pairs of (hit, document); yield one outcome for each, in their order.

        The hits come from a search with ``seq_no_primary_term``: a document that has changed since then is not
        replaced, and its outcome is a conflict.

        Raises:
            ElasticsearchError: as ``index``.
        """

        def operations() -> Iterator[BulkOperation]:
            for hit, document in changes:
                where = {
                    "_index": hit["_index"],
                    "_id": hit["_id"],
                    "if_seq_no": hit["_seq_no"],
                    "if_primary_term": hit["_primary_term"],
                }
                self._written.add(hit["_index"])
                yield BulkOperation(hit["_id"], {"index": where}, mapping.dumps(document))

        yield from self._send_bulk(None, operations())

    def search(
        self,
        indices: str | list[str],
        body: Mapping[str, Any],
        *,
        now: datetime | None = None,
        rest_total_hits_as_int: bool = False,
    ) -> dict[str, Any]:
        """Answer a search; see the port. A search with more buckets than the server allows is sent in pages.

        Raises:
            SearchError: Elasticsearch refuses the body.
            ElasticsearchError: no response, or access denied.
        """
        names = indices.split(",") if isinstance(indices, str) else indices
        path = ",".join(_quoted(name.strip()) for name in names if name.strip()) or "_all"
        params = {"ignore_unavailable": "true", "allow_no_indices": "true"}
        if rest_total_hits_as_int:
            params["rest_total_hits_as_int"] = "true"
        asked = dict(body) if now is None else _with_fixed_now(body, format_instant(now))
        asked.setdefault("timeout", SEARCH_TIMEOUT)
        answer = self._paged.search(lambda part: self._search(f"/{path}/_search", part, params), asked)
        if "aggregations" not in answer and ("aggs" in body or "aggregations" in body):
            answer["aggregations"] = _empty_aggregations(names, body, now)
        return answer

    def _search(self, path: str, body: Mapping[str, Any], params: Mapping[str, str]) -> dict[str, Any]:
        try:
            answer: dict[str, Any] = self._connection.call("POST", path, body, params=params)
        except ElasticsearchError as error:
            if error.status == 400 or "too_many" in error.kind + error.reason:
                raise SearchError(error.reason) from error
            raise
        return answer

    def streams(self, indices: str | list[str]) -> list[str]:
        """List the data streams, aliases and indices that this client may see; see the port."""
        names = indices.split(",") if isinstance(indices, str) else indices
        path = ",".join(_quoted(name.strip()) for name in names if name.strip()) or "*"
        try:
            resolved = self._connection.call("GET", f"/_resolve/index/{path}")
        except ElasticsearchError as error:
            if error.status == 404:
                return []
            raise
        streams = {stream["name"] for stream in resolved.get("data_streams", ())}
        indices_ = {index["name"] for index in resolved.get("indices", ()) if "data_stream" not in index}
        return sorted(streams | indices_)

    def counts(
        self, plan: CountPlan, grid: Grid, start: int | None, end: int
    ) -> Iterator[tuple[CountPath, CountTable]]:
        """Count in slots, all pages at one point in time; see the port. A slot lasts at least a minute."""
        path = ",".join(_quoted(name.strip()) for index in plan.indices for name in index.split(","))
        params = {"keep_alive": _KEEP_ALIVE, "ignore_unavailable": "true"}
        pit = {
            "id": self._connection.call("POST", f"/{path}/_pit", params=params)["id"],
            "keep_alive": _KEEP_ALIVE,
        }

        def ask(body: dict[str, Any]) -> dict[str, Any]:
            answer = self._search("/_search", {"timeout": SEARCH_TIMEOUT, **body, "pit": pit}, {})
            pit["id"] = answer.get("pit_id", pit["id"])
            return answer

        try:
            yield from count_slots(ask, plan, grid, start, end)
        finally:
            with suppress(ElasticsearchError):  # the point in time expires by itself
                self._connection.call("DELETE", "/_pit", {"id": pit["id"]})

    def execute_painless(self, source: str, params: Mapping[str, Any]) -> str:
        """Run a script; see the port. This requires the privilege ``cluster:admin/scripts/painless/execute``."""
        body = {"script": {"source": source, "params": params}}
        try:
            answer = self._connection.call("POST", "/_scripts/painless/_execute", body)
        except ElasticsearchError as error:
            if error.kind not in ("script_exception", "illegal_argument_exception"):
                raise
            raise _script_error(error) from error
        return str(answer["result"])

    def get(self, target: str, identity: str) -> VersionedDocument | None:
        """Return one document of an index with its version, or None if it does not exist.

        Raises:
            ElasticsearchError: as ``index``.
        """
        try:
            answer = self._connection.call("GET", _document_path(target, "_doc", identity))
        except ElasticsearchError as error:
            if error.status == 404:
                return None
            raise
        return VersionedDocument(answer["_source"], answer["_seq_no"], answer["_primary_term"])

    def put(
        self, target: str, identity: str, source: Mapping[str, Any], *, after: VersionedDocument | None
    ) -> None:
        """Write a document if it still has the version that ``get`` returned.

        Raises:
            ConflictError: it has been changed or created since.
            ElasticsearchError: as ``index``.
        """
        path, params = _document_path(target, "_create", identity), {}
        if after is not None:
            path = _document_path(target, "_doc", identity)
            params = {"if_seq_no": str(after.seq_no), "if_primary_term": str(after.primary_term)}
        try:
            self._connection.call("PUT", path, source, params=params)
        except ElasticsearchError as error:
            if error.status == 409:
                raise ConflictError(f"{target}/{identity}: was changed by another") from error
            raise

    def add(self, target: str, sources: Iterable[Mapping[str, Any]]) -> None:
        """Add new documents to an index; the server gives each an id.

        Raises:
            StoreError: a document was refused.
            ElasticsearchError: as ``index``.
        """
        operations = (BulkOperation("", {"create": {}}, mapping.dumps(source)) for source in sources)
        for outcome in self._send_bulk(_quoted(target), operations):
            if outcome.reason:
                raise StoreError(f"{target}: a document was refused: {outcome.reason}")

    def delete(self, target: str, query: Mapping[str, Any]) -> None:
        """Delete the documents of an index that match a query; keep those that change meanwhile.

        Raises:
            ElasticsearchError: as ``index``.
        """
        params = {"conflicts": "proceed", "ignore_unavailable": "true"}
        self._connection.call("POST", f"/{_quoted(target)}/_delete_by_query", {"query": query}, params=params)

    def refresh(self, target: str | None = None) -> None:
        """Make this store's documents, or those of one target, visible to searches.

        Without the privilege this does nothing: the cluster refreshes its indices by itself.
        """
        for name in sorted(self._written) if target is None else [target]:
            path = f"/{_quoted(name)}/_refresh"
            try:
                self._connection.call("POST", path, params={"ignore_unavailable": "true"})
            except ElasticsearchError as error:
                if error.status != 403:
                    raise

    def close(self) -> None:
        self._connection.close()

    def __enter__(self) -> ElasticsearchStore:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def _send_bulk(self, target: str | None, operations: Iterable[BulkOperation]) -> Iterator[BulkOutcome]:
        return send_bulk(
            self._connection, target, operations, retry_seconds=self._retry_seconds, sleep=self._sleep
        )


def _script_error(error: ElasticsearchError) -> ScriptExecutionError:
    causes = [error.details]
    while isinstance(causes[-1].get("caused_by"), Mapping):
        causes.append(causes[-1]["caused_by"])
    reasons = [str(cause["reason"]) for cause in causes if cause.get("reason")]
    offset = next((cause["position"]["offset"] for cause in causes if cause.get("position")), None)
    return ScriptExecutionError(printable(reasons[-1] if reasons else error.reason), offset=offset)


def _event_operations(
    documents: Iterable[Mapping[str, Any]], now: datetime | None, refused: list[tuple[str, str]]
) -> Iterator[BulkOperation]:
    arrival = None if now is None else format_instant(now)
    for document in documents:
        source = {key: value for key, value in document.items() if key != "_id"}
        event = source.get("event")
        identity = event.get("id") if isinstance(event, Mapping) else source.get("event.id")
        if identity is None or identity == "" or isinstance(identity, dict | list):
            refused.append(("", "event.id: a data stream's document needs one"))
            continue
        identity = mapping.coerce(identity, "keyword")
        if arrival is not None and source.get("event.ingested") is None:
            if event is None:
                source["event.ingested"] = arrival
            elif isinstance(event, Mapping) and event.get("ingested") is None:
                source["event"] = {**event, "ingested": arrival}
        yield from _operation("create", identity, source, refused)


def _document_operations(
    documents: Iterable[Mapping[str, Any]], create: bool, refused: list[tuple[str, str]]
) -> Iterator[BulkOperation]:
    for document in documents:
        source = {key: value for key, value in document.items() if key != "_id"}
        yield from _operation("create" if create else "index", document.get("_id"), source, refused)


def _operation(
    kind: str, identity: Any, source: Mapping[str, Any], refused: list[tuple[str, str]]
) -> Iterator[BulkOperation]:
    name = "" if identity is None else str(identity)
    try:
        yield BulkOperation(name, {kind: {"_id": name} if name else {}}, mapping.dumps(source))
    except (TypeError, ValueError) as error:
        refused.append((name, f"not JSON: {error}"))


def _empty_aggregations(indices: list[str], body: Mapping[str, Any], now: datetime | None) -> dict[str, Any]:
    """Return the aggregations over no documents.

    Elasticsearch omits them if no index matches, as before a stream's first event; the port does not.
    """
    with EmbeddedStore(None) as store:
        try:
            aggregations: dict[str, Any] = store.search(indices, body, now=now)["aggregations"]
        except SearchError:
            return {}
    return aggregations


def _with_fixed_now(value: Any, moment: str) -> Any:
    """Return the body with ``now`` at the start of each range bound replaced by a fixed time."""
    if isinstance(value, Mapping):
        fixed = {key: _with_fixed_now(item, moment) for key, item in value.items()}
        for key in _BOUNDS & fixed.keys():
            bound = fixed[key]
            if isinstance(bound, str) and _NOW.match(bound):
                fixed[key] = f"{moment}||{bound[3:].removeprefix('||')}"
                if isinstance(value.get("format"), str):  # the fixed time is a date of this format
                    fixed["format"] = f"{value['format']}||strict_date_optional_time"
        return fixed
    if isinstance(value, list):
        return [_with_fixed_now(item, moment) for item in value]
    return value


def _document_path(target: str, kind: str, identity: str) -> str:
    return f"/{_quoted(target)}/{kind}/{quote(identity, safe='')}"


def _quoted(target: str) -> str:
    return quote(target, safe="*-._+")
