"""Determine for each model in a store whether it needs attention now, for the preview's first page."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta
from typing import Final

from logging_lib._util.formatting import CHECK_LABELS, format_count, format_percent, format_time, join_names
from logging_lib._util.text import shorten
from logging_lib.dashboards.spec import ALERT, indices
from logging_lib.report import collect, drift, queries, responses
from logging_lib.report.model import HEADLINES, FeatureReport, Level, Subject, find_variant
from logging_lib.store.port import Store, StoreError

PERIOD: Final = timedelta(days=7)
"""The time before a model's last prediction that is examined."""
MAX_MODELS: Final = 50
MAX_NAMED: Final = 4
_URGENCY: Final[tuple[str, ...]] = ("alert", "notice", "unknown", "well")


def list_attention(store: Store, models: Iterable[str]) -> list[dict[str, str]]:
    """Compare the last seven days of each model with its training, and count the alerts that were sent.

    No watch is run; rates and distributions are compared as in a report (``drift.compare_features``).

    Returns:
        One entry per model, the most urgent first: ``model``, ``version``, ``level``, ``headline``, ``sentence``.
        At most ``MAX_MODELS`` models are examined.
    """
    entries = [_assess(store, model) for model in list(models)[:MAX_MODELS]]
    return sorted(entries, key=lambda entry: (_URGENCY.index(entry["level"]), entry["model"]))


def _assess(store: Store, model: str) -> dict[str, str]:
    subject = collect.subject_of(store, model=model, version=None, role=None, start=None, end=None)
    subject = replace(subject, start=max(subject.start, subject.end - PERIOD))
    level: Level
    try:
        level, sentence = _describe(store, subject)
    except StoreError as error:
        level, sentence = "unknown", f"The store cannot answer: {shorten(str(error), 200)}"
    return {
        "model": subject.model,
        "version": subject.version,
        "level": level,
        "headline": HEADLINES[level],
        "sentence": sentence,
    }


def _describe(store: Store, subject: Subject) -> tuple[Level, str]:
    period = f"in the 7 days to {format_time(subject.end)}"
    alerts = _count_alerts(store, subject)
    if alerts:
        names = join_names([shorten(name) for name in alerts], MAX_NAMED)
        return "alert", f"{format_count(sum(alerts.values()), 'alert')} sent {period}: {names}."
    profile = collect.profile_document(store, subject.model, subject.version)
    if profile is None:
        return (
            "unknown",
            "No profile of this version is published, so its inputs are not compared with training.",
        )
    variants = responses.variants(store.search(queries.PREDICTIONS, queries.variants(subject)))
    main = find_variant(variants, subject)
    if main is None or not main.checked:
        return "unknown", "Its events carry no checks, so they are not compared with training."
    features, _ = collect.read_features(store, subject, profile, main)
    moved = [_describe_feature(feature) for feature in drift.rank(features) if feature.status == "moved"]
    if moved:
        return "notice", f"{join_names(moved, MAX_NAMED)}, {period}."
    seen = format_count(main.predictions, "prediction")
    return "well", f"All {format_count(len(features), 'input')} as in training: {seen} {period}."


def _describe_feature(feature: FeatureReport) -> str:
    """Describe a feature by its most elevated rate or, without one, as distributed differently."""
    elevated = max(
        (rate for rate in feature.rates if rate.elevated), key=lambda rate: rate.rate, default=None
    )
    if elevated is None:
        return f"{shorten(feature.name)} distributed differently than in training"
    return (
        f"{shorten(feature.name)} {format_percent(elevated.rate)} {CHECK_LABELS[elevated.check]} "
        f"(expected {format_percent(elevated.expected)})"
    )


def _count_alerts(store: Store, subject: Subject) -> dict[str, int]:
    """Count the alerts that the watch runner sent, by watch; empty if its state is not in this store."""
    conditions = [
        {"term": {"record": "alert"}},
        {"term": {"model": subject.model}},
        {"range": {"@timestamp": {"gte": subject.start.isoformat()}}},
    ]
    watches = {"terms": {"field": "watch", "size": 100}}
    body = {"size": 0, "query": {"bool": {"filter": conditions}}, "aggs": {"watches": watches}}
    answer = store.search(indices(ALERT), body).get("aggregations", {})
    return {
        str(bucket["key"]): bucket["doc_count"] for bucket in answer.get("watches", {}).get("buckets", [])
    }
