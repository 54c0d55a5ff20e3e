"""Define the look of every drawing, and draw specifications as inline SVG.

Colors are the CSS variables of ``templates/theme.css``, so that one drawing serves a light and a dark page. Color
alone never carries a meaning: there is always a legend, a label or a position as well.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from html import escape
from typing import Any

from logging_lib._util import vegalite

Spec = dict[str, Any]

VEGA_LITE = "6.4"
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Noto Sans', sans-serif"
TRAINED, SERVED, ALERT, SHADOW = "var(--trained)", "var(--served)", "var(--alert)", "var(--shadow)"
MUTED, GRID, TEXT = "var(--muted)", "var(--grid)", "var(--text)"
SERIES = (SERVED, SHADOW, "var(--third)", ALERT, "var(--fifth)", TRAINED)

CONFIG: Spec = {
    "font": FONT,
    "background": None,
    "aria": False,
    "view": {"stroke": None},
    "axis": {
        "labelColor": MUTED,
        "titleColor": MUTED,
        "titleFontWeight": "normal",
        "labelFontSize": 11,
        "titleFontSize": 11,
        "gridColor": GRID,
        "domain": False,
        "tickColor": GRID,
        "ticks": False,
        "labelPadding": 6,
    },
    "legend": {
        "labelColor": TEXT,
        "titleColor": MUTED,
        "labelFontSize": 11,
        "orient": "top",
        "title": None,
        "symbolType": "square",
        "symbolStrokeWidth": 0,
        "labelLimit": 300,
        "offset": 6,
    },
    "range": {"category": list(SERIES)},
    "bar": {"color": SERVED},
    "line": {"color": SERVED, "strokeWidth": 1.8},
    "text": {"color": MUTED, "fontSize": 11},
    "rule": {"color": MUTED},
    "header": {"labelColor": TEXT, "titleColor": MUTED},
}

_GLOBALS = "window.vegaEmbed = vegaEmbed; window.vega = vega; window.vegaLite = vegaLite;"


def apply_theme(spec: Mapping[str, Any]) -> Spec:
    """Apply our look to a specification."""
    return {
        "$schema": f"https://vega.github.io/schema/vega-lite/v{VEGA_LITE.partition('.')[0]}.json",
        "background": None,
        "padding": 2,
        "config": CONFIG,
        **spec,
    }


def draw_svg(spec: Mapping[str, Any], *, ident: str, title: str, description: str) -> str:
    """Draw a specification as an inline ``<svg>`` that scales with its column and says what it shows.

    Args:
        spec: Vega-Lite that contains its data.
        ident: unique within the page; consists of letters, digits and ``-``.
        title: what is drawn; hostile texts are escaped here.
        description: what the drawing shows, for people who cannot see it.
    """
    drawn = vegalite.svg(apply_theme(spec), vl_version=VEGA_LITE)
    # The SVG's ids would collide with those of the page's other drawings.
    drawn = re.sub(r'(id="|url\(#)((?:clip|gradient)[\w-]*)', rf"\g<1>{ident}-\g<2>", drawn)
    size = re.search(r'width="([\d.]+)" height="([\d.]+)"', drawn)
    assert size is not None
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" aria-labelledby="{ident}-t {ident}-d"'
        f' viewBox="0 0 {size[1]} {size[2]}" style="max-width:{size[1]}px">'
        f'<title id="{ident}-t">{escape(title)}</title><desc id="{ident}-d">{escape(description)}</desc>'
    )
    inner = drawn[drawn.index(">") + 1 : drawn.rindex("</svg>")]
    return f'{head}<g aria-hidden="true">{inner}</g></svg>'  # the marks have roles without names


@cache
def vega_bundle() -> str:
    """Return Vega, Vega-Lite and Vega-Embed as one script, for a page that must not reach the network."""
    import vl_convert

    return vl_convert.javascript_bundle(_GLOBALS, vl_version=VEGA_LITE)
