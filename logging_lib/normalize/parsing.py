"""Bytes → a JSON object, by rules that do not depend on the JSON library. The twin of ``pipelines/ruby``.

What is JSON: RFC 8259 in UTF-8, one object, at most ``MAX_DEPTH`` deep; of equal keys the last counts; integers
beyond 64 bits are floats. In foreign events three things that serializers write all the same are mended: ``NaN``
(null), what is infinite (the text ``Infinity``), and a lone surrogate's escape (the text of the escape).
"""

from __future__ import annotations

import math
import re
from typing import Any

import orjson

from logging_lib.capture.reading import MAX_LINE as MAX_BYTES
from logging_lib.normalize.refusal import RefusedError

MAX_DEPTH = 100
"""An event that is nested deeper is refused."""
BOM = b"\xef\xbb\xbf"
SPACE = b" \t\r\n"

_STRING = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)'
_BRACKETS = re.compile(_STRING + rb"|[\[{\]}]", re.DOTALL)
_MENDED = re.compile(_STRING + rb"|NaN|-?Infinity|-?[0-9]++(?:\.[0-9]++)?+(?:[eE][+-]?[0-9]++)?+", re.DOTALL)
_ESCAPES = re.compile(
    rb"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
    rb"|(?P<lone>\\u[dD][89a-fA-F][0-9a-fA-F]{2})|\\.",
    re.DOTALL,
)
_NAMES = {list: "array", str: "string", int: "number", float: "number", bool: "boolean", type(None): "null"}


def parse(raw: bytes) -> tuple[dict[str, Any], bool]:
    """The object, and whether it had to be mended.

    Raises:
        RefusedError: ``too_large``, ``too_deep``, ``not_json`` or ``not_an_object``.
    """
    if len(raw) > MAX_BYTES:
        raise _refused("too_large", f"the event has {len(raw)} bytes; at most {MAX_BYTES} are taken")
    if raw[:3] == BOM:
        raw = raw[3:]
    if raw.count(b"[") + raw.count(b"{") > MAX_DEPTH and _too_deep(raw):
        raise _refused("too_deep", f"the event is nested more than {MAX_DEPTH} deep")
    mended = False
    try:
        document = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        document, mended = _mended(raw), True
        if document is None:
            raise _refused("not_json", "not JSON (RFC 8259, in UTF-8)") from error
    if type(document) is not dict:
        raise _refused("not_an_object", f"a JSON {_NAMES[type(document)]}, not an object")
    return document, mended


def _refused(reason: str, message: str) -> RefusedError:
    return RefusedError(reason, message, "parse")


def _too_deep(raw: bytes) -> bool:
    depth = 0
    if not _is_text(raw):
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


def _is_text(raw: bytes) -> bool:
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _mended(raw: bytes) -> Any:
    if not _is_text(raw):
        return None
    made = _MENDED.sub(_mend, raw)
    if made == raw:
        return None
    try:
        return orjson.loads(made)
    except orjson.JSONDecodeError:
        return None


def _mend(match: re.Match[bytes]) -> bytes:
    token = match[0]
    if token[:1] == b'"':
        return _ESCAPES.sub(_mend_escape, token) if b"\\u" in token else token
    if token == b"NaN":
        return b"null"
    if math.isinf(float(token)):
        return b'"-Infinity"' if token[:1] == b"-" else b'"Infinity"'
    return token


def _mend_escape(match: re.Match[bytes]) -> bytes:
    return b"\\" + match[0] if match["lone"] else match[0]
