"""``ml-analysis``: what was found by hand or in CI and should be known later, such as the last skew of a model."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from logging_lib.schema.templates import ANALYSIS
from logging_lib.store.port import Store, StoreError
from logging_lib.watch.times import format_instant


def write(
    store: Store, kind: str, *, model: str, version: str | None, summary: Mapping[str, Any], now: datetime
) -> None:
    """Remember a result in the place of the last one of its kind.

    Raises:
        StoreError: the store refuses it.
    """
    about = {"name": model} if version is None else {"name": model, "version": version}
    made = {
        "_id": f"{kind}:{model}:{version or '*'}",
        "@timestamp": format_instant(now),
        "kind": kind,
        "ml": {"model": about},
        "summary": dict(summary),
    }
    result = store.index(ANALYSIS, [made])
    if result.failed:
        raise StoreError(f"{ANALYSIS}: {result.failed[0][0]}: {result.failed[0][1]}")
    store.refresh()


def last(store: Store, kind: str, model: str) -> list[dict[str, Any]]:
    """The last results of a kind for a model, one a version, the newest first."""
    query = {"bool": {"filter": [{"term": {"kind": kind}}, {"term": {"ml.model.name": model}}]}}
    hits = store.search(ANALYSIS, {"size": 1000, "query": query})["hits"]["hits"]
    return sorted((hit["_source"] for hit in hits), key=lambda one: str(one["@timestamp"]), reverse=True)
