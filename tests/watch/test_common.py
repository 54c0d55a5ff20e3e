"""What the watches' scripts share, and what the cases of the watches do not show."""

from __future__ import annotations

import json
import random
import re
from collections import Counter
from math import lgamma
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import gammaincc

from logging_lib._util import content
from logging_lib.watch.errors import WatchError
from logging_lib.watch.loading import parse_watch
from logging_lib.watch.scripts import SCRIPTS
from logging_lib.watch.scripts.common import (
    build_result,
    gamma_tail,
    log_gamma,
    measure_effect,
    name_version,
    rate_severity,
)
from logging_lib.watch.scripts.formatting import (
    clip,
    format_amount,
    format_chance,
    format_example,
    format_number,
    format_percent,
    format_span,
    format_time,
    format_window,
)
from tests.watch.payloads import BETWEEN, context, models, profiles, terms

FOLDER = content.path("watchers")
FUNCTION = re.compile(
    r"^(?:double|long|int|List|Map|String|boolean|def|void) (\w+)\((?:[^\n]*\}|(?:[^\n]*\n)+?\})$", re.M
)


@given(st.floats(0.5, 200), st.floats(0, 600))
def test_the_upper_gamma_function_is_that_of_scipy(a: float, x: float) -> None:
    expected = float(gammaincc(a, x))
    assert gamma_tail(a, x) == pytest.approx(expected, rel=1e-6, abs=1e-12)


@given(st.floats(0.01, 1e6))
def test_log_gamma_is_that_of_the_library(x: float) -> None:
    assert log_gamma(x) == pytest.approx(lgamma(x), rel=1e-11, abs=1e-11)


def test_functions_of_one_name_are_the_same_in_all_scripts() -> None:
    """Painless has no imports: what several scripts need stands in each."""
    known: dict[str, tuple[str, str]] = {}
    shared = 0
    for script in sorted((FOLDER / "scripts").glob("*.painless")):
        for match in FUNCTION.finditer(script.read_text("utf-8")):
            file, text = known.setdefault(match[1], (script.name, match[0]))
            assert match[0] == text, f"{match[1]} differs in {script.name} and {file}"
            shared += file != script.name
    assert shared > 30


def test_every_script_has_its_twin() -> None:
    assert {script.stem for script in (FOLDER / "scripts").glob("*.painless")} == set(SCRIPTS)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (0.01234, "0.0123"),
        (-1.5, "-1.50"),
        (1234.5, "1,235"),
        (2e15, "1e15"),
        (99.999, "100.00"),
    ],
)
def test_numbers_are_formatted_for_people(value: float, text: str) -> None:
    assert format_number(value) == text


@pytest.mark.parametrize(
    ("rate", "text"),
    [
        (0, "0 %"),
        (0.0004, "< 0.1 %"),
        (0.0005, "0.1 %"),
        (0.10638, "10.6 %"),
        (0.9994, "99.9 %"),
        (0.9996, "> 99.9 %"),
        (1, "100 %"),
        (12.345, "1,234.5 %"),
    ],
)
def test_a_percentage_has_one_decimal_or_says_that_it_is_close_to_all_or_nothing(
    rate: float, text: str
) -> None:
    assert format_percent(rate) == text


def test_time_spans_are_formatted_for_people() -> None:
    spans = ["59 s", "10 min", "2 h", "2 days 8 h", "26 days 22 h", "3 days"]
    assert [format_span(s) for s in (59, 600, 7200, 200_000, 2_325_600, 259_200)] == spans
    windows = ["15 min", "1 h", "24 h", "7 days", "1 day"]
    assert [format_window(w) for w in ("15m", "1h", "24h", "7d", "1d")] == windows


def test_a_time_is_in_utc_to_the_second_and_any_other_text_stays() -> None:
    assert format_time("2018-02-02T10:36:23.133Z") == "2018-02-02 10:36:23 UTC"
    assert format_time("2018-02-02T10:36:23+02:00") == "2018-02-02T10:36:23+02:00"
    assert format_time("yesterday") == "yesterday"


def test_counts_have_their_thousands_divided_and_a_plural() -> None:
    assert [format_amount(n, "event") for n in (0, 1, 1151)] == ["0 events", "1 event", "1,151 events"]


