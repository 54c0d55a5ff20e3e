"""Render Watcher's Mustache dialect: pystache with Watcher's paths, its functions, and escaping by medium.

Unlike in plain Mustache, but as in Watcher, a dotted path also goes through lists (``ctx.metadata.windows.0``,
``findings.size``), and there are ``{{#toJson}}path{{/toJson}}``, ``{{#join}}path{{/join}}``,
``{{#join delimiter=' or '}}path{{/join delimiter=' or '}}`` and ``{{#url}}...{{/url}}``. Unlike in Watcher, *every*
inserted value is escaped for its medium, also in ``{{{triple}}}`` braces, since values in findings come from
hostile logs, and a value is never read as a template. Watcher (mustache.java) also drops the line break before a
line that begins with a section tag and continues after it; if each section tag has its own line, both return the
same lines.
"""

from __future__ import annotations

import html
import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import cache, lru_cache
from typing import Any, ClassVar
from urllib.parse import quote

from pystache.parser import ParsingError, parse
from pystache.renderengine import RenderEngine

from logging_lib._util.text import BREAKS, CONTROLS, one_line

_MISSING = object()
_TAG = re.compile(r"\{\{!.*?\}\}|\{\{\{[^{}]+\}\}\}|\{\{[^{}]+\}\}", re.DOTALL)
_UNEVEN = re.compile(r"\{\{\{[^{}]+\}\}(?!\})")
_PARTIAL = re.compile(r"\{\{\s*>")
_JOIN = re.compile(r"join\s+delimiter=(['\"])(?P<delimiter>.*)\1", re.DOTALL)

_TEXT = {**dict.fromkeys(CONTROLS, "\ufffd"), **BREAKS}


class TemplateError(ValueError):
    """Raised for a template that is not Mustache, or whose result is not allowed in its place."""


class Placeholder(dict[str, Any]):
    """Stand-in for a value that is known only in a run: it has every key, and prints as ``TEXT``."""

    TEXT = "\ue000"

    def __contains__(self, key: object) -> bool:
        return key != "ctx"

    def __missing__(self, key: str) -> Placeholder:
        return self

    def __bool__(self) -> bool:
        return True


@dataclass(frozen=True)
class Medium:
    """The destination of a rendered text, and how an inserted string is escaped there. Channels may define
    others."""

    name: str
    escape: Callable[[str], str]
    is_json: bool = False
    """Whether an inserted string becomes the content of a JSON string."""

    JSON: ClassVar[Medium]
    TEXT: ClassVar[Medium]
    HTML: ClassVar[Medium]
    HEADER: ClassVar[Medium]
    URL: ClassVar[Medium]
    """One part of a URL's path, or one field of a form: a value cannot begin another part."""


Medium.JSON = Medium("json", lambda text: json.dumps(text)[1:-1], is_json=True)
Medium.TEXT = Medium("text", lambda text: text.translate(_TEXT))
Medium.HTML = Medium("html", lambda text: html.escape(text.translate(_TEXT)))
Medium.HEADER = Medium("header", lambda text: one_line(text))
Medium.URL = Medium("url", lambda text: quote(text.encode("utf-8", "replace"), safe=""))


class _ContextStack:
    """The context stack that pystache's parse tree drives; the innermost section is last."""

    def __init__(self, root: Mapping[str, Any]) -> None:
        self._items: list[Any] = [root]

    def push(self, item: Any) -> None:
        self._items.append(item)

    def pop(self) -> Any:
        return self._items.pop()

    def find(self, name: str) -> Any:
        """Return the value of a dotted name: its first part is looked up from the innermost section outward."""
        if name == ".":
            return self._items[-1]
        first, *rest = name.split(".")
        value = _MISSING
        for item in reversed(self._items):
            value = _get_child(item, first)
            if value is not _MISSING:
                break
        for part in rest:
            value = _get_child(value, part)
        return value


