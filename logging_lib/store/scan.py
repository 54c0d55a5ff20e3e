"""Reads many events of a store, a page a search; bounded memory, whatever their number."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from logging_lib.store.port import Store

PAGE = 2000


def scan(
    store: Store,
    indices: str,
    query: Mapping[str, Any],
    *,
    source: Sequence[str] | None = None,
    newest_first: bool = False,
    page: int = PAGE,
) -> Iterator[list[dict[str, Any]]]:
    """Pages of hits in the order of ``@timestamp``, then of ``event.id``.

    Args:
        indices: of events: each has an ``@timestamp`` and an ``event.id``.
        source: the fields wanted; default: the whole event.
        page: hits a page, up to 10,000.
    """
    order = "desc" if newest_first else "asc"
    body: dict[str, Any] = {
        "size": page,
        "query": query,
        "sort": [{"@timestamp": order}, {"event.id": order}],
        "track_total_hits": False,
    }
    if source is not None:
        body["_source"] = list(source)
    while hits := store.search(indices, body)["hits"]["hits"]:
        yield hits
        if len(hits) < page:
            return
        body["search_after"] = hits[-1]["sort"]
