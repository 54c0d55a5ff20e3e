"""A comparison as one HTML file, with plots: no script, nothing loaded from elsewhere."""

from __future__ import annotations

from html import escape

from logging_lib.analysis import charts, words
from logging_lib.analysis.results import Comparison, Variable

MOST_PLOTS = 60
_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;max-width:68em;margin:2em auto;padding:0 1em;color:#222}
h1{font-size:1.5em}h2{font-size:1.1em;margin:0}table{border-collapse:collapse;width:100%}
th,td{text-align:left;padding:.25em .7em .25em 0;vertical-align:top;border-bottom:1px solid #eee}
section{margin:1.6em 0;padding:1em;border:1px solid #ddd;border-left:4px solid #bbb;border-radius:4px}
section.differs{border-left-color:#c0392b}span.differs{color:#c0392b;font-weight:600}
.note{color:#666;font-size:.92em}svg{max-width:100%;height:auto}
"""


def page(comparison: Comparison, *, title: str, when: str) -> str:
    """The whole page.

    Args:
        title: what was compared.
        when: the moment that the page is of, as text.
    """
    rows = "".join(_row(variable) for variable in comparison.variables)
    notes = "".join(f"<li>{escape(note)}</li>" for note in comparison.notes)
    sections = "".join(
        _section(variable, comparison.names, plot=place < MOST_PLOTS)
        for place, variable in enumerate(comparison.variables)
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body><h1>{escape(title)}</h1>"
        f"<p>{escape(words.conclusion(comparison))}.</p>"
        + (f'<ul class="note">{notes}</ul>' if notes else "")
        + "<table><thead><tr><th>variable</th><th>verdict</th><th>effect, 95 % interval</th><th>q</th>"
        f"<th>{escape(' → '.join(comparison.names))}</th></tr></thead><tbody>{rows}</tbody></table>"
        f'{sections}<p class="note">{escape(when)}</p></body></html>\n'
    )


def _row(variable: Variable) -> str:
    effect = words.effect(variable.effects[0]) if variable.effects else "-"
    q = words.chance(variable.tests[0].q) if variable.tests else "-"
    kind = ' class="differs"' if variable.differs else ""
    cells = (words.title(variable), variable.verdict, effect, q, words.change(variable))
    shown = [escape(cell) for cell in cells]
    shown[1] = f"<span{kind}>{shown[1]}</span>"
    return "<tr>" + "".join(f"<td>{cell}</td>" for cell in shown) + "</tr>"


def _section(variable: Variable, names: tuple[str, ...], *, plot: bool) -> str:
    lines = [
        *([variable.why] if variable.why else []),
        *map(words.test, variable.tests),
        *map(words.effect, variable.effects),
        *(f"{words.DISTANCES[name]} {words.number(value)}" for name, value in variable.distances.items()),
    ]
    notes = "".join(f"<li>{escape(note)}</li>" for note in variable.notes)
    kind = ' class="differs"' if variable.differs else ""
    return (
        f"<section{kind}><h2>{escape(words.title(variable))}: {escape(variable.verdict)}</h2>"
        + (charts.svg(variable, names) if plot else "")
        + '<ul class="note">'
        + "".join(f"<li>{escape(line)}</li>" for line in lines)
        + notes
        + "</ul></section>"
    )
