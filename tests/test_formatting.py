"""Numbers, times, durations and bins as people read them."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from logging_lib._util import formatting as f
from logging_lib._util.text import one_line, printable, shorten, valid_xml


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (f.format_number(None), "—"),
        (f.format_number(float("nan")), "—"),
        (f.format_number(0), "0"),
        (f.format_number(1234567.8), "1,234,568"),
        (f.format_number(0.123456), "0.1235"),
        (f.format_number(0.123456, 3), "0.123"),
        (f.format_compact(50_000), "50k"),
        (f.format_percent(0.10638), "10.6 %"),
        (f.format_percent(0.0), "0 %"),
        (f.format_percent(0.0002), "< 0.1 %"),
        (f.format_probability(1e-23), "< 0.0001"),
        (f.format_probability(0.0042), "0.0042"),
        (f.format_probability(0.42), "0.42"),
        (f.format_count(1, "prediction"), "1 prediction"),
        (f.format_count(6605, "prediction"), "6,605 predictions"),
        (f.format_milliseconds(1.234), "1.23 ms"),
        (f.format_milliseconds(3400), "3.4 s"),
        (f.format_seconds(45), "45 s"),
        (f.format_seconds(720), "12 min"),
        (f.format_seconds(3.5 * 3600), "3.5 h"),
        (f.format_seconds((26 * 24 + 22) * 3600), "26 days 22 h"),
        (f.format_seconds(2 * 86_400), "2 days"),
        (f.format_time(datetime(2018, 2, 1, 9, tzinfo=UTC)), "2018-02-01 09:00"),
        (f.shorten_times("at 2018-02-02T10:36:23.133Z, not 2018-99-99T10:36Z"), "at 2018-02-02 10:36, not "
         "2018-99-99T10:36Z"),
        (f.format_evidence("1 in 10^-7"), "1 in 10⁻⁷"),
        (f.join_names(["a", "b", "c"], 5), "a, b and c"),
        (f.join_names(list("abcdefg"), 3), "a, b, c and 4 more"),
        (f.list_values(["b", "a", "c"], 2), "a, b and 1 more"),
        (f.format_bin("[32000,40300)"), "32k to 40.3k"),
        (f.format_bin("oov:[0,0.25)"), "0 to 25 % unknown"),
        (f.format_bin("len:[32,20000]"), "32 to 20k words"),
        (f.format_bin("!missing"), "missing"),
        (f.format_bin("!missing", "category", special=False), "!missing"),
        (f.format_bin("[1,2)", "category"), "[1,2)"),
    ],
)  # fmt: skip
def test_numbers_are_formatted_for_people(written: str, expected: str) -> None:
    assert written == expected


@given(st.text())
def test_any_text_is_made_safe(text: str) -> None:
    """One line, nothing that acts on a terminal, and no longer than allowed."""
    safe = shorten(text, 20)
    assert len(safe) <= 20
    assert len(safe.splitlines()) <= 1
    assert one_line(safe) == safe
    assert "\x1b" not in safe
    assert printable(printable(text)) == printable(text)
    assert valid_xml(valid_xml(text)) == valid_xml(text)
