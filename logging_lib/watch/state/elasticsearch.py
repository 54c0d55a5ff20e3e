"""Store the runner's state in the index ``ml-watch-state``: one document per watch, changed only if still as
read."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Protocol

from logging_lib._util.times import format_instant
from logging_lib.store.port import ConflictError, VersionedDocument
from logging_lib.watch.errors import StateError
from logging_lib.watch.state.base import ANY, DocumentState, HistoryQuery, Record

INDEX = "ml-watch-state"
_ATTEMPTS = 50


class Documents(Protocol):
    """What a store must support beyond the common interface, so that runners can share a state in it."""

    def get(self, target: str, identity: str) -> VersionedDocument | None: ...

    def put(
        self, target: str, identity: str, source: Mapping[str, Any], *, after: VersionedDocument | None
    ) -> None: ...

    def add(self, target: str, sources: Iterable[Mapping[str, Any]]) -> None: ...

    def delete(self, target: str, query: Mapping[str, Any]) -> None: ...

    def search(self, indices: str, body: Mapping[str, Any]) -> dict[str, Any]: ...

    def refresh(self, target: str | None = None) -> None: ...


class ElasticsearchState(DocumentState):
    """States with optimistic concurrency: if another runner has written meanwhile, the change is applied to that
    again.

    Args:
        store: a store such as ``ElasticsearchStore``.
        index: the name of the index; tests use another one.
    """

    def __init__(self, store: Documents, index: str = INDEX) -> None:
        self._store = store
        self._index = index

    def watch_ids(self) -> list[str]:
        self._store.refresh(self._index)
        body = {"size": 10_000, "query": {"term": {"kind": "state"}}, "_source": ["watch"]}
        hits = self._store.search(self._index, body)["hits"]["hits"]
        return sorted(hit["_source"]["watch"] for hit in hits if hit["_source"].get("watch"))

    def _place(self, name: str) -> str:
        return f"{self._index}/_doc/{name}"

    def _read(self, name: str) -> bytes | None:
        return _content(self._store.get(self._index, name))

    def _change(self, name: str, change: Callable[[bytes | None], bytes | None]) -> None:
        kind, _, watch = name.partition(":")
        for _ in range(_ATTEMPTS):
            stored = self._store.get(self._index, name)
            content = change(_content(stored))
            if content is None:
                return
            document = {
                "@timestamp": format_instant(datetime.now(UTC)),
                "kind": "state" if watch else kind,
                "state": json.loads(content),
                **({"watch": watch} if watch else {}),
            }
            try:
                self._store.put(self._index, name, document, after=stored)
            except ConflictError:
                continue
            return
        raise StateError(
            f"{self._place(name)}: was changed by others {_ATTEMPTS} times while we tried to change it"
        )

    def record(self, records: Iterable[Record]) -> None:
        documents = [
            {
                "@timestamp": record["time"],
                "kind": "history",
                "record": record["kind"],
                **{name: record[name] for name in ("watch", "model") if record.get(name)},
                "entry": record,
            }
            for record in records
        ]
        if documents:
            self._store.add(self._index, documents)

    def history(self, query: HistoryQuery = ANY) -> list[Record]:
        filters: list[dict[str, Any]] = [{"term": {"kind": "history"}}]
        if query.kinds:
            filters.append({"terms": {"record": list(query.kinds)}})
        filters += [
            {"wildcard": {name: {"value": _literal(value)}}}
            for name, value in (("watch", query.watch), ("model", query.model))
            if value is not None
        ]
        if query.since is not None:
            filters.append({"range": {"@timestamp": {"gte": format_instant(query.since)}}})
        body = {
            "size": min(query.limit, 10_000),
            "query": {"bool": {"filter": filters}},
            "sort": [{"@timestamp": "desc"}, {"_seq_no": "desc"}],
            "_source": ["entry"],
        }
        self._store.refresh(self._index)
        hits = self._store.search(self._index, body)["hits"]["hits"]
        return [hit["_source"]["entry"] for hit in reversed(hits)]

    def forget(self, before: Mapping[str, datetime]) -> None:
        named = [kind for kind in before if kind != "*"]
        for kind, limit in before.items():
            of_kind = {"term": {"record": kind}} if kind != "*" else {"match_all": {}}
            query = {
                "bool": {
                    "filter": [
                        {"term": {"kind": "history"}},
                        of_kind,
                        {"range": {"@timestamp": {"lt": format_instant(limit)}}},
                    ],
                    **({"must_not": [{"terms": {"record": named}}]} if kind == "*" else {}),
                }
            }
            self._store.delete(self._index, query)


def _content(stored: VersionedDocument | None) -> bytes | None:
    return None if stored is None else json.dumps(stored.source.get("state")).encode()


def _literal(pattern: str) -> str:
    """Escape a pattern as for our own patterns, in which only ``*`` is a wildcard."""
    return pattern.replace("\\", "\\\\").replace("?", "\\?")
