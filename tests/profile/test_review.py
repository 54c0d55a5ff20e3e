"""Columns that are not what they seem: which kind they get, what is noted, and what the logger makes of them."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from logging_lib import profile as profiles
from logging_lib.logger.checks import Checker
from logging_lib.profile.coerce import NA_VALUES
from logging_lib.profile.config import Config, FeatureConfig
from logging_lib.profile.model import Profile
from logging_lib.profile.readers import read_table
from logging_lib.profile.separators import sniff_separator
from logging_lib.profile.spellings import find_date_formats, find_number_spelling, read_as
from tests.strategies import examples

ROWS = 600
RANDOM = np.random.default_rng(4)
START = datetime(2026, 1, 1, tzinfo=UTC)
MIXED = RANDOM.permutation(ROWS)
NUMBERS = RANDOM.random(ROWS) * 5000


def fit(values: object, **config: Any) -> Profile:
    features = {"x": FeatureConfig(**config)} if config else {}
    return profiles.fit(
        pd.DataFrame({"x": values, "other": 1}), model="m", version="1", config=Config(features=features)
    )


def from_csv(folder: Path, values: list[str]) -> pd.DataFrame:
    (folder / "t.csv").write_text("x,other\n" + "".join(f'"{value}",1\n' for value in values))
    return read_table(folder / "t.csv", na_values=NA_VALUES).frame


COMMAS = [f"{value:,.2f}" for value in NUMBERS]
MONEY = [f"${value:.2f}" for value in NUMBERS]
PERCENT = [f"{value / 100:.1f}%" for value in NUMBERS]
DECIMAL_COMMA = [f"{value:.2f}".replace(".", ",") for value in NUMBERS]
AMERICAN = [(START + timedelta(days=int(day))).strftime("%m/%d/%Y %H:%M") for day in MIXED]
GERMAN = [(START + timedelta(days=int(day))).strftime("%d.%m.%Y") for day in MIXED]
PADDED = [f"{i * 613 % 97:05d}" for i in range(ROWS)]
YES_NO = ["Yes" if i % 3 else "No" for i in range(ROWS)]


@pytest.mark.parametrize("way", ["csv", "frame"])
@pytest.mark.parametrize(
    ("values", "kind", "says"),
    [
        (COMMAS, "text", "numbers with a thousands separator"),
        (MONEY, "text", "numbers with a currency"),
        (PERCENT, "text", "numbers with a percent sign"),
        (DECIMAL_COMMA, "text", "numbers with a decimal comma"),
        (AMERICAN, "text", "dates that are not ISO 8601"),
        (GERMAN, "text", "set kind: date"),
        (PADDED, "category", "codes with leading zeros, such as '00000'"),
        (YES_NO, "category", "set kind: boolean"),
        ([f"{i}" if i % 4 else f"A/5 {i}" for i in MIXED], "text", "numbers in 75 % of the rows and texts"),
        ([f"k-{i}x" for i in MIXED], "text", "identifier"),
    ],
)
def test_texts_that_look_like_something_else_stay_texts_and_are_noted(
    tmp_path: Path, way: str, values: list[str], kind: str, says: str
) -> None:
    fitted = fit(from_csv(tmp_path, values)["x"] if way == "csv" else values)
    feature = fitted.features["x"]
    assert feature.kind == kind
    assert any(says in note for note in feature.notes), feature.notes
    assert len([note for note in feature.notes if "identifier" in note]) <= 1
    assert "wrong_type" not in Checker(fitted)({"x": values[0], "other": 1}).failed


@pytest.mark.parametrize(
    ("values", "kind", "served"),
    [
        (COMMAS, "numeric", round(NUMBERS[0], 2)),
        (MONEY, "numeric", round(NUMBERS[0], 2)),
        (PERCENT, "numeric", round(NUMBERS[0] / 100, 1)),
        (DECIMAL_COMMA, "numeric", round(NUMBERS[0], 2)),
        (AMERICAN, "date", "2026-05-05T00:00:00Z"),
        (GERMAN, "date", START),
        (YES_NO, "boolean", True),
        (["12.5", "13", "?"] * 200, "numeric", 12.5),
    ],
)
def test_the_configured_kind_reads_them_and_texts_are_then_wrong(
    values: list[str], kind: Any, served: object
) -> None:
    fitted = fit(values, kind=kind)
    assert fitted.features["x"].special.get("!type") is None
    assert Checker(fitted)({"x": served, "other": 1}).failed == {}
    assert Checker(fitted)({"x": values[0], "other": 1}).failed == {"wrong_type": ["x"]}


def test_days_and_months_that_cannot_be_distinguished_are_refused() -> None:
    values = [f"0{1 + i % 9}/0{1 + i % 7}/2018" for i in range(200)]
    assert "write them as 2018-01-31" in fit(values).features["x"].notes[0]
    with pytest.raises(profiles.ProfileError, match=r"features\.x\.kind: date: day and month"):
        fit(values, kind="date")


@pytest.mark.parametrize("odd", ["?", "n.a.", "Missing", "unknown", "#DIV/0!"])
@pytest.mark.parametrize("way", ["csv", "frame"])
def test_a_placeholder_among_numbers_counts_as_missing_in_training_and_in_the_service(
    tmp_path: Path, odd: str, way: str
) -> None:
    values = [odd if i % 15 == 0 else round(float(number), 2) for i, number in enumerate(NUMBERS)]
    column = from_csv(tmp_path, [str(value) for value in values])["x"] if way == "csv" else values
    fitted = fit(pd.Series(column, dtype=object))
    feature = fitted.features["x"]
    assert (feature.kind, feature.special) == ("numeric", {"!missing": 40})
    assert feature.expected["missing"].rate == pytest.approx(1 / 15)
    assert feature.notes[0] == f"has {odd!r} in 6.7 % of the rows, which counts as missing"
    check = Checker(fitted)
    assert [check({"x": value, "other": 1}).failed for value in (odd, None)] == [{"missing": ["x"]}] * 2


def test_a_placeholder_stays_a_category_and_is_missing_in_a_text() -> None:
    frame = pd.DataFrame({
        "number": ["?" if i % 9 == 0 else float(i % 400) for i in range(ROWS)],
        "class": ["?" if i % 4 == 0 else "a" for i in range(ROWS)],
        "text": ["?" if i % 5 == 0 else f"word{i % 7} of some text {i % 150}" for i in range(ROWS)],
    })  # fmt: skip
    fitted = profiles.fit(frame, model="m", version="1")
    assert fitted.features["class"].values == {"a": 450, "?": 150}
    assert fitted.features["text"].special == {"!missing": 120}
    check = Checker(fitted)
    failed: dict[str, int] = {}
    for row in frame.to_dict("records"):
        for name, names in check(row).failed.items():
            for feature in names:
                failed[f"{name} {feature}"] = failed.get(f"{name} {feature}", 0) + 1
    assert failed == {"missing number": 67, "missing text": 120}


def test_a_users_own_spellings_replace_the_default_ones() -> None:
    frame = pd.DataFrame({"x": ["?" if i % 9 == 0 else float(i) for i in MIXED]})
    fitted = profiles.fit(frame, model="m", version="1", config=Config(na_values=("",)))
    assert fitted.na_values == ("",)
    assert fitted.features["x"].special == {"!type": 67}
    assert "is not numeric in 11 % of the rows, such as '?'" in fitted.features["x"].notes[0]


def test_a_hidden_column_is_not_quoted() -> None:
    values = ["missing" if i % 9 == 0 else float(i % 400) for i in range(ROWS)]
    fitted = fit(values, hidden=True)
    assert fitted.features["x"].notes == ()
    assert Checker(fitted)({"x": "missing", "other": 1}).failed == {"missing": ["x"]}
    assert fitted.features["x"].special["!missing"] == 67


@pytest.mark.parametrize(
    ("values", "says"),
    [
        (range(5000, 5000 + ROWS), "only rises from row to row"),
        (range(5000, 5000 - ROWS, -1), "only falls from row to row"),
        ([START + timedelta(minutes=i) for i in range(ROWS)], "the time of the request?"),
        ([(START + timedelta(hours=i)).date().isoformat() for i in range(ROWS)], "Give it with --time"),
        (MIXED + 10_000, "another integer in each row"),
        ([i % 2 for i in range(ROWS)], "holds only 0 and 1"),
        ([-999 if i % 20 == 0 else i % 37 for i in range(ROWS)], "is -999 in 5 % of the rows"),
        ([99999.0 if i % 20 == 0 else i % 37 / 7 for i in range(ROWS)], "is 99999 in 5 % of the rows"),
        ([{"a": i} for i in range(ROWS)], "lists or objects, which are not watched"),
        (["abc" if i % 50 == 0 else float(i % 300) for i in range(ROWS)], "such as 'abc'"),
    ],
)
def test_odd_values_are_noted(values: object, says: str) -> None:
    notes = fit(values).features["x"].notes
    assert any(says in note for note in notes), notes


@pytest.mark.parametrize(
    "values",
    [
        NUMBERS,
        np.sort(NUMBERS.round(-2)),  # sorted, but with many of a kind
        RANDOM.integers(0, 10**7, ROWS),  # all different, as chance has it
        RANDOM.integers(1900, 2020, ROWS),
        [-9.0 if i % 20 == 0 else i % 37 - 20.0 for i in range(ROWS)],  # among others of its size
        ["a", "b", "c"] * 200,
        ["true", "false"] * 300,
        [f"{i % 12}" for i in range(ROWS)],  # a category whose number is its text
        ["US", "EUR", "GBP"] * 200,
    ],
)
def test_ordinary_columns_have_no_notes(values: object) -> None:
    assert fit(values).features["x"].notes == ()


def test_a_value_of_one_row_is_not_quoted() -> None:
    secrets = [f"{i * 997 % 89999 + 10000}-K" if i % 7 else f"Doe-{i} Jane{i}" for i in range(ROWS)]
    mixed = [float(i % 90) if i else "Jane Doe" for i in range(ROWS)]
    money = [f"${i * 997 % 89999 + 10000}.17" for i in range(ROWS)]
    frame = pd.DataFrame({"a": secrets, "b": mixed, "c": money, "d": AMERICAN})
    fitted = profiles.fit(frame, model="m", version="1")
    notes = " ".join(note for feature in fitted.features.values() for note in feature.notes)
    assert not any(str(value) in notes for value in (*secrets, "Jane Doe", *money, *AMERICAN))
    assert "such as 'xxxx xxx'" in notes
    assert "such as '$9" in notes


def test_integers_with_the_name_of_a_code_are_noted() -> None:
    frame = pd.DataFrame({"store_code": RANDOM.integers(10, 20, ROWS), "paid": RANDOM.integers(10, 20, ROWS)})
    fitted = profiles.fit(frame, model="m", version="1")
    assert "set kind: category" in fitted.features["store_code"].notes[0]
    assert fitted.features["paid"].notes == ()


def test_with_times_a_date_that_rises_is_expected_to() -> None:
    frame = pd.DataFrame({
        "at": [START + timedelta(hours=i) for i in range(ROWS)],
        "id": range(ROWS),
        "opened": [START + timedelta(hours=i - 9) for i in range(ROWS)],
    })  # fmt: skip
    shuffled = frame.sample(frac=1, random_state=1)
    fitted = profiles.fit(shuffled, model="m", version="1", config=Config(time="at"))
    assert "only rises" in fitted.features["id"].notes[0]
    assert fitted.features["opened"].notes == ()


# ── reading a CSV ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["1", "2.5", ""], [1.0, 2.5, None]),
        (["02139", "10001", "00100"], ["02139", "10001", "00100"]),
        (["02139", "", "10001"], ["02139", None, "10001"]),
        (["0", "10", "200"], [0, 10, 200]),
        (["2", "4", "more", "2"], ["2", "4", "more", "2"]),
        (["2", "4", "?", "2"], [2.0, 4.0, "?", 2.0]),
        (["True", "false", "?"], [True, False, "?"]),
        (["TRUE", "false", ""], [True, False, None]),
        (["yes", "no", "?"], ["yes", "no", "?"]),
        (["1,234", "5"], ["1,234", "5"]),
        (["5", "7", "  "], [5.0, 7.0, None]),
    ],
)
def test_a_column_of_a_csv_has_the_type_of_its_values(
    tmp_path: Path, values: list[str], expected: list[object]
) -> None:
    column = from_csv(tmp_path, values)["x"]
    assert [None if pd.isna(value) else value for value in column] == expected


def test_one_code_with_a_zero_among_numbers_of_all_lengths_is_a_number(tmp_path: Path) -> None:
    column = from_csv(tmp_path, ["007", *(str(i) for i in range(1, 300))])["x"]
    assert column.dtype.kind == "i"


@settings(max_examples=examples(40), deadline=None)
@given(
    st.lists(st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=8), min_size=1, max_size=30),
    st.sampled_from(",;|\t"),
)
def test_a_separator_is_found_or_refused_whatever_the_values_hold(values: list[str], separator: str) -> None:
    quoted = ['"' + value.replace('"', '""') + '"' for value in values]
    lines = [f"first{separator}second\n", *(f"{value}{separator}{value}\n" for value in quoted)]
    assert sniff_separator(lines, "t.csv") == separator


@settings(max_examples=examples(60), deadline=None)
@given(
    st.floats(-1e9, 1e9).map(lambda number: round(number, 2)),
    st.sampled_from(["{:,.2f}", "${:,.2f}", "{:.2f}%"]),
)
def test_a_formatted_number_is_read_as_it_was(number: float, form: str) -> None:
    text = form.format(number)
    spelling = find_number_spelling([text])
    assert spelling is not None
    assert spelling.read(text) == number
    swapped = text.translate(str.maketrans(".,", ",."))
    spelling = find_number_spelling([swapped], usual_mark=",")
    assert spelling is not None
    assert spelling.read(swapped) == number


@settings(max_examples=examples(60), deadline=None)
@given(
    st.lists(st.one_of(st.text(max_size=12), st.integers(), st.none()), max_size=20),
    st.sampled_from(["numeric", "date", "boolean"]),
)
def test_reading_as_a_kind_takes_any_texts(values: list[Any], kind: Any) -> None:
    with contextlib.suppress(ValueError):  # day and month
        assert len(read_as(kind, values)) == len(values)
    texts = [value for value in values if isinstance(value, str)]
    find_date_formats(texts)
    find_number_spelling(texts)
