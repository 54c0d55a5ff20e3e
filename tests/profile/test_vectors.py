"""A vector is two numbers: its norm, and its cosine to training's centroid; fitted, checked, logged and watched."""

from __future__ import annotations

import array
import json
import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

import logging_lib
from logging_lib import profile as profiles
from logging_lib.analysis import Comparison, compare
from logging_lib.cli.app import app
from logging_lib.logger.checks import Checker, CheckResult
from logging_lib.logger.processor import PredictionProcessor
from logging_lib.profile.config import Config, FeatureConfig
from logging_lib.profile.vectors import MAX_DIMENSION, measure_vector, read_vector, round_number
from logging_lib.store.annotate import add_checks

DIMENSION = 24
START = datetime(2026, 3, 10, 8, tzinfo=UTC)
MIDDLE = np.random.default_rng(0).normal(size=DIMENSION)


def frame(seed: int, rows: int = 600, shift: float = 0.0, dimension: int = DIMENSION) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    vectors = MIDDLE[:dimension] + shift + random.normal(size=(rows, dimension))
    return pd.DataFrame({"embedding": list(vectors.astype("float32")), "age": random.integers(18, 90, rows)})


@pytest.fixture(scope="module")
def fitted() -> profiles.Profile:
    data = frame(1)
    data.loc[:5, "embedding"] = None
    return profiles.fit(data, model="m", version="1")


@pytest.fixture(scope="module")
def check(fitted: profiles.Profile) -> Checker:
    return Checker(profiles.loads(profiles.dumps(fitted)))


def checks(check: Checker, value: Any) -> tuple[dict[str, list[str]], list[str]]:
    result: CheckResult = check({"embedding": value, "age": 40})
    return result.failed, [token for token in result.bins if token.startswith("embedding")]


VECTOR: list[float] = frame(7)["embedding"][0].tolist()


def test_a_vector_and_what_is_derived_from_it_are_features(fitted: profiles.Profile) -> None:
    assert list(fitted.features) == ["embedding", "embedding:norm", "embedding:cosine", "age"]
    vector, norm, cosine, _ = fitted.features.values()
    assert (vector.kind, vector.counts, vector.special) == ("vector", (594,), {"!missing": 6})
    assert vector.centroid == pytest.approx(MIDDLE, abs=0.2)
    assert vector.expected_bins() == {"dim:24": 594, "!missing": 6}
    assert set(vector.expected) == {"missing", "absent", "wrong_type", "not_finite"}
    for number in (norm, cosine):
        assert (number.kind, number.derived_from, number.special) == ("numeric", "embedding", {})
        assert sum(number.counts) == 594
        assert set(number.expected) == {"out_of_range"}
    assert norm.moments is not None
    norms = np.linalg.norm(np.stack(frame(1)["embedding"].to_numpy()[6:]), axis=1)
    assert norm.moments.mean == pytest.approx(norms.mean(), rel=1e-6)
    assert profiles.loads(profiles.dumps(fitted)) == fitted


def test_a_vector_of_training_is_compared_with_the_others() -> None:
    """In many dimensions the mean of a few vectors is close to each of them, and to no new one."""
    random = np.random.default_rng(3)
    data = pd.DataFrame({"embedding": list(random.normal(size=(300, 768)))})
    cosine = profiles.fit(data, model="m", version="1").features["embedding:cosine"]
    assert cosine.moments is not None
    assert abs(cosine.moments.mean) < 3 / math.sqrt(768 * 300) + 0.005


@pytest.mark.parametrize(
    "value",
    [
        VECTOR,
        tuple(VECTOR),
        np.array(VECTOR),
        np.array(VECTOR, dtype="float32"),
        array.array("d", VECTOR),
        [np.float64(number) for number in VECTOR],
        pd.Series(VECTOR),
    ],
    ids=["list", "tuple", "numpy", "float32", "array", "numpy's numbers", "pandas"],
)  # fmt: skip
def test_forms_of_a_vector(check: Checker, value: Any) -> None:
    failed, bins = checks(check, value)
    assert failed == {}
    assert bins == checks(check, VECTOR)[1]
    assert [token.partition("=")[0] for token in bins] == ["embedding", "embedding:norm", "embedding:cosine"]


