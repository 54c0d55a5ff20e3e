"""Show a store as it was at a past time: its events, and the natural variation that its profiles had."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from logging_lib._util.times import format_instant, parse_instant
from logging_lib.profile.document import build_variation
from logging_lib.schema.templates import PROFILES
from logging_lib.store.port import DelegatingStore


class AsOf(DelegatingStore):
    """A store as it was at a search's ``now``, without later arrivals and without what was learned from them."""

    is_live = False  # so that no watch sends requests over HTTP, which would show the present

    def search(
        self,
        indices: str | list[str],
        body: Mapping[str, Any],
        *,
        now: datetime | None = None,
        rest_total_hits_as_int: bool = False,
    ) -> dict[str, Any]:
        names = indices.split(",") if isinstance(indices, str) else indices
        if now is not None and all(name.startswith("logs-") for name in names):
            arrived = {"range": {"event.ingested": {"lte": format_instant(now)}}}
            query = body.get("query", {"match_all": {}})
            body = {**body, "query": {"bool": {"filter": [query, arrived]}}}
        answer = super().search(indices, body, now=now, rest_total_hits_as_int=rest_total_hits_as_int)
        if now is not None and any(name.strip() == PROFILES for name in names):
            hits = [self._know_at(hit, now) for hit in answer["hits"]["hits"]]
            answer = {**answer, "hits": {**answer["hits"], "hits": hits}}
        return answer

    def find_changes(self) -> list[datetime]:
        """Return the times at which learned variations become known, the earliest first."""
        source = ["learned.until", "expected.variation.source", "expected.variation.until"]
        times = set()
        for hit in self._search_profiles({"match_all": {}}, source):
            times |= {entry["until"] for entry in hit.get("learned") or ()}
            variation = hit.get("expected", {}).get("variation", {})
            if variation.get("source") == "learned":
                times.add(variation["until"])
        return sorted(map(parse_instant, times))

    def _know_at(self, hit: dict[str, Any], now: datetime) -> dict[str, Any]:
        source = hit.get("_source", {})
        expected = source.get("expected", {})
        if not _is_too_early(expected.get("variation"), now):
            return hit
        known = {**expected, "variation": self._find_earlier(hit["_id"], now)}
        return {**hit, "_source": {**source, "expected": known}}

    def _find_earlier(self, identity: str, now: datetime) -> dict[str, Any]:
        """Return the variation that was known: the one that the learned ones replaced, else the default."""
        (document,) = self._search_profiles({"ids": {"values": [identity]}}, True)
        variation: dict[str, Any] = document["expected"]["variation"]
        for entry in reversed(document.get("learned") or ()):
            if not _is_too_early(variation, now):
                break
            variation = document["replaced"][entry["id"]]["value"]
        if _is_too_early(variation, now):  # a file has only the learned variation
            from logging_lib.profile.variation import state_default

            variation = build_variation(None, state_default())
        return variation

    def _search_profiles(self, query: dict[str, Any], source: Any) -> list[dict[str, Any]]:
        body = {"size": 10_000, "query": query, "_source": source}
        hits = super().search(PROFILES, body)["hits"]["hits"]
        return [hit["_source"] for hit in hits]


def _is_too_early(variation: Mapping[str, Any] | None, now: datetime) -> bool:
    """Return whether a variation was learned from events after a time, according to its end."""
    if variation is None or variation.get("source") != "learned":
        return False
    return parse_instant(variation["until"]) > now
