"""Live beside shadow, request by request: which share of the answers differs, and in which slice."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from logging_lib.analysis import compare
from logging_lib.analysis.paired_answers import PairedAnswers, compare_pairs
from logging_lib.analysis.shadow import compare_answers

REQUESTS = 1000


def requests(seed: int = 1) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "channel": random.choice(["mobile", "web", "branch"], REQUESTS, p=[0.48, 0.42, 0.1]),
            "home": random.choice(["RENT", "OWN"], REQUESTS),
            "live": random.normal(100, 20, REQUESTS),
            "label": random.choice(["good", "bad", "ugly"], REQUESTS),
        }
    )


def slices(frame: pd.DataFrame) -> list[list[str]]:
    return [
        [f"channel={row.channel}", f"home={row.home}", f"labels.request={i}"]
        for i, row in enumerate(frame.itertuples())
    ]


def pair(frame: pd.DataFrame, shadow: Any, live: str = "live") -> PairedAnswers:
    dtype = float if live == "live" else object
    return compare_pairs(
        "ml.prediction", frame[live].to_numpy(dtype), np.array(shadow, dtype), slices=slices(frame)
    )


def decide(paired: PairedAnswers) -> str:
    """The verdict in a comparison whose samples otherwise agree."""
    frame = pd.DataFrame({"x": np.arange(50.0), "ml.prediction": np.arange(50.0)})
    comparison = compare(frame, frame, paired=[paired.variable()])
    (variable,) = [each for each in comparison.variables if each.name == "ml.prediction"]
    json.dumps(comparison.document(), allow_nan=False)
    return variable.verdict


def test_one_channel_that_is_always_higher_is_named() -> None:
    """Although the distributions of all answers do not differ enough to be found."""
    frame = requests()
    mobile = frame["channel"] == "mobile"
    paired = pair(frame, np.where(mobile, 1.05 * frame["live"], frame["live"]))
    assert paired.differing == mobile.sum()
    assert paired.direction is not None
    assert (paired.direction.name, paired.direction.p < 1e-50) == ("wilcoxon", True)
    (where,) = paired.slices
    assert (where.name, where.requests, where.differing, where.elsewhere) == (
        "channel=mobile", mobile.sum(), 1.0, 0.0,
    )  # fmt: skip
    assert where.factor == pytest.approx(1.05)
    assert where.describe() == (
        f"the answers differ in channel=mobile: 100.0 % of its {mobile.sum()} requests, 0 % elsewhere; "
        "there the shadow's is 1.05 times the live one"
    )
    assert decide(paired) == "differs, medium"
    moved = frame.assign(live=np.where(mobile, 1.05 * frame["live"], frame["live"]))
    assert not compare(frame[["live"]], moved[["live"]]).differing


def test_answers_that_differ_both_ways_differ() -> None:
    """No direction, and so no p-value of a signed test, says so."""
    frame = requests()
    random = np.random.default_rng(2)
    paired = pair(frame, frame["live"] + random.choice([-5.0, 0.0, 5.0], REQUESTS))
    assert paired.direction is not None
    assert paired.direction.p > 0.05
    assert paired.slices == ()
    assert decide(paired) == "differs, large"


def test_equal_answers_and_a_few_other_ones_do_not_differ() -> None:
    frame = requests()
    assert decide(pair(frame, frame["live"])) == "no difference shown"
    rounded = frame["live"].round(1)
    assert decide(pair(frame, rounded)) == "no difference shown"
    few = frame["live"].where(frame.index >= 5, 0.0)
    assert decide(pair(frame, few)) == "no difference shown"


def test_two_slices_are_named_one_after_the_other() -> None:
    frame = requests()
    hit = frame["channel"].isin(["mobile", "branch"])
    paired = pair(frame, np.where(hit, frame["live"] + 10, frame["live"]))
    assert [where.name for where in paired.slices] == ["channel=mobile", "channel=branch"]


def test_classes_that_differ_in_one_slice() -> None:
    """Two classes have McNemar's exact test, more of them Bowker's."""
    frame = requests()
    renting = frame["home"] == "RENT"
    paired = pair(frame, np.where(renting & (frame["label"] == "bad"), "good", frame["label"]), "label")
    changed = int((renting & (frame["label"] == "bad")).sum())
    assert paired.differing == changed
    assert paired.direction is not None
    assert paired.direction.name == "mcnemar"
    assert paired.direction.p == pytest.approx(stats.binomtest(changed, changed).pvalue)
    assert [where.name for where in paired.slices] == ["home=RENT"]
    assert decide(paired) == "differs, medium"
    random = np.random.default_rng(3)
    shuffled = pair(frame, random.permutation(frame["label"]), "label")
    assert shuffled.direction is not None
    assert (shuffled.direction.name, shuffled.direction.p > 0.01) == ("bowker", True)
    assert decide(shuffled) == "differs, large"


def test_bowkers_test_is_mcnemars_without_its_exact_distribution() -> None:
    table = {("a", "b"): 30, ("b", "a"): 12, ("a", "c"): 9, ("c", "a"): 21, ("b", "c"): 5, ("c", "b"): 5}
    live, shadow = (
        np.array([pair[side] for pair, count in table.items() for _ in range(count)], dtype=object)
        for side in (0, 1)
    )
    direction = compare_pairs("x", live, shadow).direction
    assert direction is not None
    statistic = 18**2 / 42 + 12**2 / 30
    assert direction.statistic == pytest.approx(statistic)
    assert direction.p == pytest.approx(stats.chi2.sf(statistic, 3))


def test_requests_that_one_model_alone_answers_differ() -> None:
    frame = requests()
    pairs = pd.DataFrame({"live": frame["live"], "shadow": frame["live"].where(frame.index >= 100)})
    shadow = compare_answers(pairs, live="1", shadow="2")
    (paired,) = shadow.paired
    assert (shadow.requests, paired.requests, paired.differing) == (900, 1000, 100)
    assert decide(paired) == "differs, medium"


def test_scores_are_paired_beside_the_classes() -> None:
    frame = requests()
    score = np.random.default_rng(4).random(REQUESTS)
    pairs = (
        frame[["label"]]
        .rename(columns={"label": "live"})
        .assign(shadow=frame["label"], live_score=score, shadow_score=score * 1.2, slices=slices(frame))
    )
    prediction, scores = compare_answers(pairs, live="1", shadow="2").paired
    assert (prediction.name, prediction.differing) == ("ml.prediction", 0)
    assert scores.name == "ml.prediction.score"
    assert decide(prediction) == "no difference shown"
    assert scores.share > 0.9


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), st.sampled_from("ab")), min_size=1, max_size=80),
    st.booleans(),
)
def test_any_answers_can_be_paired(rows: list[tuple[int, int, str]], numbers: bool) -> None:
    live, shadow = (
        np.array([row[side] if numbers else str(row[side]) for row in rows], float if numbers else object)
        for side in (0, 1)
    )
    paired = compare_pairs("x", live, shadow, slices=[[row[2]] for row in rows])
    assert 0 <= paired.share <= 1
    assert (paired.direction is None) == (paired.differing == 0)
    json.dumps(paired.document(), allow_nan=False)