@pytest.mark.parametrize(
    ("tail", "text"),
    [(4.3e-24, "p = 4e-24"), (9.6e-5, "p = 1e-4"), (1e-300, "p = 1e-300"), (0.0, "p < 1e-300")],
)
def test_a_probability_has_one_digit(tail: float, text: str) -> None:
    assert format_chance(tail) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("RENT", "RENT (1,151)"),
        ("caf\u00e9", "caf\u00e9 (1,151)"),
        ("RENT ", '"RENT " (1,151, trailing blank)'),
        (" RENT", '" RENT" (1,151, leading blank)'),
        ("RENT\u00a0", r'"RENT\u00a0" (1,151, non-breaking blank)'),
        ("RE\u200bNT", r'"RE\u200bNT" (1,151, invisible character)'),
        ("cafe\u0301", r'"cafe\u0301" (1,151, decomposed letters, NFD)'),
        ("a  b\t", r'"a  b\u0009" (1,151, double blank, invisible character)'),
        ("", " (1,151)"),
    ],
)
def test_an_example_shows_its_invisible_characters(value: str, text: str) -> None:
    assert format_example(value, 1151) == text


def test_a_long_name_is_cut_in_a_subject() -> None:
    assert clip("n" * 40) == "n" * 40
    assert clip("\U0001f600" * 41) == "\U0001f600" * 39 + "…"


def test_a_version_that_is_a_number_has_a_v() -> None:
    named = [name_version("loans", version) for version in ("3", "2018.01", "v3", "champion", "")]
    assert named == ["loans v3", "loans v2018.01", "loans v3", "loans champion", "loans"]


def test_the_gravest_finding_comes_first() -> None:
    """By severity, then by effect; those of a user's own script, which may have neither, stay in their order."""
    graded = [("low", 9), ("high", 2), ("critical", 1), ("high", 5), (None, None), ("grave", "much")]
    found = build_result([{"severity": severity, "effect": effect} for severity, effect in graded])[
        "findings"
    ]
    assert [(finding["severity"], finding["effect"]) for finding in found] == [
        ("critical", 1),
        ("high", 5),
        ("high", 2),
        ("low", 9),
        (None, None),
        ("grave", "much"),
    ]


@pytest.mark.parametrize(
    ("least", "effect", "share", "severity"),
    [
        ("low", 1.0, None, "low"),
        ("low", 1.9, 0.49, "low"),
        ("low", 2.0, None, "medium"),
        ("low", 1.0, 0.5, "medium"),
        ("low", 5.0, 0.1, "high"),
        ("low", 5.0, 0.5, "critical"),
        ("medium", 1.0, 0.0, "medium"),
        ("high", 5.0, 1.0, "critical"),
        ("critical", 1000.0, None, "critical"),
    ],
)
def test_the_severity_is_the_watchs_raised_by_effect_and_share(
    least: str, effect: float, share: float | None, severity: str
) -> None:
    assert rate_severity(least, effect, share) == severity


def test_an_effect_is_at_least_one_and_bounded() -> None:
    values = [(0.06, 0.02), (0.01, 0.02), (9e9, 1), (3, 0)]
    assert [round(measure_effect(*pair), 9) for pair in values] == [3, 1, 1000, 1]


METADATA = {
    "windows": ["6h"],
    "measures": ["psi", "rare"],
    "min_events": 50,
    "false_alarms_per_model_month": 0.05,
    "ticks_per_month": 720,
    "min_psi": 0.2,
    "rare_share": 0.05,
    "min_rise": 0.05,
    "dispersion": 0.002,
}
SHARES = {"A": 0.5, "B": 0.3, "C": 0.15, "D": 0.04, "E": 0.01}


def drift(observed: dict[str, float], documents: int, **more: Any) -> dict[str, Any]:
    weight = sum(observed.values())
    tokens = [{"key": f"home={name}", "weight": {"value": n}} for name, n in observed.items()]
    bucket = {"doc_count": documents, "weight": {"value": weight}, "inputs": terms(tokens), **BETWEEN}
    expected = {
        "features": 5,
        "bins": {"home": {name: round(4000 * share) for name, share in SHARES.items()}},
        "order": {},
    }
    payload = {
        "window": models({"windows": {"buckets": {"6h": bucket}}}),
        "profiles": profiles(expected, **more),
    }
    return SCRIPTS["ml-distribution"](context("input-drift", METADATA, payload), {})


