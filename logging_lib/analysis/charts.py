"""A variable's samples beside each other, as SVG without script: drawn by Vega-Lite, not by the browser."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from logging_lib import vega
from logging_lib.analysis.results import Variable
from logging_lib.plain import in_xml

COLORS = ("#4c78a8", "#f58518", "#54a24b", "#e45756", "#72b7b2", "#b279a2")
WIDTH, HEIGHT = 420, 150


def svg(variable: Variable, names: Sequence[str]) -> str:
    """The shares by bin; an empty text where there are none. Names and labels are data, never code."""
    if variable.bins is None:
        return ""
    return vega.svg(_spec(variable, names))


def _spec(variable: Variable, names: Sequence[str]) -> dict[str, Any]:
    assert variable.bins is not None
    labels = [f"{in_xml(label):.28}" for label in variable.bins.labels]
    names = [in_xml(name) for name in names]
    rows = [
        {"bin": position, "label": label, "share": share, "sample": sample}
        for sample, shares in enumerate(variable.bins.shares)
        for position, (label, share) in enumerate(zip(labels, shares, strict=True))
    ]
    domain = list(range(len(names)))
    # By position, not by name: two long labels may be cut to the same text.
    axis = {
        "labelExpr": f"{_quoted(labels)}[datum.value]",
        "title": None,
        "labelAngle": -40,
        "labelLimit": 120,
    }
    legend = {
        "title": None,
        "orient": "top",
        "labelExpr": f"{_quoted(names)}[datum.value]",
        "labelLimit": 180,
    }
    return {
        "$schema": "https://vega.github.io/schema/vega-lite/v5.json",
        "width": WIDTH,
        "height": HEIGHT,
        "background": "white",
        "data": {"values": rows},
        "mark": {"type": "bar"},
        "encoding": {
            "x": {"field": "bin", "type": "ordinal", "axis": axis},
            "xOffset": {"field": "sample", "type": "nominal"},
            "y": {"field": "share", "type": "quantitative", "axis": {"format": "~%", "title": None}},
            "color": {
                "field": "sample",
                "type": "nominal",
                "scale": {"domain": domain, "range": [COLORS[i % len(COLORS)] for i in domain]},
                "legend": legend,
            },
        },
        "config": {"view": {"stroke": None}, "font": "sans-serif"},
    }


def _quoted(texts: Sequence[str]) -> str:
    """A list of strings in Vega's expression language, in which every character that could end one is escaped."""
    return "[" + ",".join("'" + "".join(_escaped(c) for c in text) + "'" for text in texts) + "]"


def _escaped(character: str) -> str:
    if character.isalnum() or character in " .,:;-_+/()[]%=":
        return character
    return "".join(f"\\u{unit:04x}" for unit in _units(character))


def _units(character: str) -> list[int]:
    raw = character.encode("utf-16-be", "surrogatepass")
    return [int.from_bytes(raw[i : i + 2]) for i in range(0, len(raw), 2)]
