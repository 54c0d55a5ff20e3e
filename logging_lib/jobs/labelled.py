"""The joined labels of a store, as a table: what a model's quality is measured on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from logging_lib.jobs.history import STREAMS, inputs_of, output_of
from logging_lib.jobs.labels import LABELS, chunks
from logging_lib.jobs.samples import Selection
from logging_lib.profile.values import category_text, plain
from logging_lib.store.port import Store, StoreError
from logging_lib.store.scan import scan
from logging_lib.watch.times import format_instant

if TYPE_CHECKING:
    import pandas as pd


def read(store: Store, selection: Selection, *, by: str | None = None, most: int = 1_000_000) -> pd.DataFrame:
    """The joined labels as a DataFrame, the latest of each prediction: by the time at which it was known.

    Args:
        selection: by model, version, role, and the time at which the truth was known; ``where`` may name a
            ``labels.*`` key of the label events.
        by: add the column ``segment``: ``version``, ``role``, a ``labels.*`` key, or a feature of the prediction.
        most: so many label events are read, the latest.

    Returns:
        Columns ``prediction``, ``truth``, ``score``, ``scores``, ``weight``, ``delay`` (s), ``model``, ``version``,
        ``role``, ``at``, ``prediction_id``, ``changed`` (an earlier truth was another), and ``segment``.

    Raises:
        StoreError: there are none.
    """
    import pandas as pd

    filters = [selection.query(), {"term": {"ml.label.joined": True}}]
    rows: dict[str, dict[str, Any]] = {}
    fields = ["@timestamp", "event.id", "ml", "labels", "service"]
    for page in scan(
        store, LABELS, {"bool": {"filter": filters}}, source=fields, newest_first=True, page=5000
    ):
        for hit in page:
            row = _row(hit["_source"], by)
            latest = rows.setdefault(row["prediction_id"] or hit["_source"]["event"]["id"], row)
            latest["changed"] = latest["changed"] or latest["truth"] != row["truth"]
        if len(rows) >= most:
            break
    if not rows:
        raise StoreError(
            f"{LABELS}: no joined label with {selection}; ingest some: logging-lib labels ingest FILE, then join: "
            "logging-lib labels join"
        )
    if by is not None and all(row["segment"] is None for row in rows.values()):
        _segments(store, rows, by)
    return pd.DataFrame(list(rows.values()))


def _row(source: Mapping[str, Any], by: str | None) -> dict[str, Any]:
    ml = source["ml"]
    prediction, label = ml.get("prediction") or {}, ml["label"]
    row = {
        "prediction": output_of(prediction),
        "truth": output_of(label),
        "score": prediction.get("score"),
        "scores": prediction.get("scores"),
        "weight": (ml.get("sample") or {}).get("weight", 1.0),
        "delay": label.get("delay"),
        "model": ml["model"]["name"],
        "version": ml["model"].get("version", ""),
        "role": ml["model"].get("role", "live"),
        "at": source["@timestamp"],
        "prediction_id": prediction.get("id"),
        "changed": False,
    }
    if by is not None:
        known = {name: row[name] for name in ("model", "version", "role")}
        name = by.removeprefix("labels.")
        row["segment"] = known.get(by) or ((source.get("labels") or {}).get(name) if by != name else None)
    return row


def _segments(store: Store, rows: Mapping[str, dict[str, Any]], by: str) -> None:
    """The segment of each label, from its prediction's inputs or ``labels.*``."""
    name = by.removeprefix("labels.")
    for ids in chunks(row["prediction_id"] for row in rows.values() if row["prediction_id"]):
        query = {"bool": {"filter": [{"terms": {"event.id": ids}}]}}
        for page in scan(store, STREAMS, query, source=["event.id", "ml.input", "labels"]):
            for hit in page:
                source = hit["_source"]
                given = (
                    (source.get("labels") or {}) if by != name else inputs_of(source["ml"].get("input") or {})
                )
                rows[source["event"]["id"]]["segment"] = category_text(plain(given.get(name)))


def share(store: Store, selection: Selection, model: str, version: str) -> dict[str, Any]:
    """How many predictions that were made in the selection's time have a label, of how many; by weight.

    Returns:
        ``predictions``, ``labelled`` and ``share``.
    """
    own = replace(selection, model=model, version=version)
    weight = {"weight": {"sum": {"field": "ml.sample.weight", "missing": 1}}}
    total = store.search(STREAMS, {"size": 0, "query": own.query(), "aggs": weight})
    bounds = {
        bound: format_instant(moment)
        for bound, moment in (("gte", own.since), ("lt", own.until))
        if moment is not None
    }
    filters = [replace(own, since=None, until=None).query(), {"term": {"ml.label.joined": True}}]
    if bounds:
        filters.append({"range": {"ml.prediction.timestamp": bounds}})
    # A truth that changed is one more event of the same prediction.
    seen = {"labelled": {"cardinality": {"field": "ml.prediction.id", "precision_threshold": 40_000}}}
    found = store.search(
        LABELS, {"size": 0, "query": {"bool": {"filter": filters}}, "aggs": {**seen, **weight}}
    )
    predictions = round(total["aggregations"]["weight"]["value"] or 0)
    labelled = found["aggregations"]["labelled"]["value"]
    return {
        "predictions": predictions,
        "labelled": labelled,
        "share": labelled / predictions if predictions else None,
    }
