"""Natural variation learned from served traffic: anchored to training, robust, no wider than is allowed."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import pytest

from logging_lib import profile as profiles
from logging_lib.analysis.served import encode_served
from logging_lib.profile.learning import MIN_DAYS, Learned, LearningError, Period, compute_limit, learn
from logging_lib.profile.model import Variation
from logging_lib.store.history import PREDICTION, TIME, PredictionHistory

START = pd.Timestamp("2026-01-05", tz="UTC")
DAY = 86_400.0
HOURLY = 50


@cache
def fit() -> profiles.Profile:
    """Fit without times, so that the variation is the default."""
    random = np.random.default_rng(1)
    x = random.normal(size=20_000)
    home = random.choice(["RENT", "OWN"], len(x))
    frame = pd.DataFrame({"x": x, "home": home, "rate": 2 * x})
    return profiles.fit(frame, model="m", version="1", prediction="rate")


def serve(
    days: int = 14, *, moves: float = 0.1, lasting: float = 0.0, faulty: dict[int, float] | None = None
) -> Any:
    """Serve days whose mean moves by itself, by a lasting shift, and on some days by a fault."""
    random = np.random.default_rng(2)
    n = days * 24 * HOURLY
    day = np.arange(n) // (24 * HOURLY)
    mean = random.normal(0, moves, days)[day] + lasting
    for number, shift in (faulty or {}).items():
        mean[day == number] += shift
    x = random.normal(size=n) + mean
    frame = pd.DataFrame(
        {
            "x": x,
            "home": random.choice(["RENT", "OWN"], n),
            TIME: (START + pd.to_timedelta(np.arange(n) * 3600 / HOURLY, unit="s")).strftime(
                "%Y-%m-%dT%H:%M:%SZ"
            ),
            PREDICTION: 2 * x,
        }
    )
    return PredictionHistory(frame, {}, {}, is_truncated=False, weights=np.ones(n))


def learned_from(served: Any, before: Variation | None = None, **options: Any) -> Learned:
    profile = fit()
    assert profile.variation is not None
    seconds, features = encode_served(profile, served)
    return learn(before or profile.variation, seconds, features, **options)


def limit(variation: Variation, measure: str = "shift", feature: str = "x") -> float:
    """The distance from which on a day of 1,200 events is a finding."""
    return compute_limit(variation, measure, feature, "24h", 1 / 1200 + 1 / 20_000, variation.until)


def test_quiet_traffic_narrows_the_default() -> None:
    learned = learned_from(serve())
    variation = learned.variation
    assert variation.source == "learned"
    assert (variation.since[:10], variation.until[:10]) == ("2026-01-05", "2026-01-18")
    assert fit().variation is not None
    assert 0.1 < limit(variation) < 0.6 < limit(fit().variation)
    assert {(change.feature, change.measure) for change in learned.changes} >= {
        ("x", "shift"),
        ("home", "psi"),
    }
    # What was not learned keeps its limit, at the new levels.
    assert limit(variation, "missing", "new") == pytest.approx(
        limit(fit().variation, "missing", "new"), rel=0.01
    )


def test_traffic_that_moves_more_has_a_wider_limit() -> None:
    assert limit(learned_from(serve(moves=0.3)).variation) > 1.5 * limit(learned_from(serve()).variation)


def test_a_fault_of_a_day_widens_nothing() -> None:
    clean, faulty = learned_from(serve()), learned_from(serve(faulty={5: 2.0}))
    assert limit(faulty.variation) < 1.2 * limit(clean.variation)
    assert any("x: " in note and "2026-01-10" in note for note in faulty.notes)
    assert not any("2026-01-10" in note for note in clean.notes)


def test_a_lasting_shift_stays_a_shift() -> None:
    """It is not variation, however long it lasts: a day with it is still beyond the limit."""
    learned = learned_from(serve(lasting=0.8))
    assert limit(learned.variation) < 0.75
    assert limit(learned.variation) < 1.6 * limit(learned_from(serve()).variation)


def test_learning_skips_windows_with_an_open_incident() -> None:
    shifted = dict.fromkeys(range(4, 9), 1.5)  # too many days for a fault that is found without it
    start = START.timestamp()
    incident = Period("x", start + 4 * DAY, start + 9 * DAY)
    without, with_it = (
        learned_from(serve(faulty=shifted)),
        learned_from(serve(faulty=shifted), incidents=[incident]),
    )
    clean = limit(learned_from(serve()).variation)
    assert limit(with_it.variation) < 1.5 * clean < limit(without.variation)
    assert any("36% of the time" in note for note in with_it.notes)
    of_another = learned_from(serve(faulty=shifted), incidents=[incident._replace(feature="home")])
    assert limit(of_another.variation) == pytest.approx(limit(without.variation), rel=0.05)


def test_an_incident_that_lasts_throughout_leaves_the_earlier_variation() -> None:
    start = START.timestamp()
    learned = learned_from(serve(), incidents=[Period("x", start, start + 30 * DAY)])
    assert fit().variation is not None
    assert limit(learned.variation) == pytest.approx(limit(fit().variation), rel=0.01)
    assert any("nothing is left" in note for note in learned.notes)


def test_learning_widens_limits_by_no_more_than_the_allowed_amount_per_month() -> None:
    """Half again at once, and a week later only as much as a week is of a month."""
    narrow = learned_from(serve(moves=0.02)).variation
    month_ago = replace(narrow, until="2025-12-01T00:00:00Z")
    wide = learned_from(serve(moves=0.6), before=month_ago)
    assert limit(wide.variation) == pytest.approx(1.5 * limit(narrow), rel=0.03)
    assert next(change for change in wide.changes if change[:2] == ("x", "shift")).is_capped
    assert any("varies more" in note for note in wide.notes)
    week_ago = replace(narrow, until="2026-01-12T00:00:00Z")
    week_later = learned_from(serve(moves=0.6), before=week_ago).variation
    assert limit(week_later) == pytest.approx(1.5 ** (7 / 30) * limit(narrow), rel=0.03)


def test_sampled_traffic_counts_by_its_weight() -> None:
    """Rows that each stand for ten are as many rows, not ten times as many."""
    served = serve()
    sampled = replace(served, weights=np.full(len(served.frame), 10.0))
    assert limit(learned_from(sampled).variation) == pytest.approx(limit(learned_from(served).variation))


def test_too_little_traffic_says_what_was_found() -> None:
    with pytest.raises(LearningError, match=rf"on {MIN_DAYS - 1} days: at least {MIN_DAYS} days are needed"):
        learned_from(serve(MIN_DAYS - 1))
    assert learned_from(serve(MIN_DAYS)).variation.source == "learned"


def test_a_profile_stores_the_learned_variation() -> None:
    profile = replace(fit(), variation=learned_from(serve()).variation)
    sealed = profiles.io.with_content_hash(profile)
    assert profiles.loads(profiles.dumps(sealed)) == sealed
