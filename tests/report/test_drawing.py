"""One look for the report and the preview."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime, timedelta
from itertools import combinations
from xml.etree import ElementTree

from hypothesis import example, given, settings
from hypothesis import strategies as st

from logging_lib._util import vegalite
from logging_lib.html.theme import ALERT, draw_svg
from logging_lib.html.timeline import Mark, TimeAxis, bars


@given(st.lists(st.integers(0, 2879), min_size=1, max_size=10))
@settings(max_examples=15, deadline=None)
@example([60] * 10)
def test_the_flags_of_alerts_do_not_overlap(minutes: list[int]) -> None:
    start = datetime(2026, 3, 1, tzinfo=UTC)
    axis = TimeAxis(tuple(start + timedelta(hours=hour) for hour in range(48)), timedelta(hours=1), 2026)
    marks = [Mark(start + timedelta(minutes=minute), number) for number, minute in enumerate(minutes, 1)]
    drawing = bars(axis, "t", "d", {"answered": [1.0] * 48}, unit="n", marks=marks)
    for spec in drawing.specs:
        root = ElementTree.fromstring(draw_svg(spec, ident="d", title="t", description="d"))
        flags = [
            tuple(float(number) for number in re.findall(r"[-\d.]+", element.attrib["transform"]))
            for element in root.iter("{http://www.w3.org/2000/svg}path")
            if element.attrib.get("fill") == ALERT and "A" in element.attrib["d"]  # a circle
        ]
        assert len(flags) == len(marks)
        assert min((math.dist(*pair) for pair in combinations(flags, 2)), default=99.0) >= 17


@given(st.text(max_size=20))
@settings(max_examples=25, deadline=None)
@example("\x1b[31m\x00 \ud800 \ufffe </text><script>")
def test_any_text_of_a_log_can_be_drawn(text: str) -> None:
    """The renderer would end the whole process at a character that XML does not have."""
    drawn = draw_svg(
        {
            "data": {"values": [{"x": text, "y": 1}]},
            "mark": "bar",
            "encoding": {
                "x": {"field": "x", "type": "nominal", "title": None},
                "y": {"field": "y", "type": "quantitative"},
            },
        },
        ident="d",
        title="t",
        description="d",
    )
    root = ElementTree.fromstring(drawn)
    assert not list(root.iter("{http://www.w3.org/2000/svg}script"))


def test_a_text_that_would_be_cut_within_a_character_is_drawn_uncut() -> None:
    """Whether the spec names a limit or leaves it to Vega."""
    for axis in ({}, {"labelLimit": 60}):
        for length in range(10, 40):
            label = "0" * length + "\U0001f600" * 20
            values = [{"x": label, "limit": 3}]
            spec = {
                "data": {"values": values},
                "mark": "bar",
                "encoding": {
                    "y": {"field": "x", "type": "nominal", "axis": axis},
                    "x": {"field": "limit", "type": "quantitative"},
                },
            }
            assert vegalite.svg(spec).startswith("<svg")