@pytest.mark.parametrize(
    "value",
    [VECTOR[:-1], [*VECTOR, 1.0], [VECTOR], {"values": VECTOR}, json.dumps(VECTOR), 1.5, [True] * DIMENSION,
     ["1"] * DIMENSION, [], [0.0] * (MAX_DIMENSION + 1), np.zeros((DIMENSION, 1)), np.array(1.0)],
)  # fmt: skip
def test_anything_else_is_of_another_type(check: Checker, value: Any) -> None:
    assert checks(check, value) == ({"wrong_type": ["embedding"]}, ["embedding=!type"])


def test_a_vector_that_is_missing_absent_or_not_finite_fails_one_check(check: Checker) -> None:
    assert checks(check, None) == ({"missing": ["embedding"]}, ["embedding=!missing"])
    assert check({"age": 40}).failed == {"absent": ["embedding"]}
    for odd in (math.nan, math.inf, None, 1e200, 10**400):
        failed, bins = checks(check, [*VECTOR[:-1], odd])
        assert (failed, bins) == ({"not_finite": ["embedding"]}, ["embedding=!nonfinite"])
        json.dumps(check({"embedding": [*VECTOR[:-1], odd]}).input, allow_nan=False)


def test_a_moved_vector_is_out_of_range(check: Checker) -> None:
    assert checks(check, [number + 10 for number in VECTOR])[0]["out_of_range"][0] == "embedding:norm"
    assert checks(check, [-number for number in VECTOR])[0] == {"out_of_range": ["embedding:cosine"]}
    assert checks(check, [0.0] * DIMENSION)[0] == {"out_of_range": ["embedding:norm", "embedding:cosine"]}


def test_an_event_holds_the_whole_vector_and_its_numbers(fitted: profiles.Profile) -> None:
    """Also one with more items than other values may have."""
    long = frame(2, rows=50, dimension=DIMENSION).assign(
        embedding=list(np.random.default_rng(1).normal(size=(50, 1536)))
    )
    profile = profiles.fit(long, model="m", version="1")
    event = PredictionProcessor(model="m", version="1", profile=profile).build_event(
        {"inputs": {"embedding": long["embedding"][0], "age": 40}}
    )
    stored = event["ml"]["input"]
    assert stored["other"]["embedding"] == long["embedding"][0].tolist()
    assert stored["numeric"].keys() == {"age", "embedding:norm", "embedding:cosine"}
    assert stored["numeric"]["embedding:norm"] == pytest.approx(
        np.linalg.norm(long["embedding"][0]), rel=1e-6
    )


def test_a_batch_says_what_single_calls_say(fitted: profiles.Profile) -> None:
    rows = frame(4, rows=40)
    rows.at[3, "embedding"] = None
    rows.at[4, "embedding"] = [1.0]
    rows.at[5, "embedding"] = VECTOR
    processor = PredictionProcessor(model="m", version="1", profile=fitted, clock=lambda: 10**18)
    lines = [line for lines in processor.batch.render(rows, {}) for line in lines]
    assert len(lines) == 40
    for line, (_, row) in zip(lines, rows.iterrows(), strict=True):
        single = processor.build_event({"inputs": row.to_dict()})
        assert orjson.loads(line)["ml"]["input"] == orjson.loads(orjson.dumps(single["ml"]["input"]))
        assert orjson.loads(line)["ml"].get("check") == single["ml"].get("check")


def test_what_is_derived_from_a_private_vector_is_hidden(fitted: profiles.Profile) -> None:
    processor = PredictionProcessor(model="m", version="1", profile=fitted, private={"embedding": "drop"})
    event = processor.build_event({"inputs": {"embedding": VECTOR, "age": 40}})
    assert event["ml"]["input"]["numeric"] == {"age": 40}
    assert "other" not in event["ml"]["input"]
    tokens = [token for token in event["ml"]["input"]["bins"] if token.startswith("embedding")]
    assert tokens == ["embedding=!hidden", "embedding:norm=!hidden", "embedding:cosine=!hidden"]


def test_a_hidden_vector_leaves_nothing_in_the_profile() -> None:
    config = Config(features={"embedding": FeatureConfig(hidden=True)})
    fitted = profiles.fit(frame(1), model="m", version="1", config=config)
    assert list(fitted.features) == ["embedding", "age"]
    assert fitted.features["embedding"].centroid == ()
    assert checks(Checker(fitted), VECTOR) == ({}, ["embedding=!hidden"])


