"""What fitting recognizes as a classifier, how it calibrates it, and its metrics beside scikit-learn's."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sklearn
from sklearn.isotonic import IsotonicRegression
from typer.testing import CliRunner

from logging_lib import profile as profiles
from logging_lib.cli.app import app
from logging_lib.profile import io
from logging_lib.profile.calibration import apply_calibration, fit_calibration
from logging_lib.profile.classification import (
    measure_average_precision,
    measure_probabilities,
    measure_roc_auc,
)
from logging_lib.profile.classifier import Calibration, Classifier, measure_answer
from logging_lib.profile.document import build_classifier, build_document, read_classifier
from logging_lib.profile.io import ProfileError
from tests.strategies import examples

SAMPLES = st.integers(0, 2**32 - 1)


def draw_binary(seed: int, rows: int = 2000, *, power: float = 1.0) -> pd.DataFrame:
    """Rows whose class 1 happens with the probability ``p ** (1 / power)``; ``p`` is what the model says."""
    random = np.random.default_rng(seed)
    x = random.normal(size=rows)
    happens = 1 / (1 + np.exp(-2 * x))
    actual = (random.random(rows) < happens).astype(int)
    frame = pd.DataFrame({"x": x, "y": actual, "p": happens**power})
    return frame.assign(label=(frame["p"] >= 0.4).astype(int), yes=np.where(actual == 1, "yes", "no"))


def draw_classes(seed: int, rows: int = 3000) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    x = random.normal(size=(rows, 3))
    scores = np.exp(1.5 * x) / np.exp(1.5 * x).sum(axis=1, keepdims=True)
    actual = np.array([random.choice(3, p=row) for row in scores])
    names = np.array(["bird", "cat", "dog"])
    columns = {name: scores[:, i] for i, name in enumerate(names)}
    frame = pd.DataFrame(
        {"x": x[:, 0], "animal": names[actual], "guess": names[scores.argmax(axis=1)], **columns}
    )
    return frame.assign(confidence=scores.max(axis=1))


ANIMALS = ["bird=bird", "cat=cat", "dog=dog"]


def fit(frame: pd.DataFrame, **options: Any) -> profiles.Profile:
    return profiles.fit(frame, model="m", version="1", **options)


# -- metrics ------------------------------------------------------------------------------------------------


@given(SAMPLES, st.integers(2, 300), st.sampled_from([1, 3, 1000]), st.booleans())
@settings(max_examples=examples(100), deadline=None)
def test_areas_under_curves_agree_with_scikit_learn(
    seed: int, rows: int, levels: int, weighted: bool
) -> None:
    """With ties, and with weights."""
    random = np.random.default_rng(seed)
    scores = np.round(random.random(rows) * levels) / levels
    actual = random.random(rows) < 0.3
    actual[:2] = True, False
    weight = random.integers(1, 9, rows).astype(float) if weighted else np.ones(rows)
    assert measure_roc_auc(scores, actual, weight) == pytest.approx(
        sklearn.roc_auc_score(actual, scores, sample_weight=weight)
    )
    assert measure_average_precision(scores, actual, weight) == pytest.approx(
        sklearn.average_precision_score(actual, scores, sample_weight=weight)
    )


@given(SAMPLES, st.integers(2, 5), st.booleans())
@settings(max_examples=examples(50), deadline=None)
def test_metrics_of_probabilities_agree_with_scikit_learn(seed: int, classes: int, weighted: bool) -> None:
    random = np.random.default_rng(seed)
    rows = 60
    probabilities = random.dirichlet(np.ones(classes), rows)
    actual = np.concatenate([np.arange(classes), random.integers(0, classes, rows - classes)])
    weight = random.integers(1, 9, rows).astype(float) if weighted else np.ones(rows)
    found = measure_probabilities(probabilities, actual, weight, 1 if classes == 2 else None)
    ours: dict[str, Any] = {"sample_weight": weight, "labels": np.arange(classes)}
    assert found["log_loss"] == pytest.approx(sklearn.log_loss(actual, probabilities, **ours))
    if classes == 2:
        brier = sklearn.brier_score_loss(actual, probabilities[:, 1], sample_weight=weight)
        area = sklearn.roc_auc_score(actual, probabilities[:, 1], sample_weight=weight)
    else:
        brier = sklearn.brier_score_loss(actual, probabilities, **ours)
        # scikit-learn takes no weights of several classes against each other
        area = np.mean(
            [
                sklearn.roc_auc_score(actual == i, probabilities[:, i], sample_weight=weight)
                for i in range(classes)
            ]
        )
        if not weighted:
            assert area == pytest.approx(sklearn.roc_auc_score(actual, probabilities, multi_class="ovr"))
    assert found["brier"] == pytest.approx(brier)
    assert found["roc_auc"] == pytest.approx(area)


@given(SAMPLES)
@settings(max_examples=examples(50), deadline=None)
def test_one_answer_is_measured_as_a_row_of_many(seed: int) -> None:
    random = np.random.default_rng(seed)
    names = ["a", "b", "c"][: int(random.integers(2, 4))]
    shares = dict(zip(names, random.dirichlet(np.ones(len(names))).tolist(), strict=True))
    actual = names[int(random.integers(len(names)))]
    found = measure_answer({"label": "a", "scores": shares}, actual)
    row = np.array([list(shares.values())])
    whole = measure_probabilities(
        row, np.array([names.index(actual)]), np.ones(1), 0 if len(names) == 2 else None
    )
    assert found == pytest.approx({name: whole[name] for name in ("brier", "log_loss")})
    if len(names) == 2:
        assert measure_answer({"label": "a", "score": shares["a"]}, actual) == pytest.approx(found)
        assert measure_answer({"label": "a", "scores": {"b": shares["b"]}}, actual) == pytest.approx(found)


def test_an_answer_without_probabilities_is_not_measured() -> None:
    for answer in (
        {},
        {"label": "a"},
        {"score": 0.3},
        {"label": "a", "score": 7.0},
        {"label": "a", "scores": {}},
    ):
        assert measure_answer(answer, "a") == {}


# -- calibration --------------------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=9), st.floats(-1, 2))
def test_a_calibration_is_linear_between_its_points(points: list[tuple[float, float]], score: float) -> None:
    scores = np.unique([x for x, _ in points])
    if (np.diff(scores) < 1e-9).any():
        return
    curve = Calibration(tuple(scores.tolist()), tuple(sorted(y for _, y in points)[: len(scores)]))
    assert curve(score) == pytest.approx(float(apply_calibration(curve, np.array([score]))[0]), abs=1e-9)


@pytest.mark.parametrize("power", [0.5, 1.0, 3.0])
def test_a_calibration_is_as_isotonic_regression_with_few_points(power: float) -> None:
    """It never falls, has fifty points at most, keeps the mean, and is on average within 0.02 of each row's own."""
    frame = draw_binary(3, 5000, power=power)
    scores, actual = frame["p"].to_numpy(), frame["y"].to_numpy(float)
    curve = fit_calibration(scores, actual)
    assert 2 <= len(curve.scores) <= 50
    assert (np.diff(curve.rates) >= 0).all()
    calibrated = apply_calibration(curve, scores)
    exact = IsotonicRegression(out_of_bounds="clip").fit(scores, actual).predict(scores)
    assert np.abs(calibrated - exact).mean() < 0.02
    assert calibrated.mean() == pytest.approx(actual.mean(), abs=0.005)


