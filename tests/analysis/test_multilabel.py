"""Labels of a model with several labels in each answer, from a file to quality, checked against scikit-learn."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics as sklearn
from sklearn.preprocessing import MultiLabelBinarizer
from typer.testing import CliRunner

import logging_lib
from logging_lib import profile as profiles
from logging_lib.analysis import export, joins, labels, quality, samples, scorecard_data
from logging_lib.analysis.classification import UnknownClasses
from logging_lib.analysis.samples import Selection
from logging_lib.cli.app import app
from logging_lib.logger.event import CachedPrediction, build_label
from logging_lib.logger.output import OutputEncoder
from logging_lib.report import markdown
from logging_lib.report.page import render_page
from logging_lib.store import StoreError
from logging_lib.store.duckdb.store import EmbeddedStore
from logging_lib.store.history import read_history
from logging_lib.store.profiles import publish
from tests.report.conftest import report_of

START = datetime(2026, 3, 2, tzinfo=UTC)
NAMES = ["billing", "legal", "very urgent"]
ROWS = 200


def draw(seed: int, rows: int = ROWS) -> pd.DataFrame:
    """Rows with up to three labels, and predictions of which most are right."""
    rng = np.random.default_rng(seed)
    actual = rng.random((rows, 3)) < [0.5, 0.2, 0.3]
    predicted = actual ^ (rng.random((rows, 3)) < 0.15)
    named = [[[NAMES[i] for i in range(3) if row[i]] for row in table] for table in (actual, predicted)]
    return pd.DataFrame({"x": rng.normal(size=rows), "actual": named[0], "prediction": named[1]})


@pytest.fixture(scope="module")
def tickets() -> profiles.Profile:
    return profiles.fit(draw(1, 600), model="tickets", version="1", target="actual", prediction="prediction")


@pytest.fixture
def served() -> pd.DataFrame:
    return draw(2)


@pytest.fixture
def store(tickets: profiles.Profile, served: pd.DataFrame, tmp_path: Path) -> Iterator[EmbeddedStore]:
    with EmbeddedStore(tmp_path / "store") as opened:
        publish(opened, tickets, now=START)
        opened.index("logs-ml.prediction-default", events(tickets, served))
        opened.refresh()
        yield opened


def events(tickets: profiles.Profile, frame: pd.DataFrame, **more: Any) -> list[dict[str, Any]]:
    process = logging_lib.PredictionProcessor(
        model="tickets", version=more.pop("version", "1"), profile=tickets, **more
    )
    return [
        dict(process(None, "info", {
            "event": "x", "inputs": {"x": row["x"]}, "prediction": row["prediction"], "request_id": f"r{i}",
            "timestamp": START + timedelta(minutes=i),
        }))
        for i, row in enumerate(frame.to_dict("records"))
    ]  # fmt: skip


def label_rows(frame: pd.DataFrame) -> list[dict[str, Any]]:
    at = (START + timedelta(days=1)).isoformat()
    return [
        {"request_id": f"r{i}", "actual": actual, "timestamp": at} for i, actual in enumerate(frame["actual"])
    ]


def ingest(store: EmbeddedStore, rows: Any, **more: Any) -> labels.Done:
    return labels.ingest(store, rows, now=START + timedelta(days=2), model="tickets", **more)


def stored(store: EmbeddedStore) -> list[dict[str, Any]]:
    return [hit["_source"] for hit in store.search("logs-ml.label-*", {"size": 1000})["hits"]["hits"]]


def test_the_quality_is_that_of_scikit_learn(store: EmbeddedStore, served: pd.DataFrame) -> None:
    assert ingest(store, label_rows(served)).joined == ROWS
    read = joins.read(store, Selection(model="tickets"))
    (found,) = quality.by_segment(read)
    binarizer = MultiLabelBinarizer().fit([NAMES])
    actual, predicted = (binarizer.transform(served[name]) for name in ("actual", "prediction"))
    assert found.kind == "labels"
    assert found.metrics["exact_match"] == pytest.approx(sklearn.accuracy_score(actual, predicted))
    for average in ("micro", "macro"):
        f1 = sklearn.f1_score(actual, predicted, average=average)
        assert found.metrics[f"{average}_f1"] == pytest.approx(f1)
    for measure, function in (
        ("precision", sklearn.precision_score), ("recall", sklearn.recall_score), ("f1", sklearn.f1_score),
    ):  # fmt: skip
        values = [found.classes[name][measure] for name in NAMES]
        assert values == pytest.approx(function(actual, predicted, average=None))
    low, high = found.intervals["exact_match"]
    assert low < found.metrics["exact_match"] < high
    periods = quality.by_period(read, timedelta(hours=1))
    assert [segment.labels for segment in periods] == [ROWS, 60, 60, 60, 20]
    weights = np.random.default_rng(3).choice([1.0, 4.0], ROWS)
    weighted = quality.measure(served.assign(weight=weights))
    assert weighted.metrics["exact_match"] == pytest.approx(
        sklearn.accuracy_score(actual, predicted, sample_weight=weights)
    )
    assert weighted.classes["legal"]["recall"] == pytest.approx(
        sklearn.recall_score(actual, predicted, average=None, sample_weight=weights)[1]
    )
    json.dumps([segment.document() for segment in [found, *periods]], allow_nan=False)


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".jsonl"])
def test_a_file_has_the_labels_as_lists(
    store: EmbeddedStore, served: pd.DataFrame, tmp_path: Path, suffix: str,
    valid: Callable[[dict[str, Any]], dict[str, Any]],
) -> None:  # fmt: skip
    """In CSV as JSON; one label may stand by itself; twice the same file, in another order, is stored once."""
    frame = pd.DataFrame(label_rows(served))
    frame.at[3, "actual"] = ["legal"]
    file = tmp_path / f"labels{suffix}"
    if suffix == ".csv":
        texts = frame["actual"].map(json.dumps)
        texts[3] = "legal"
        frame.assign(actual=texts).to_csv(file, index=False)
    elif suffix == ".parquet":
        frame.to_parquet(file)
    else:
        frame.to_json(file, orient="records", lines=True)
    done = ingest(store, labels.rows_of(file))
    assert (done.joined, done.refused) == (ROWS, [])
    by_request = {event["ml"]["request"]["id"]: valid(event)["ml"]["label"] for event in stored(store)}
    expected = [["legal"] if i == 3 else row for i, row in enumerate(served["actual"])]
    assert [by_request[f"r{i}"]["labels"] for i in range(ROWS)] == expected
    right = [set(row) == set(guess) for row, guess in zip(expected, served["prediction"], strict=True)]
    assert [by_request[f"r{i}"]["correct"] for i in range(ROWS)] == right
    again = [{**row, "actual": row["actual"][::-1]} for row in label_rows(served)]
    again[3]["actual"] = ["legal"]
    assert ingest(store, again).known == ROWS


def test_labels_before_their_predictions_are_joined_later(
    store: EmbeddedStore, tickets: profiles.Profile, served: pd.DataFrame
) -> None:
    early = [{"request_id": f"early{i}", "actual": row} for i, row in enumerate([["legal"], [], ["Legal"]])]
    assert ingest(store, early).waiting == 3
    assert [event["ml"]["label"]["labels"] for event in stored(store)].count([]) == 1
    late = events(tickets, served.head(3))
    for i, event in enumerate(late):
        event["ml"]["request"]["id"] = f"early{i}"
    store.index("logs-ml.prediction-default", late)
    store.refresh()
    options: dict[str, Any] = {"now": START + timedelta(days=3), "selection": Selection(model="tickets")}
    done = labels.join(store, **options)
    assert (done.rows, done.joined, done.known) == (3, 2, 0)
    assert [what for what, _ in done.refused] == ["early2"]
    assert "none of ['Legal'] is a label of tickets: 'billing', " in done.refused[0][1]
    kept = labels.join(store, **options, new_classes=True)
    assert (kept.joined, kept.refused) == (1, [])
    assert labels.join(store, **options).refused == []  # what is stored is not refused again


@pytest.mark.parametrize(
    ("actual", "reason"),
    [
        (["Legal", "Billing"], "none of ['Billing', 'Legal'] is a label of tickets"),
        (["legal", None], "neither a number, a class nor a list of labels"),
        ([["legal"]], "neither a number, a class nor a list of labels"),
        ({"legal": 1}, "neither a number, a class nor a list of labels"),
    ],
)
def test_what_cannot_be_read_is_refused(store: EmbeddedStore, actual: Any, reason: str) -> None:
    done = ingest(store, [{"request_id": "r0", "actual": actual}])
    assert (done.joined, len(done.refused)) == (0, 1)
    assert reason in done.refused[0][1]


@pytest.mark.parametrize(
    ("predicted", "actual", "correct"),
    [
        ({"label": "a"}, ["a", "b"], False),
        ({"labels": ["a"]}, "a", True),
        ({"labels": ["b", "a"]}, ["a", "b"], True),
        ({"labels": []}, "a", False),
    ],
)
def test_one_label_is_compared_with_several(predicted: dict[str, Any], actual: Any, correct: bool) -> None:
    """Without a profile, a list of one label is logged as that label."""
    cached = CachedPrediction("e", "2026-03-02T00:00:00Z", predicted)
    event = build_label(actual, cached, OutputEncoder(None), "2026-03-03T00:00:00+00:00")
    assert event["label"]["correct"] is correct


def test_a_sample_says_that_several_labels_are_not_compared(store: EmbeddedStore) -> None:
    (note,) = samples.read(store, Selection(model="tickets")).notes
    assert "outputs with several labels are not compared here" in note


def test_several_labels_of_a_number_are_refused() -> None:
    with EmbeddedStore(None) as opened:
        event = logging_lib.PredictionProcessor(model="m", version="1")(
            None, "info", {"event": "x", "inputs": {"x": 1}, "prediction": 2.5, "request_id": "r0"}
        )
        opened.index("logs-ml.prediction-default", [dict(event)])
        done = labels.ingest(opened, [{"request_id": "r0", "actual": ["a", "b"]}], now=START, model="m")
    assert "are several labels, and the prediction is a number" in done.refused[0][1]


def test_a_part_of_unknown_labels_is_said_and_all_of_them_are_an_error(served: pd.DataFrame) -> None:
    some = served.assign(actual=[["new"] if i < 5 else row for i, row in enumerate(served["actual"])])
    (note, *_) = quality.measure(some).notes
    assert "are of kinds that were never predicted: 'new'; predicted were 'billing'" in note
    with pytest.raises(UnknownClasses, match="was ever predicted: 'BILLING', 'LEGAL', 'VERY URGENT'"):
        quality.measure(served.assign(actual=[[label.upper() for label in row] for row in served["actual"]]))


def test_the_report_and_the_commands_say_it(
    store: EmbeddedStore, served: pd.DataFrame, tmp_path: Path
) -> None:
    ingest(store, label_rows(served))
    shown = CliRunner().invoke(app, ["labels", "quality", "--store", str(tmp_path / "store")])
    assert shown.exit_code == 0, shown.output
    for text in ("all labels right", "very urgent", "probabilities are not evaluated"):
        assert text in shown.output
    made = report_of(store)
    assert made.classifier is not None
    assert made.classifier.overall["kind"] == "labels"
    assert "all labels right" in render_page(made)
    assert "all labels right" in markdown.render(made)


def test_an_export_and_a_new_profile_have_the_labels(
    store: EmbeddedStore, served: pd.DataFrame, tmp_path: Path
) -> None:
    ingest(store, label_rows(served))
    done = export.export(store, Selection(model="tickets"), tmp_path / "a.parquet", now=START)
    assert not done.unknown
    frame = pd.read_parquet(tmp_path / "a.parquet").sort_values("@timestamp")
    assert [sorted(row) for row in frame["ml.label.labels"]] == served["actual"].tolist()
    assert [list(row) for row in frame["ml.prediction.labels"]] == served["prediction"].tolist()
    export.export(store, Selection(model="tickets"), tmp_path / "a.csv", now=START)
    assert json.loads(pd.read_csv(tmp_path / "a.csv")["ml.label.labels"][0]) == sorted(served["actual"][0])
    history = read_history(store, model="tickets", version="1", now=START + timedelta(days=2), days=9)
    again = profiles.fit(history.frame, model="tickets", version="2", prediction="ml.prediction")
    assert again.prediction is not None
    assert again.prediction.multiple
    assert set(again.prediction.values) == set(NAMES)


def test_a_shadow_model_agrees_if_all_labels_do(
    store: EmbeddedStore, tickets: profiles.Profile, served: pd.DataFrame
) -> None:
    ingest(store, label_rows(served))
    other = served.assign(
        prediction=[row[::-1] if i % 4 else [] for i, row in enumerate(served["prediction"])]
    )
    store.index("logs-ml.prediction-default", events(tickets, other, version="2", role="shadow"))
    store.refresh()
    (found,) = joins.shadow(store, Selection(model="tickets"))
    agreed = sum(set(a) == set(b) for a, b in zip(served["prediction"], other["prediction"], strict=True))
    assert found.requests == ROWS
    assert json.dumps(found.document())
    assert found.agreement[0] == pytest.approx(agreed / ROWS)


def test_classes_that_the_model_does_not_have_are_refused_by_the_export_as_by_the_quality(
    tmp_path: Path,
) -> None:
    """All of them are an error, a part is counted; and the scorecard does not count them as labels."""
    rng = np.random.default_rng(1)
    frame = pd.DataFrame({"x": rng.normal(size=300), "y": rng.choice(["no", "yes"], 300)})
    fitted = profiles.fit(frame.assign(p=frame["y"]), model="m", version="1", target="y", prediction="p")
    process = logging_lib.PredictionProcessor(model="m", version="1", profile=fitted)
    with EmbeddedStore(None) as opened:
        publish(opened, fitted, now=START)
        opened.index("logs-ml.prediction-default", [
            dict(process(None, "info", {"event": "x", "inputs": {"x": 1.0}, "prediction": "yes",
                                        "request_id": f"r{i}", "timestamp": START}))
            for i in range(4)
        ])  # fmt: skip
        opened.refresh()

        def add(actual: str, *requests: str, **more: Any) -> labels.Done:
            rows = [{"request_id": request, "actual": actual} for request in requests]
            return labels.ingest(opened, rows, now=START, model="m", **more)

        add("ja", "r0", "r1", new_classes=True)
        with pytest.raises(StoreError, match="none of the 2 labels is a class of the model: 'ja'"):
            export.export(opened, Selection(), tmp_path / "a.csv", now=START)
        assert not list(tmp_path.iterdir())
        assert export.export(opened, Selection(), tmp_path / "b.csv", now=START, new_classes=True).rows == 4
        gather: dict[str, Any] = {"now": START, "recent": timedelta(days=7), "watches": {}}
        found = scorecard_data.gather(opened, "m", **gather)
        assert (found.labels, found.unknown_labels) == (0, 2)
        add("yes", "r2")
        assert export.export(opened, Selection(), tmp_path / "a.csv", now=START).unknown == {"ja": 2}
        found = scorecard_data.gather(opened, "m", **gather)
        assert (found.labels, found.unknown_labels) == (1, 2)
        add("oui", "r9")  # before its prediction
        late = dict(process(None, "info", {"event": "x", "inputs": {"x": 1.0}, "prediction": "yes",
                                           "request_id": "r9", "timestamp": START}))  # fmt: skip
        opened.index("logs-ml.prediction-default", [late])
        opened.refresh()
        done = labels.join(opened, now=START)
        assert (done.joined, [what for what, _ in done.refused]) == (0, ["r9"])
        assert "'oui' is not a class of m: 'no', 'yes'" in done.refused[0][1]
        assert labels.join(opened, now=START, new_classes=True).joined == 1
