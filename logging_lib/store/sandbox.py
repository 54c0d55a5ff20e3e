"""Isolate unit tests of watches in indices of their own in a real cluster."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any
from urllib.parse import quote
from uuid import uuid4

from logging_lib.store.connection import Connection, ElasticsearchError
from logging_lib.store.counting import CountPath, CountPlan, CountTable, Grid
from logging_lib.store.elasticsearch import ElasticsearchStore
from logging_lib.store.port import IndexResult, StoreError

PREFIX = "watch-test-"
"""The prefix of the indices' names; no watch, dashboard or template of ours reads such names."""


class Sandbox:
    """A store over temporary indices that follow the deployed templates; ``close`` deletes them.

    ``logs-ml.prediction-default`` becomes ``watch-test-<id>-logs-ml.prediction-default``, a plain index with the
    mappings, settings and pipelines of its template; searches find only what was written through this sandbox.

    Args:
        connection: the cluster; the connection is not closed.
    """

    is_live = True

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._store = ElasticsearchStore(connection)
        self._prefix = f"{PREFIX}{uuid4().hex[:12]}-"
        self._created: set[str] = set()
        self.execute_painless = self._store.execute_painless

    def index(
        self,
        target: str,
        documents: Iterable[Mapping[str, Any]],
        *,
        now: datetime | None = None,
        create: bool = False,
    ) -> IndexResult:
        """Add documents; see the port. The cluster sets ``event.ingested`` if a document lacks it, regardless of
        ``now``.

        Raises:
            StoreError: the templates are not deployed in this cluster.
            ElasticsearchError: as in ``ElasticsearchStore``.
        """
        if target not in self._created:
            self._create_index(target)
        stream = target.startswith("logs-")
        if stream:
            documents = (_with_event_id(document) for document in documents)
        return self._store.index(self._prefix + target, documents, now=now, create=create or stream)

    def search(
        self,
        indices: str | list[str],
        body: Mapping[str, Any],
        *,
        now: datetime | None = None,
        rest_total_hits_as_int: bool = False,
    ) -> dict[str, Any]:
        return self._store.search(
            self._prefixed(indices), body, now=now, rest_total_hits_as_int=rest_total_hits_as_int
        )

    def streams(self, indices: str | list[str]) -> list[str]:
        return [name.removeprefix(self._prefix) for name in self._store.streams(self._prefixed(indices))]

    def counts(
        self, plan: CountPlan, grid: Grid, start: int | None, end: int
    ) -> Iterable[tuple[CountPath, CountTable]]:
        indices = tuple(self._prefixed(list(plan.indices)))
        return self._store.counts(replace(plan, indices=indices), grid, start, end)

    def refresh(self) -> None:
        self._store.refresh()

    def close(self) -> None:
        while self._created:
            self._connection.call("DELETE", f"/{quote(self._prefix + self._created.pop(), safe='')}")

    def _prefixed(self, indices: str | list[str]) -> list[str]:
        names = indices.split(",") if isinstance(indices, str) else indices
        return [self._prefix + name.strip() for name in names if name.strip()] or [self._prefix + "*"]

    def _create_index(self, target: str) -> None:
        template = target.rpartition("-")[0] if target.startswith("logs-") else target
        try:
            answer = self._connection.call("POST", f"/_index_template/_simulate/{quote(template, safe='')}")
        except ElasticsearchError as error:
            if error.status not in (400, 404):
                raise
            raise StoreError(
                f"this Elasticsearch has no index template {template}; make it with: logging-lib stack deploy"
            ) from error
        template_body = answer["template"]
        mappings = {
            key: value for key, value in template_body["mappings"].items() if key != "_data_stream_timestamp"
        }
        body = {"settings": template_body.get("settings", {}), "mappings": mappings}
        self._connection.call("PUT", f"/{quote(self._prefix + target, safe='')}", body)
        self._created.add(target)


def _with_event_id(document: Mapping[str, Any]) -> Mapping[str, Any]:
    """Use the event's id as the document's id, as in a data stream, so that the same event is stored once."""
    event = document.get("event")
    identity = event.get("id") if isinstance(event, Mapping) else document.get("event.id")
    return {**document, "_id": identity}
