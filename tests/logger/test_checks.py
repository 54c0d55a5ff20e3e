"""Each check, each bin, and that nothing which a model was given is lost."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import date
from decimal import Decimal
from enum import Enum
from typing import Any

import numpy as np
import orjson
import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from logging_lib import profile as profiles
from logging_lib.logger.checks import (
    MAX_LISTED_FEATURES,
    MAX_LISTED_TEXT,
    Checker,
    CheckResult,
    type_all,
)
from logging_lib.logger.rows import InputsError
from logging_lib.logger.values import to_jsonable
from logging_lib.schema import tokens
from tests.strategies import Hostile, examples, may_share_a_text
from tests.strategies import inputs as any_inputs


@pytest.fixture(scope="session")
def check(profile: profiles.Profile) -> Checker:
    return Checker(profile)


def bin_of(checked: CheckResult, feature: str) -> str:
    (token,) = [token for token in checked.bins if token.startswith(f"{feature}=")]
    return token.partition("=")[2]


def test_good_inputs_fail_no_check(check: Checker, inputs: dict[str, Any]) -> None:
    checked = check(inputs)
    assert checked.failed == {}
    assert checked.input["numeric"] == {"income": 64000.5, "count": 2}
    assert checked.input["category"] == {"home": "RENT"}
    assert checked.input["text"] == {"title": "registered nurse"}
    assert checked.input["boolean"] == {"joint": True}
    assert checked.input["date"] == {"opened": "2011-05-01T00:00:00Z"}
    assert len(checked.bins) == 6
    assert bin_of(checked, "home") == "RENT"
    assert bin_of(checked, "title") == "len:[2,3)"


@pytest.mark.parametrize(
    "missing", [None, math.nan, np.float64("nan"), pd.NA, pd.NaT, Decimal("NaN"), "", "  ", "N/A", "NaN", "-"]
)
@pytest.mark.parametrize("feature", ["income", "home", "title", "joint", "opened"])
def test_a_missing_value_is_found_in_any_spelling(
    check: Checker, inputs: dict[str, Any], feature: str, missing: Any
) -> None:
    checked = check(inputs | {feature: missing})
    assert checked.failed == {"missing": [feature]}
    assert bin_of(checked, feature) == "!missing"


def test_an_na_spelling_is_kept_unchanged(check: Checker, inputs: dict[str, Any]) -> None:
    assert check(inputs | {"income": "N/A"}).input["other"] == {"income": "N/A"}
    assert check(inputs | {"home": "N/A"}).input["category"] == {"home": "N/A"}


def test_absent_is_not_missing(check: Checker, inputs: dict[str, Any]) -> None:
    del inputs["income"]
    checked = check(inputs)
    assert checked.failed == {"absent": ["income"]}
    assert bin_of(checked, "income") == "!absent"


def test_unseen_names_the_value(check: Checker, inputs: dict[str, Any]) -> None:
    checked = check(inputs | {"home": "Rent=%!"})
    assert checked.failed == {"unseen": ["home"]}
    assert checked.unseen_values == ["home=Rent%3D%25!"]
    assert bin_of(checked, "home") == "!unseen"


def test_out_of_range_on_both_sides(check: Checker, inputs: dict[str, Any]) -> None:
    for value, label in ((-1, "!below"), (10**12, "!above"), (10**400, "!above")):
        checked = check(inputs | {"income": value})
        assert checked.failed == {"out_of_range": ["income"]}
        assert bin_of(checked, "income") == label


def test_infinity_is_not_finite(check: Checker, inputs: dict[str, Any]) -> None:
    checked = check(inputs | {"income": -math.inf})
    assert checked.failed == {"not_finite": ["income"]}
    assert checked.input["other"] == {"income": "-Infinity"}
    assert bin_of(checked, "income") == "!nonfinite"


@pytest.mark.parametrize(
    ("feature", "value"),
    [("income", "12"), ("income", True), ("income", [1]), ("home", ["RENT"]), ("title", 3), ("joint", 1),
     ("joint", "yes"), ("opened", "soon"), ("opened", 5)],
)  # fmt: skip
def test_a_wrong_type_is_kept_and_named(
    check: Checker, inputs: dict[str, Any], feature: str, value: Any
) -> None:
    checked = check(inputs | {feature: value})
    assert checked.failed == {"wrong_type": [feature]}
    assert checked.input["other"] == {feature: value}
    assert bin_of(checked, feature) == "!type"
    (token,) = checked.wrong_type_values
    assert tokens.split(token) == (feature, orjson.dumps(value).decode())
    assert checked.check_document() == {"wrong_type": [feature], "wrong_type_values": [token]}


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("missing", '"missing"'),
        ("12,5", '"12,5"'),
        ("1=2%", '"1=2%"'),
        ("true", '"true"'),
        ({"value": 9.5, "currency": "EUR"}, '{"value":9.5,"currency":"EUR"}'),
        ([], "[]"),
        ((12.5,), "[12.5]"),
        (date(2018, 1, 2), '"2018-01-02T00:00:00Z"'),
        ("x" * 10**6, '"' + "x" * 38 + "…"),
        ("é\n\x1b" * 30, '"' + "é\\n\\u001b" * 4 + "é\\…"),
        (list(range(10**5)), "[0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,…"),
        ({str(n): n for n in range(2000)}, '{"0":0,"1":1,"2":2,"3":3,"4":4,"5":5,"6…'),
        (Hostile(), '"<Hostile: not readable: RuntimeError>"'),
    ],
)
def test_a_value_of_a_wrong_type_is_listed_short_and_on_one_line(
    check: Checker, inputs: dict[str, Any], value: Any, shown: str
) -> None:
    (token,) = check(inputs | {"income": value}).wrong_type_values
    assert tokens.split(token) == ("income", shown)
    assert len(shown) <= MAX_LISTED_TEXT


def test_listed_values_are_never_hashed_and_bounded() -> None:
    names = [f"f{number}" for number in range(MAX_LISTED_FEATURES + 10)]
    fitted = profiles.fit(pd.DataFrame({name: [1.0, 2.0] * 20 for name in names}), model="m", version="1")
    checked = Checker(fitted)(dict.fromkeys(names, "%=!" * 100))
    assert len(checked.failed["wrong_type"]) == MAX_LISTED_FEATURES + 10
    assert len(checked.wrong_type_values) == MAX_LISTED_FEATURES
    assert not any("%~" in token for token in checked.wrong_type_values)


def test_unexpected_inputs_are_typed_by_their_value(check: Checker, inputs: dict[str, Any]) -> None:
    checked = check(inputs | {"new": 3.5, "flag": False, 7: "x", "list": [1, {"a": None}]})
    assert checked.failed == {"unexpected": ["new", "flag", "7", "list"]}
    assert checked.input["numeric"]["new"] == 3.5
    assert checked.input["boolean"]["flag"] is False
    assert checked.input["category"]["7"] == "x"
    assert checked.input["other"]["list"] == [1, {"a": None}]


def test_texts_with_too_many_unknown_words(check: Checker, inputs: dict[str, Any]) -> None:
    half = check(inputs | {"title": "registered enfermera"})
    assert "oov" not in half.failed
    assert half.oov_words == ["title=enfermera"]
    assert (half.tokens, half.oov_tokens) == (2, 1)
    assert bin_of(half, "title") == "len:[2,3)"
    unknown_text = check(inputs | {"title": "Enfermera Titulada"})
    assert unknown_text.failed == {"oov": ["title"]}
    assert bin_of(unknown_text, "title") == "len:[2,3)"


def test_a_text_longer_or_shorter_than_any_in_training_has_a_bin_of_its_own(
    check: Checker, inputs: dict[str, Any]
) -> None:
    for title, label in (("nurse " * 3, "len:[3,20000]"), ("nurse", "len:[1,2)"), ("?!", "len:[0,1)")):
        assert bin_of(check(inputs | {"title": title}), "title") == label
    assert check(inputs | {"title": "nurse " * 30_000}).tokens == 20_000 // len("nurse ") + 1


def test_a_text_of_an_earlier_profile_has_the_bins_of_unknown_words(
    profile: profiles.Profile, inputs: dict[str, Any]
) -> None:
    title = replace(profile.features["title"], edges=(), counts=(), new_words=None)
    earlier = Checker(replace(profile, features={**profile.features, "title": title}))
    assert bin_of(earlier(inputs), "title") == "oov:[0,0.25)"
    assert bin_of(earlier(inputs | {"title": "registered enfermera"}), "title") == "oov:[0.5,0.75)"
    assert bin_of(earlier(inputs | {"title": "Enfermera Titulada"}), "title") == "oov:[0.75,1]"


def test_numpy_and_pandas_scalars_count_as_their_values(check: Checker, inputs: dict[str, Any]) -> None:
    checked = check(
        inputs
        | {
            "income": np.float32(50000),
            "count": np.int64(3),
            "home": np.str_("OWN"),
            "joint": np.bool_(False),
        }
        | {"opened": pd.Timestamp("2011-05-01", tz="UTC")}
    )
    assert checked.failed == {}
    assert type(checked.input["numeric"]["income"]) is float
    assert checked.input["date"] == {"opened": "2011-05-01T00:00:00Z"}


def test_a_whole_float_is_the_integer_category() -> None:
    frame = pd.DataFrame({"term": ["36", "60"] * 50})
    fitted = profiles.fit(frame, model="m", version="1")
    assert Checker(fitted)({"term": 36.0}).failed == {}
    assert Checker(fitted)({"term": 37}).failed == {"unseen": ["term"]}


@settings(max_examples=examples(300), deadline=None)
@example({None: None, float("nan"): None})
@given(any_inputs)
def test_any_inputs_are_checked_and_none_is_lost(any_inputs: dict[Any, Any]) -> None:
    for check in (CHECK_ANY, type_all):
        try:
            checked = check(any_inputs)
        except InputsError:
            assert may_share_a_text(any_inputs)
            continue
        assert all(checked.input.values()), "a kind without inputs is left out"
        names = {name for names in checked.input.values() for name in names}
        assert all(key in names for key in any_inputs if type(key) is str)
        assert sum(map(len, checked.input.values())) <= len(any_inputs)
        assert len({token.partition("=")[0] for token in checked.bins}) == len(checked.bins)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(0, 100), min_size=5, max_size=50, unique=True), st.floats(0, 100))
def test_a_number_falls_into_the_bin_that_its_label_says(training: list[float], value: float) -> None:
    fitted = profiles.fit(pd.DataFrame({"x": training}), model="m", version="1")
    label = Checker(fitted)({"x": value}).bins[0].partition("=")[2]
    low, high = min(training), max(training)
    if value < low:
        assert label == "!below"
    elif value > high:
        assert label == "!above"
    else:
        left, right = (float(edge) for edge in label[1:-1].split(","))
        assert left <= value
        assert value < right or (label[-1] == "]" and value <= right)


CHECK_ANY = Checker(
    profiles.fit(
        pd.DataFrame({"a": [1.0, 2.0] * 30, "": ["x", "y"] * 30, "!missing": [True, False] * 30}),
        model="m",
        version="1",
    )
)


def test_enums_count_as_their_values(check: Checker, inputs: dict[str, Any]) -> None:
    class Home(str, Enum):  # noqa: UP042 - what services have
        RENT = "RENT"

    class Plain(Enum):
        OWN = "OWN"

    for value in (Home.RENT, Plain.OWN):
        checked = check(inputs | {"home": value})
        assert checked.failed == {}
        assert checked.input["category"] == {"home": value.value}


def test_integer_column_names_are_the_features_of_their_texts() -> None:
    fitted = profiles.fit(pd.DataFrame(np.arange(100.0).reshape(50, 2)), model="m", version="1")
    checked = Checker(fitted)({0: 4.0, 1: 5.0})
    assert checked.failed == {}
    assert checked.input == {"numeric": {"0": 4.0, "1": 5.0}}


def test_a_value_that_cannot_be_printed_does_not_lose_the_others() -> None:
    assert to_jsonable({"a": [Hostile(), 1]}) == {"a": ["<Hostile: not readable: RuntimeError>", 1]}
