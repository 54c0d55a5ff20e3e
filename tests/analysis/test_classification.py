"""The quality of a classifier where labels are known: beside scikit-learn's, from fitting to the command."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sklearn
from typer.testing import CliRunner

import logging_lib
from logging_lib import profile as profiles
from logging_lib.analysis import joins, labels, quality
from logging_lib.analysis.classification import UnknownClasses
from logging_lib.analysis.samples import Selection
from logging_lib.cli.app import app
from logging_lib.store.duckdb.store import EmbeddedStore
from logging_lib.store.profiles import publish
from tests.profile.test_classifiers import draw_binary, draw_classes
from tests.strategies import examples

START = datetime(2026, 3, 2, tzinfo=UTC)


def joined(frame: pd.DataFrame, source: str) -> pd.DataFrame:
    """Rows as ``joins.read`` returns them, of one way to say probabilities."""
    names = ["bird", "cat", "dog"]
    columns: dict[str, Any] = {
        "value": lambda: {"prediction": frame["p"], "actual": frame["y"]},
        "score": lambda: {"prediction": frame["label"].astype(str), "actual": frame["y"].astype(str),
                          "score": np.where(frame["label"] == 1, frame["p"], 1 - frame["p"])},
        "one": lambda: {"prediction": frame["label"].astype(str), "actual": frame["y"].astype(str),
                        "scores": [{"1": p} for p in frame["p"]]},
        "scores": lambda: {"prediction": frame["guess"], "actual": frame["animal"],
                           "scores": frame[names].to_dict("records")},
        "confidence": lambda: {"prediction": frame["guess"], "actual": frame["animal"],
                               "score": frame["confidence"]},
    }  # fmt: skip
    return pd.DataFrame(columns[source]())


@given(st.integers(0, 2**32 - 1), st.sampled_from(["value", "score", "one"]), st.booleans())
@settings(max_examples=examples(30), deadline=None)
def test_two_classes_are_measured_as_scikit_learn_measures_them(
    seed: int, source: str, weighted: bool
) -> None:
    frame = draw_binary(seed, 300)
    weight = np.random.default_rng(seed).integers(1, 9, 300).astype(float) if weighted else np.ones(300)
    predicted = (frame["p"] >= 0.5).astype(int) if source == "value" else frame["label"]
    found = quality.measure(joined(frame, source).assign(weight=weight))
    options = {"sample_weight": weight}
    assert found.kind == "category"
    assert found.positive == "1"
    for name, expected in {
        "accuracy": sklearn.accuracy_score(frame["y"], predicted, **options),
        "macro_f1": sklearn.f1_score(frame["y"], predicted, average="macro", **options),
        "roc_auc": sklearn.roc_auc_score(frame["y"], frame["p"], **options),
        "average_precision": sklearn.average_precision_score(frame["y"], frame["p"], **options),
        "brier": sklearn.brier_score_loss(frame["y"], frame["p"], **options),
        "log_loss": sklearn.log_loss(frame["y"], frame["p"], **options),
    }.items():
        assert found.metrics[name] == pytest.approx(expected), name
    precision, recall, f1, _ = sklearn.precision_recall_fscore_support(frame["y"], predicted, **options)
    for i, name in enumerate(("0", "1")):
        row = found.classes[name]
        assert (row["precision"], row["recall"], row["f1"]) == pytest.approx((precision[i], recall[i], f1[i]))
    matrix = sklearn.confusion_matrix(frame["y"], predicted, **options)
    ours = [[found.confusion[actual].get(guess, 0.0) for guess in ("0", "1")] for actual in ("0", "1")]
    assert np.allclose(ours, matrix)
    for row in found.thresholds:
        above = (frame["p"] >= row["threshold"]).astype(int)
        assert row["recall"] == pytest.approx(sklearn.recall_score(frame["y"], above, **options))
        assert row["accuracy"] == pytest.approx(sklearn.accuracy_score(frame["y"], above, **options))
        if above.any():
            assert row["precision"] == pytest.approx(sklearn.precision_score(frame["y"], above, **options))
    for name in ("roc_auc", "brier", "log_loss", "accuracy"):
        low, high = found.intervals[name]
        assert low < found.metrics[name] < high


@pytest.mark.parametrize("source", ["scores", "confidence"])
def test_several_classes_are_measured_as_scikit_learn_measures_them(source: str) -> None:
    frame = draw_classes(5)
    found = quality.measure(joined(frame, source))
    probabilities = frame[["bird", "cat", "dog"]]
    right = frame["animal"] == frame["guess"]
    assert found.metrics["accuracy"] == pytest.approx(right.mean())
    if source == "scores":
        one_hot = np.array([[name == actual for name in probabilities] for actual in frame["animal"]])
        assert found.metrics["log_loss"] == pytest.approx(sklearn.log_loss(frame["animal"], probabilities))
        assert found.metrics["brier"] == pytest.approx(((probabilities - one_hot) ** 2).sum(axis=1).mean())
        assert found.metrics["roc_auc"] == pytest.approx(
            sklearn.roc_auc_score(frame["animal"], probabilities, multi_class="ovr")
        )
        for i, name in enumerate(probabilities):
            assert found.classes[name]["roc_auc"] == pytest.approx(
                sklearn.roc_auc_score(one_hot[:, i], probabilities[name])
            )
            assert found.classes[name]["average_precision"] == pytest.approx(
                sklearn.average_precision_score(one_hot[:, i], probabilities[name])
            )
    else:
        assert found.metrics["brier"] == pytest.approx(sklearn.brier_score_loss(right, frame["confidence"]))
        assert found.metrics["log_loss"] == pytest.approx(sklearn.log_loss(right, frame["confidence"]))
        assert "roc_auc" not in found.metrics
    for row in found.thresholds:
        above = frame["confidence"] >= row["threshold"]
        assert (row["answered"], row["accuracy"]) == pytest.approx((above.mean(), right[above].mean()))


def test_the_calibration_is_that_of_scikit_learn() -> None:
    frame = draw_binary(7)
    share, mean = sklearn_calibration(frame["y"], frame["p"])
    bins = quality.measure(joined(frame, "value")).reliability
    assert [point.observed for point in bins] == pytest.approx(share)
    assert [point.expected for point in bins] == pytest.approx(mean)
    assert all(point.low <= point.observed <= point.high for point in bins)


def sklearn_calibration(actual: Any, scores: Any) -> tuple[list[float], list[float]]:
    from sklearn.calibration import calibration_curve

    share, mean = calibration_curve(actual, scores, n_bins=10)
    return share.tolist(), mean.tolist()


def test_numbers_beside_0_and_1_are_recognized_without_a_profile_and_reported() -> None:
    found = quality.measure(joined(draw_binary(1), "value"))
    assert "taken for the probability of 1" in found.notes[0]
    regression = pd.DataFrame({"prediction": [0.1, 0.9, 2.5], "actual": [0.0, 1.0, 1.0]})
    assert quality.measure(regression).kind == "numeric"


# -- classes that the model does not have --------------------------------------------------------------------


@pytest.fixture(scope="module")
def churn() -> profiles.Profile:
    return profiles.fit(
        draw_binary(1), model="churn", version="1", target="y", prediction="p", evaluation=draw_binary(2)
    )


def test_labels_of_other_classes_are_an_error_and_not_an_accuracy_of_0(churn: profiles.Profile) -> None:
    frame = joined(draw_binary(1), "value").assign(actual=np.where(draw_binary(1)["y"] == 1, "yes", "no"))
    with pytest.raises(
        UnknownClasses, match=r"none of the 2,000 labels is a class of the model: 'no', 'yes'; the model's"
    ):
        quality.measure(frame, classifier=churn.classifier)
    classes = joined(draw_classes(1), "scores")
    with pytest.raises(
        UnknownClasses, match="'BIRD', 'CAT', 'DOG'; the model's classes are 'bird', 'cat', 'dog'"
    ):
        quality.measure(classes.assign(actual=classes["actual"].str.upper()))


def test_some_labels_of_other_classes_count_as_wrong_and_are_reported(churn: profiles.Profile) -> None:
    frame = joined(draw_binary(1, 100), "value").astype({"actual": object})
    right = quality.measure(frame, classifier=churn.classifier).metrics["accuracy"]
    frame.loc[:9, "actual"] = "moved"
    found = quality.measure(frame, classifier=churn.classifier)
    assert "10 of 100 labels are of classes that the model does not have: 'moved'" in found.notes[0]
    assert found.metrics["accuracy"] < right


# -- over a store --------------------------------------------------------------------------------------------


@pytest.fixture
def store(churn: profiles.Profile) -> Iterator[EmbeddedStore]:
    """A week of predictions of the classifier, ten an hour."""
    process = logging_lib.PredictionProcessor(model="churn", version="1", profile=churn)
    frame = draw_binary(3, 1680)
    events = [
        process(
            None, "info",
            {"event": "x", "inputs": {"x": x, "label": 0, "yes": "no"}, "prediction": p, "request_id": f"r{i}",
             "timestamp": START + timedelta(minutes=6 * i)},
        )
        for i, (x, p) in enumerate(zip(frame["x"].tolist(), frame["p"].tolist(), strict=True))
    ]  # fmt: skip
    with EmbeddedStore(None) as opened:
        publish(opened, churn, now=START)
        opened.index("logs-ml.prediction-default", events)
        opened.refresh()
        yield opened


def label_rows(frame: pd.DataFrame, column: str = "y") -> list[dict[str, Any]]:
    return [
        {"request_id": f"r{i}", "actual": actual, "timestamp": (START + timedelta(days=8)).isoformat()}
        for i, actual in enumerate(frame[column].tolist())
    ]


def ingest(store: EmbeddedStore, rows: list[dict[str, Any]], **more: Any) -> labels.Done:
    return labels.ingest(store, rows, now=START + timedelta(days=9), model="churn", **more)


def test_from_events_to_quality(store: EmbeddedStore, churn: profiles.Profile) -> None:
    """The same numbers as of the table, by period and by slice."""
    frame = draw_binary(3, 1680)
    assert ingest(store, label_rows(frame)).joined == 1680
    read = joins.read(store, Selection(model="churn"), by="label")
    found = quality.by_period(read, timedelta(days=1), classifier=churn.classifier)
    assert found[0].metrics["roc_auc"] == pytest.approx(sklearn.roc_auc_score(frame["y"], frame["p"]))
    assert found[0].metrics["brier"] == pytest.approx(sklearn.brier_score_loss(frame["y"], frame["p"]))
    assert [segment.segment for segment in found[1:]] == [f"2026-03-0{day} 00:00" for day in range(2, 9)]
    day = slice(240, 480)
    assert found[2].metrics["log_loss"] == pytest.approx(sklearn.log_loss(frame["y"][day], frame["p"][day]))
    sliced = quality.by_segment(read, classifier=churn.classifier)
    assert [segment.segment for segment in sliced] == ["all", "0"]
    json.dumps([segment.document() for segment in [*found, *sliced]], allow_nan=False)


def test_labels_of_other_classes_are_refused(store: EmbeddedStore) -> None:
    frame = draw_binary(3, 20)
    done = ingest(store, label_rows(frame, "yes"))
    assert (done.joined, len(done.refused)) == (0, 20)
    assert "is not a class of churn: '0', '1'; write it as the model does" in done.refused[0][1]
    assert ingest(store, label_rows(frame)).joined == 20
    mixed = [
        {**row, "actual": "moved" if i < 3 else row["actual"]} for i, row in enumerate(label_rows(frame))
    ]
    assert len(ingest(store, mixed).refused) == 3
    assert ingest(store, mixed, new_classes=True).joined == 3


def test_the_commands_show_it(
    churn: profiles.Profile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    profiles.save(churn, "profile.json")
    log = logging_lib.configure(model="churn", version="1", profile=churn, spool="spool")
    frame = draw_binary(3, 200)
    for i, (x, p) in enumerate(zip(frame["x"].tolist(), frame["p"].tolist(), strict=True)):
        at = START + timedelta(hours=i)
        log.prediction({"x": x, "label": 0, "yes": "no"}, prediction=p, request_id=f"r{i}", timestamp=at)
    pd.DataFrame(label_rows(frame)).to_csv("labels.csv", index=False)
    pd.DataFrame(label_rows(frame, "yes")).to_csv("other.csv", index=False)

    def run(line: str, code: int = 0) -> str:
        result = CliRunner().invoke(app, line.split())
        assert result.exit_code == code, result.output
        return result.output

    run("index spool --store store --profile profile.json")
    assert "is not a class of churn" in run("labels ingest other.csv --model churn --store store", 1)
    run("labels ingest labels.csv --model churn --store store")
    shown = run("labels quality --every 7d --store store")
    for text in ("(evaluation)", "ROC AUC", "PR AUC", "Brier score", "the model's", "2026-03-05 00:00",
                 "actual \\ predicted", "probability of 1 → its share"):  # fmt: skip
        assert text in shown
    (document,) = json.loads(run("labels quality --json --store store"))
    area = sklearn.roc_auc_score(frame["y"], frame["p"])
    assert document["segments"][0]["metrics"]["roc_auc"] == pytest.approx(area)
    assert document["classifier"]["evaluated"] is True
    assert "either --by or --every" in run("labels quality --every 7d --by x --store store", 2)