def _get_child(value: Any, part: str) -> Any:
    if isinstance(value, Mapping):
        return value[part] if part in value else _MISSING  # noqa: SIM401 - a Placeholder has keys that get() misses
    if isinstance(value, list | tuple):
        if part == "size":
            return len(value)
        if part.isdecimal() and int(part) < len(value):
            return value[int(part)]
    return _MISSING


def to_text(value: Any) -> str:
    """Print a value as Watcher does: null as nothing, a list as ``{0=a, 1=b}``, anything else as Java does."""
    if value is None or value is _MISSING:
        return ""
    if isinstance(value, list | tuple):
        return format_java(dict(enumerate(value)))
    return format_java(value)


def format_java(value: Any) -> str:
    """Print a value as Java's ``String.valueOf`` does: ``null``, ``true``, ``1.0E21``, ``[a, b]``, ``{k=v}``."""
    if isinstance(value, str):
        return value
    if isinstance(value, Placeholder):
        return Placeholder.TEXT
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}={format_java(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(format_java, value)) + "]"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return _format_double(value) if isinstance(value, float) else str(value)


def _format_double(number: float) -> str:
    if not math.isfinite(number):
        return "NaN" if math.isnan(number) else "Infinity" if number > 0 else "-Infinity"
    sign, digits, exponent = Decimal(repr(number)).as_tuple()
    if not number or 1e-3 <= abs(number) < 1e7:
        plain = format(Decimal(repr(number)), "f")
        return plain if "." in plain else f"{plain}.0"
    text = "".join(map(str, digits)).rstrip("0")
    power = len(digits) - 1 + int(exponent)
    return f"{'-' if sign else ''}{text[0]}.{text[1:] or '0'}E{power}"


class _Engine(RenderEngine):  # type: ignore[misc]  # pystache is untyped
    """An engine that resolves names for pystache's parse tree and escapes; ``missing`` collects unset variables."""

    def __init__(self, medium: Medium, missing: set[str] | None = None) -> None:
        super().__init__(
            literal=medium.escape,
            escape=medium.escape,
            resolve_context=_list_section_items,
            resolve_partial=_reject_partial,
        )
        self._medium = medium
        self._missing = missing

    def fetch_string(self, stack: _ContextStack, name: str) -> str:
        value = stack.find(name)
        if value is _MISSING and self._missing is not None:
            self._missing.add(name)
        return to_text(value)

    def fetch_section_data(self, stack: _ContextStack, name: str) -> list[Any]:
        function = self._function(stack, name)
        if function is not None:
            return [function]
        return _list_section_items(stack, name)

    def _function(self, stack: _ContextStack, name: str) -> Callable[[str], _FinishedText] | None:
        """Return one of Watcher's functions; its result is inserted as it is (see ``_render_value``)."""

        def value(content: str) -> Any:
            variable = stack.find(content.strip())
            if variable is _MISSING and self._missing is not None:
                self._missing.add(content.strip())
            return None if variable is _MISSING else variable

        if name == "toJson":
            return lambda content: _FinishedText(self._to_json(value(content)))
        if name == "url":
            return lambda content: _FinishedText(
                quote(_render_url_section(content, stack, self._missing), safe="")
            )
        delimiter = "," if name == "join" else None
        if match := _JOIN.fullmatch(name):
            delimiter = match["delimiter"]
        if delimiter is None:
            return None

        def join(content: str) -> _FinishedText:
            variable = value(content)
            items = variable if isinstance(variable, list | tuple) else [variable]
            # The delimiter is the template's own text; in JSON even that is a string's content.
            between = self._medium.escape(delimiter) if self._medium.is_json else delimiter
            return _FinishedText(between.join(self._medium.escape(to_text(item)) for item in items))

        return join

    def _to_json(self, value: Any) -> str:
        """Write objects and lists as JSON; as in Watcher, other values are printed as without ``toJson``."""
        if not isinstance(value, Mapping | list | tuple):
            return self._medium.escape(to_text(value))
        text = json.dumps(value, ensure_ascii=False, default=str, separators=(",", ":"))
        return text if self._medium.is_json else self._medium.escape(text)

    def _render_value(self, value: Any, stack: _ContextStack, delimiters: Any = None) -> str:
        # pystache renders the result of a section's function as another template. A value from a log must never
        # be a template, so only text that our own functions marked as finished is accepted here.
        if not isinstance(value, _FinishedText):
            raise TemplateError("a value cannot be a function")
        return str(value)


class _FinishedText(str):
    """A text that needs no further rendering."""

    __slots__ = ()


def _list_section_items(stack: _ContextStack, name: str) -> list[Any]:
    """List the items that a section repeats over; as in Watcher, 0 and ``{}`` are items, ``""`` and null are
    not."""
    value = stack.find(name)
    if isinstance(value, list | tuple):
        return list(value)
    return [] if value is _MISSING or value is None or value is False or value == "" else [value]


def _reject_partial(name: str) -> str:
    raise TemplateError(f"partial {{{{>{name}}}}}: Watcher has no partials")


def _render_url_section(content: str, stack: _ContextStack, missing: set[str] | None) -> str:
    """Render the inside of ``{{#url}}``, which is then percent-encoded as a whole."""
    text: str = compile_template(content).render(_Engine(Medium.TEXT, missing), stack)
    return text.encode("utf-8", "replace").decode("utf-8")


@lru_cache(maxsize=16384)
def compile_template(template: str) -> Any:
    """Parse a template; the result is cached, since watches render the same templates repeatedly.

    Raises:
        TemplateError: it is not Mustache; the message says what is wrong.
    """
    if "{{" in _TAG.sub("", template) or _UNEVEN.search(template):
        raise TemplateError("a tag that is opened with '{{' is empty or not closed with '}}'")
    if _PARTIAL.search(template):
        raise TemplateError("partials ({{>name}}) do not exist in Watcher: write the text out")
    try:
        return parse(template, raise_on_mismatch=True)
    except (ParsingError, IndexError) as error:
        raise TemplateError(_describe_error(error, template)) from error


def _describe_error(error: Exception, template: str) -> str:
    info = getattr(error, "info", None)
    if info is not None and info.tag_type in ("#", "^"):  # pystache names the wrong section in this case
        return f"the section {'{{' + template[: info.position].rpartition('{{')[2]} is never closed"
    return str(error) or "a section is closed that was never opened"


@cache
def _engine(medium: Medium) -> _Engine:
    return _Engine(medium)


def render(template: str, context: Mapping[str, Any], medium: Medium, missing: set[str] | None = None) -> str:
    """Render a template; escape each inserted value for ``medium``.

    Args:
        context: the root, ``{"ctx": {...}}``.
        missing: if given, the variables without a value are added to it (Mustache prints nothing for them).

    Raises:
        TemplateError: the template is not Mustache.
    """
    engine = _engine(medium) if missing is None else _Engine(medium, missing)
    text: str = compile_template(template).render(engine, _ContextStack(context))
    return text


def has_value(name: str, context: Mapping[str, Any]) -> bool:
    """Return whether a dotted name has a value in this context."""
    return _ContextStack(context).find(name) is not _MISSING


def find_value(name: str, context: Mapping[str, Any]) -> Any:
    """Return the value of a dotted name in this context, or None if it has none."""
    value = _ContextStack(context).find(name)
    return None if value is _MISSING else value


def render_json(template: str, context: Mapping[str, Any], missing: set[str] | None = None) -> dict[str, Any]:
    """Render a search body, which is a JSON text with Mustache in its keys and values.

    Raises:
        TemplateError: the result is not a JSON object; the message shows where.
    """
    text = render(template, context, Medium.JSON, missing)
    try:
        body = json.loads(text)
    except json.JSONDecodeError as error:
        near = text[max(0, error.pos - 40) : error.pos + 40]
        raise TemplateError(f"the rendered body is not JSON ({error.msg}) near {near!r}") from error
    if not isinstance(body, dict):
        raise TemplateError("the rendered body is not a JSON object")
    return body
