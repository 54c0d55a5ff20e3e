"""Render a page from its template: one environment, one theme, one escaping policy. Pure.

All data from logs is text: Jinja2 escapes every value, ``short`` removes control characters and cuts. Each page
forbids all scripts that it does not contain itself, and all requests.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from importlib.resources import files
from typing import Any

import jinja2
import orjson
from markupsafe import Markup

from logging_lib._util.formatting import format_evidence, format_number, format_time, shorten_times
from logging_lib._util.text import shorten


@dataclass(frozen=True)
class Table:
    """A table whose first column names the rows; the others are numbers."""

    caption: str
    heads: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class PagePanel:
    """A part of a page: any of a drawing (``charts.draw``), a text, lines of a list, and a table.

    Attributes:
        summary: the title behind which the table is folded; without it the table is open.
    """

    drawing: Mapping[str, Any] | None = None
    text: str = ""
    lines: Sequence[str] = ()
    table: Table | None = None
    summary: str = ""


@dataclass(frozen=True)
class Section:
    """A part of a page with a heading that the navigation links to; ``link`` is a short title."""

    id: str
    title: str
    panels: Sequence[PagePanel]
    link: str = ""


@dataclass(frozen=True)
class MailCard:
    """A card of a mail; what is empty is left out.

    Attributes:
        badge: one word on a colored ground, and ``kind`` beside it in small letters, both above the heading.
        about: a line below the heading in gray.
        text: its line breaks are kept.
        rows: a table of names and values.
        items: a list below ``items_title``.
    """

    heading: str
    badge: str = ""
    color: str = ""
    kind: str = ""
    about: str = ""
    lead: str = ""
    text: str = ""
    rows: Sequence[tuple[str, str]] = ()
    items_title: str = ""
    items: Sequence[str] = ()
    footer: str = ""


_SCRIPT_ENDS = re.compile(r"(<)(/script|!--)", re.IGNORECASE)


def render(template: str, **values: Any) -> str:
    """Render a page that has no script.

    Args:
        template: its name: ``report``, ``compare`` or ``backtest``.
        values: the variables of the template.
    """
    return _render(template, _build_policy(), values)


def render_app(template: str, script: str, *, library: str, data: Any, live: bool, style: str = "") -> str:
    """Render a page that our script draws; the script reads ``data`` as JSON.

    Args:
        template, script, style: names of files beside the templates.
        library: the text of the script that ours needs.
        live: whether the page may send requests to its own server; no page may send any elsewhere.
    """
    scripts = [_escape_script(text) for text in (library, _read(script))]
    values = {
        "data": Markup(orjson.dumps(data).decode().replace("<", "\\u003c")),  # noqa: S704 - cannot end its element
        "scripts": [Markup(text) for text in scripts],  # noqa: S704 - ours
    }
    return _render(template, _build_policy(scripts, live=live), values, style)


def read_mail_style() -> str:
    """Return the stylesheet of all mails: of alerts, which a watch's own template renders, and of all others."""
    return _read("mail.css")


def render_mail(cards: Sequence[MailCard | Markup]) -> str:
    """Render a mail that looks like that of an alert.

    Args:
        cards: one below the other; those of other mails as ``find_cards`` returns them.
    """
    style = Markup(read_mail_style())  # noqa: S704 - ours
    return _environment().get_template("mail.html.j2").render(style=style, cards=cards)


def find_cards(mail: str) -> Markup | None:
    """Return the cards of a rendered mail; None if it does not have the stylesheet that they need."""
    head, _, rest = mail.partition("<body>\n")
    body, end, _ = rest.rpartition("</body>")
    return Markup(body) if end and read_mail_style() in head else None  # noqa: S704 - it was rendered with escaping


def _render(template: str, policy: str, values: dict[str, Any], style: str = "") -> str:
    css = Markup(_read("theme.css") + (_read(style) if style else ""))  # noqa: S704 - ours
    return _environment().get_template(f"{template}.html.j2").render(style=css, policy=policy, **values)


def _build_policy(scripts: Sequence[str] = (), *, live: bool = False) -> str:
    """Return the content security policy: only these scripts, and requests only to a live page's own server."""
    hashes = " ".join(f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'" for text in scripts)
    return (
        f"default-src 'none'; script-src {hashes or chr(39) + 'none' + chr(39)}; style-src 'unsafe-inline'; "
        "img-src data:; base-uri 'none'; form-action 'none'; connect-src " + ("'self'" if live else "'none'")
    )


def _escape_script(text: str) -> str:
    """Escape a script so that it cannot end its element; in strings and patterns both spellings are the same."""
    return _SCRIPT_ENDS.sub(lambda match: f"{match[1]}\\{match[2]}", text)


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("logging_lib.html"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "evidence": format_evidence, "number": format_number, "short": shorten, "short_times": shorten_times,
        "time": format_time,
    }  # fmt: skip
    return environment


@cache
def _read(name: str) -> str:
    return files("logging_lib.html").joinpath("templates", name).read_text("utf-8")