def test_logged_numbers_of_a_vector_are_computed_again(fitted: profiles.Profile) -> None:
    """Rows of a log, which have them beside the vector, fit and check as the vectors alone do."""
    data = frame(1).assign(**{"embedding:norm": 5.0, "embedding:cosine": 0.5})
    assert list(profiles.fit(data, model="m", version="1").features) == list(fitted.features)
    check = Checker(fitted)
    again = check({"embedding": VECTOR, "age": 40, "embedding:norm": 5.0, "embedding:cosine": 0.5})
    assert again.failed == {}
    assert again.input["numeric"] == check({"embedding": VECTOR, "age": 40}).input["numeric"]
    event = {"ml": {"input": {"other": {"embedding": VECTOR}, "numeric": {"age": 40}}}}
    checked = add_checks(event, Checker(fitted, foreign=True))
    assert checked["ml"]["input"]["numeric"].keys() == {"age", "embedding:norm", "embedding:cosine"}


def test_odd_columns_of_lists() -> None:
    lists = pd.Series([["a", "b"], ["c"]] * 50)
    numbers = pd.Series([[1.0], [2.0]] * 50)
    mixed = pd.Series([[1.0, 2.0, 3.0]] * 80 + [[1.0, 2.0]] * 19 + ["none"])
    data = pd.DataFrame({"tags": lists, "single": numbers, "mixed": mixed})
    fitted = profiles.fit(data, model="m", version="1")
    assert [fitted.features[name].kind for name in data] == ["category", "category", "vector"]
    assert fitted.features["mixed"].special == {"!type": 20}
    assert fitted.features["mixed"].expected["wrong_type"].rate == pytest.approx(0.2)
    config = Config(features={"tags": FeatureConfig(kind="vector")})
    forced = profiles.fit(data, model="m", version="1", config=config).features["tags"]
    assert (forced.centroid, forced.special) == ((), {"!type": 100})
    assert "has no vector in training" in forced.notes[0]
    constant = pd.DataFrame({"embedding": [[1.0, 0.0]] * 50})
    assert profiles.fit(constant, model="m", version="1").features["embedding:norm"].edges == (1.0,)
    opposite = pd.DataFrame({"embedding": [[1.0, 0.0], [-1.0, 0.0]] * 50})
    assert Checker(profiles.fit(opposite, model="m", version="1"))({"embedding": [1.0, 0.0]}).input["numeric"] == {
        "embedding:norm": 1.0, "embedding:cosine": 0.0,
    }  # fmt: skip


def test_a_damaged_profile_is_refused(fitted: profiles.Profile) -> None:
    alone = {name: feature for name, feature in fitted.features.items() if name != "embedding"}
    with pytest.raises(
        profiles.ProfileError, match=r"embedding:norm\.derived_from: expected the vector in its name"
    ):
        profiles.loads(profiles.dumps(replace(fitted, features=alone)))
    underived = {name: feature for name, feature in fitted.features.items() if name != "embedding:cosine"}
    with pytest.raises(
        profiles.ProfileError, match="expected the feature embedding:cosine, derived from embedding"
    ):
        profiles.loads(profiles.dumps(replace(fitted, features=underived)))
    without_counts = replace(fitted.features["embedding"], counts=())
    with pytest.raises(profiles.ProfileError, match="has 0 counts for 1 bins"):
        profiles.loads(
            profiles.dumps(replace(fitted, features={**fitted.features, "embedding": without_counts}))
        )


NUMBERS = st.floats(-1e6, 1e6)


@given(st.integers(2, 8).flatmap(lambda n: st.tuples(*[st.lists(NUMBERS, min_size=n, max_size=n)] * 2)))
def test_measures_are_those_of_numpy(pair: tuple[list[float], list[float]]) -> None:
    vector, centroid = pair
    measured = measure_vector(vector, centroid, float(np.linalg.norm(centroid)))
    assert measured is not None
    norm = float(np.linalg.norm(vector))
    scale = norm * float(np.linalg.norm(centroid))
    assert measured[0] == pytest.approx(norm, rel=1e-6, abs=1e-150)
    assert -1 <= measured[1] <= 1
    if scale > 1e-100:
        assert measured[1] == pytest.approx(float(np.dot(vector, centroid)) / scale, abs=1e-6)


@given(
    st.recursive(
        st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=3)),
        lambda items: st.lists(items, max_size=4) | st.tuples(items, items),
        max_leaves=8,
    )
)
def test_any_value_is_a_vector_or_not(value: Any) -> None:
    vector = read_vector(value)
    assert vector is None or (len(vector) >= 2 and all(isinstance(item, int | float) for item in vector))
    orjson.dumps(vector)


