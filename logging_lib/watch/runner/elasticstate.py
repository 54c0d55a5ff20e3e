"""The runner's state in the index ``ml-watch-state``: one document a watch, changed only as it was read."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Protocol

from logging_lib._util.times import format_instant
from logging_lib.store.port import ConflictError, VersionedDocument
from logging_lib.watch.runner.state import ANY, DocumentState, Record, StateError, Wanted

INDEX = "ml-watch-state"
_TRIES = 50


class Documents(Protocol):
    """What a store must be able to do beyond the port, so that runners can share a state in it."""

    def get(self, target: str, identity: str) -> VersionedDocument | None: ...

    def put(
        self, target: str, identity: str, source: Mapping[str, Any], *, after: VersionedDocument | None
    ) -> None: ...

    def add(self, target: str, sources: Iterable[Mapping[str, Any]]) -> None: ...

    def delete(self, target: str, query: Mapping[str, Any]) -> None: ...

    def search(self, indices: str, body: Mapping[str, Any]) -> dict[str, Any]: ...

    def refresh(self, target: str | None = None) -> None: ...


class ElasticState(DocumentState):
    """States by optimistic concurrency: who writes after another has written reads again and changes that.

    Args:
        store: such as ``ElasticsearchStore``.
        index: another one is for tests.
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
        for _ in range(_TRIES):
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
            f"{self._place(name)}: was changed by others {_TRIES} times while we tried to change it"
        )

    def record(self, records: Iterable[Record]) -> None:
        made = [
            {
                "@timestamp": each["time"],
                "kind": "history",
                "record": each["kind"],
                **{name: each[name] for name in ("watch", "model") if each.get(name)},
                "entry": each,
            }
            for each in records
        ]
        if made:
            self._store.add(self._index, made)

    def history(self, wanted: Wanted = ANY) -> list[Record]:
        filters: list[dict[str, Any]] = [{"term": {"kind": "history"}}]
        if wanted.kinds:
            filters.append({"terms": {"record": list(wanted.kinds)}})
        filters += [
            {"wildcard": {name: {"value": _literal(value)}}}
            for name, value in (("watch", wanted.watch), ("model", wanted.model))
            if value is not None
        ]
        if wanted.since is not None:
            filters.append({"range": {"@timestamp": {"gte": format_instant(wanted.since)}}})
        body = {
            "size": min(wanted.most, 10_000),
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


def _literal(wanted: str) -> str:
    """As our own patterns are: only ``*`` is a wildcard."""
    return wanted.replace("\\", "\\\\").replace("?", "\\?")