@pytest.mark.parametrize("scores", [[0.5] * 300, [0.2, 0.9] * 150, [0.0, 1.0] * 150])
def test_few_different_scores_are_calibrated(scores: list[float]) -> None:
    curve = fit_calibration(np.array(scores), (np.arange(300) % 3 == 0).astype(float))
    assert len(curve.scores) == len(set(scores))


# -- recognition --------------------------------------------------------------------------------------------


def test_a_probability_beside_a_target_of_0_and_1_is_recognized_and_reported() -> None:
    fitted = fit(draw_binary(1), target="y", prediction="p", evaluation=draw_binary(2))
    classifier = fitted.classifier
    assert classifier is not None
    assert (classifier.classes, classifier.source, classifier.positive) == (("0", "1"), "value", "1")
    assert (classifier.threshold, classifier.evaluated, classifier.rows) == (0.5, True, 2000)
    assert "p is the probability of '1'" in classifier.notes[0]
    held = draw_binary(2)
    assert classifier.metrics["roc_auc"] == pytest.approx(sklearn.roc_auc_score(held["y"], held["p"]))
    assert classifier.metrics["brier"] == pytest.approx(sklearn.brier_score_loss(held["y"], held["p"]))
    assert fitted.quality is not None
    assert fitted.quality.confusion["1"]["0"] == ((held["y"] == 1) & (held["p"] < 0.5)).sum()
    assert fitted.quality.brier is not None
    assert fitted.quality.brier.mean == pytest.approx(classifier.metrics["brier"])
    assert fitted.quality.errors is None
    assert classifier.expected_error is not None
    assert classifier.expected_error.mean == pytest.approx(1 - classifier.metrics["accuracy"], abs=0.02)


