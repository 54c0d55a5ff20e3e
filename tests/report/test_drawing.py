"""One look for the report and the preview."""

from __future__ import annotations

from xml.etree import ElementTree

from hypothesis import example, given, settings
from hypothesis import strategies as st

from logging_lib._util import vegalite
from logging_lib.html.theme import draw_svg


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
