"""Training/serving skew: what differs, how often, and why."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from logging_lib.analysis import skew_causes
from logging_lib.analysis.skew import find_skew

ROWS = 400


@pytest.fixture(scope="module")
def reference() -> pd.DataFrame:
    random = np.random.default_rng(3)
    names = np.array(
        ["José Núñez", "Zoë Müller", "François", "Ada Lovelace", "Grace Hopper", "Søren"], dtype=object
    )
    cities = np.array(["New York", "Los Angeles", "San Francisco", "Boston"], dtype=object)
    return pd.DataFrame(
        {
            "@event.id": [f"e{i}" for i in range(ROWS)],
            "income": np.round(random.lognormal(11, 0.5, ROWS), 2),
            "rate": random.normal(12.3456, 3, ROWS),
            "age": random.integers(18, 90, ROWS).astype(float),
            "opened": pd.date_range("2018-01-01 08:30", periods=ROWS, freq="7h", tz="UTC"),
            "name": random.choice(names, ROWS),
            "city": random.choice(cities, ROWS),
            "balance": random.normal(0, 1000, ROWS),
            "status": random.choice(np.array(["RENT", "OWN", "MORTGAGE"], dtype=object), ROWS),
        }
    )


def _mixed(values: pd.Series, changed: list[Any], share: float, seed: int = 1) -> list[Any]:
    """The values, with a share of them changed; some others are missing in both."""
    hit = np.random.default_rng(seed).random(len(values)) < share
    return [b if h else a for a, b, h in zip(values.astype(object), changed, hit, strict=True)]


PLANTED: dict[str, tuple[str, Callable[[pd.Series], list[Any]]]] = {
    "unit (cents)": ("income", lambda s: [v * 100 for v in s]),
    "unit (monthly)": ("income", lambda s: [v / 12 for v in s]),
    "rounding": ("rate", lambda s: [round(v, 1) for v in s]),
    "time zone": ("opened", lambda s: [v.tz_convert("America/New_York").isoformat()[:19] + "Z" for v in s]),
    "NA spelling": ("status", lambda s: ["N/A"] * len(s)),
    "encoding": ("name", lambda s: [v.encode().decode("latin-1") for v in s]),
    "join miss": ("balance", lambda s: [None] * len(s)),
    "case": ("status", lambda s: [v.title() for v in s]),
    "whitespace": ("city", lambda s: [f"{v} " for v in s]),
    "default filled in": ("age", lambda s: [0.0] * len(s)),
    "swapped columns": ("income", lambda s: []),
    "stale value": ("rate", lambda s: [s.iloc[max(i - 1, 0)] for i in range(len(s))]),
    "type": ("income", lambda s: [f"{v:,.2f}" for v in s]),
    "capped": ("balance", lambda s: [min(v, 500.0) for v in s]),
    "renamed categories": ("status", lambda s: [{"RENT": "1", "OWN": "2", "MORTGAGE": "3"}[v] for v in s]),
    "day and month swapped": ("opened", lambda s: [_american(v) for v in s]),
    "transformation": ("income", lambda s: [math.log(v) for v in s]),
    "sentinel": ("age", lambda s: [-999.0] * len(s)),
}
NAMES = {"unit (cents)": "unit", "unit (monthly)": "unit", "sentinel": "NA spelling"}


def _american(moment: pd.Timestamp) -> str:
    if moment.day > 12:
        return moment.isoformat()
    return moment.replace(day=moment.month, month=moment.day).isoformat()


@pytest.mark.parametrize("share", [1.0, 0.3])
def test_the_planted_causes_are_named(reference: pd.DataFrame, share: float) -> None:
    """Eighteen causes, planted one by one, in all rows and in a third of them: all of them are named."""
    wrong = {}
    for cause, (feature, change) in PLANTED.items():
        logged = reference.copy()
        recomputed = reference.copy()
        if cause == "swapped columns":
            hit = np.random.default_rng(1).random(ROWS) < share
            logged["income"] = np.where(hit, reference["balance"], reference["income"])
            logged["balance"] = np.where(hit, reference["income"], reference["balance"])
        else:
            values = _mixed(reference[feature], change(reference[feature]), share)
            logged[feature] = pd.Series(values, dtype=object if cause in ("NA spelling", "type") else None)
        if cause in ("NA spelling", "sentinel"):
            hit = np.array(
                [a is not b and a != b for a, b in zip(logged[feature], reference[feature], strict=True)]
            )
            recomputed[feature] = recomputed[feature].astype(object).where(~hit, None)
        found = find_skew(logged, recomputed, key="@event.id")
        worst = next(one for one in found.features if one.name == feature)
        assert worst.cause is not None
        assert not worst.allowed
        if worst.cause.name != NAMES.get(cause, cause):
            wrong[cause] = worst.cause
        others = [one for one in found.features if one.name != feature and one.mismatched]
        assert {one.name for one in others} <= ({"balance"} if cause == "swapped columns" else set()), cause
    assert not wrong


def test_a_cause_is_named_only_if_it_explains_nearly_all_rows(reference: pd.DataFrame) -> None:
    """Of half the values in cents and half without any, neither is the cause; of 19 in 20 one is."""
    mixed = reference["income"].where(reference.index % 2 == 0) * 100
    (worst,) = find_skew(reference.assign(income=mixed), reference, key="@event.id").skewed
    assert worst.cause is not None
    assert (worst.cause.name, worst.cause.share) == ("unexplained", 0.0)
    assert worst.cause.detail == "no rule explains 95% of the rows that differ"
    mostly = (reference["income"] * 100).where(reference.index % 40 != 0)
    (worst,) = find_skew(reference.assign(income=mostly), reference, key="@event.id").skewed
    assert worst.cause is not None
    assert (worst.cause.name, worst.cause.share) == ("unit", 0.975)


def test_a_lost_join_is_one_cause_of_its_columns(reference: pd.DataFrame) -> None:
    """Also of one that has mostly one value, of one that had gaps anyway, and of one that was filled in."""
    random = np.random.default_rng(5)
    lost = random.random(ROWS) < 0.2
    joined = {
        "kind": random.choice(["A", "B", "C"], ROWS, p=[0.86, 0.1, 0.04]),
        "score": np.where(random.random(ROWS) < 0.3, np.nan, random.normal(size=ROWS)),
        "limit": random.normal(5000, 100, ROWS),
        "months": random.integers(1, 60, ROWS).astype(float),
    }
    recomputed = reference.assign(**joined)
    logged = recomputed.copy()
    for name in ("kind", "score", "limit"):
        logged[name] = logged[name].where(~lost)
    logged["months"] = logged["months"].where(~lost, 0.0)
    logged["age"] = logged["age"] * 12
    found = {one.name: one.cause for one in find_skew(logged, recomputed, key="@event.id").skewed}
    assert found.keys() == {*joined, "age"}
    for name in joined:
        cause = found[name]
        assert cause is not None
        assert (cause.name, set(cause.features)) == ("join miss", set(joined))
        assert cause.detail.startswith(f"in the same {lost.sum()} rows as ")
    assert found["age"] is not None
    assert (found["age"].name, found["age"].features) == ("unit", ())


def test_vectors_are_compared_number_by_number(reference: pd.DataFrame) -> None:
    """A log has lists, and a file arrays of single precision."""
    random = np.random.default_rng(6)
    vectors = random.normal(size=(ROWS, 8))
    logged = reference.assign(embedding=vectors.tolist())
    single = reference.assign(embedding=list(vectors.astype("float32")))
    assert find_skew(logged, single, key="@event.id").ok
    moved = reference.assign(embedding=list(vectors + (np.arange(ROWS) < 40)[:, None]))
    (worst,) = find_skew(logged, moved, key="@event.id").skewed
    assert (worst.name, worst.mismatched) == ("embedding", 40)
    assert worst.cause is not None
    assert worst.cause.name == "unexplained"


def test_a_default_is_not_named_if_values_vary(reference: pd.DataFrame) -> None:
    lost = np.arange(ROWS) < 100
    kind = np.where(np.arange(ROWS) % 100 < 86, "A", "B")
    logged = reference.assign(kind=pd.Series(kind).where(~lost))
    (worst,) = find_skew(logged, reference.assign(kind=kind), key="@event.id").skewed
    assert worst.cause is not None
    assert (worst.cause.name, worst.cause.share) == ("join miss", 1.0)


def test_equal_features_have_no_skew(reference: pd.DataFrame) -> None:
    """In another order of rows and columns, single precision, and with nulls in both."""
    other = reference.sample(frac=1, random_state=1)[reference.columns[::-1]]
    other["balance"] = other["balance"].astype("float32")
    other.loc[other.index[:7], "age"] = np.nan
    logged = reference.assign(age=reference["age"].astype(object))
    logged.loc[other.index[:7], "age"] = None
    found = find_skew(logged, other, key="@event.id")
    assert found.ok
    assert found.joined == ROWS
    assert all(one.mismatched == 0 and one.cause is None for one in found.features)


def test_the_rate_its_interval_and_examples_are_reported(reference: pd.DataFrame) -> None:
    logged = reference.assign(age=reference["age"].where(reference.index >= 8, reference["age"] + 1))
    found = find_skew(logged, reference, key="@event.id", max_rate=0.05)
    age = found.features[0]
    assert (age.name, age.mismatched, age.rate, age.allowed) == ("age", 8, 0.02, True)
    assert age.low < 0.02 < age.high
    assert age.examples[0] == ("e0", reference["age"][0] + 1, reference["age"][0])
    assert found.ok
    assert find_skew(logged, reference, key="@event.id", max_rate=0.01).skewed[0].name == "age"


def test_a_tolerance_may_be_that_of_one_feature(reference: pd.DataFrame) -> None:
    logged = reference.assign(rate=reference["rate"] * 1.001, income=reference["income"] * 1.001)
    found = find_skew(logged, reference, key="@event.id", tolerances={"rate": 0.01})
    assert [one.name for one in found.skewed] == ["income"]
    assert not find_skew(logged, reference, key="@event.id", tolerance=0.01).skewed
    assert not find_skew(logged[["@event.id", "rate"]], reference, key="@event.id", absolute=0.5).skewed


def test_events_without_a_partner_are_a_join_miss(reference: pd.DataFrame) -> None:
    found = find_skew(reference, reference.iloc[:300], key="@event.id")
    assert (found.joined, found.only_logged, found.ok) == (300, 100, False)
    assert not found.skewed


def test_errors_name_the_columns(reference: pd.DataFrame) -> None:
    with pytest.raises(
        ValueError, match=r"the recomputed features have no column 'id' to join on; there are @event.id"
    ):
        find_skew(reference, reference, key="@event.id", recomputed_key="id")
    with pytest.raises(
        ValueError, match=r"no logged event has a recomputed row: @event.id and @event.id are 'e0'"
    ):
        find_skew(reference, reference.assign(**{"@event.id": "x"}), key="@event.id")
    with pytest.raises(ValueError, match="no feature is in both"):
        find_skew(reference[["@event.id", "age"]], reference[["@event.id", "rate"]], key="@event.id")


VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(-(10**6), 10**6), st.floats(), st.text(max_size=8), st.just("N/A"),
    st.datetimes().map(lambda moment: moment.isoformat()),
)  # fmt: skip


@given(st.lists(st.tuples(VALUES, VALUES), min_size=1, max_size=12))
@example([(0, 0), (0, 3.4028235677973366e38)])  # more than single precision holds
@example([(0, 0), (0, 1.797693134862316e302)])  # more than a double holds, in steps of 1e-6
def test_any_values_can_be_searched_for_a_cause(pairs: list[tuple[Any, Any]]) -> None:
    """Whatever the values are, a cause is named and its share is one."""
    a, b = (np.array([*column, None], dtype=object)[:-1] for column in zip(*pairs, strict=True))
    made = skew_causes.likeliest(skew_causes.SkewedFeature("x", a, b, np.ones(len(a), dtype=bool), {"y": b}))
    assert 0 <= made.share <= 1
    assert made.name
