"""The preview's page: one HTML file that carries its scripts and, where it is not served, its data. Pure."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Mapping, Sequence
from functools import cache
from hashlib import sha256
from importlib.resources import files
from typing import Any

import jinja2
import orjson
from markupsafe import Markup

from logging_lib.dashboards.drawing import STYLE, bundle
from logging_lib.dashboards.preview import WHOLE, outline
from logging_lib.dashboards.spec import Dashboard


def page(
    dashboards: Sequence[Dashboard],
    choices: Mapping[str, Any],
    *,
    views: Mapping[str, Any] | None = None,
    periods: Sequence[str] | None = None,
) -> str:
    """The page.

    Args:
        choices: of ``preview.choices``.
        views: of ``preview.static_views``; None for a page that asks its server.
        periods: that can be chosen; default: all that are shorter than what there is.
    """
    known = [WHOLE, *choices["periods"]] if periods is None else list(periods)
    usual = "24h" if "24h" in known else WHOLE
    given = {
        "dashboards": outline(dashboards), "choices": choices, "views": views, "periods": known, "period": usual,
    }  # fmt: skip
    scripts = (_inside_script(bundle()), _inside_script(_read("preview.js")))
    return _template().render(
        policy=policy(scripts, live=views is None),
        style=Markup(STYLE + _read("preview.css")),  # noqa: S704 - ours
        given=Markup(orjson.dumps(given).decode().replace("<", "\\u003c")),  # noqa: S704 - cannot end its element
        bundle=Markup(scripts[0]),  # noqa: S704
        script=Markup(scripts[1]),  # noqa: S704
    )


def policy(scripts: Sequence[str], *, live: bool) -> str:
    """The content security policy: these scripts alone, no network but, where it is served, its own server."""
    hashes = " ".join(f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'" for text in scripts)
    return (
        f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; "
        f"form-action 'none'; connect-src {chr(39)}{'self' if live else 'none'}{chr(39)}"
    )


def _inside_script(text: str) -> str:
    """A script that cannot end its element: within strings and patterns these spellings are the same."""
    return _ENDS.sub(lambda found: f"{found[1]}\\{found[2]}", text)


_ENDS = re.compile(r"(<)(/script|!--)", re.IGNORECASE)


@cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("logging_lib.dashboards", ""),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
    )
    return environment.get_template("preview.html.j2")


def _read(name: str) -> str:
    return files("logging_lib.dashboards").joinpath(name).read_text("utf-8")
