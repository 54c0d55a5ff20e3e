"""Batch scoring says of each row what a single call would have said."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import logging_lib
from logging_lib import profile as profiles
from logging_lib.capture.batch import check_rows
from logging_lib.capture.checks import Checker

Valid = Callable[[dict[str, Any]], dict[str, Any]]


def said(checked: Any) -> dict[str, Any]:
    document = {name: getattr(checked, name) for name in type(checked).__slots__}
    failed = {check: sorted(names) for check, names in document["failed"].items()}
    return document | {"bins": sorted(document["bins"]), "failed": failed}


def compare(profile: profiles.Profile, frame: pd.DataFrame) -> None:
    check = Checker(profile)
    found = list(check_rows(check, frame))
    assert len(found) == len(frame)
    for (inputs, checked), row in zip(found, frame.to_dict("records"), strict=True):
        assert repr(inputs) == repr(row)
        assert repr(said(checked)) == repr(said(check(row)))


def test_the_training_data_themselves(training: pd.DataFrame, profile: profiles.Profile) -> None:
    compare(profile, training[list(profile.features)].head(500))


def test_columns_in_another_order_absent_or_unexpected(
    training: pd.DataFrame, profile: profiles.Profile
) -> None:
    frame = training[list(profile.features)].head(50)
    compare(profile, frame[frame.columns[::-1]])
    compare(profile, frame.drop(columns="home"))
    compare(profile, frame.assign(new=1))


cells = {
    "income": st.one_of(st.floats(), st.integers(-10, 10**6), st.none(), st.just("12"), st.booleans()),
    "count": st.integers(-2, 8),
    "home": st.sampled_from(["RENT", "OWN", "rent", None, "N/A", 3, ""]),
    "title": st.sampled_from(["nurse", "registered  nurse", "nurse!", "enfermera", "", None, 5, "NA"]),
    "joint": st.sampled_from([True, False, None, 1]),
    "opened": st.sampled_from([pd.Timestamp("2011-05-01", tz="UTC"), None, "2012-01-01", "soon"]),
}


@settings(max_examples=100, deadline=None)
@given(st.lists(st.fixed_dictionaries(cells), min_size=1, max_size=8))
def test_any_rows(profile: profiles.Profile, rows: list[dict[str, Any]]) -> None:
    compare(profile, pd.DataFrame(rows, columns=list(cells), dtype=object))
    compare(profile, pd.DataFrame(rows, columns=list(cells)))


def test_events_of_a_batch(
    tmp_path: Path, training: pd.DataFrame, profile: profiles.Profile, valid: Valid,
    captured_predictions: list[dict[str, Any]],
) -> None:  # fmt: skip
    log = logging_lib.configure(model="loans", version="1", profile=profile, spool=tmp_path)
    frame = training[list(profile.features)].head(200)
    log.bind(run="nightly").predictions(
        frame, training["rate"].head(200), request_ids=range(200), timestamp="2018-02-01T00:00:00Z"
    )
    events = [valid(event) for event in captured_predictions]
    assert [event["ml"]["request"]["id"] for event in events] == [str(i) for i in range(200)]
    assert len({event["event"]["id"] for event in events}) == 200
    assert {event["@timestamp"] for event in events} == {"2018-02-01T00:00:00Z"}
    assert events[0]["labels"] == {"run": "nightly"}
    assert [event["ml"]["prediction"]["value"] for event in events] == training["rate"].head(200).tolist()


def test_several_outputs_without_a_profile(
    tmp_path: Path, captured_predictions: list[dict[str, Any]], valid: Valid
) -> None:
    log = logging_lib.configure(model="m", version="1", spool=tmp_path)
    log.predictions(pd.DataFrame({"a": [1, 2], 3: ["x", None]}), np.array([[0.1, 0.9], [0.4, 0.6]]))
    first, second = map(valid, captured_predictions)
    assert first["ml"]["prediction"] == {"scores": {"0": 0.1, "1": 0.9}}
    assert second["ml"]["input"] == {"numeric": {"a": 2}, "other": {"3": None}}


@pytest.mark.parametrize(
    ("frame", "predictions"), [(pd.DataFrame({"a": [1, 2]}), [1.0]), ("no frame", [1.0])]
)
def test_a_wrong_batch_costs_the_service_nothing(tmp_path: Path, frame: Any, predictions: Any) -> None:
    log = logging_lib.configure(model="m", version="1", spool=tmp_path)
    log.predictions(frame, predictions)
    assert sum(log.stats()["dropped"].values()) == 1
