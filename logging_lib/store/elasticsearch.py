"""The store in production: Elasticsearch, with the templates of ``pipelines/elasticsearch``.

Where it differs from the embedded store, knowingly:

* A value that its field's type does not take is left out of the index and its field listed in ``_ignored``;
  the embedded store refuses such a document.
* Keywords over 1,024 characters are stored, not searchable.
* ``cardinality`` and ``percentiles`` are approximate.
* The same ``event.id`` is recognized within one backing index: a redelivery across a rollover is stored twice.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import quote

from logging_lib.plain import printable
from logging_lib.store import mapping
from logging_lib.store.bulk import Operation, Outcome, send
from logging_lib.store.connection import Connection, ElasticsearchError
from logging_lib.store.embedded.store import EmbeddedStore
from logging_lib.store.port import (
    Conflict,
    IndexResult,
    Part,
    QueryNotSupported,
    ScriptFault,
    SearchError,
    Stored,
    StoreError,
)

PATIENCE: Final = 120.0
_PAGE: Final = 5_000
_KEPT: Final = "5m"  # a page's point in time, until the next one is asked for
SEARCH_TIMEOUT: Final = "45s"
_BOUNDS: Final = frozenset({"gt", "gte", "lt", "lte", "from", "to"})
_NOW = re.compile(r"now(?=$|[+\-/|])")


class ElasticsearchStore:
    """Store events in an Elasticsearch cluster. Safe to share between threads.

    Args:
        connection: the cluster.
        patience: seconds for which ``index`` goes on trying while nothing answers.
        sleep: waits between tries.
    """

    def __init__(
        self,
        connection: Connection,
        *,
        patience: float = PATIENCE,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._connection = connection
        self._patience = patience
        self._sleep = sleep
        self._written: set[str] = set()

    def index(
        self,
        target: str,
        documents: Iterable[Mapping[str, Any]],
        *,
        now: datetime | None = None,
        create: bool = False,
    ) -> IndexResult:
        """Add documents; see the port. Without ``now`` the cluster's clock gives ``event.ingested``.

        A document whose first try got no answer, though it was stored, counts as a duplicate.

        Raises:
            ElasticsearchError: nothing answered for ``patience`` seconds, or the whole request was refused.
        """
        refused: list[tuple[str, str]] = []
        stream = target.startswith("logs-")
        prepared = _events(documents, now, refused) if stream else _documents(documents, create, refused)
        self._written.add(target)
        created = duplicates = 0
        for outcome in self._send(_name(target), prepared):
            if not outcome.reason:
                created += 1
            elif outcome.conflict:
                duplicates += 1
            else:
                refused.append((outcome.identity, outcome.reason))
        return IndexResult(created, duplicates, tuple(refused))

    def replace(self, changes: Iterable[tuple[Mapping[str, Any], Mapping[str, Any]]]) -> Iterator[Outcome]:
        """Put other documents in the place of stored ones: pairs of (hit, document); one outcome each, in
        their order.

        The hits come from a search with ``seq_no_primary_term``: a document that was changed since is left
        as it is, with a conflict.

        Raises:
            ElasticsearchError: as ``index``.
        """

        def operations() -> Iterator[Operation]:
            for hit, document in changes:
                where = {
                    "_index": hit["_index"],
                    "_id": hit["_id"],
                    "if_seq_no": hit["_seq_no"],
                    "if_primary_term": hit["_primary_term"],
                }
                self._written.add(hit["_index"])
                yield Operation(hit["_id"], {"index": where}, mapping.dumps(document))

        yield from self._send(None, operations())

    def search(
        self,
        indices: str | list[str],
        body: Mapping[str, Any],
        *,
        now: datetime | None = None,
        rest_total_hits_as_int: bool = False,
    ) -> dict[str, Any]:
        """Answer a search; see the port.

        Raises:
            SearchError: Elasticsearch refuses the body.
            ElasticsearchError: it does not answer, or refuses us.
        """
        names = indices.split(",") if isinstance(indices, str) else indices
        path = ",".join(_name(name.strip()) for name in names if name.strip()) or "_all"
        params = {"ignore_unavailable": "true", "allow_no_indices": "true"}
        if rest_total_hits_as_int:
            params["rest_total_hits_as_int"] = "true"
        asked = dict(body) if now is None else _at(body, _iso(now), ())
        asked.setdefault("timeout", SEARCH_TIMEOUT)
        try:
            answer: dict[str, Any] = self._connection.call("POST", f"/{path}/_search", asked, params=params)
        except ElasticsearchError as error:
            if error.status == 400 or "too_many" in error.kind + error.reason:
                raise SearchError(error.reason) from error
            raise
        if "aggregations" not in answer and ("aggs" in body or "aggregations" in body):
            answer["aggregations"] = _of_nothing(names, body, now)
        return answer

    def streams(self, indices: str | list[str]) -> list[str]:
        """See the port; the data streams, aliases and indices that this client may see."""
        names = indices.split(",") if isinstance(indices, str) else indices
        path = ",".join(_name(name.strip()) for name in names if name.strip()) or "*"
        try:
            found = self._connection.call("GET", f"/_resolve/index/{path}")
        except ElasticsearchError as error:
            if error.status == 404:
                return []
            raise
        streams = {one["name"] for one in found.get("data_streams", ())}
        indices_ = {one["name"] for one in found.get("indices", ()) if "data_stream" not in one}
        return sorted(streams | indices_)

    def lines(self, target: str, fields: Collection[str]) -> Iterator[list[bytes]]:
        """See the port: pages in the order of arrival, each after the one before, within one point in time."""
        opened = self._connection.call("POST", f"/{_name(target)}/_pit", params={"keep_alive": _KEPT})
        body: dict[str, Any] = {
            "size": _PAGE,
            "track_total_hits": False,
            "sort": [{"_shard_doc": "asc"}],
            "_source": sorted({"event.id", *fields}),
            "pit": {"id": opened["id"], "keep_alive": _KEPT},
        }
        try:
            while True:
                answer = self._connection.call("POST", "/_search", body)
                hits = answer["hits"]["hits"]
                if answer.get("timed_out") or answer["_shards"]["failed"]:
                    raise ElasticsearchError(f"{target}: a page of its events was not read in full")
                if hits:
                    yield [mapping.dumps(hit["_source"]) for hit in hits]
                if len(hits) < _PAGE:
                    return
                body["search_after"] = hits[-1]["sort"]
                body["pit"]["id"] = answer.get("pit_id", body["pit"]["id"])
        finally:
            self._connection.call("DELETE", "/_pit", {"id": body["pit"]["id"]})

    def parts(self, target: str, fields: Collection[str], size: int) -> list[Part]:
        """See the port: none, as a connection does not survive a fork."""
        return []

    def execute_painless(self, source: str, params: Mapping[str, Any]) -> str:
        """See the port. Without an index it needs the privilege ``cluster:admin/scripts/painless/execute``."""
        body = {"script": {"source": source, "params": params}}
        try:
            answer = self._connection.call("POST", "/_scripts/painless/_execute", body)
        except ElasticsearchError as error:
            if error.kind not in ("script_exception", "illegal_argument_exception"):
                raise
            raise _script_fault(error) from error
        return str(answer["result"])

    def get(self, target: str, identity: str) -> Stored | None:
        """One document of an index, as it is now, and which of its changes that is; None when there is none.

        Raises:
            ElasticsearchError: as ``index``.
        """
        try:
            found = self._connection.call("GET", _path(target, "_doc", identity))
        except ElasticsearchError as error:
            if error.status == 404:
                return None
            raise
        return Stored(found["_source"], found["_seq_no"], found["_primary_term"])

    def put(self, target: str, identity: str, source: Mapping[str, Any], *, after: Stored | None) -> None:
        """Write a document, provided that it still is what ``get`` gave.

        Raises:
            Conflict: it was changed, or made, since.
            ElasticsearchError: as ``index``.
        """
        path, params = _path(target, "_create", identity), {}
        if after is not None:
            path = _path(target, "_doc", identity)
            params = {"if_seq_no": str(after.seq_no), "if_primary_term": str(after.primary_term)}
        try:
            self._connection.call("PUT", path, source, params=params)
        except ElasticsearchError as error:
            if error.status == 409:
                raise Conflict(f"{target}/{identity}: was changed by another") from error
            raise

    def add(self, target: str, sources: Iterable[Mapping[str, Any]]) -> None:
        """Add new documents to an index, each with an id of the server's.

        Raises:
            StoreError: one was refused.
            ElasticsearchError: as ``index``.
        """
        operations = (Operation("", {"create": {}}, mapping.dumps(source)) for source in sources)
        for outcome in self._send(_name(target), operations):
            if outcome.reason:
                raise StoreError(f"{target}: a document was refused: {outcome.reason}")

    def delete(self, target: str, query: Mapping[str, Any]) -> None:
        """Delete an index's documents that match; those that change meanwhile stay.

        Raises:
            ElasticsearchError: as ``index``.
        """
        params = {"conflicts": "proceed", "ignore_unavailable": "true"}
        self._connection.call("POST", f"/{_name(target)}/_delete_by_query", {"query": query}, params=params)

    def refresh(self, target: str | None = None) -> None:
        """Make what this store indexed, or what is in that target, visible to searches; who may not do that
        waits for the cluster to."""
        for name in sorted(self._written) if target is None else [target]:
            path = f"/{_name(name)}/_refresh"
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

    def _send(self, target: str | None, operations: Iterable[Operation]) -> Iterator[Outcome]:
        return send(self._connection, target, operations, patience=self._patience, sleep=self._sleep)


def _script_fault(error: ElasticsearchError) -> ScriptFault:
    causes = [error.details]
    while isinstance(causes[-1].get("caused_by"), Mapping):
        causes.append(causes[-1]["caused_by"])
    reasons = [str(each["reason"]) for each in causes if each.get("reason")]
    offset = next((each["position"]["offset"] for each in causes if each.get("position")), None)
    return ScriptFault(printable(reasons[-1] if reasons else error.reason), offset=offset)


def _events(
    documents: Iterable[Mapping[str, Any]], now: datetime | None, refused: list[tuple[str, str]]
) -> Iterator[Operation]:
    arrival = None if now is None else _iso(now)
    for document in documents:
        source = {key: value for key, value in document.items() if key != "_id"}
        event = source.get("event")
        identity = event.get("id") if isinstance(event, Mapping) else source.get("event.id")
        if identity is None or identity == "" or isinstance(identity, dict | list):
            refused.append(("", "event.id: a data stream's document needs one"))
            continue
        identity = mapping.convert(identity, "keyword")
        if arrival is not None and source.get("event.ingested") is None:
            if event is None:
                source["event.ingested"] = arrival
            elif isinstance(event, Mapping) and event.get("ingested") is None:
                source["event"] = {**event, "ingested": arrival}
        yield from _operation("create", identity, source, refused)


def _documents(
    documents: Iterable[Mapping[str, Any]], create: bool, refused: list[tuple[str, str]]
) -> Iterator[Operation]:
    for document in documents:
        source = {key: value for key, value in document.items() if key != "_id"}
        yield from _operation("create" if create else "index", document.get("_id"), source, refused)


def _operation(
    kind: str, identity: Any, source: Mapping[str, Any], refused: list[tuple[str, str]]
) -> Iterator[Operation]:
    name = "" if identity is None else str(identity)
    try:
        yield Operation(name, {kind: {"_id": name} if name else {}}, mapping.dumps(source))
    except (TypeError, ValueError) as error:
        refused.append((name, f"not JSON: {error}"))


def _of_nothing(indices: list[str], body: Mapping[str, Any], now: datetime | None) -> dict[str, Any]:
    """The aggregations over no documents. Elasticsearch leaves them out where no index has such a name, as
    before a stream's first event; the embedded store does not, and neither does the port."""
    with EmbeddedStore(None) as store:
        try:
            found: dict[str, Any] = store.search(indices, body, now=now)["aggregations"]
        except SearchError:
            return {}
    return found


def _at(value: Any, moment: str, path: tuple[str, ...]) -> Any:
    """The body as it would be asked at that moment: ``now`` at the beginning of a range's bound is replaced."""
    if isinstance(value, Mapping):
        dated = {key: _at(one, moment, (*path, key)) for key, one in value.items()}
        for key in _BOUNDS & dated.keys():
            bound = dated[key]
            if isinstance(bound, str) and _NOW.match(bound):
                if "format" in dated:
                    raise QueryNotSupported(
                        "'now' beside a 'format' cannot be asked for another moment", ".".join(("$", *path))
                    )
                dated[key] = f"{moment}||{bound[3:].removeprefix('||')}"
        return dated
    if isinstance(value, list):
        return [_at(one, moment, (*path, str(index))) for index, one in enumerate(value)]
    return value


def _iso(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _path(target: str, kind: str, identity: str) -> str:
    return f"/{_name(target)}/{kind}/{quote(identity, safe='')}"


def _name(target: str) -> str:
    return quote(target, safe="*-._+")
