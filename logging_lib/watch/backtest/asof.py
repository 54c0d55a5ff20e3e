"""A store as it was at a time."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from logging_lib._util.times import format_instant
from logging_lib.store.port import DelegatingStore


class AsOf(DelegatingStore):
    """A store as it was at a search's ``now``: later arrivals are not there yet."""

    is_live = False  # so that no watch asks the present over HTTP

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
        return super().search(indices, body, now=now, rest_total_hits_as_int=rest_total_hits_as_int)
