"""Build the searches for a report, as bodies of Elasticsearch's search language. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from logging_lib._util.times import format_instant
from logging_lib.profile.model import CHECKS
from logging_lib.report.model import Subject
from logging_lib.watch.backtest import event_time

Body = dict[str, Any]

PREDICTIONS, LABELS = "logs-ml.prediction-*", "logs-ml.label-*"
DEAD_LETTERS, HEALTH, STARTS = "logs-ml.deadletter-*", "logs-ml.health-*", "logs-ml.start-*"
MAX_BINS = 60_000  # including its parents, below Elasticsearch's search.max_buckets of 65,536
MAX_FEATURES = 10_000
MAX_VERSIONS = 100
MAX_VALUES = 1000
PERCENTS = (50, 95, 99)
RATED = (*CHECKS, "unexpected")
VALUES_OF = {
    "unseen": "ml.check.unseen_values",
    "wrong_type": "ml.check.wrong_type_values",
    "oov": "ml.text.oov_words",
}
"""Check → the field with the values that failed it."""

_WEIGHT: Body = {"sum": {"field": "ml.sample.weight"}}
_WEIGHTED: Body = {"weight": _WEIGHT}
_LATENCY: Body = {"percentiles": {"field": "event.duration", "percents": list(PERCENTS)}}
# One bucket per sampling weight, to compute a weighted mean from unweighted ones.
_STRATA: Body = {
    "terms": {"field": "ml.sample.weight", "size": 100},
    "aggs": {"value": {"extended_stats": {"field": "ml.prediction.value"}}},
}
_CHECKED: Body = {
    "filter": {"terms": {"ml.profile.status": ["matched", "mismatch"]}},
    "aggs": _WEIGHTED,
}
_FAILED: Body = {"filter": {"term": {"event.outcome": "failure"}}, "aggs": _WEIGHTED}


def between(start: datetime | None, end: datetime | None, field: str = "@timestamp") -> list[Body]:
    """Build a filter for a time with up to two bounds, both included."""
    bounds = {
        name: format_instant(moment) for name, moment in (("gte", start), ("lte", end)) if moment is not None
    }
    return [{"range": {field: bounds}}] if bounds else []


def models(start: datetime | None, end: datetime | None) -> Body:
    """Search for the models, versions and roles that predicted in a time, with the first and last prediction."""
    ends = {"first": {"min": {"field": "@timestamp"}}, "last": {"max": {"field": "@timestamp"}}}
    roles = {"terms": {"field": "ml.model.role", "size": 10}, "aggs": {**ends, **_WEIGHTED}}
    versions = {"terms": {"field": "ml.model.version", "size": MAX_VERSIONS}, "aggs": {"roles": roles}}
    return {
        "size": 0,
        "query": {"bool": {"filter": between(start, end)}},
        "aggs": {
            "models": {"terms": {"field": "ml.model.name", "size": 1000}, "aggs": {"versions": versions}},
        },
    }


def hours(subject: Subject, every: str) -> Body:
    """Search for the hours (or days) in which the model predicted."""
    histogram = {"field": "@timestamp", "fixed_interval": every, "min_doc_count": 1}
    return {
        "size": 0,
        "query": _filter_model(subject),
        "aggs": {"hours": {"date_histogram": histogram}},
    }


def arrivals(subject: Subject, field: str) -> Body:
    """Search for the arrival or event times of the model's predictions: first, last, and the hours of ``field``."""
    hourly = {"date_histogram": {"field": field, "fixed_interval": "1h", "min_doc_count": 1}}
    ends = {end: {end: {"field": field}} for end in ("min", "max")}
    return {"size": 0, "query": _filter_model(subject), "aggs": {"hours": hourly, **ends}}


def times(subject: Subject) -> Body:
    """Search for three percentiles each of the event and the arrival times of the model's predictions."""
    fields = {"happened": event_time.HAPPENED, "arrived": event_time.ARRIVED}
    return {
        "size": 0,
        "query": _filter_model(subject),
        "aggs": {
            name: {"percentiles": {"field": field, "percents": list(event_time.PERCENTS)}}
            for name, field in fields.items()
        },
    }


def variants(subject: Subject) -> Body:
    """Search for every version and role of the model: its volume, latency and mean."""
    return {
        "size": 0,
        "query": _filter_model(subject),
        "aggs": {
            "versions": {
                "terms": {"field": "ml.model.version", "size": MAX_VERSIONS},
                "aggs": {
                    "roles": {
                        "terms": {"field": "ml.model.role", "size": 10},
                        "aggs": {
                            "weight": _WEIGHT,
                            "failed": _FAILED,
                            "checked": _CHECKED,
                            "mismatched": {
                                "filter": {"term": {"ml.profile.status": "mismatch"}},
                                "aggs": _WEIGHTED,
                            },
                            "latency": _LATENCY,
                            "strata": _STRATA,
                            "first": {"min": {"field": "@timestamp"}},
                            "last": {"max": {"field": "@timestamp"}},
                        },
                    }
                },
            }
        },
    }


def bins(subject: Subject) -> Body:
    """Count the predictions in each bin of each feature, and of the prediction."""
    return {
        "size": 0,
        "query": _filter_variant(subject),
        "aggs": {
            "inputs": {"terms": {"field": "ml.input.bins", "size": MAX_BINS}, "aggs": _WEIGHTED},
        },
    }


