"""What a report says of classifiers: before labels, with labels, and of labels that are none of their classes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics as sklearn

import logging_lib
from logging_lib import profile as profiles
from logging_lib.analysis import labels
from logging_lib.html.pages import PagePanel
from logging_lib.report import alerts as alerting
from logging_lib.report import collect, document, markdown
from logging_lib.report.classifier_panels import show_classifier, show_estimate
from logging_lib.report.model import ModelReport
from logging_lib.report.page import render_page
from logging_lib.store import Store
from logging_lib.store.duckdb.store import EmbeddedStore
from logging_lib.store.profiles import publish
from tests.profile.test_classifiers import ANIMALS, draw_binary, draw_classes
from tests.store import elastic

START = datetime(2026, 3, 2, tzinfo=UTC)
ROWS = 1200


@pytest.fixture(params=["memory", pytest.param("elasticsearch", marks=pytest.mark.elasticsearch)])
def store(request: pytest.FixtureRequest) -> Iterator[Store]:
    if request.param == "memory":
        with EmbeddedStore(None) as opened:
            yield opened
    else:
        yield elastic.store(request.getfixturevalue("elasticsearch"))


def serve(
    store: Store, frame: pd.DataFrame, outputs: list[dict[str, Any]], features: list[str], **options: Any
) -> tuple[str, str]:
    """Fit, publish and serve a classifier; return its model and the namespace of its streams."""
    model, namespace = f"classifier-{uuid4().hex[:8]}", f"test{uuid4().hex[:12]}"
    profile = profiles.fit(options.pop("train"), model=model, version="1", **options)
    publish(store, profile, now=START)
    process = logging_lib.PredictionProcessor(model=model, version="1", profile=profile)
    events = []
    for i, (inputs, output) in enumerate(zip(frame[features].to_dict("records"), outputs, strict=True)):
        about = {"request_id": f"r{i}", "timestamp": START + timedelta(minutes=6 * i)}
        events.append(process(None, "info", {"event": "x", "inputs": inputs, **about, **output}))
    assert store.index(f"logs-ml.prediction-{namespace}", events).failed == ()
    store.refresh()
    return model, namespace


def label(store: Store, model: str, namespace: str, actual: list[Any], **more: Any) -> labels.Done:
    known = (START + timedelta(days=9)).isoformat()
    rows = [{"request_id": f"r{i}", "actual": value, "timestamp": known} for i, value in enumerate(actual)]
    return labels.ingest(
        store, rows, now=START + timedelta(days=10), model=model, namespace=namespace, **more
    )


def report_of(store: Store, model: str, by: str | None = None) -> ModelReport:
    subject = collect.subject_of(store, model=model, version=None, role=None, start=None, end=None)
    made = collect.collect(store, subject, now=START, found=alerting.FoundAlerts(), by=by)
    json.dumps(document.document(made), allow_nan=False)
    page, text = render_page(made), markdown.render(made)
    for part in (page, text):
        assert made.estimate is None or "no concept drift" in part.replace("\\", "")
    return made


def texts(panels: Any) -> str:
    found = []
    for panel in panels:
        assert isinstance(panel, PagePanel)
        found += [panel.text, *panel.lines, panel.summary]
        if panel.table is not None:
            found += [
                panel.table.caption,
                *panel.table.heads,
                *(cell for row in panel.table.rows for cell in row),
            ]
    return "\n".join(found)


def serve_binary(store: Store, served: pd.DataFrame, *, evaluated: bool = True) -> tuple[str, str]:
    evaluation = {"evaluation": draw_binary(2)} if evaluated else {}
    outputs = [{"prediction": p} for p in served["p"].tolist()]
    served = served.assign(home=np.where(served.index % 3 == 0, "RENT", "OWN"))
    train = draw_binary(1)[["x", "y", "p"]].assign(home=["RENT", "OWN"] * 1000)
    return serve(store, served, outputs, ["x", "home"], train=train, target="y", prediction="p", **evaluation)


def test_before_labels_the_quality_is_estimated(store: Store) -> None:
    served = draw_binary(3, ROWS)
    model, _ = serve_binary(store, served)
    made = report_of(store, model)
    assert made.classifier is None
    assert made.estimate is not None
    assert (made.estimate.predictions, made.estimate.evaluated, made.estimate.rows) == (ROWS, True, 2000)
    right = ((served["p"] >= 0.5) == served["y"]).mean()
    assert made.estimate.metrics["accuracy"] == pytest.approx(right, abs=0.03)
    low, high = made.estimate.intervals["accuracy"]
    assert low <= right <= high
    area = sklearn.roc_auc_score(served["y"], served["p"])
    assert made.estimate.metrics["roc_auc"] == pytest.approx(area, abs=0.03)
    assert sum(moment.labels for moment in made.estimate.moments) == ROWS
    shown = texts(show_estimate(made))
    assert "that the model was not trained on" in shown
    assert "OPTIMISTIC" not in shown
    assert "estimated accuracy" in render_page(made)


def test_without_an_evaluation_the_estimate_is_called_optimistic(store: Store) -> None:
    model, _ = serve_binary(store, draw_binary(3, 300), evaluated=False)
    made = report_of(store, model)
    assert "OPTIMISTIC: calibrated on 2,000 training rows" in texts(show_estimate(made))
    assert "training, optimistic" in render_page(made)


def test_with_labels_the_estimate_is_shown_beside_the_measured_quality(store: Store) -> None:
    served = draw_binary(3, ROWS)
    model, namespace = serve_binary(store, served)
    labeled = served[: ROWS // 2]
    label(store, model, namespace, labeled["y"].tolist())
    made = report_of(store, model, by="home")
    assert made.classifier is not None
    assert made.classifier.labels == ROWS // 2
    metrics = made.classifier.overall["metrics"]
    assert metrics["roc_auc"] == pytest.approx(sklearn.roc_auc_score(labeled["y"], labeled["p"]))
    assert metrics["log_loss"] == pytest.approx(sklearn.log_loss(labeled["y"], labeled["p"]))
    assert metrics["brier"] == pytest.approx(sklearn.brier_score_loss(labeled["y"], labeled["p"]))
    assert made.classifier.estimated["accuracy"] == pytest.approx(metrics["accuracy"], abs=0.05)
    assert {entry["segment"] for entry in made.classifier.slices} == {"RENT", "OWN"}
    assert sum(entry["labels"] for entry in made.classifier.periods) == ROWS // 2
    shown = texts([*show_estimate(made), *show_classifier(made.classifier)])
    for text in (
        "by their labels",
        "ROC AUC",
        "(the model's)",
        "By home",
        "By the time of the prediction",
    ):
        assert text in shown
    assert "calibration-0" in render_page(made)


@pytest.mark.parametrize("source", ["scores", "confidence"])
def test_a_report_shows_several_classes(store: Store, source: str) -> None:
    served = draw_classes(3, ROWS)
    names = ["bird", "cat", "dog"]
    if source == "scores":
        scores = ANIMALS
        said: list[dict[str, Any]] = [{"scores": row} for row in served[names].to_dict("records")]
    else:
        scores = ["confidence"]
        said = [{"score": score} for score in served["confidence"].tolist()]
    outputs = [
        {"prediction": guess, **output} for guess, output in zip(served["guess"].tolist(), said, strict=True)
    ]
    train = draw_classes(1).drop(columns=[] if source == "scores" else names)
    model, namespace = serve(
        store, served, outputs, ["x"], train=train, target="animal", prediction="guess", scores=scores,
        evaluation=draw_classes(2),
    )  # fmt: skip
    before = report_of(store, model)
    assert before.estimate is not None
    right = (served["animal"] == served["guess"]).mean()
    assert before.estimate.metrics["accuracy"] == pytest.approx(right, abs=0.04)
    if source == "scores":
        area = sklearn.roc_auc_score(served["animal"], served[names], multi_class="ovr")
        assert before.estimate.metrics["roc_auc"] == pytest.approx(area, abs=0.03)
        recall = sklearn.recall_score(served["animal"], served["guess"], average=None)
        for i, name in enumerate(names):
            assert before.estimate.classes[name]["recall"] == pytest.approx(recall[i], abs=0.07)
    label(store, model, namespace, served["animal"].tolist())
    made = report_of(store, model)
    assert made.classifier is not None
    assert made.classifier.overall["metrics"]["accuracy"] == pytest.approx(right)
    assert set(made.classifier.overall["classes"]) == set(names)
    assert "Answers by their probability" in texts(show_classifier(made.classifier))


def test_labels_of_other_classes_are_a_problem_and_not_an_accuracy_of_0(store: Store) -> None:
    served = draw_binary(3, 200)
    model, namespace = serve_binary(store, served)
    label(store, model, namespace, served["yes"].tolist(), new_classes=True)
    made = report_of(store, model)
    assert made.quality == ()
    assert made.classifier is not None
    assert made.classifier.problem.startswith("none of the 200 labels is a class of the model: 'no', 'yes'")
    assert "The quality was not measured: none of the 200 labels" in render_page(made)
    assert "not measured" in markdown.render(made)


def test_a_regression_has_neither_classes_nor_a_calibration(store: Store) -> None:
    served = draw_binary(3, 100)
    outputs = [{"prediction": x} for x in served["x"].tolist()]
    train = draw_binary(1)[["p", "x", "y"]]
    model, namespace = serve(store, served, outputs, ["p"], train=train, target="y", prediction="x")
    label(store, model, namespace, served["x"].tolist())
    made = report_of(store, model)
    assert (made.classifier, made.estimate) == (None, None)
    assert made.quality[0].measure == "mean absolute error"
