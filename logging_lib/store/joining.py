"""Join searches that differ only in their aggregations into one search, which reads their documents once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from threading import Lock
from typing import Any, Final

import orjson

from logging_lib.store.duckdb import bucket_options, metrics
from logging_lib.store.port import DelegatingStore, Store, StoreError

Json = dict[str, Any]
Answers = Mapping[str, tuple[str, "Answers"]]
"""The names of a search's aggregations in the joined search's answer, with those of their sub-aggregations."""
_KINDS: Final = bucket_options.KINDS.keys() | metrics.KINDS  # none of them reads another one's answer
_BELOW: Final = ("aggs", "aggregations")
_PREFIX: Final = "~"  # of the names in a joined search
_MOST_SECONDS: Final = 10.0  # seconds for which a search waits for the answer that another one asked for


@dataclass(frozen=True)
class Search:
    """A search that will be asked soon."""

    indices: tuple[str, ...]
    body: Mapping[str, Any]
    rest_total_hits_as_int: bool = False

    def _text(self, body: Mapping[str, Any]) -> bytes:
        return orjson.dumps(
            [self.indices, body, self.rest_total_hits_as_int], default=str, option=orjson.OPT_SORT_KEYS
        )

    @cached_property
    def key(self) -> bytes:
        return self._text(self.body)

    @cached_property
    def group(self) -> bytes:
        """Return the part that joinable searches have in common: everything but the aggregations."""
        aggs = _aggs(self.body)
        return self._text(_without_aggs(self.body)) if aggs and _can_be_joined(aggs) else self.key


class JoinedStore(DelegatingStore):
    """A store that knows some of its next searches and joins those over the same documents.

    The first search of a group asks for all of them. If the joined search fails, takes long or has a partial
    answer, each search is asked separately, as are searches that were not announced. Safe to share between threads.

    Args:
        now: the ``now`` of the announced searches.
        announced: the searches; they are read at the first search.
    """

    def __init__(self, store: Store, now: datetime, announced: Iterable[Search]) -> None:
        super().__init__(store)
        self._now = now
        self._announced: Iterable[Search] = announced
        self._lock = Lock()
        self._groups: dict[bytes, _Group] = {}

    def search(
        self,
        indices: str | list[str],
        body: Mapping[str, Any],
        *,
        now: datetime | None = None,
        rest_total_hits_as_int: bool = False,
    ) -> Json:
        names = (indices,) if isinstance(indices, str) else tuple(indices)
        group = self._find_group(search := Search(names, body, rest_total_hits_as_int))
        answer = group.take(search.key, self._ask) if group is not None and now == self._now else None
        if answer is not None:
            return answer
        return super().search(indices, body, now=now, rest_total_hits_as_int=rest_total_hits_as_int)

    def _find_group(self, search: Search) -> _Group | None:
        with self._lock:
            announced, self._announced = self._announced, ()
            for known in announced:
                self._groups.setdefault(known.group, _Group()).add(known)
        return self._groups.get(search.group)

    def _ask(self, search: Search) -> Json:
        return self._store.search(
            list(search.indices),
            search.body,
            now=self._now,
            rest_total_hits_as_int=search.rest_total_hits_as_int,
        )


@dataclass(slots=True)
class _Group:
    """Searches that are asked as one; an answer is kept until it has been taken as often as it was announced."""

    searches: dict[bytes, Search] = field(default_factory=dict)
    uses: dict[bytes, int] = field(default_factory=dict)
    answers: dict[bytes, Json] | None = None
    lock: Any = field(default_factory=Lock)

    def add(self, search: Search) -> None:
        key = search.key
        self.searches[key] = search
        self.uses[key] = self.uses.get(key, 0) + 1

    def take(self, key: bytes, ask: Callable[[Search], Json]) -> Json | None:
        """Return the answer of a search; None if it must be asked separately."""
        if not self.lock.acquire(timeout=_MOST_SECONDS):
            return None
        try:
            if self.answers is None:
                self.answers = {}
                if sum(self.uses.values()) > 1:
                    with suppress(StoreError, KeyError):  # or an aggregation has no answer
                        self.answers = _ask_joined(list(self.searches.values()), ask)
            answer = self.answers.get(key)
            if answer is not None:
                self.uses[key] -= 1
                if not self.uses[key]:
                    del self.answers[key]
            return answer
        finally:
            self.lock.release()


def _ask_joined(searches: list[Search], ask: Callable[[Search], Json]) -> dict[bytes, Json]:
    """Return the answers of searches by their keys; empty if the joined answer is partial. Raises StoreError."""
    first = searches[0]
    if len(searches) == 1:
        joined, parts = first, None
    else:
        aggs: Json = {}
        parts = [_join(aggs, _aggs(search.body)) for search in searches]
        body = {**_without_aggs(first.body), "aggs": aggs}
        joined = Search(first.indices, body, first.rest_total_hits_as_int)
    answer = ask(joined)
    if answer.get("timed_out") or answer.get("_shards", {}).get("failed"):
        return {}
    if parts is None:
        return {first.key: answer}
    return {
        search.key: {**answer, "aggregations": _pick(answer["aggregations"], part)}
        for search, part in zip(searches, parts, strict=True)
    }


def _aggs(part: Mapping[str, Any]) -> Mapping[str, Any]:
    return part.get("aggs") or part.get("aggregations") or {}


def _without_aggs(part: Mapping[str, Any]) -> Json:
    return {key: value for key, value in part.items() if key not in _BELOW}


def _can_be_joined(aggs: Any) -> bool:
    return isinstance(aggs, Mapping) and all(
        isinstance(agg, Mapping)
        and all(_is_alone(kind, options) for kind, options in _without_aggs(agg).items())
        and _can_be_joined(_aggs(agg))
        for agg in aggs.values()
    )


def _is_alone(kind: str, options: Any) -> bool:
    """Return whether an aggregation names no other one, as an order may do."""
    return kind == "meta" or (kind in _KINDS and isinstance(options, Mapping) and "order" not in options)


def _join(joined: Json, aggs: Mapping[str, Any]) -> Answers:
    """Add aggregations to joined ones: equal ones become one, with the sub-aggregations of both."""
    answers = {}
    for name, agg in aggs.items():
        options = _without_aggs(agg)
        alias = next((alias for alias, other in joined.items() if _without_aggs(other) == options), None)
        if alias is None:
            alias = f"{_PREFIX}{len(joined)}"
            joined[alias] = options
        below = _aggs(agg)
        answers[name] = alias, _join(joined[alias].setdefault("aggs", {}), below) if below else {}
    return answers


def _pick(found: Mapping[str, Any], answers: Answers) -> Json:
    """Return the answers of one search's aggregations."""
    return {name: _pick_one(found[alias], below) for name, (alias, below) in answers.items()}


def _pick_one(answer: Mapping[str, Any], below: Answers) -> Json:
    buckets = answer.get("buckets")
    if isinstance(buckets, Mapping):
        return {**answer, "buckets": {name: _pick_bucket(bucket, below) for name, bucket in buckets.items()}}
    if buckets is not None:
        return {**answer, "buckets": [_pick_bucket(bucket, below) for bucket in buckets]}
    return _pick_bucket(answer, below)


def _pick_bucket(bucket: Mapping[str, Any], below: Answers) -> Json:
    own = {key: value for key, value in bucket.items() if not key.startswith(_PREFIX)}
    return own | _pick(bucket, below)
