"""Vega-Lite for the report and the preview: one look, and specs drawn as inline SVG.

Colors are CSS variables (``STYLE``), so that one drawing serves a light and a dark page. Colors never say alone
what a mark means: there is a legend, a label or a place for it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from html import escape
from typing import Any

from logging_lib import vega

Spec = dict[str, Any]

VEGA_LITE = "6.4"
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Noto Sans', sans-serif"
TRAINED, SERVED, ALERT, SHADOW = "var(--trained)", "var(--served)", "var(--alert)", "var(--shadow)"
MUTED, GRID, TEXT = "var(--muted)", "var(--grid)", "var(--text)"
SERIES = (SERVED, SHADOW, "var(--third)", ALERT, "var(--fifth)", TRAINED)

STYLE = """
:root {
  color-scheme: light dark;
  --page: #ffffff; --card: #f7f8fa; --line: #d9dee5; --grid: #e6e9ee; --text: #1b2430; --muted: #566170;
  --trained: #a3adba; --served: #1f66d1; --alert: #c2410c; --shadow: #7c3aed; --third: #0f766e; --fifth: #a16207;
  --well: #15703c; --alert-soft: #fdf0ea; --notice: #8a5a00; --notice-soft: #fdf6e3; --well-soft: #eaf6ee;
  --unknown: #4b5563; --unknown-soft: #f1f3f5; --link: #1756b3;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #11151b; --card: #191f27; --line: #343d49; --grid: #29313b; --text: #e8ecf1; --muted: #a9b4c2;
    --trained: #66717f; --served: #6aa5ff; --alert: #ff8f5e; --shadow: #c3a1ff; --third: #4fd1c0; --fifth: #e7b84e;
    --well: #6fd697; --alert-soft: #35201a; --notice: #f0c15c; --notice-soft: #332a17; --well-soft: #17301f;
    --unknown: #b6c0cc; --unknown-soft: #232a33; --link: #8ab8ff;
  }
}
"""

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


def themed(spec: Mapping[str, Any]) -> Spec:
    """The spec with our look."""
    return {
        "$schema": f"https://vega.github.io/schema/vega-lite/v{VEGA_LITE.partition('.')[0]}.json",
        "background": None,
        "padding": 2,
        "config": CONFIG,
        **spec,
    }


def svg(spec: Mapping[str, Any], *, ident: str, title: str, description: str) -> str:
    """The spec as an inline ``<svg>`` that scales with its column and says what it shows.

    Args:
        spec: Vega-Lite with its data inside.
        ident: unique within the page, of letters, digits and ``-``.
        title: what is drawn; hostile texts are escaped here.
        description: what the drawing shows, for those who cannot see it.
    """
    drawn = vega.svg(themed(spec), vl_version=VEGA_LITE)
    # Its ids would meet those of the page's other drawings.
    drawn = re.sub(r'(id="|url\(#)((?:clip|gradient)[\w-]*)', rf"\g<1>{ident}-\g<2>", drawn)
    size = re.search(r'width="([\d.]+)" height="([\d.]+)"', drawn)
    assert size is not None
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" aria-labelledby="{ident}-t {ident}-d"'
        f' viewBox="0 0 {size[1]} {size[2]}" style="max-width:{size[1]}px">'
        f'<title id="{ident}-t">{escape(title)}</title><desc id="{ident}-d">{escape(description)}</desc>'
    )
    inner = drawn[drawn.index(">") + 1 : drawn.rindex("</svg>")]
    return f'{head}<g aria-hidden="true">{inner}</g></svg>'  # its marks have roles without names


@cache
def bundle() -> str:
    """The scripts of Vega, Vega-Lite and Vega-Embed in one, for a page that must not reach the network."""
    import vl_convert

    return vl_convert.javascript_bundle(_GLOBALS, vl_version=VEGA_LITE)
