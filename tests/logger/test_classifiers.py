"""What a classifier's events have beyond the output: class, score, expected error; and what its labels have."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import orjson
import pandas as pd
import pytest

import logging_lib
from logging_lib import profile as profiles
from logging_lib.logger.checks import Checker
from logging_lib.logger.output import OutputEncoder
from logging_lib.profile.calibration import ClassifierColumns, expect_errors, read_answers
from logging_lib.store.annotate import add_checks
from tests.profile.test_classifiers import ANIMALS, draw_binary, draw_classes

Valid = Callable[[dict[str, Any]], dict[str, Any]]


def fit(frame: pd.DataFrame, **options: Any) -> profiles.Profile:
    return profiles.fit(frame, model="m", version="1", **options)


def log_one(profile: profiles.Profile, **output: Any) -> dict[str, Any]:
    process = logging_lib.PredictionProcessor(model="m", version="1", profile=profile, label_cache_size=10)
    event = {"event": "x", "inputs": {"x": 0.5}, "request_id": "r", **output}
    return dict(process(None, "info", event))["ml"]["prediction"]  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def probability() -> profiles.Profile:
    return fit(draw_binary(1), target="y", prediction="p", threshold=0.4, evaluation=draw_binary(2))


@pytest.fixture(scope="module")
def animals() -> profiles.Profile:
    evaluation = draw_classes(2)
    return fit(draw_classes(1), target="animal", prediction="guess", scores=ANIMALS, evaluation=evaluation)


def test_a_probability_gets_its_class_and_score(probability: profiles.Profile) -> None:
    """By the profile's threshold; the bins are still those of the probability."""
    high, low = log_one(probability, prediction=0.45), log_one(probability, prediction=0.25)
    assert (high["value"], high["label"], high["score"]) == (0.45, "1", 0.45)
    assert (low["value"], low["label"], low["score"]) == (0.25, "0", 0.75)
    assert high["bin"] == OutputEncoder(probability.prediction)(0.45, None, None)["bin"]
    assert 0.3 < high["expected_error"] < 0.8
    for odd in (1.5, -0.1, float("nan"), None, "many", True):
        assert not {"score", "expected_error"} & log_one(probability, prediction=odd).keys(), odd


def test_the_expected_error_is_that_of_the_table() -> None:
    """Each way to say the probabilities gives, event by event, what fitting computes for whole columns."""
    binary, several = draw_binary(3, 200), draw_classes(3, 200)
    binary["right"] = np.where(binary["label"] == 1, binary["p"], 1 - binary["p"])
    cases = [
        (binary, {"target": "y", "prediction": "p"}, lambda row: {"prediction": row.p}),
        (binary, {"target": "y", "prediction": "label", "scores": ["right"]},
         lambda row: {"prediction": row.label, "score": row.right}),
        (binary, {"target": "y", "prediction": "label", "scores": ["1=p"]},
         lambda row: {"prediction": row.label, "scores": {"1": row.p}}),
        (binary, {"target": "y", "prediction": "label", "scores": ["1=p"]},
         lambda row: {"prediction": row.label, "scores": {"1": row.p, "0": 1 - row.p}}),
        (several, {"target": "animal", "prediction": "guess", "scores": ANIMALS},
         lambda row: {"prediction": row.guess, "scores": {"bird": row.bird, "cat": row.cat, "dog": row.dog}}),
        (several, {"target": "animal", "prediction": "guess", "scores": ["confidence"]},
         lambda row: {"prediction": row.guess, "score": row.confidence}),
    ]  # fmt: skip
    for frame, options, output in cases:
        profile = fit(frame, **options)
        assert profile.classifier is not None
        parsed = {"": options["scores"][0]} if options.get("scores") in (["right"], ["confidence"]) else None
        scores = parsed or {text.split("=")[0]: text.split("=")[1] for text in options.get("scores", ())}
        columns = ClassifierColumns(options["target"], options["prediction"], scores)
        expected = expect_errors(profile.classifier, read_answers(frame, profile.classifier, columns))
        encode = Checker(profile).output
        for row, error in zip(frame.itertuples(), expected.tolist(), strict=True):
            given: dict[str, Any] = {"score": None, "scores": None, **output(row)}
            assert encode(**given)["expected_error"] == pytest.approx(error, abs=1e-9)


