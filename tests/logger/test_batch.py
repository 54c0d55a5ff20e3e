"""Batch scoring says of each row what a single call would have said."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pandas as pd
import structlog
from hypothesis import given, settings
from hypothesis import strategies as st

import logging_lib
from logging_lib import profile as profiles
from logging_lib.logger.event import render_event
from logging_lib.logger.processor import PredictionProcessor
from logging_lib.profile.config import Config, FeatureConfig
from tests.strategies import examples

Valid = Callable[[dict[str, Any]], dict[str, Any]]


NOW = 1_517_486_400_123_456_789


def said(line: bytes) -> dict[str, Any]:
    event: dict[str, Any] = orjson.loads(line)
    del event["event"]["id"]
    event["ml"]["input"]["bins"].sort()
    for names in event["ml"].get("check", {}).values():
        names.sort()
    return event


def compare(profile: profiles.Profile, frame: pd.DataFrame, **options: Any) -> int:
    """The lines of a batch are those of single calls. So many are compared."""
    batch, single = (
        PredictionProcessor(model="loans", version="1", profile=profile, clock=lambda: NOW, **options)
        for _ in range(2)
    )
    outputs = [1.5 * i if i % 5 else float("inf") for i in range(len(frame))]
    requests = [f"r-{i}" for i in range(len(frame))]
    lines = [
        line
        for batch_lines in batch.batch.render(frame, {"run": "x"}, prediction=outputs, request_id=requests)
        for line in batch_lines
    ]
    expected = []
    for inputs, output, request in zip(frame.to_dict("records"), outputs, requests, strict=True):
        fields = {"inputs": inputs, "run": "x", "prediction": output, "request_id": request}
        with contextlib.suppress(structlog.DropEvent):
            expected.append(render_event(single(None, "info", fields)))
    assert list(map(said, lines)) == list(map(said, expected))
    assert batch.counts.as_fields() == single.counts.as_fields()
    return len(lines)


def test_the_training_data_themselves(training: pd.DataFrame, profile: profiles.Profile) -> None:
    compare(profile, training[list(profile.features)].head(500))


def test_columns_in_another_order_absent_or_unexpected(
    training: pd.DataFrame, profile: profiles.Profile
) -> None:
    frame = training[list(profile.features)].head(50)
    compare(profile, frame[frame.columns[::-1]])
    compare(profile, frame.drop(columns="home"))
    compare(profile, frame.assign(new=1))


def test_a_sampled_batch_keeps_what_single_calls_keep(
    training: pd.DataFrame, profile: profiles.Profile
) -> None:
    frame = training[list(profile.features)].head(500)
    kept = compare(profile, frame, sample=0.1)
    assert 30 < kept < 150
    half = training.assign(home=training["home"].where(training.index % 2 == 0))
    often = profiles.fit(half, model="loans", version="1", prediction="rate", config=Config(time="issued_at"))
    assert compare(often, half[list(often.features)].head(500), sample=0.1) < kept + 20


def test_hidden_features_and_private_ones(training: pd.DataFrame) -> None:
    config = Config(
        time="issued_at", features={"title": FeatureConfig(hidden=True), "joint": FeatureConfig(hidden=True)}
    )
    hidden = profiles.fit(training, model="loans", version="1", prediction="rate", config=config)
    frame = training[list(hidden.features)].head(100)
    compare(hidden, frame)
    compare(hidden, frame, private={"home": "redact"})


def test_columns_without_a_value_in_training(training: pd.DataFrame, profile: profiles.Profile) -> None:
    blank = profiles.fit(
        training.assign(count=None, home=np.nan), model="loans", version="1", prediction="rate"
    )
    compare(blank, training[list(profile.features)].head(50))
    compare(blank, training[list(profile.features)].head(50).assign(count=None, home=None))


def test_every_pandas_dtype_is_logged_with_its_type(
    training: pd.DataFrame, profile: profiles.Profile
) -> None:
    frame = training[list(profile.features)].head(100)
    compare(
        profile, frame.assign(count=frame["count"].astype("Int64"), income=frame["income"].astype("float32"))
    )
    compare(profile, frame.assign(home=frame["home"].astype("category"), title=frame["title"].astype(object)))
    compare(profile, frame.assign(count=frame["count"].astype(str), joint=frame["joint"].astype(int)))


cells = {
    "income": st.one_of(st.floats(), st.integers(-10, 10**6), st.none(), st.just("12"), st.booleans()),
    "count": st.integers(-2, 8),
    "home": st.sampled_from(["RENT", "OWN", "rent", None, "N/A", 3, "", "\ud800", [1]]),
    "title": st.sampled_from(
        ["nurse", "registered  nurse", "nurse!", "enfermera", "", None, 5, "NA", 'a"b\\', "\ud800"]
    ),
    "joint": st.sampled_from([True, False, None, 1]),
    "opened": st.sampled_from([pd.Timestamp("2011-05-01", tz="UTC"), None, "2012-01-01", "soon"]),
}


@settings(max_examples=examples(100), deadline=None)
@given(st.lists(st.fixed_dictionaries(cells), min_size=1, max_size=8))
def test_any_rows_can_be_logged_as_a_batch(profile: profiles.Profile, rows: list[dict[str, Any]]) -> None:
    compare(profile, pd.DataFrame(rows, columns=list(cells), dtype=object))
    with contextlib.suppress(UnicodeEncodeError):  # pandas' own texts cannot hold a lone surrogate
        frame = pd.DataFrame(rows, columns=list(cells))
        compare(profile, frame)


def test_a_batch_becomes_one_event_per_row(
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
    assert {event["@timestamp"] for event in events} == {"2018-02-01T00:00:00.000000Z"}
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


def test_a_wrong_batch_costs_the_service_nothing(tmp_path: Path) -> None:
    log = logging_lib.configure(model="m", version="1", spool=tmp_path)
    log.predictions(pd.DataFrame({"a": [1, 2]}), [1.0])
    assert sum(log.stats()["dropped"].values()) == 1
