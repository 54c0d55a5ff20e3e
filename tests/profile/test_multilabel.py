"""A model with several labels: its profile, its events, and whether its labels moved."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import logging_lib
from logging_lib import profile as profiles
from logging_lib.profile.config import Config
from logging_lib.profile.document import build_document
from logging_lib.profile.model import MAX_BINS
from logging_lib.report import drift

LABELS = ["billing", "urgent", "refund"]


def tickets(rows: int, shares: tuple[float, ...] = (0.5, 0.3, 0.1), seed: int = 0) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    drawn = random.random((rows, len(LABELS))) < np.array(shares)
    answers = [[label for label, has in zip(LABELS, row, strict=True) if has] for row in drawn]
    return pd.DataFrame({"length": random.normal(500, 100, rows), "answer": pd.Series(answers, dtype=object)})


@pytest.fixture(scope="module")
def fitted() -> profiles.Profile:
    return profiles.fit(tickets(2000), model="tickets", version="1", target="answer")


def test_a_profile_counts_the_rows_with_each_label(fitted: profiles.Profile) -> None:
    output = fitted.prediction
    assert output is not None
    frame = tickets(2000)
    counts = {label: sum(label in row for row in frame["answer"]) for label in LABELS}
    assert (output.kind, output.multiple, dict(output.values)) == ("category", True, counts)
    assert output.special == {"!none": sum(not row for row in frame["answer"])}
    expected = build_document(fitted)["expected"]["prediction"]
    assert expected["rows"] == 2000
    assert expected["bins"] == {**counts, **output.special}
    assert profiles.loads(profiles.io.dumps(fitted)) == fitted


def test_lists_of_parquet_missing_ones_and_other_types(tmp_path: Path) -> None:
    values = [
        ["a", "b"],
        ("b",),
        {"b", "c"},
        np.array(["b"]),
        [1, True],
        [],
        None,
        float("nan"),
        [{"x": 1}],
        "b",
    ]
    frame = pd.DataFrame({"x": range(10), "y": pd.Series(values, dtype=object)})
    output = profiles.fit(frame, model="m", version="1", prediction="y").prediction
    assert output is not None
    assert dict(output.values) == {"b": 5, "1": 1, "a": 1, "c": 1, "true": 1}
    assert output.special == {"!missing": 2, "!none": 1, "!type": 1}
    tickets(50).to_parquet(tmp_path / "t.parquet")
    read = pd.read_parquet(tmp_path / "t.parquet")
    of_parquet, of_lists = (
        profiles.fit(data, model="m", version="1", prediction="answer").prediction
        for data in (read, tickets(50))
    )
    assert of_parquet == of_lists


@pytest.mark.parametrize(
    "value", [[0.1, 0.9], [3, 7], np.array([0.5, 0.5]), [True, False], [], "a", 1.5, {"a": 1}]
)
def test_only_a_list_of_texts_is_several_labels(value: Any) -> None:
    frame = pd.DataFrame({"x": range(50), "y": pd.Series([value] * 50, dtype=object)})
    output = profiles.fit(frame, model="m", version="1", prediction="y").prediction
    assert output is not None
    assert not output.multiple


def test_more_labels_than_bins_share_one_and_the_rarest_are_unseen() -> None:
    answers = [[f"label{number}" for number in range(row % 70 + 1)] for row in range(700)]
    frame = pd.DataFrame({"x": range(700), "y": pd.Series(answers, dtype=object)})
    output = profiles.fit(
        frame, model="m", version="1", prediction="y", config=Config(max_values=60)
    ).prediction
    assert output is not None
    assert (len(output.values), output.binned) == (60, MAX_BINS)
    assert output.special["!other"] == sum(len(row) > MAX_BINS for row in answers)
    assert output.special["!unseen"] == sum(len(row) > 60 for row in answers)


def test_training_with_times_has_a_variation_of_its_labels() -> None:
    frame = tickets(4000)
    start = datetime(2026, 1, 1, tzinfo=UTC)
    frame["at"] = [start + timedelta(minutes=10 * row) for row in range(len(frame))]
    fitted = profiles.fit(frame, model="m", version="1", target="answer", config=Config(time="at"))
    assert fitted.variation is not None
    assert fitted.variation.source == "training"
    assert "(prediction)" in fitted.variation.measures["psi"]
    build_document(fitted)


def test_events_have_a_bin_for_each_label_and_are_counted(
    fitted: profiles.Profile, tmp_path: Path, captured_predictions: Any, valid: Any
) -> None:
    log = logging_lib.configure(
        model="tickets", version="1", profile=fitted, spool=tmp_path, report_every=None
    )
    frame = tickets(300, seed=1)
    log.predictions(frame[["length"]], frame["answer"])
    for inputs, answer in zip(frame[["length"]].to_dict("records"), frame["answer"], strict=True):
        log.prediction(inputs, prediction=answer)
    batch, single = captured_predictions[:300], captured_predictions[300:]
    assert [e["ml"]["prediction"] for e in batch] == [valid(e)["ml"]["prediction"] for e in single]
    for event, answer in zip(batch, frame["answer"], strict=True):
        assert event["ml"]["prediction"] == {"labels": answer, "bin": answer or ["!none"]}


@given(st.lists(st.integers(0, 500), min_size=1, max_size=6), st.integers(500, 900))
def test_labels_served_as_in_training_have_not_moved(counts: list[int], rows: int) -> None:
    expected = {f"label{place}": count for place, count in enumerate(counts)}
    served = {name: float(count) for name, count in expected.items()}
    stability = drift.labels_stability(expected, served, (rows, rows))
    assert stability is None or not drift.has_moved(stability, 1)


def test_one_label_that_moves_is_seen_among_many_that_do_not() -> None:
    expected: dict[str, float] = {f"label{number}": 500 for number in range(40)}
    served = {**expected, "label7": 900.0}
    whole = drift.population_stability(expected, served)
    assert whole is not None
    assert whole[0] < drift.MIN_PSI  # as parts of one whole nothing of it would be seen
    assert drift.has_moved(drift.labels_stability(expected, served, (1000.0, 1000.0)), 1)


def test_the_command_fits_json_lines_and_the_report_shows_labels(
    tmp_path: Path, fitted: profiles.Profile
) -> None:
    from typer.testing import CliRunner

    from logging_lib.cli.app import app

    rows = tickets(2000).to_dict("records")
    (tmp_path / "t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    fit = [
        "profile",
        "fit",
        str(tmp_path / "t.jsonl"),
        "--model",
        "tickets",
        "--version",
        "1",
        "--target",
        "answer",
    ]
    done = CliRunner().invoke(app, [*fit, "-o", str(tmp_path / "p.json")])
    assert done.exit_code == 0, done.output
    assert profiles.load(tmp_path / "p.json").prediction == fitted.prediction