def test_a_class_that_the_profile_does_not_have_has_no_expected_error(animals: profiles.Profile) -> None:
    scores = {"bird": 0.5, "cat": 0.3, "dog": 0.2}
    assert "expected_error" in log_one(animals, prediction="bird", scores=scores)
    assert "expected_error" not in log_one(animals, prediction="cow", scores=scores)
    assert "expected_error" not in log_one(animals, prediction="bird", scores={"cow": 0.9, "ox": 0.1})
    assert "expected_error" not in log_one(animals, prediction="bird")


def test_a_batch_and_an_annotated_event_have_the_same(probability: profiles.Profile) -> None:
    process = logging_lib.PredictionProcessor(model="m", version="1", profile=probability)
    values = [0.1, 0.4, 0.9, 7.0]
    frame = pd.DataFrame({"x": [0.5] * 4})
    lines = [line for part in process.batch.render(frame, {}, prediction=values) for line in part]
    batch = [orjson.loads(line)["ml"]["prediction"] for line in lines]
    assert batch == [log_one(probability, prediction=value) for value in values]
    plain = logging_lib.PredictionProcessor(model="m", version="1")
    event = dict(plain(None, "info", {"event": "x", "inputs": {"x": 0.5}, "prediction": 0.9}))
    annotated = add_checks(event, Checker(probability))
    assert annotated["ml"]["prediction"] == batch[2]
    assert add_checks(annotated, Checker(probability)) == annotated


@pytest.mark.parametrize(("actual", "label"), [(1, "1"), (0, "0"), (True, "true"), ("1", "1"), (1.0, "1")])
def test_a_label_of_a_probability_is_a_class(
    probability: profiles.Profile, valid: Valid, actual: Any, label: str
) -> None:
    process = logging_lib.PredictionProcessor(
        model="m", version="1", profile=probability, label_cache_size=10
    )
    process(None, "info", {"event": "x", "inputs": {"x": 0.5}, "request_id": "r", "prediction": 0.9})
    event = valid(dict(process(None, "info", {"event": "x", "request_id": "r", "actual": actual})))
    found = event["ml"]["label"]
    assert (found["label"], found["correct"]) == (label, label == "1")
    if label in "01":
        assert found["brier"] == pytest.approx((0.9 - int(label)) ** 2)
        assert found["log_loss"] == pytest.approx(-np.log(0.9 if label == "1" else 0.1))
    assert not {"value", "error", "absolute_error"} & found.keys()
    assert event["ml"]["prediction"]["expected_error"] < 0.2


def test_a_batch_of_scores_has_the_same(animals: profiles.Profile) -> None:
    process = logging_lib.PredictionProcessor(model="m", version="1", profile=animals)
    scores = [{"bird": 0.5, "cat": 0.3, "dog": 0.2}, {"bird": 0.1, "cat": 0.1, "dog": 0.8}]
    frame, answers = pd.DataFrame({"x": [0.5] * 2}), ["bird", "dog"]
    lines = [
        line for part in process.batch.render(frame, {}, prediction=answers, scores=scores) for line in part
    ]
    expected = [
        log_one(animals, prediction=name, scores=row) for name, row in zip(answers, scores, strict=True)
    ]
    assert [orjson.loads(line)["ml"]["prediction"] for line in lines] == expected
    assert all("expected_error" in prediction for prediction in expected)


def test_a_label_of_several_classes_has_the_same_numbers(animals: profiles.Profile, valid: Valid) -> None:
    process = logging_lib.PredictionProcessor(model="m", version="1", profile=animals, label_cache_size=10)
    scores = {"bird": 0.5, "cat": 0.3, "dog": 0.2}
    process(
        None,
        "info",
        {"event": "x", "inputs": {"x": 0.5}, "request_id": "r", "prediction": "bird", "scores": scores},
    )
    found = valid(dict(process(None, "info", {"event": "x", "request_id": "r", "actual": "cat"})))["ml"][
        "label"
    ]
    assert found["correct"] is False
    assert found["brier"] == pytest.approx(0.5**2 + 0.7**2 + 0.2**2)
    assert found["log_loss"] == pytest.approx(-np.log(0.3))


@pytest.mark.parametrize(
    "options", [{"target": "x"}, {"target": "yes"}, {"target": "y", "prediction": "label"}]
)
def test_a_regression_and_classes_alone_are_encoded_as_before(options: dict[str, str]) -> None:
    checker = Checker(fit(draw_binary(1), **options))
    assert type(checker.output) is OutputEncoder
    assert checker.output.is_plain
