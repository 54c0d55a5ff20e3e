"""The traffic of training: by the hour of the week, and its longest gap."""

from __future__ import annotations

import numpy as np
import pytest

from logging_lib import profile as profiles
from logging_lib.profile.model import Rhythm
from logging_lib.profile.variation import RowStates, measure_variation

MONDAY = 1_767_571_200.0  # 2026-01-05 00:00 UTC
DAY, HOUR = 86_400.0, 3600.0


def measure(seconds: np.ndarray) -> Rhythm:
    bins = np.random.default_rng(1).integers(0, 2, len(seconds))
    variation = measure_variation(seconds, [RowStates("x", bins, 2, is_ordered=False)])
    assert variation is not None
    assert variation.rhythm is not None
    return variation.rhythm


def office_hours(days: int, *, closed: tuple[int, ...] = ()) -> np.ndarray:
    """One event a minute from 8 to 18 h on working days."""
    minutes = np.arange(600) * 60.0 + 8 * HOUR
    return np.concatenate(
        [MONDAY + day * DAY + minutes for day in range(days) if day % 7 < 5 and day not in closed]
    )


def test_nights_and_weekends_do_not_count_as_gaps() -> None:
    """Nothing is expected in them, however long they are."""
    rhythm = measure(office_hours(28))
    assert rhythm.traffic[8] == 60
    assert sum(rhythm.traffic) == 3000
    assert rhythm.longest_gap <= 2


def test_a_gap_counts_by_the_events_that_were_expected_and_once_a_month_not_at_all() -> None:
    """A day closed in four weeks lacks three quarters of a day: its weekday had a quarter less in all."""
    assert measure(office_hours(28, closed=(9,))).longest_gap == pytest.approx(450, abs=2)
    assert measure(office_hours(56, closed=(9,))).longest_gap <= 2
    assert measure(office_hours(56, closed=(9, 24))).longest_gap == pytest.approx(525, abs=2)


def test_a_profile_stores_the_rhythm(profile: profiles.Profile) -> None:
    """In the file and in the document that watches read; a profile of an earlier version has none."""
    assert profile.variation is not None
    assert profile.variation.rhythm is not None
    gap = profile.variation.rhythm.longest_gap
    assert gap > 0
    assert profiles.loads(profiles.dumps(profile)) == profile
    assert profiles.build_document(profile)["expected"]["variation"]["rhythm"]["longest_gap"] == gap