def test_rounding_keeps_single_precision() -> None:
    assert round_number(0.123456789) == 0.1234568
    assert round_number(-0.0) == 0


def titles(comparison: Comparison) -> dict[str, str]:
    return {variable.title: variable.verdict for variable in comparison.variables}


def test_moved_embeddings_differ(fitted: profiles.Profile) -> None:
    """From a profile, and from another sample."""
    clean = pd.DataFrame(
        {"embedding": [vector if i else None for i, vector in enumerate(frame(2)["embedding"])]}
    )
    for reference in (fitted, frame(1)):
        assert not compare(reference, frame(2)).differing
        assert titles(compare(reference, clean))["embedding (missing)"] != "differs"
        moved = titles(compare(reference, frame(2, shift=1.0)))
        assert moved["embedding:norm"] == "differs, large"
        assert moved["embedding:cosine"].startswith("differs")
        swapped = frame(2).assign(embedding=[-vector for vector in frame(2)["embedding"]])
        assert titles(compare(reference, swapped))["embedding:cosine"] == "differs, large"
        shorter = titles(compare(reference, frame(2, dimension=DIMENSION - 8)))
        assert shorter["embedding (wrong type)"] == "differs, large"
        nothing = compare(reference, frame(2).head(0))
        assert not nothing.differing
        assert nothing.not_comparable


def test_a_sample_of_a_log_is_compared_by_its_vectors() -> None:
    logged = frame(2).assign(**{"embedding:norm": 1.0, "embedding:cosine": 0.0})
    assert not compare(frame(1).assign(**{"embedding:norm": 2.0, "embedding:cosine": 0.5}), logged).differing


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A profile with times, and 13 hours of a service; in the last five each embedding is moved by 1."""
    monkeypatch.chdir(tmp_path)
    rows = 3000
    times = pd.date_range(START - timedelta(days=20), periods=rows, freq="9min")
    frame(1, rows).assign(at=times).to_parquet("train.parquet")
    fit = ("profile", "fit", "train.parquet", "--model", "m", "--version", "1", "--time", "at")
    assert CliRunner().invoke(app, [*fit, "-o", "profile.json"]).exit_code == 0
    log = logging_lib.configure(
        model="m", version="1", profile="profile.json", spool="spool", service="s", report_every=None
    )
    clean, moved = frame(2, 960), frame(3, 600, shift=1.0)
    for i, row in enumerate(pd.concat([clean, moved]).to_dict("records")):
        log.prediction(row, prediction=1.0, timestamp=START + timedelta(seconds=30 * i))
    return tmp_path


def test_moved_embeddings_are_found_by_the_watches(served: Path) -> None:
    shown = CliRunner(env={"COLUMNS": "250"}).invoke(app, ["profile", "show", "profile.json"])
    assert "24 numbers each" in shown.stdout
    assert "embedding:cosine" in shown.stdout
    arguments = ["watch", "backtest", "spool", "--profile", "profile.json", "--every", "1h", "--json"]
    result = CliRunner().invoke(app, [*arguments, "--watch", "input-drift"])
    alerts = json.loads(result.stdout)["alerts"]
    moved = START + timedelta(seconds=30 * 960)
    assert {feature for alert in alerts for feature in alert["features"]} <= {
        "embedding:norm",
        "embedding:cosine",
    }
    assert alerts
    assert all(datetime.fromisoformat(alert["time"]) > moved for alert in alerts)
    assert (
        CliRunner().invoke(app, ["index", "spool", "--store", "store", "--profile", "profile.json"]).exit_code
        == 0
    )
    compared = CliRunner().invoke(app, ["compare", "--store", "store", "--json"])
    assert compared.exit_code == 1
    assert {"embedding:norm", "embedding:cosine"} <= set(json.loads(compared.stdout)["differing"])
    for name in ("log.parquet", "log.csv"):
        exported = CliRunner().invoke(app, ["export", "last=3650d", "--out", name, "--store", "store"])
        assert exported.exit_code == 0, exported.output
    refitted = profiles.fit(
        pd.read_parquet("log.parquet")[["embedding", "embedding:norm"]], model="m", version="2"
    )
    assert list(refitted.features) == ["embedding", "embedding:norm", "embedding:cosine"]
    assert len(pd.read_csv("log.csv")["embedding"][0].split()) == DIMENSION
