"""The parser of JSON objects, by rules that do not depend on the JSON library; its twin is in ``pipelines/ruby``.

JSON is RFC 8259 in UTF-8, one object, up to ``MAX_DEPTH`` levels deep. The last of several equal keys is used, and
integers beyond 64 bits become floats. In foreign events three common faults of serializers are repaired: ``NaN``
becomes null, an infinite number the text ``Infinity``, and the escape of a lone surrogate the text of the escape.
"""

from __future__ import annotations

import math
import re
from typing import Any

import orjson

from logging_lib.logger.jsonlines import MAX_LINE as MAX_BYTES
from logging_lib.normalize.errors import NormalizeError

MAX_DEPTH = 100
"""The maximum depth; an event that is nested deeper is refused."""
BOM = b"\xef\xbb\xbf"
SPACE = b" \t\r\n"

_STRING = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)'
_BRACKETS = re.compile(_STRING + rb"|[\[{\]}]", re.DOTALL)
_REPAIRABLE = re.compile(
    _STRING + rb"|NaN|-?Infinity|-?[0-9]++(?:\.[0-9]++)?+(?:[eE][+-]?[0-9]++)?+", re.DOTALL
)
_ESCAPES = re.compile(
    rb"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
    rb"|(?P<lone>\\u[dD][89a-fA-F][0-9a-fA-F]{2})|\\.",
    re.DOTALL,
)
_TYPE_NAMES = {
    list: "array",
    str: "string",
    int: "number",
    float: "number",
    bool: "boolean",
    type(None): "null",
}


def parse(raw: bytes) -> tuple[dict[str, Any], bool]:
    """Parse an object; also return whether it had to be repaired.

    Raises:
        NormalizeError: ``too_large``, ``too_deep``, ``not_json`` or ``not_an_object``.
    """
    document, is_repaired = parse_value(raw)
    if type(document) is not dict:
        raise _parse_error(
            "not_an_object", f"the event is a JSON {_TYPE_NAMES[type(document)]}, not an object"
        )
    return document, is_repaired


def parse_value(raw: bytes) -> tuple[Any, bool]:
    """Parse any JSON value; otherwise as ``parse``."""
    if len(raw) > MAX_BYTES:
        raise _parse_error("too_large", f"the event has {len(raw)} bytes; at most {MAX_BYTES} are accepted")
    if raw[:3] == BOM:
        raw = raw[3:]
    if raw.count(b"[") + raw.count(b"{") > MAX_DEPTH and _too_deep(raw):
        raise _parse_error("too_deep", f"the event is nested more than {MAX_DEPTH} deep")
    is_repaired = False
    try:
        document = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        document, is_repaired = _parse_repaired(raw), True
        if document is None:
            raise _parse_error("not_json", "the event is not JSON (RFC 8259, in UTF-8)") from error
    return document, is_repaired


def is_filled(value: Any) -> bool:
    """Return whether a value of JSON is not null, blank, or empty."""
    if type(value) is str:
        return value != "" and not value.isspace()
    return value is not None and value != [] and value != {}


def _parse_error(reason: str, message: str) -> NormalizeError:
    return NormalizeError(reason, message, "parse")


def _too_deep(raw: bytes) -> bool:
    depth = 0
    if not _is_utf8(raw):
        return False
    for match in _BRACKETS.finditer(raw):
        bracket = match[0]
        if bracket in (b"[", b"{"):
            depth += 1
            if depth > MAX_DEPTH:
                return True
        elif bracket in (b"]", b"}"):
            depth -= 1
    return False


def _is_utf8(raw: bytes) -> bool:
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _parse_repaired(raw: bytes) -> Any:
    if not _is_utf8(raw):
        return None
    repaired = _REPAIRABLE.sub(_repair_token, raw)
    if repaired == raw:
        return None
    try:
        return orjson.loads(repaired)
    except orjson.JSONDecodeError:
        return None


def _repair_token(match: re.Match[bytes]) -> bytes:
    token = match[0]
    if token[:1] == b'"':
        return _ESCAPES.sub(_repair_escape, token) if b"\\u" in token else token
    if token == b"NaN":
        return b"null"
    if math.isinf(float(token)):
        return b'"-Infinity"' if token[:1] == b"-" else b'"Infinity"'
    return token


def _repair_escape(match: re.Match[bytes]) -> bytes:
    return b"\\" + match[0] if match["lone"] else match[0]
