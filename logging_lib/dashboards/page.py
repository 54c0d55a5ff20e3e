"""Render the preview's page: one HTML file with its scripts and, if it is not served, its data. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from logging_lib.dashboards.preview import WHOLE, outline
from logging_lib.dashboards.spec import Dashboard
from logging_lib.html.pages import render_app
from logging_lib.html.theme import vega_bundle


def render_preview(
    dashboards: Sequence[Dashboard],
    choices: Mapping[str, Any],
    *,
    views: Mapping[str, Any] | None = None,
    periods: Sequence[str] | None = None,
    attention: Sequence[Mapping[str, Any]] = (),
) -> str:
    """Render the page.

    Args:
        choices: the result of ``preview.choices``.
        views: the result of ``preview.static_views``; None for a page that asks its server.
        periods: the periods to choose from; default: all that are shorter than the data.
        attention: for each model its ``model``, ``version``, ``level``, ``headline`` and ``sentence``, the most
            urgent first; the first dashboard begins with them.
    """
    selectable_periods = [WHOLE, *choices["periods"]] if periods is None else list(periods)
    data = {
        "dashboards": outline(dashboards), "choices": choices, "views": views, "periods": selectable_periods,
        "attention": list(attention),
        "period": "24h" if "24h" in selectable_periods else WHOLE,
    }  # fmt: skip
    return render_app(
        "preview", "preview.js", library=vega_bundle(), data=data, live=views is None, style="preview.css"
    )
