"""Read the data of a scorecard from a store: streams, profiles, recorded results and watches of one model."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote

from logging_lib._util.times import format_instant, parse_instant
from logging_lib.analysis.known_classes import KnownClasses
from logging_lib.analysis.labels import LABELS
from logging_lib.analysis.scorecard import Evidence
from logging_lib.schema.templates import ANALYSIS, PROFILES, WATCH_STATE
from logging_lib.store.history import STREAMS
from logging_lib.store.port import Store, StoreError


def write(
    store: Store, kind: str, *, model: str, version: str | None, summary: Mapping[str, Any], now: datetime
) -> None:
    """Store a result, replacing the last one of its kind.

    Raises:
        StoreError: the store refuses the result.
    """
    model_fields = {"name": model} if version is None else {"name": model, "version": version}
    document = {
        "_id": f"{kind}:{model}:{version or '*'}",
        "@timestamp": format_instant(now),
        "kind": kind,
        "ml": {"model": model_fields},
        "summary": dict(summary),
    }
    result = store.index(ANALYSIS, [document])
    if result.failed:
        raise StoreError(f"{ANALYSIS}: {result.failed[0][0]}: {result.failed[0][1]}")
    store.refresh()


def last(store: Store, kind: str, model: str) -> list[dict[str, Any]]:
    """Return the last results of a kind for a model, one per version, the newest first."""
    query = {"bool": {"filter": [{"term": {"kind": kind}}, {"term": {"ml.model.name": model}}]}}
    hits = store.search(ANALYSIS, {"size": 1000, "query": query})["hits"]["hits"]
    return sorted(
        (hit["_source"] for hit in hits), key=lambda source: str(source["@timestamp"]), reverse=True
    )


START_DAYS: Final = 90
LABEL_DAYS: Final = 31
_MAX_WATCHES: Final = 10_000
Watches = dict[str, datetime | None]


def gather(
    store: Store, model: str, *, now: datetime, recent: timedelta, watches: Mapping[str, datetime | None]
) -> Evidence:
    """Gather the evidence from the store.

    Args:
        recent: how far back predictions and health count; starts ``START_DAYS``, labels ``LABEL_DAYS`` at least.
        watches: id → the time of the last run, from ``of_index``, ``of_folder`` or Watcher.
    """
    profile = _read_profile(store, model)
    predictions = _sum_weights(store, model, now - recent, now)
    skews = last(store, "skew", model)
    labels, unknown = _count_labels(
        store, model, now - max(recent, timedelta(days=LABEL_DAYS)), now, (profile or {}).get("version")
    )
    return Evidence(
        model=model,
        watches=watches,
        predictions=predictions["all"],
        checked=predictions["checked"],
        timed=predictions["timed"],
        starts=_count(store, "logs-ml.start-*", model, now - max(recent, timedelta(days=START_DAYS)), now),
        health=_count(store, "logs-ml.health-*", model, now - recent, now),
        labels=labels,
        unknown_labels=unknown,
        skew={**skews[0]["summary"], "at": parse_instant(skews[0]["@timestamp"])} if skews else None,
        profile=profile,
    )


def of_index(store: Store) -> Watches:
    """List the watches whose state the runner keeps in ``ml-watch-state``."""
    hits = store.search(WATCH_STATE, {"size": _MAX_WATCHES})["hits"]["hits"]
    watches: Watches = {}
    for hit in hits:
        source = hit["_source"]
        if isinstance(name := source.get("watch"), str) and source.get("kind", "state") == "state":
            watches[name] = _parse_time(
                (source.get("state") or {}).get("last_scheduled") or source.get("@timestamp")
            )
    return watches


def of_folder(folder: Path) -> Watches:
    """List the watches whose state the runner keeps in a folder, as ``watches/<id>.json``."""
    watches: Watches = {}
    for file in sorted((folder / "watches").glob("*.json")):
        watches[unquote(file.stem)] = _parse_time(_read_state(file).get("last_scheduled"))
    return watches


def of_watcher(answer: Mapping[str, Any], model: str) -> Watches:
    """List the watches of real Watcher, from the answer of ``_watcher/_query/watches``; ours are named
    ``logging-lib-<watch>--<model>``. A watch that is switched off is not deployed."""
    watches: Watches = {}
    for entry in answer.get("watches", ()):
        metadata = (entry.get("watch") or {}).get("metadata") or {}
        name, sign, _ = str(entry.get("_id", "")).removeprefix("logging-lib-").partition("--")
        status = entry.get("status") or {}
        if sign and metadata.get("model") in (model, "*") and (status.get("state") or {}).get("active", True):
            watches[name] = _parse_time(status.get("last_checked"))
    return watches


def _read_state(file: Path) -> dict[str, Any]:
    try:
        state = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{file}: is not a state of the watch runner: {error}") from error
    if not isinstance(state, dict):
        raise ValueError(f"{file}: is not a state of the watch runner")
    return state


def _parse_time(text: Any) -> datetime | None:
    try:
        return parse_instant(text) if isinstance(text, str) else None
    except ValueError:
        return None


def _build_query(model: str, since: datetime, until: datetime, *clauses: Mapping[str, Any]) -> dict[str, Any]:
    bounds = {"gte": format_instant(since), "lte": format_instant(until)}
    filters = [{"term": {"ml.model.name": model}}, {"range": {"@timestamp": bounds}}, *clauses]
    return {"bool": {"filter": filters}}


def _count(
    store: Store, streams: str, model: str, since: datetime, until: datetime, *clauses: Mapping[str, Any]
) -> int:
    body = {"size": 0, "track_total_hits": True, "query": _build_query(model, since, until, *clauses)}
    return int(store.search(streams, body)["hits"]["total"]["value"])


def _count_labels(
    store: Store, model: str, since: datetime, until: datetime, version: str | None
) -> tuple[int, int]:
    """Count the joined labels, and apart from them those of classes that the deployed version does not have."""
    joined = {"term": {"ml.label.joined": True}}
    total = _count(store, LABELS, model, since, until, joined)
    known = KnownClasses(store).find({"name": model, "version": version})
    if version is None or not known:
        return total, 0
    field = {"exists": {"field": "ml.label.label"}}
    of_version = {"term": {"ml.model.version": version}}
    strange = {"bool": {"must_not": [{"terms": {"ml.label.label": list(known)}}]}}
    unknown = _count(store, LABELS, model, since, until, joined, field, of_version, strange)
    return total - unknown, unknown


def _sum_weights(store: Store, model: str, since: datetime, until: datetime) -> dict[str, float]:
    weight = {"weight": {"sum": {"field": "ml.sample.weight", "missing": 1}}}
    filters = {
        "all": {"match_all": {}},
        "checked": {"term": {"ml.profile.status": "matched"}},
        "timed": {"exists": {"field": "event.duration"}},
    }
    aggs = {name: {"filter": query, "aggs": weight} for name, query in filters.items()}
    body = {
        "size": 0,
        "query": _build_query(model, since, until, {"term": {"ml.model.role": "live"}}),
        "aggs": aggs,
    }
    aggregations = store.search(STREAMS, body).get("aggregations", {})
    return {
        name: float(aggregations[name]["weight"]["value"] or 0) if name in aggregations else 0.0
        for name in filters
    }


def _read_profile(store: Store, model: str) -> dict[str, Any] | None:
    body = {
        "size": 1000,
        "query": {"term": {"ml.model.name": model}},
        "_source": [
            "ml.model",
            "deployed",
            "trained_at",
            "training_seconds",
            "libraries",
            "expected.quality",
            "@timestamp",
        ],
    }
    sources = [hit["_source"] for hit in store.search(PROFILES, body)["hits"]["hits"]]
    if not sources:
        return None
    chosen = max(
        sources, key=lambda source: (bool(source.get("deployed")), str(source.get("@timestamp", "")))
    )
    version = chosen["ml"]["model"]["version"]
    from logging_lib.store.profiles import load_published

    seconds = chosen.get("training_seconds")
    for profile in load_published(store, [(model, version)]):
        seconds = profile.training_seconds
    return {
        "version": version,
        "trained_at": chosen.get("trained_at"),
        "training_seconds": seconds,
        "libraries": chosen.get("libraries"),
        "quality": (chosen.get("expected") or {}).get("quality"),
    }