def test_drift_is_quiet_if_nothing_changed() -> None:
    """Five hundred windows of 50 to 1000 events of the training's own shares: not one alarm."""
    chance = random.Random(5)
    for _ in range(500):
        n = chance.randint(50, 1000)
        drawn = Counter(chance.choices(list(SHARES), list(SHARES.values()), k=n))
        assert drift({name: float(count) for name, count in drawn.items()}, n)["count"] == 0


def test_a_rare_category_that_became_common_is_named() -> None:
    (finding,) = drift({"A": 50.0, "B": 25.0, "C": 10.0, "E": 15.0}, 100)["findings"]
    assert finding["what"] == 'home "E" 15.0 % (expected 1.0 %), rare in training'
    assert 'ml.input.bins: "home=E"' in finding["query"]
    assert finding["effect"] == pytest.approx(0.14 / 0.05)
    assert (finding["share"], finding["leading"], finding["severity"]) == (0.15, "E", "medium")


def test_sampled_events_count_as_many_as_were_seen() -> None:
    """A hundred times the weight is no more evidence."""
    observed = {"A": 3000.0, "B": 1500.0, "C": 500.0, "E": 500.0}
    assert drift(observed, 5500)["count"] == 1
    assert drift(observed, 55)["count"] == 0


def test_a_window_with_too_few_events_says_so() -> None:
    found = drift({"E": 40.0}, 40)
    assert found["count"] == 0
    assert found["notes"] == [
        {"model": 'm"', "version": "1", "reason": "40 events in 6 h, at least 50 are needed"}
    ]


def test_a_profile_overrides_thresholds_and_names_owners() -> None:
    observed = {"A": 120.0, "B": 220.0, "C": 40.0, "E": 8.0}
    (finding,) = drift(observed, 388, owners={"email": "owner@example.org"})["findings"]
    assert finding["owner_email"] == "owner@example.org"
    assert drift(observed, 388, overrides={"input-drift": {"min_psi": 2}})["count"] == 0
    assert drift(observed, 388, overrides={"another": {"min_psi": 2}})["count"] == 1


@pytest.mark.parametrize(
    ("watch", "change", "message"),
    [
        ("input-drift", {"measures": ["psy"]}, "$.metadata.measures: ['psy']: list some of psi"),
        ("input-drift", {"min_severity": "huge"}, "$.metadata.min_severity: write one of low, medium"),
        ("input-drift", {"windows": ["6h", "1h"]}, "$.metadata.windows[1]: '1h' is not longer"),
        ("input-drift", {"windows": []}, "$.metadata.windows: give a list of durations"),
        ("latency-regression", {"max_ms": 0}, "$.metadata.max_ms: 0: write milliseconds"),
        ("prediction-failures", {"usual_rate": 0}, "$.metadata.usual_rate: 0"),
        ("model-version", {"rule": "lively"}, "write live, age or changes"),
        ("resources", {"groups": [{"by": "services"}]}, "$.metadata.groups"),
        ("vanished-feature", {"checks": []}, "$.metadata.checks: []"),
        ("quality-regression", {"email_to": "nobody"}, "$.metadata.email_to"),
    ],
)
def test_a_wrong_setting_is_found_when_the_watch_is_loaded(
    watch: str, change: dict[str, Any], message: str
) -> None:
    document = json.loads((FOLDER / f"{watch}.json").read_text("utf-8"))
    document["metadata"] |= change
    with pytest.raises(WatchError) as caught:
        parse_watch(document, id=watch)
    assert message in str(caught.value)


def test_a_setting_that_is_missing_is_named() -> None:
    document = json.loads((FOLDER / "input-drift.json").read_text("utf-8"))
    del document["metadata"]["min_events"]
    with pytest.raises(WatchError, match="'min_events' is missing, and ml-distribution needs it"):
        parse_watch(document, id="input-drift")
