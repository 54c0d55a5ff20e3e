"""Turn a comparison into an HTML page with a drawing of each variable."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from logging_lib._util.formatting import NOTHING, format_probability
from logging_lib._util.text import shorten
from logging_lib.analysis.results import NOT_COMPARABLE, Comparison, Variable
from logging_lib.html import charts
from logging_lib.html.charts import NARROW, Drawing
from logging_lib.html.pages import render

MAX_DRAWN: Final = 60
"""The number of variables with a drawing: those that differ most come first."""


def render_page(comparison: Comparison, *, title: str, now: datetime) -> str:
    """Render the page.

    Args:
        title: the name of what was compared.
        now: the time of the comparison.
    """
    return render(
        "compare",
        title=title,
        now=now,
        conclusion=comparison.conclude(),
        differs=bool(comparison.differing or comparison.not_comparable),
        notes=comparison.notes,
        samples=" → ".join(comparison.names),
        variables=[
            _variable(variable, comparison.names, f"variable-{i}" if i < MAX_DRAWN else "")
            for i, variable in enumerate(comparison.variables)
        ],
    )


def _variable(variable: Variable, names: tuple[str, ...], ident: str) -> dict[str, Any]:
    return {
        "title": variable.title,
        "differs": variable.differs or variable.verdict == NOT_COMPARABLE,
        "verdict": variable.verdict,
        "effect": variable.effects[0].describe() if variable.effects else NOTHING,
        "q": format_probability(variable.tests[0].q) if variable.tests else NOTHING,
        "change": variable.describe_change(),
        "drawing": draw_bins(variable, names, ident) if ident else None,
        "lines": [
            *([variable.why] if variable.why else []),
            *(test.describe() for test in variable.tests),
            *(effect.describe() for effect in variable.effects),
            *variable.describe_distances(),
            *variable.notes,
        ],
    }


def draw_bins(variable: Variable, names: tuple[str, ...], ident: str) -> dict[str, Any] | None:
    """Draw the share of each sample in each bin; None if there are no bins."""
    if variable.bins is None:
        return None
    labels = [shorten(label, 28) for label in variable.bins.labels]
    samples = {shorten(f"{i + 1}. {name}", 30): variable.bins.shares[i] for i, name in enumerate(names)}
    spec = charts.bins(labels, samples, width=NARROW)
    title = f"{shorten(variable.title)}: the share of each sample in {len(labels)} bins"
    return {**(charts.draw(Drawing(title, "", (spec,)), ident) or {}), "title": ""}
