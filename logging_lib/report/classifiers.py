"""Read the quality of a classifier for a report: where labels are known, by period and by slice."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any, Final

from logging_lib._util.formatting import format_count
from logging_lib.analysis import joins
from logging_lib.analysis.results import finite
from logging_lib.analysis.samples import Selection
from logging_lib.profile.classifier import CONFIDENCE
from logging_lib.profile.document import read_classifier
from logging_lib.report import queries
from logging_lib.report.model import ClassifierReport, Subject
from logging_lib.store.port import Store, StoreError

MAX_LABELS: Final = 100_000
MAX_PERIODS: Final = 12
MAX_SLICES: Final = 12
PERIODS: Final = tuple(timedelta(hours=hours) for hours in (1, 3, 6, 12, 24, 7 * 24, 28 * 24, 91 * 24))


def read_quality(
    store: Store, subject: Subject, profile: Mapping[str, Any] | None, by: str | None
) -> ClassifierReport | None:
    """Measure the latest labels of the subject's predictions in full; None if it has none.

    Args:
        profile: the document of the model version, if there is one.
        by: what its predictions are sliced by: a feature, or ``labels.KEY``.
    """
    from logging_lib.analysis import quality
    from logging_lib.analysis.classification import read_labeled
    from logging_lib.analysis.estimate import estimate_answers

    selection = Selection(model=subject.model, version=subject.version, role=subject.role)
    made_then = queries.between(subject.start, subject.end, "ml.prediction.timestamp")
    try:
        frame = joins.read(store, selection, by=by, max_labels=MAX_LABELS, filters=made_then)
    except StoreError:
        return None
    frame = frame.dropna(subset=["prediction", "actual"])
    if frame.empty:
        return None
    expected = ((profile or {}).get("expected") or {}).get("classifier")
    classifier = read_classifier(expected) if expected else None
    report = ClassifierReport(
        labels=len(frame),
        trained=classifier.metrics if classifier is not None else {},
        evaluated=classifier is not None and classifier.evaluated,
        by=by or "",
    )
    try:
        measured = quality.by_period(frame, _choose_period(subject), classifier=classifier)
        slices = quality.by_segment(frame, max_segments=MAX_SLICES, classifier=classifier) if by else []
    except ValueError as error:
        return replace(report, problem=str(error))
    overall = measured[0]
    if overall.kind == "numeric":
        return None
    notes = list(overall.notes)
    if len(frame) >= MAX_LABELS:
        notes.append(f"measured on the latest {format_count(len(frame), 'label')}")
    is_single = classifier is not None and overall.kind == "category"
    estimate = (
        None
        if classifier is None or not is_single
        else estimate_answers(classifier, read_labeled(frame, classifier))
    )
    curve = classifier.calibration.get(classifier.positive or CONFIDENCE) if classifier is not None else None
    return replace(
        report,
        overall=overall.document(),
        curve=() if curve is None else tuple(zip(curve.scores, curve.rates, strict=True)),
        estimated={}
        if estimate is None
        else {name: finite(value) for name, value in estimate.metrics.items()},
        periods=tuple(segment.document() for segment in measured[1:]) if len(measured) > 2 else (),
        slices=tuple(segment.document() for segment in slices[1:]),
        notes=tuple(notes),
    )


def _choose_period(subject: Subject) -> timedelta:
    """Choose the shortest period for which the report has at most ``MAX_PERIODS``."""
    span = subject.end - subject.start
    return next((period for period in PERIODS if span <= MAX_PERIODS * period), PERIODS[-1])
