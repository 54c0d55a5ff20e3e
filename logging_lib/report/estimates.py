"""Read the estimate of a classifier's quality before labels arrive, and its course, for a report."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any, Final

import numpy as np

from logging_lib._util.datemath import from_millis
from logging_lib.analysis.estimate import ClassScores, ExpectedErrors, bound_accuracy, estimate_quality
from logging_lib.analysis.results import finite
from logging_lib.profile.classifier import CONFIDENCE, Classifier
from logging_lib.profile.document import read_classifier
from logging_lib.report import queries, responses
from logging_lib.report.model import Answer, EstimateReport, QualityMoment, Subject
from logging_lib.store.port import Store

MAX_CLASSES: Final = 20
"""With more classes, only the accuracy and the precision of each class are estimated."""
WIDTHS: Final = {True: 0.01, False: 0.02}
"""For two classes → the width of a bin of probabilities; each bin counts with the mean of its probabilities."""

_ERRORS: Final = {
    "terms": {"field": "ml.sample.weight", "size": 100},
    "aggs": {"error": {"extended_stats": {"field": "ml.prediction.expected_error"}}},
}


def search_errors(subject: Subject, every: timedelta) -> queries.Body:
    """Build the search for the expected errors by predicted class, and over time."""
    return {
        "size": 0,
        "query": _filter_estimated(subject),
        "aggs": {
            "labels": {"terms": {"field": "ml.prediction.label", "size": 1000}, "aggs": {"strata": _ERRORS}},
            "moments": {
                "date_histogram": {
                    "field": "@timestamp",
                    "fixed_interval": f"{round(every.total_seconds())}s",
                    "min_doc_count": 1,
                },
                "aggs": {"strata": _ERRORS},
            },
        },
    }


def search_scores(subject: Subject, classifier: Classifier) -> queries.Body | None:
    """Build the search for the probabilities of each class, by predicted class; None if events have none."""
    fields = _list_fields(classifier)
    if CONFIDENCE in classifier.calibration or len(fields) > MAX_CLASSES:
        return None
    width = WIDTHS[bool(classifier.positive)]
    return {
        "size": 0,
        "query": _filter_estimated(subject),
        "aggs": {
            str(i): {
                "terms": {"field": "ml.prediction.label", "size": 1000},
                "aggs": {
                    "bins": {
                        "histogram": {"field": field, "interval": width, "min_doc_count": 1},
                        "aggs": {
                            "weight": {"sum": {"field": "ml.sample.weight"}},
                            "mean": {"avg": {"field": field}},
                        },
                    }
                },
            }
            for i, (_, field) in enumerate(fields)
        },
    }  # fmt: skip


def read_estimate(
    store: Store, subject: Subject, profile: Mapping[str, Any] | None, every: timedelta
) -> EstimateReport | None:
    """Estimate the quality of the subject's predictions; None if its events or its profile do not allow it."""
    expected = ((profile or {}).get("expected") or {}).get("classifier")
    classifier = read_classifier(expected) if expected else None
    if classifier is None or not classifier.calibration:
        return None
    answer = store.search(queries.PREDICTIONS, search_errors(subject, every)).get("aggregations")
    if answer is None:
        return None
    errors = {
        str(label["key"]): _sum_errors(label["strata"])
        for label in responses.buckets(answer["labels"], "labels")
    }
    body = search_scores(subject, classifier)
    scores = {} if body is None else _read_scores(store.search(queries.PREDICTIONS, body), classifier)
    estimate = estimate_quality(classifier, scores, errors)
    if estimate is None:
        return None
    return EstimateReport(
        predictions=estimate.weight,
        metrics={name: finite(value) for name, value in estimate.metrics.items()},
        intervals=dict(estimate.intervals),
        classes={
            name: {metric: finite(value) for metric, value in row.items()}
            for name, row in estimate.classes.items()
        },
        expected=dict(classifier.metrics),
        evaluated=classifier.evaluated,
        rows=classifier.rows,
        moments=tuple(_read_moments(answer["moments"]["buckets"], classifier)),
    )


def _filter_estimated(subject: Subject) -> queries.Body:
    filters = [
        {"term": {"ml.model.name": subject.model}},
        {"term": {"ml.model.version": subject.version}},
        {"term": {"ml.model.role": subject.role}},
        {"exists": {"field": "ml.prediction.expected_error"}},
        *queries.between(subject.start, subject.end),
    ]
    return {"bool": {"filter": filters}}


def _list_fields(classifier: Classifier) -> list[tuple[str, str]]:
    """List (class, field with its probability); for two classes both, because events may have either one."""
    if classifier.source == "value":
        return [(classifier.positive, "ml.prediction.value")]
    if classifier.source == "score":
        return [(CONFIDENCE, "ml.prediction.score")]
    return [(name, f"ml.prediction.scores.{name}") for name in classifier.classes]


def _read_scores(answer: Answer, classifier: Classifier) -> dict[str, ClassScores]:
    aggregations = answer.get("aggregations")
    if aggregations is None:
        return {}
    scores: dict[str, ClassScores] = {}
    for i, (name, _) in enumerate(_list_fields(classifier)):
        bins = [
            (bucket["mean"]["value"], responses.weight(bucket), str(label["key"]))
            for label in responses.buckets(aggregations[str(i)], "labels")
            for bucket in label["bins"]["buckets"]
        ]
        if not bins:
            continue
        share, weight = np.array([row[0] for row in bins]), np.array([row[1] for row in bins])
        predicted = np.array([row[2] for row in bins], dtype=object)
        of_class = name or classifier.positive
        if name == CONFIDENCE:
            share = np.where(predicted == classifier.positive, share, 1 - share)
        elif classifier.positive and name == classifier.negative:
            if classifier.positive in scores:
                continue
            of_class, share = classifier.positive, 1 - share
        scores[of_class] = ClassScores(share, weight, weight * (predicted == of_class))
    is_complete = (
        classifier.positive in scores if classifier.positive else set(scores) == set(classifier.classes)
    )
    return {name: part for name, part in scores.items() if is_complete and name in classifier.calibration}


def _sum_errors(strata: Answer) -> ExpectedErrors:
    """Sum up expected errors from one bucket per sampling weight."""
    sums = [0.0, 0.0, 0.0, 0.0]
    for stratum in responses.buckets(strata, "strata"):
        numbers, w = stratum["error"], float(stratum["key"])
        if numbers["count"]:
            parts = (numbers["count"], w * numbers["count"], numbers["sum"], numbers["sum_of_squares"])
            sums = [total + w * part for total, part in zip(sums, parts, strict=True)]
    return ExpectedErrors(*sums)


def _read_moments(buckets: Iterable[Answer], classifier: Classifier) -> Iterable[QualityMoment]:
    """Yield the estimated accuracy of each interval; its error is such that two of them are the interval's half."""
    for bucket in buckets:
        errors = _sum_errors(bucket["strata"])
        if errors.weight > 0 and not math.isnan(errors.accuracy):
            low, high = bound_accuracy(errors, classifier)
            half = max(high - errors.accuracy, errors.accuracy - low)
            yield QualityMoment(from_millis(bucket["key"]), errors.weight, errors.accuracy, half / 2)