@pytest.mark.parametrize(
    ("options", "source", "threshold"),
    [
        ({"target": "y", "prediction": "p"}, "value", 0.5),
        ({"target": "yes", "prediction": "p", "threshold": 0.3}, "value", 0.3),
        ({"target": "y", "prediction": "label", "scores": ["right"]}, "score", 0.4),
        ({"target": "y", "prediction": "label", "scores": ["1=p"]}, "scores", 0.4),
        ({"target": "y", "scores": ["1=p"]}, "scores", None),
        ({"target": "y", "prediction": "label"}, "label", None),
        ({"prediction": "yes"}, "label", None),
    ],
)
def test_every_way_to_express_two_classes_is_recognized(
    options: dict[str, Any], source: str, threshold: float | None
) -> None:
    frame = draw_binary(1)
    frame["right"] = np.where(frame["label"] == 1, frame["p"], 1 - frame["p"])
    classifier = fit(frame, **options).classifier
    assert classifier is not None
    assert (classifier.source, len(classifier.classes)) == (source, 2)
    assert classifier.positive in ("1", "yes")
    assert classifier.threshold == (None if threshold is None else pytest.approx(threshold, abs=0.01))
    if source in ("value", "score", "scores"):
        assert classifier.metrics["roc_auc"] == pytest.approx(sklearn.roc_auc_score(frame["y"], frame["p"]))
    assert not classifier.evaluated


def test_hard_classes_that_are_numbers_are_categories() -> None:
    assert fit(draw_binary(1), target="y", prediction="label").prediction.kind == "category"  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "options", [{"target": "x", "prediction": "p"}, {"target": "y"}, {"prediction": "p"}, {}]
)
def test_a_regression_is_not_a_classifier(options: dict[str, Any]) -> None:
    assert fit(draw_binary(1).assign(z=1.5), **options).classifier is None


def test_outputs_that_are_lists_or_missing_are_not_classes() -> None:
    frame = draw_binary(1, 100)
    for prediction in ([[0.1, 0.2]] * 100, [None] * 100, [{"a": 1}] * 100):
        odd = frame.assign(odd=pd.Series(prediction, dtype=object))
        assert fit(odd, target="x", prediction="odd").classifier is None


@pytest.mark.parametrize(
    ("scores", "source"), [(ANIMALS, "scores"), (["confidence"], "score"), ([], "label")]
)
def test_classifiers_of_several_classes_are_recognized(scores: list[str], source: str) -> None:
    frame = draw_classes(1)
    classifier = fit(
        frame, target="animal", prediction="guess", scores=scores, evaluation=draw_classes(2)
    ).classifier
    assert classifier is not None
    assert (classifier.classes, classifier.source, classifier.positive) == (
        ("bird", "cat", "dog"),
        source,
        "",
    )
    held = draw_classes(2)
    assert classifier.metrics["accuracy"] == pytest.approx((held["animal"] == held["guess"]).mean())
    if source == "scores":
        probabilities = held[["bird", "cat", "dog"]]
        area = sklearn.roc_auc_score(held["animal"], probabilities, multi_class="ovr")
        assert classifier.metrics["roc_auc"] == pytest.approx(area)
        assert classifier.metrics["log_loss"] == pytest.approx(
            sklearn.log_loss(held["animal"], probabilities)
        )
    assert (
        set(classifier.calibration)
        == {"scores": {*classifier.classes}, "score": {""}, "label": set()}[source]
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"target": "y", "prediction": "label", "scores": ["p"]},
            "p is the probability of '1', whichever class",
        ),
        ({"target": "y", "prediction": "label", "scores": ["q"]}, "the score column 'q' is not in the data"),
        ({"target": "y", "prediction": "label", "scores": ["x"]}, "the score column 'x' holds"),
        ({"target": "y", "prediction": "label", "scores": ["yes"]}, "does not hold numbers"),
        ({"target": "y", "prediction": "label", "scores": ["p", "1=p"]}, "each needs its class"),
        ({"target": "y", "prediction": "p", "positive": "2"}, "'2' is not among the classes: 0, 1"),
        (
            {"target": "x", "prediction": "p", "threshold": 0.3},
            "--threshold and --positive are of classifiers",
        ),
        ({"target": "x", "scores": ["1=p"]}, "2 to 1,000 are supported"),
        (
            {"target": "y", "evaluation": pd.DataFrame({"y": [1]})},
            "give --target with --prediction or --score",
        ),
        (
            {"target": "y", "prediction": "p", "evaluation": pd.DataFrame({"y": [1]})},
            "rows lack the column 'p'",
        ),
    ],
)
def test_an_impossible_classifier_is_refused_with_the_reason(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ProfileError, match=message):
        fit(draw_binary(1).assign(z=1.5), **options)


