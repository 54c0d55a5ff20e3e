"""What a profile says of the data that it was fitted from."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from logging_lib import profile as profiles
from logging_lib.logger.checks import Checker
from logging_lib.profile.config import Config, FeatureConfig
from logging_lib.profile.encoding import estimate_dispersion
from logging_lib.profile.model import Feature
from tests.strategies import examples


def fit_one(column: object, **config: object) -> Feature:
    frame = pd.DataFrame({"x": column})
    features = {"x": FeatureConfig(**config)} if config else {}  # type: ignore[arg-type]
    return profiles.fit(frame, model="m", version="1", config=Config(features=features)).features["x"]


def test_each_kind_is_inferred(profile: profiles.Profile) -> None:
    kinds = {name: feature.kind for name, feature in profile.features.items()}
    assert kinds == {
        "income": "numeric",
        "count": "numeric",
        "home": "category",
        "title": "text",
        "joint": "boolean",
        "opened": "date",
    }


def test_the_time_the_target_and_the_prediction_are_not_features(profile: profiles.Profile) -> None:
    assert not {"issued_at", "rate"} & set(profile.features)


def test_a_number_has_range_quantile_bins_and_moments(
    training: pd.DataFrame, profile: profiles.Profile
) -> None:
    feature, column = profile.features["income"], training["income"]
    assert feature.range == (column.min(), column.max())
    assert len(feature.counts) == 10
    assert sum(feature.counts) == column.notna().sum()
    assert max(feature.counts) < 1.3 * min(feature.counts)
    assert feature.moments is not None
    assert feature.moments.mean == pytest.approx(column.mean())
    assert feature.moments.std == pytest.approx(column.std())
    assert feature.moments.quantiles["0.95"] == pytest.approx(column.quantile(0.95))


def test_bins_count_each_row_once(training: pd.DataFrame, profile: profiles.Profile) -> None:
    for name, feature in profile.features.items():
        assert sum(feature.expected_bins().values()) == len(training), name


def test_the_bins_of_the_profile_are_those_that_the_logger_writes(
    training: pd.DataFrame, profile: profiles.Profile
) -> None:
    check = Checker(profile)
    counted: dict[str, dict[str, int]] = {name: {} for name in profile.features}
    for row in training[list(profile.features)].to_dict("records"):
        for token in check(row).bins:
            name, _, label = token.partition("=")
            counted[name][label] = counted[name].get(label, 0) + 1
    for name, feature in profile.features.items():
        assert counted[name] == {k: v for k, v in feature.expected_bins().items() if v}, name


def test_expected_rates_come_from_the_last_rows_by_time(
    training: pd.DataFrame, profile: profiles.Profile
) -> None:
    last = training.sort_values("issued_at").tail(400)
    missing = profile.features["income"].expected["missing"]
    assert (missing.count, missing.rows) == (int(last["income"].isna().sum()), 400)
    assert profile.held_out.blocks == 10
    assert "issued_at" in profile.held_out.method


def test_a_vocabulary_is_not_scored_on_its_own_text(profile: profiles.Profile) -> None:
    feature = profile.features["title"]
    assert sum(feature.oov_counts[1:]) > 0
    assert "nurse" in feature.vocabulary


def test_a_date_that_always_grows_is_expected_to_be_out_of_range(profile: profiles.Profile) -> None:
    assert profile.features["opened"].expected["out_of_range"].rate == 1.0


def test_trained_at_is_the_last_moment_unless_given(
    training: pd.DataFrame, profile: profiles.Profile
) -> None:
    assert profile.trained_at == "2018-01-21T19:45:00Z"
    given_at = datetime(2018, 2, 1, tzinfo=UTC)
    other = profiles.fit(training, model="m", version="1", trained_at=given_at, training_seconds=4.5)
    assert (other.trained_at, other.training_seconds) == ("2018-02-01T00:00:00Z", 4.5)


def test_the_same_data_give_the_same_bytes(training: pd.DataFrame) -> None:
    first, second = (
        profiles.dumps(profiles.fit(training.copy(), model="m", version="1", target="rate")) for _ in range(2)
    )
    assert first == second


def test_a_target_replaces_a_prediction_that_is_not_given(training: pd.DataFrame) -> None:
    fitted = profiles.fit(training, model="m", version="1", target="rate")
    assert fitted.prediction is not None
    assert fitted.target is not None
    assert fitted.prediction.moments == fitted.target.moments


def test_a_classifier_has_the_frequencies_of_its_classes(training: pd.DataFrame) -> None:
    labelled = training.assign(answer=np.where(training["rate"] > 12, "yes", "no"))
    fitted = profiles.fit(labelled, model="m", version="1", prediction="answer")
    assert fitted.prediction is not None
    assert fitted.prediction.kind == "category"
    assert set(fitted.prediction.values) == {"yes", "no"}


# ── stated outcomes for odd data ─────────────────────────────────────────────────────────────────────────


def test_an_empty_frame_is_refused() -> None:
    with pytest.raises(profiles.ProfileError, match="have no rows"):
        profiles.fit(pd.DataFrame({"x": []}), model="m", version="1")


def test_data_without_a_feature_are_refused() -> None:
    with pytest.raises(profiles.ProfileError, match="no feature is left"):
        profiles.fit(pd.DataFrame({"y": [1, 2]}), model="m", version="1", target="y")


def test_a_missing_column_is_refused_with_similar_names() -> None:
    with pytest.raises(profiles.ProfileError, match="target column 'z' is not in the data; columns: x and y"):
        profiles.fit(pd.DataFrame({"x": [1], "y": [2]}), model="m", version="1", target="z")


@pytest.mark.parametrize("values", [[None] * 100, [np.nan] * 100, ["N/A"] * 100])
def test_a_column_without_values_flags_every_value(values: list[object]) -> None:
    feature = fit_one(values)
    assert feature.kind == "numeric"
    assert feature.range is None
    assert feature.special == {"!missing": 100}
    assert feature.expected["missing"].rate == 1.0
    assert "has no value in training" in feature.notes[0]
    fitted = profiles.fit(pd.DataFrame({"x": values}), model="m", version="1")
    assert Checker(fitted)({"x": 3}).failed == {"out_of_range": ["x"]}


def test_a_constant_column_says_so() -> None:
    number, text = fit_one([4.0] * 50), fit_one(["a"] * 50)
    assert number.range == (4.0, 4.0)
    assert number.expected_bins() == {"[4,4]": 50}
    assert "constant" in number.notes[0]
    assert text.values == {"a": 50}
    assert "constant" in text.notes[0]


def test_a_category_with_100_000_values_keeps_the_most_frequent() -> None:
    values = [f"v{i}" for i in range(100_000)] + ["common"] * 50_000
    feature = fit_one(values, kind="category")
    assert len(feature.values) == 10_000
    assert next(iter(feature.values)) == "common"
    bins = feature.expected_bins()
    assert len(bins) == 50 + 2
    assert bins["!other"] == 9_999 - 49
    assert bins["!unseen"] == 90_001
    assert feature.expected["unseen"].rate > 0.5
    assert "rarer ones count as unseen" in feature.notes[0]


def test_a_mixed_column_has_the_type_of_most_rows_and_the_rest_is_of_a_wrong_type() -> None:
    feature = fit_one([1.5] * 80 + ["abc"] * 15 + [True] * 5)
    assert feature.kind == "numeric"
    assert feature.special["!type"] == 20
    assert fit_one(["a", "b"] * 40 + [1] * 10).values == {"a": 40, "b": 40, "1": 10}
    assert fit_one([{"a": 1}] * 30 + ["x"] * 70).special["!type"] == 30


def test_an_identifier_is_pointed_out() -> None:
    assert "identifier" in fit_one([f"id{i:06d}" for i in range(500)]).notes[0]


def test_infinities_are_counted_apart() -> None:
    feature = fit_one([1.0, 2.0, np.inf, -np.inf] * 25)
    assert feature.range == (1.0, 2.0)
    assert feature.special == {"!nonfinite": 50}
    assert feature.expected["not_finite"].rate == pytest.approx(0.5, abs=0.2)


def test_one_row_is_enough() -> None:
    assert fit_one([3]).expected["missing"].rows == 1


def test_a_column_twice_is_refused() -> None:
    with pytest.raises(profiles.ProfileError, match="'x' more than once"):
        profiles.fit(pd.DataFrame([[1, 2]], columns=["x", "x"]), model="m", version="1")


# ── overrides ────────────────────────────────────────────────────────────────────────────────────────────


def test_allowed_values_override_training() -> None:
    feature = fit_one(["a"] * 50 + ["b"] * 50, values=("a", "c"))
    assert feature.values == {"a": 50, "c": 0}
    assert feature.expected["unseen"].rate == pytest.approx(0.5, abs=0.2)


def test_a_given_range_clips_the_bins() -> None:
    feature = fit_one(list(range(100)), range=(10, 50))
    assert feature.range == (10, 50)
    assert feature.special == {"!below": 10, "!above": 49}
    assert sum(feature.counts) == 41


def test_a_range_of_another_kind_is_refused() -> None:
    with pytest.raises(
        profiles.ProfileError, match=r"x\.range: \['2018-01-01', '2018-02-01'\] are not numbers"
    ):
        fit_one(list(range(100)), range=("2018-01-01", "2018-02-01"))
    with pytest.raises(profiles.ProfileError, match=r"x\.range: \['low', 'high'\] are not dates"):
        fit_one(pd.date_range("2018-01-01", periods=100), range=("low", "high"))


def test_given_bins_are_used() -> None:
    assert fit_one([float(i) for i in range(100)], bins=(25.0, 50.0)).edges == (0, 25, 50, 99)


def test_a_number_can_be_a_category() -> None:
    assert fit_one([1.0, 2.0, np.nan] * 30, kind="category").values == {"1": 30, "2": 30}


def test_not_nullable_expects_no_missing_value() -> None:
    feature = fit_one([1.0, None] * 50, nullable=False)
    assert feature.expected["missing"].count == 0
    assert feature.expected["missing"].rows > 0


def test_a_hidden_feature_leaves_neither_values_nor_words() -> None:
    for values in (["secret-a", "secret-b"] * 50, [f"word{i} secret-c" for i in range(300)], [123456.5] * 50):
        fitted = profiles.fit(
            pd.DataFrame({"x": values}),
            model="m",
            version="1",
            config=Config(features={"x": FeatureConfig(hidden=True)}),
        )
        content = profiles.dumps(fitted)
        assert b"secret" not in content
        assert b"word1" not in content
        assert b"123456" not in content
        assert set(fitted.features["x"].expected) == {"missing", "absent"}
        checked = Checker(fitted)({"x": values[0]})
        assert checked.input_document() == {"bins": ["x=!hidden"]}


def test_a_users_own_spellings_of_a_missing_value_are_recognized() -> None:
    frame = pd.DataFrame({"x": ["?", "a", "NA", "b"] * 25})
    fitted = profiles.fit(frame, model="m", version="1", config=Config(na_values=("?",)))
    assert fitted.features["x"].special == {"!missing": 25}
    assert "NA" in fitted.features["x"].values
    assert fitted.na_values == ("?",)


# ── statistics ───────────────────────────────────────────────────────────────────────────────────────────


def test_dispersion_is_none_if_blocks_agree_and_high_if_one_block_fails_wholly() -> None:
    sizes = np.full(10, 100)
    assert estimate_dispersion(np.full(10, 5), sizes) == 0.0
    assert estimate_dispersion(np.array([100] + [0] * 9), sizes) == 0.99
    assert estimate_dispersion(np.zeros(10), sizes) == 0.0


def test_dispersion_finds_the_correlation_that_was_put_in() -> None:
    random = np.random.default_rng(3)
    rates = random.beta(0.2 * 19, 0.8 * 19, 4000)  # intraclass correlation 1 / (19 + 1)
    assert estimate_dispersion(random.binomial(200, rates), np.full(4000, 200)) == pytest.approx(
        0.05, abs=0.005
    )


@settings(max_examples=examples(60), deadline=None)
@given(
    st.lists(
        st.one_of(
            st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), st.dates(), st.binary()
        ),
        min_size=1,
        max_size=60,
    )
)
@example([np.inf])
@example([None, None, -np.inf])
@example([2**53 + 1])
def test_any_column_fits_and_its_profile_round_trips(values: list[object]) -> None:
    frame = pd.DataFrame({"x": pd.Series(values, dtype=object)})
    fitted = profiles.fit(frame, model="m", version="1")
    assert profiles.loads(profiles.dumps(fitted)) == fitted
    assert sum(fitted.features["x"].expected_bins().values()) == len(values)
    bins = fitted.features["x"].expected_bins()
    for value in values:
        label = Checker(fitted)({"x": value}).bins[0].partition("=")[2]
        assert label in bins


def test_an_id_is_the_hash_of_the_content(profile: profiles.Profile) -> None:
    assert len(profile.id) == 16
    assert profiles.io.with_content_hash(replace(profile, rows=1)).id != profile.id


@pytest.mark.parametrize(
    "values",
    [
        [0, 1.9e154],
        [1.7e308, 1e308, -1.7e308],
        [10**400, 1, 2],
        [("a", [1]), ("b", [2])],
        [[1], [2]],
        pd.Series([1, 2, None], dtype="Int64"),
        pd.Series([True, None, False], dtype="boolean"),
        pd.Series(["a", None], dtype="string"),
        pd.Series(["a", "b"], dtype="category"),
        pd.Series([[1], [2]], dtype=pd.ArrowDtype(pa.list_(pa.int64()))),
        pd.to_timedelta([1, 2], unit="h"),
        [1 + 2j, 3],
    ],
)
def test_odd_columns_have_an_outcome(values: object) -> None:
    frame = pd.DataFrame({"x": values})
    fitted = profiles.fit(frame, model="m", version="1")
    assert profiles.loads(profiles.dumps(fitted)) == fitted


def test_copies_of_a_row_are_held_out_together() -> None:
    texts = [f"word{i} other{i}" for i in range(500)]
    once = fit_one(texts, kind="text").expected["oov"].rate
    thrice = fit_one(texts * 3, kind="text").expected["oov"].rate
    assert thrice == pytest.approx(once, abs=0.05)


@pytest.mark.parametrize(("model", "version"), [("m", 3), ("", "1"), (None, "1"), ("m", "")])
def test_a_name_that_is_not_text_is_refused_at_once(model: object, version: object) -> None:
    with pytest.raises(profiles.ProfileError, match="expected a text that is not empty"):
        profiles.fit(pd.DataFrame({"x": [1]}), model=model, version=version)  # type: ignore[arg-type]
