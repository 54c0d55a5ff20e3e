"""Remove a person's data from Elasticsearch: delete their events, and mask documents that mention them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any, Final

import orjson

from logging_lib.privacy.redact_files import PlaceMatches, recompute_profile_id
from logging_lib.privacy.subject_search import SubjectTraces, TermFinder
from logging_lib.schema import DATASETS
from logging_lib.store.connection import Connection, ElasticsearchError
from logging_lib.store.elasticsearch import ElasticsearchStore

EVENTS: Final = "logs-ml.prediction-*,logs-ml.label-*"
DEAD_LETTERS: Final = "logs-ml.deadletter-*"
DOCUMENTS: Final = "ml-profile-files,ml-profiles,ml-watch-*,ml-analysis,logs-ml.*-*"
"""Whole profiles come first: the short forms contain their ids."""
_PAGE_SIZE, _MAX_TERMS, _MAX_ATTEMPTS = 1000, 5000, 5


class ElasticsearchEraser:
    """Finds and removes a person's data in one cluster."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._store = ElasticsearchStore(connection)
        self.name = connection.url

    def collect_ids(self, traces: SubjectTraces) -> None:
        """Add the ids of the person's events to ``traces``."""
        for hit in self._scan(EVENTS, {"query": _owned_query(traces), "_source": _IDENTIFYING_FIELDS}):
            traces.add_ids(hit["_source"])

    def inspect(self, traces: SubjectTraces) -> list[PlaceMatches]:
        """Find what the cluster holds about the person; nothing is changed."""
        theirs = _owned_query(traces)
        matches = [
            PlaceMatches(f"{self.name}/{streams}", erase=self._count(streams, theirs))
            for streams in EVENTS.split(",")
        ]
        letters = sum(1 for _ in self._dead_letters(traces))
        matches.append(PlaceMatches(f"{self.name}/{DEAD_LETTERS}", erase=letters))
        for indices in DOCUMENTS.split(","):
            masked = sum(1 for _ in self._masked(indices, traces))
            matches.append(PlaceMatches(f"{self.name}/{indices}", redact=masked))
        return [place for place in matches if not place.is_empty]

    def erase(self, traces: SubjectTraces) -> list[PlaceMatches]:
        """Delete and mask, and return what was done; a ``note`` says what failed.

        Raises:
            ElasticsearchError: no response, or access denied.
        """
        theirs = _owned_query(traces)
        done = [
            PlaceMatches(f"{self.name}/{streams}", erase=self._delete(streams, theirs))
            for streams in EVENTS.split(",")
        ]
        letters = [hit["_id"] for hit in self._dead_letters(traces)]
        chunks = [letters[start : start + _MAX_TERMS] for start in range(0, len(letters), _MAX_TERMS)]
        number = sum(self._delete(DEAD_LETTERS, {"terms": {"event.id": chunk}}) for chunk in chunks)
        done.append(PlaceMatches(f"{self.name}/{DEAD_LETTERS}", erase=number))
        done += [self._mask(indices, traces) for indices in DOCUMENTS.split(",")]
        return [place for place in done if not place.is_empty]

    def expunge(self) -> None:
        """Rewrite the segments that hold deleted documents, which removes them from the disk."""
        for indices in (EVENTS, DEAD_LETTERS, DOCUMENTS):
            params = {
                "only_expunge_deletes": "true",
                "ignore_unavailable": "true",
                "allow_no_indices": "true",
            }
            self._connection.call("POST", f"/{indices}/_forcemerge", params=params)

    def _mask(self, indices: str, traces: SubjectTraces) -> PlaceMatches:
        done = PlaceMatches(f"{self.name}/{indices}")
        for _ in range(_MAX_ATTEMPTS):
            changes = list(self._masked(indices, traces))
            if not changes:
                return done
            for outcome in self._store.replace(changes):
                done.redact += not outcome.reason
                if outcome.reason and not outcome.is_conflict:
                    done.note = f"{outcome.document_id}: {outcome.reason}"
            self._store.refresh()
            if done.note:
                return done
        done.note = "changed by others again and again; run erase once more"
        return done

    def _masked(self, indices: str, traces: SubjectTraces) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
        finder = traces.finder(ids=True)
        others = {"bool": {"must_not": {"terms": {"event.dataset": list(DATASETS)}}}}
        query = others if indices.startswith("logs-") else {"match_all": {}}
        for hit in self._scan(indices, {"seq_no_primary_term": True, "query": query}):
            masked = mask_document(hit["_source"], finder, traces)
            if masked is not None:
                yield hit, masked

    def _dead_letters(self, traces: SubjectTraces) -> Iterator[dict[str, Any]]:
        """Yield the person's dead letters; their originals are not indexed, so each one is searched."""
        finder = traces.finder(ids=True)
        for hit in self._scan(DEAD_LETTERS, {}):
            if traces.owns(hit["_source"]) or finder.is_in_document(hit["_source"]):
                yield hit

    def _count(self, indices: str, query: Mapping[str, Any]) -> int:
        answer = self._connection.call("POST", f"/{indices}/_count", {"query": query}, params=_LENIENT)
        return int(answer["count"])

    def _delete(self, indices: str, query: Mapping[str, Any]) -> int:
        params = {**_LENIENT, "conflicts": "proceed", "refresh": "true"}
        deleted: int = 0
        for _ in range(_MAX_ATTEMPTS):
            answer = self._connection.call(
                "POST", f"/{indices}/_delete_by_query", {"query": query}, params=params
            )
            deleted += int(answer["deleted"])
            if answer.get("failures"):
                raise ElasticsearchError(f"{self.name}/{indices}: not deleted: {answer['failures'][0]}")
            if not answer["version_conflicts"]:
                return deleted
        raise ElasticsearchError(
            f"{self.name}/{indices}: events change while they are deleted; run erase again"
        )

    def _scan(self, indices: str, body: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """Yield every hit, by a scroll: the indices need not have a field to sort by."""
        first_body = {"size": _PAGE_SIZE, "sort": ["_doc"], **body}
        self._refresh(indices)
        answer = self._connection.call(
            "POST", f"/{indices}/_search", first_body, params={**_LENIENT, "scroll": "2m"}
        )
        try:
            while answer["hits"]["hits"]:
                yield from answer["hits"]["hits"]
                answer = self._connection.call(
                    "POST", "/_search/scroll", {"scroll": "2m", "scroll_id": answer["_scroll_id"]}
                )
        finally:
            if scroll := answer.get("_scroll_id"):
                with contextlib.suppress(ElasticsearchError):  # it expires by itself
                    self._connection.call("DELETE", "/_search/scroll", {"scroll_id": scroll}, retries=0)

    def _refresh(self, indices: str) -> None:
        try:
            self._connection.call("POST", f"/{indices}/_refresh", params=_LENIENT)
        except ElasticsearchError as error:
            if error.status not in (403, 404):
                raise


_LENIENT: Final = {"ignore_unavailable": "true", "allow_no_indices": "true"}
_IDENTIFYING_FIELDS: Final = ["event.id", "event.dataset", "ml.subject.hash", "ml.request.id", "ml.prediction.id",
                   "labels", "ml.input"]  # fmt: skip


def mask_document(
    source: Mapping[str, Any], finder: TermFinder, traces: SubjectTraces
) -> dict[str, Any] | None:
    """Return the document with the person's texts masked, or None if it has none.

    Pure except for adding to ``traces.profiles``.
    """
    data = orjson.dumps(source)
    masked = finder.mask(data)
    if masked == data:
        return None
    if (resealed := recompute_profile_id(masked)) is not None:
        traces.profiles[resealed[0]] = resealed[1]
    for old, new in traces.profiles.items():
        masked = masked.replace(old.encode(), new.encode())
    document: dict[str, Any] = orjson.loads(masked)
    return document


def _owned_query(traces: SubjectTraces) -> dict[str, Any]:
    """Return the query for the person's events, the equivalent of ``SubjectTraces.owns``."""
    named = [
        {"terms": {name: ids[start : start + _MAX_TERMS]}}
        for name, ids in (
            ("event.id", sorted(traces.events)),
            ("ml.prediction.id", sorted(traces.events)),
            ("ml.request.id", sorted(traces.requests)),
            *((name, sorted(traces.texts)) for name in traces.fields),
        )
        for start in range(0, len(ids), _MAX_TERMS)
    ]
    others = {"exists": {"field": "ml.subject.hash"}}
    should = [{"terms": {"ml.subject.hash": sorted(traces.hashes)}}]
    if named:
        should.append({"bool": {"must_not": others, "filter": {"bool": {"should": named}}}})  # type: ignore[dict-item]
    return {"bool": {"should": should}}