def outputs(subject: Subject) -> Body:
    """Count the predictions in each bin of the prediction, and find the range of those without bins."""
    return {
        "size": 0,
        "query": _filter_variant(subject),
        "aggs": {
            **_WEIGHTED,
            "prediction": {"terms": {"field": "ml.prediction.bin", "size": 1000}, "aggs": _WEIGHTED},
            "labels": {
                "terms": {"field": "ml.prediction.label", "size": MAX_VALUES},
                "meta": {"top": True},
                "aggs": _WEIGHTED,
            },
            "range": {"stats": {"field": "ml.prediction.value"}},
        },
    }


def histogram(subject: Subject, interval: float, offset: float) -> Body:
    """Search for the prediction's distribution if no profile gives its bins."""
    return {
        "size": 0,
        "query": _filter_variant(subject),
        "aggs": {
            "prediction": {
                "histogram": {
                    "field": "ml.prediction.value", "interval": interval, "offset": offset, "min_doc_count": 0,
                },
                "aggs": _WEIGHTED,
            }
        },
    }  # fmt: skip


def checks(subject: Subject) -> Body:
    """Count how often each feature failed each check, and the values that failed."""
    failed = {
        check: {"terms": {"field": f"ml.check.{check}", "size": MAX_FEATURES}, "aggs": _WEIGHTED}
        for check in RATED
    }
    named = {
        f"{check}_values": {
            "terms": {"field": field, "size": MAX_VALUES},
            "meta": {"top": True},
            "aggs": _WEIGHTED,
        }
        for check, field in VALUES_OF.items()
    }
    return {"size": 0, "query": _filter_variant(subject), "aggs": {**failed, **named}}


def over_time(subject: Subject, every: timedelta, followed: Iterable[tuple[str, str]] = ()) -> Body:
    """Search for the same over time; ``followed`` are (check, feature)."""
    filters = {
        str(position): {"term": {f"ml.check.{check}": feature}}
        for position, (check, feature) in enumerate(followed)
    }
    below: Body = {
        "weight": _WEIGHT, "failed": _FAILED, "checked": _CHECKED, "latency": _LATENCY, "strata": _STRATA,
    }  # fmt: skip
    if filters:
        below["followed"] = {"filters": {"filters": filters}, "aggs": _WEIGHTED}
    return {
        "size": 0,
        "query": _filter_variant(subject),
        "aggs": {
            "moments": {
                "date_histogram": {
                    "field": "@timestamp",
                    "fixed_interval": f"{round(every.total_seconds())}s",
                    "min_doc_count": 1,
                },
                "aggs": below,
            }
        },
    }


def labels(subject: Subject, every: timedelta) -> Body:
    """Search for the labels of the period's predictions, by version and role, and over time."""
    errors: Body = {
        "weight": {"sum": {"field": "ml.sample.weight", "missing": 1}},
        "errors": {"extended_stats": {"field": "ml.label.absolute_error"}},
        "correct": {"avg": {"field": "ml.label.correct"}},
        "labeled": {"value_count": {"field": "ml.label.correct"}},
    }
    moments = {
        "date_histogram": {
            "field": "ml.prediction.timestamp",
            "fixed_interval": f"{round(every.total_seconds())}s",
            "min_doc_count": 1,
        },
        "aggs": errors,
    }
    confusion = {
        "terms": {"field": "ml.label.label", "size": 200},
        "meta": {"top": True},
        "aggs": {"predicted": {"terms": {"field": "ml.prediction.label", "size": 200}, "meta": {"top": True},
                               "aggs": {"weight": errors["weight"]}}},
    }  # fmt: skip
    of_role: Body = {
        **errors,
        "squared": {"avg": {"field": "ml.label.squared_error"}},
        "bias": {"avg": {"field": "ml.label.error"}},
        "delay": {"percentiles": {"field": "ml.label.delay", "percents": [50]}},
        "confusion": confusion,
        "moments": moments,
    }
    return {
        "size": 0,
        "query": {
            "bool": {
                "filter": [
                    {"term": {"ml.model.name": subject.model}},
                    {"term": {"ml.label.joined": True}},
                    *between(subject.start, subject.end, "ml.prediction.timestamp"),
                ]
            }
        },
        "aggs": {
            "versions": {
                "terms": {"field": "ml.model.version", "size": MAX_VERSIONS},
                "aggs": {"roles": {"terms": {"field": "ml.model.role", "size": 10}, "aggs": of_role}},
            }
        },
    }


def losses(subject: Subject) -> Mapping[str, Body]:
    """Return stream → search for what the report could not see: dead letters and dropped events of all models."""
    time = between(subject.start, subject.end)
    of_model = [*time, {"term": {"ml.model.name": subject.model}}]
    return {
        DEAD_LETTERS: {
            "size": 0,
            "track_total_hits": True,
            "query": {"bool": {"filter": time}},
            "aggs": {"reasons": {"terms": {"field": "error.type", "size": 5}, "meta": {"top": True}}},
        },
        HEALTH: {
            "size": 0,
            "query": {"bool": {"filter": of_model}},
            "aggs": {"dropped": {"sum": {"field": "ml.health.dropped"}}},
        },
        STARTS: {
            "size": 0,
            "query": {"bool": {"filter": of_model}},
            "aggs": {
                "differ": {
                    "terms": {"field": "ml.start.training_libraries_differ", "size": 10},
                    "meta": {"top": True},
                }
            },
        },
    }


def _filter_model(subject: Subject) -> Body:
    return {
        "bool": {"filter": [{"term": {"ml.model.name": subject.model}}, *between(subject.start, subject.end)]}
    }


def _filter_variant(subject: Subject) -> Body:
    return {
        "bool": {
            "filter": [
                {"term": {"ml.model.name": subject.model}},
                {"term": {"ml.model.version": subject.version}},
                {"term": {"ml.model.role": subject.role}},
                *between(subject.start, subject.end),
            ]
        }
    }