def test_few_rows_calibrate_nothing() -> None:
    classifier = fit(draw_binary(1, 60), target="y", prediction="p").classifier
    assert classifier is not None
    assert (classifier.calibration, classifier.expected_error) == ({}, None)
    assert "roc_auc" in classifier.metrics


def test_errors_of_a_regression_are_those_of_the_evaluation() -> None:
    frame = draw_binary(1)
    fitted = fit(frame, target="x", prediction="p", evaluation=frame.iloc[:100])
    errors = (frame["p"] - frame["x"]).abs()[:100]
    assert fitted.quality is not None
    assert fitted.quality.errors is not None
    assert (fitted.quality.errors.count, fitted.quality.errors.mean) == (100, pytest.approx(errors.mean()))


# -- files ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scores", [ANIMALS, ["confidence"], []])
def test_a_profile_is_read_back_as_it_was_written(scores: list[str]) -> None:
    fitted = fit(draw_classes(1), target="animal", prediction="guess", scores=scores)
    assert io.loads(io.dumps(fitted)) == fitted
    classifier = fitted.classifier
    assert classifier is not None
    document = orjson.loads(orjson.dumps(build_document(fitted)["expected"]["classifier"]))
    back = read_classifier(document)
    assert dataclasses.replace(back, expected_error=None) == dataclasses.replace(
        classifier, expected_error=None, notes=()
    )
    assert build_classifier(back) == build_classifier(classifier)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"classes": ["a"]}, r"\$.classifier.classes: expected two classes or more"),
        ({"positive": "bird"}, r"\$.classifier.positive: expected one of two classes"),
        ({"calibration": {"cow": {"scores": [0.5], "rates": [0.5]}}}, "expected a curve for each class"),
        ({"calibration": {"": {"scores": [0.5, 0.4], "rates": [0.5, 0.6]}}}, "expected edges that rise"),
        ({"calibration": {"": {"scores": [0.5], "rates": []}}}, "one rate for each score"),
        ({"calibration": {"": {"scores": [0.5], "rates": [1.5]}}}, "numbers from 0 to 1"),
        ({"source": "guess"}, "one of label, score, scores, value"),
        ({"color": 1}, r"\$.classifier.color: is not part of a profile"),
    ],
)
def test_a_damaged_classifier_is_refused(change: dict[str, Any], message: str) -> None:
    document = io.encode(fit(draw_classes(1), target="animal", prediction="guess", scores=ANIMALS))
    document["classifier"] |= change
    with pytest.raises(ProfileError, match=message):
        io.decode(document)


def test_a_profile_without_a_classifier_is_as_before() -> None:
    fitted = fit(draw_binary(1), target="x")
    assert "classifier" not in io.encode(fitted)
    assert "classifier" not in build_document(fitted)["expected"]


def test_the_command_says_what_it_recognized(tmp_path: Path) -> None:
    draw_binary(1)[["x", "y", "p"]].to_csv(tmp_path / "train.csv", index=False)
    draw_binary(2)[["x", "y", "p"]].to_csv(tmp_path / "evaluation.csv", index=False)
    out = tmp_path / "profile.json"
    command = [
        "profile",
        "fit",
        str(tmp_path / "train.csv"),
        "--model",
        "m",
        "--version",
        "1",
        "-o",
        str(out),
    ]
    alone = CliRunner().invoke(app, [*command, "--target", "y", "--prediction", "p"])
    assert "p is the probability of '1'" in alone.output
    assert "quality on training's own rows is optimistic" in alone.output
    command += ["--evaluation", str(tmp_path / "evaluation.csv"), "--target", "y"]
    result = CliRunner().invoke(app, [*command, "--prediction", "p", "--threshold", "0.3"])
    assert result.exit_code == 0, result.output
    assert "from 0.3 on" in result.output
    assert "on 2,000 rows that the model was not trained on" in result.output
    assert "optimistic" not in result.output
    shown = CliRunner().invoke(app, ["profile", "show", str(out)])
    assert "ROC AUC" in shown.output
    scored = CliRunner().invoke(app, [*command, "--score", "1=p", "--json"])
    assert orjson.loads(scored.output)["classifier"]["source"] == "scores"
    target = CliRunner().invoke(app, [*command[:-4], "--target", "y"])
    assert "the target has only 0 and 1" in target.output


def test_a_classifier_of_two_classes_knows_the_other_one() -> None:
    assert [Classifier(("a", "b"), positive=name).negative for name in "ab"] == ["b", "a"]
