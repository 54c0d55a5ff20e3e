"""Our figures beside Evidently's and NannyML's on the same columns, which ``benchmarks.peer_values`` recorded."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from benchmarks.peer_values import columns
from logging_lib.analysis import Variable, compare

GOLDEN: dict[str, Any] = json.loads((Path(__file__).parent / "golden" / "peers.json").read_text("utf-8"))
NUMBERS = ("normal", "wide", "skewed", "whole")
CATEGORIES = ("home", "state")


@pytest.fixture(scope="module")
def ours() -> dict[str, Variable]:
    return {one.name: one for one in compare(columns(0), columns(1)).variables}


def test_results_agree_with_nannyml(ours: dict[str, Variable]) -> None:
    """Version 0.13.1: D, the Wasserstein distance, chi-squared and the Jensen-Shannon distance are the same."""
    theirs = GOLDEN["nannyml"]
    for name in NUMBERS:
        assert ours[name].tests[0].statistic == pytest.approx(theirs[name]["kolmogorov_smirnov"], abs=1e-9)
        assert ours[name].distances["wasserstein"] == pytest.approx(theirs[name]["wasserstein"], rel=1e-9)
    for name in CATEGORIES:
        assert ours[name].tests[0].statistic == pytest.approx(theirs[name]["chi2"], rel=1e-9)
        assert ours[name].distances["jensen_shannon"] == pytest.approx(
            theirs[name]["jensen_shannon"], rel=1e-9
        )


def test_results_agree_with_evidently(ours: dict[str, Variable]) -> None:
    """Version 0.7.23. Its Kolmogorov-Smirnov p is exact where ours is asymptotic; its Wasserstein distance is
    divided by the reference's standard deviation; its Jensen-Shannon distance has natural logarithms; its t-test
    takes equal variances. Its chi-squared test takes the reference's shares as known, without error, and is
    therefore left out: of these samples it says p = 9e-6 of ``state``, which did not change."""
    theirs = GOLDEN["evidently"]
    reference = columns(0)
    for name in NUMBERS:
        tests = {test.name: test for test in ours[name].tests}
        assert tests["ks"].p == pytest.approx(theirs["ks"][name], rel=0.11)
        normed = ours[name].distances["wasserstein"] / reference[name].std(ddof=0)
        assert normed == pytest.approx(theirs["wasserstein"][name], rel=1e-3)
        assert tests["welch"].p == pytest.approx(theirs["t_test"][name], rel=2e-3)
    for name in CATEGORIES:
        natural = ours[name].distances["jensen_shannon"] * math.sqrt(math.log(2))
        assert natural == pytest.approx(theirs["jensenshannon"][name], rel=1e-3)
        assert ours[name].distances["psi"] == pytest.approx(theirs["psi"][name], rel=0.02)
    assert ours["state"].tests[0].p > 0.05 > theirs["chisquare"]["state"]
