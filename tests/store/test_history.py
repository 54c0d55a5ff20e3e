"""Fitting a profile from what was served, over both stores."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import logging_lib
from logging_lib import profile as profiles
from logging_lib.normalize import Event, normalize
from logging_lib.store import Store, StoreError, history
from logging_lib.store.duckdb.store import EmbeddedStore
from tests.foreign_events import NOW, Call, foreign
from tests.store import elastic
from tests.store.events import STREAM


@pytest.fixture(params=["memory", pytest.param("elasticsearch", marks=pytest.mark.elasticsearch)])
def target(request: pytest.FixtureRequest) -> Iterator[tuple[Store, str]]:
    if request.param == "memory":
        with EmbeddedStore(None) as embedded:
            yield embedded, STREAM
    else:
        yield elastic.store(request.getfixturevalue("elasticsearch")), elastic.new_stream()


def read(store: Store, own: profiles.Profile, **options: Any) -> history.PredictionHistory:
    arguments = {"model": own.model, "version": own.version, "now": NOW, "days": 30, **options}
    return history.read_history(store, **arguments)


def test_inputs_come_back_as_they_were_given(
    target: tuple[Store, str], own: profiles.Profile, inputs: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Oldest first, with kinds, missing values, absent keys, what could not be typed, and the outputs."""
    monkeypatch.setattr(history, "PAGE", 2)
    store, stream = target
    logged = [
        inputs,
        inputs | {"income": None},
        {key: value for key, value in inputs.items() if key != "home"},
        inputs | {"income": {"nested": 1}},
        inputs | {"a.b": 1, "a": 2},
    ]
    log = logging_lib.PredictionProcessor(model=own.model, version=own.version, profile=own)
    documents = [
        log(None, "info", {"event": "x", "inputs": logged_inputs, "prediction": float(number)})
        for number, logged_inputs in enumerate(logged)
    ]
    for number, document in enumerate(documents):
        document["@timestamp"] = f"2018-02-2{number}T09:00:00Z"
    assert store.index(stream, documents).failed == ()
    store.refresh()
    predictions = read(store, own)
    assert len(predictions.frame) == 5
    assert not predictions.is_truncated
    assert list(predictions.frame[history.PREDICTION]) == [0.0, 1.0, 2.0, 3.0, 4.0]
    assert predictions.frame["income"].isna().tolist() == [False, True, False, False, False]
    assert predictions.frame["income"][3] == {"nested": 1}
    assert predictions.kinds["income"] == "numeric"
    assert predictions.kinds["home"] == "category"
    assert predictions.absent["home"].tolist() == [False, False, True, False, False]
    assert predictions.frame[["a", "a.b"]].iloc[4].tolist() == [2, 1]
    cut = read(store, own, max_rows=2)
    assert (cut.is_truncated, list(cut.frame[history.PREDICTION])) == (True, [3.0, 4.0])
    assert len(read(store, own, days=8).frame) == 3


def test_nothing_is_said_by_name(own: profiles.Profile) -> None:
    with (
        EmbeddedStore(None) as store,
        pytest.raises(StoreError, match=r"no prediction of the model .* in the last 30 days"),
    ):
        read(store, own)


def test_a_feature_with_the_name_of_a_column_of_ours_is_refused(own: profiles.Profile) -> None:
    with EmbeddedStore(None) as store:
        store.index(STREAM, [foreign(own, {"@timestamp": 1}, 1)])
        with pytest.raises(StoreError, match="a feature is named '@timestamp'"):
            read(store, own)


@pytest.mark.elasticsearch
def test_a_profile_from_history_is_close_to_that_of_training(
    call: Call, own: profiles.Profile, training: pd.DataFrame, elasticsearch: Any
) -> None:
    """The same rows, served instead of trained on."""
    model = own.model + "-served"
    store = elastic.store(elasticsearch)
    now = pd.Timestamp.now(tz="UTC")
    documents = []
    for number, row in enumerate(training.replace({np.nan: None}).to_dict("records")):
        row_inputs = {key: value for key, value in row.items() if key not in ("rate", "issued_at")}
        row_inputs["opened"] = row["opened"].isoformat()
        when = (now - timedelta(minutes=len(training) - number)).isoformat()
        normalized = normalize(
            {"model": model, "version": "1", "timestamp": when, "id": f"{model}{number}", "inputs": row_inputs,
             "prediction": row["rate"]}
        )  # fmt: skip
        assert isinstance(normalized, Event)
        documents.append(normalized.document)
    assert store.index(elastic.new_stream(), documents).failed == ()
    store.refresh()
    said = call("profile", "fit", "--since", "30d", "--model", model, "--version", "1")
    assert "2,000 rows, 6 features" in said.stdout
    fitted = profiles.load(Path("profile.json"))
    for name, feature in own.features.items():
        assert fitted.features[name].kind == feature.kind, name
        known, expected = fitted.features[name].expected, feature.expected
        assert known["missing"].rate == pytest.approx(expected["missing"].rate, abs=0.02), name
    assert fitted.prediction is not None
    assert fitted.prediction.moments is not None
    assert fitted.prediction.moments.mean == pytest.approx(training["rate"].mean(), abs=1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "say where the events are"),
        (["x.csv", "--elasticsearch", "http://h"], "give either a file or --elasticsearch, not both"),
        (
            ["--elasticsearch", "h"],
            "--elasticsearch h: not a URL such as https://localhost:9200; did you mean",
        ),
        (["--since", "soon"], "--since soon: neither a time such as"),
        (["--since", "2999-01-01", "--store", "."], "--since 2999-01-01: in the future; it is now 2"),
    ],
)
def test_wrong_options_are_named(arguments: list[str], message: str) -> None:
    from typer.testing import CliRunner

    from logging_lib.cli.app import app

    result = CliRunner().invoke(app, ["profile", "fit", *arguments, "--model", "m", "--version", "1"])
    assert result.exit_code == 2
    assert message in result.stderr
