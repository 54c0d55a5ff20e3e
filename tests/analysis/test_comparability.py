"""What is not part of a distribution is compared all the same, and nothing passes that was not compared."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pandas as pd
import pytest

from logging_lib import profile as profiles
from logging_lib.analysis import Comparison, Variable, compare
from logging_lib.analysis.columns import parse_texts
from logging_lib.analysis.page import render_page

ROWS = 600
NOW = datetime(2018, 2, 1, tzinfo=UTC)


def base(seed: int = 1, rows: int = ROWS) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "income": random.normal(50, 10, rows).round(2),
            "home": random.choice(["RENT", "OWN", "MORTGAGE"], rows),
            "joint": random.random(rows) < 0.3,
            "opened": pd.Timestamp("2018-01-01", tz="UTC")
            + pd.to_timedelta(random.integers(0, 10**7, rows), unit="s"),
        }
    )


def verdicts(comparison: Comparison) -> dict[str, str]:
    return {variable.title: variable.verdict for variable in comparison.variables}


def find(comparison: Comparison, title: str) -> Variable:
    return next(variable for variable in comparison.variables if variable.title == title)


def some(values: pd.Series, share: float, other: Any) -> pd.Series:
    """Return the values with the first ``share`` of them replaced."""
    changed = values.astype(object).copy()
    changed.iloc[: int(share * len(values))] = [other] * int(share * len(values))
    return changed


@pytest.mark.parametrize("first_is_empty", [False, True])
def test_a_sample_without_rows_is_not_comparable(first_is_empty: bool) -> None:
    """In text, JSON and HTML."""
    samples = (base().head(0), base()) if first_is_empty else (base(), base().head(0))
    comparison = compare(*samples, names=("then", "now"))
    assert not comparison.differing
    assert len(comparison.not_comparable) == 4
    assert comparison.conclude().startswith("not comparable: there is nothing to compare (then: ")
    document = json.loads(json.dumps(comparison.document(), allow_nan=False))
    assert document["not_comparable"] == ["home", "income", "joint", "opened"]
    assert {variable["verdict"] for variable in document["variables"]} == {"not comparable"}
    assert document["variables"][0]["notes"] == [f"{'then' if first_is_empty else 'now'} has no row"]
    page = render_page(comparison, title="then against now", now=NOW)
    assert "not comparable: there is nothing to compare" in page
    assert page.count('badge alerted">not comparable') == 8


def test_a_sample_without_rows_is_not_comparable_with_a_profile(
    training: pd.DataFrame, profile: profiles.Profile
) -> None:
    comparison = compare(profile, training.head(0))
    assert not comparison.differing
    assert not comparison.hypotheses
    assert {variable.verdict for variable in comparison.variables} == {"not comparable"}


WRONG: dict[str, tuple[str, Callable[[pd.Series], pd.Series]]] = {
    "numbers became words": ("income", lambda values: pd.Series(["much"] * len(values))),
    "numbers became texts": ("income", lambda values: values.astype(str)),
    "decimal commas": ("income", lambda values: values.astype(str).str.replace(".", ",")),
    "numbers became booleans": ("income", lambda values: values > 50),
    "numbers became lists": ("income", lambda values: pd.Series([[value] for value in values])),
    "a fifth is a word": ("income", lambda values: some(values, 0.2, "unknown")),
    "booleans became words": ("joint", lambda values: values.map({True: "yes", False: "no"})),
    "booleans became numbers": ("joint", lambda values: values.astype(int)),
    "a tenth of the booleans is 1": ("joint", lambda values: some(values, 0.1, 1)),
    "dates became numbers": ("opened", lambda values: values.astype("int64")),
    "dates became words": ("opened", lambda values: values.dt.strftime("%d %B")),
    "dates of another form": ("opened", lambda values: values.dt.strftime("%d/%m/%Y")),
}


@pytest.mark.parametrize("case", WRONG)
def test_values_of_another_type_differ(case: str) -> None:
    """As a share, like missing values; the note has examples. The same the other way round."""
    column, change = WRONG[case]
    changed = base(2).assign(**{column: change(base(2)[column])})
    comparison = compare(base(1), changed, names=("then", "now"))
    assert find(comparison, f"{column} (wrong type)").verdict.startswith("differs")
    assert any("now: " in note and " values are not a " in note for note in find(comparison, column).notes)
    assert {variable.name for variable in comparison.differing} == {column}
    assert column in {variable.name for variable in compare(changed, base(1)).differing}


def test_values_of_another_type_differ_from_a_profile(
    training: pd.DataFrame, profile: profiles.Profile
) -> None:
    served = training.assign(income=some(training["income"], 0.3, "much"))
    comparison = compare(profile, served, names=("training", "served"))
    assert verdicts(comparison)["income (wrong type)"].startswith("differs")
    assert not {name for name, verdict in verdicts(comparison).items() if verdict == "not comparable"}
    assert not compare(profile, training).differing


def test_the_same_share_of_another_type_does_not_differ() -> None:
    frames = [base(seed).assign(income=some(base(seed)["income"], 0.2, "unknown")) for seed in (1, 2)]
    assert not compare(*frames).differing
    assert verdicts(compare(*frames))["income (wrong type)"] == "no difference shown"


@pytest.mark.parametrize("value", [np.inf, -np.inf, 1e200])
def test_infinite_numbers_differ(value: float) -> None:
    infinite = base(2).assign(income=some(base(2)["income"], 0.3, value).astype(float))
    for samples in ((base(1), infinite), (infinite, base(1))):
        comparison = compare(*samples)
        assert verdicts(comparison)["income (not finite)"] == "differs, large"
        assert [variable.name for variable in comparison.differing] == ["income"]


def test_infinite_numbers_differ_from_a_profile(training: pd.DataFrame, profile: profiles.Profile) -> None:
    infinite = training.assign(income=some(training["income"], 0.3, np.inf).astype(float))
    assert verdicts(compare(profile, infinite))["income (not finite)"] == "differs, large"


def test_a_variable_without_a_value_in_any_sample_is_not_comparable() -> None:
    """Unless it is missing everywhere: then there is nothing to compare."""
    frames = [base(seed).assign(income="much", empty=None) for seed in (1, 2)]
    comparison = compare(*frames, kinds={"income": "numeric"})
    assert not comparison.differing
    assert [variable.title for variable in comparison.not_comparable] == ["income"]
    assert verdicts(comparison)["empty"] == "not compared"
    assert ", 1 could not be compared (" in comparison.conclude()
    only_empty = compare(pd.DataFrame({"x": [None] * 9}), pd.DataFrame({"x": [None] * 9}))
    assert only_empty.conclude().startswith("not comparable")


ENGLISH = ["red", "green", "blue", "house", "tree", "water", "fire", "stone"]
SPANISH = ["rojo", "verde", "azul", "casa", "arbol", "agua", "fuego", "piedra"]


def texts(words: list[str], seed: int, numbered: bool = True) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    titles = [
        " ".join(random.choice(words, 4)) + (f" {i + seed * ROWS}" if numbered else "") for i in range(ROWS)
    ]
    return pd.DataFrame({"title": titles})


def test_texts_in_another_language_differ() -> None:
    """They have as many words; a tenth of them is enough."""
    comparison = compare(texts(ENGLISH, 1), texts(SPANISH, 2))
    assert verdicts(comparison) == {
        "title (unknown words)": "differs, large",
        "title (words)": "no difference shown",
    }
    english, spanish = texts(ENGLISH, 2, numbered=False), texts(SPANISH, 2, numbered=False)
    mixed = pd.concat([english.iloc[60:], spanish.iloc[:60]])
    assert verdicts(compare(texts(ENGLISH, 1, numbered=False), mixed))["title (unknown words)"].startswith(
        "differs"
    )


@pytest.mark.parametrize("numbered", [True, False])
def test_texts_of_one_language_do_not_differ(numbered: bool) -> None:
    """Although each has a number that no other text has."""
    for seed in range(1, 6):
        assert not compare(texts(ENGLISH, seed, numbered), texts(ENGLISH, seed + 10, numbered)).differing


def test_fewer_unknown_words_are_no_difference() -> None:
    frame = texts(ENGLISH, 1)
    assert not compare(frame, frame.sample(frac=1, random_state=1)).differing


def test_texts_in_another_language_differ_from_a_profile() -> None:
    fitted = profiles.fit(texts(ENGLISH, 1), model="m", version="1")
    assert not compare(fitted, texts(ENGLISH, 2)).differing
    assert verdicts(compare(fitted, texts(SPANISH, 2)))["title (unknown words)"] == "differs, large"
    longer = texts(ENGLISH, 2).assign(title=lambda frame: frame["title"] + " " + frame["title"])
    assert verdicts(compare(fitted, longer))["title (words)"] == "differs, large"


IDENTIFIERS: dict[str, Callable[[int], str]] = {
    "codes": lambda number: f"customer-{number}",
    "hexadecimal": lambda number: f"{number * 7919:032x}",
    "URLs": lambda number: f"https://example.org/item/{number}",
}


@pytest.mark.parametrize("form", IDENTIFIERS)
@pytest.mark.parametrize("uses", [1, 5])
def test_identifiers_that_are_all_new_differ(form: str, uses: int) -> None:
    """Whether each is there once or several times."""
    first, second, known = (
        pd.DataFrame({"id": [IDENTIFIERS[form](start + i // uses) for i in range(ROWS)]})
        for start in (0, ROWS, 0)
    )
    comparison = compare(first, second)
    (identifiers,) = comparison.differing
    assert (identifiers.title, identifiers.verdict) == ("id (unknown values)", "differs, 100.0% new values")
    assert not compare(first, known.sample(frac=1, random_state=1)).differing
    assert compare(base(1).join(first), base(2).join(second), exclude=["id"]).differing == ()
    with pytest.raises(ValueError, match="exclude: no sample has the column 'ids'"):
        compare(first, second, exclude=["ids"])


def test_categories_that_are_all_new_differ() -> None:
    """No test says so where each value is there once."""
    first, second = (pd.DataFrame({"code": [f"{letter}{i}" for i in range(40)]}) for letter in "ab")
    assert verdicts(compare(first, second)) == {"code": "differs, 100.0% new values"}


def test_names_that_only_some_rows_share_do_not_differ() -> None:
    """A tenth of one sample's names is new to the other, as a tenth is there once in either."""
    random = np.random.default_rng(1)
    frames = [pd.DataFrame({"name": [f"n{int(x)}" for x in random.zipf(1.6, 2000)]}) for _ in range(2)]
    assert not compare(*frames).differing


def test_a_file_without_types_has_numbers_among_texts() -> None:
    frame = pd.DataFrame({"amount": ["1.5", "?", "2"], "title": ["2001", "Solaris", "Alien"], "n": [1, 2, 3]})
    parsed = parse_texts(frame)
    assert parsed["amount"].tolist() == [1.5, "?", 2]
    assert parsed["title"].tolist() == ["2001", "Solaris", "Alien"]
