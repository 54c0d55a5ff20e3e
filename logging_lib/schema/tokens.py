"""Tokens of ``ml.input.bins`` and the like: ``feature=bin``, one string that two different pairs never share.

In a name or a value ``%``, ``=`` and a leading ``!`` are escaped, so that the one bare ``=`` divides name from
bin and a bare leading ``!`` marks a special bin. What is longer than ``MAX_PART`` is cut and carries its
SHA-256 behind ``%~``. A lone surrogate, which UTF-8 cannot carry, becomes ``%u`` and its code.
"""

from __future__ import annotations

import re
from hashlib import sha256

MAX_PART = 128
_PREFIX_LENGTH = 64
_SPECIAL = re.compile(r"[%=\ud800-\udfff]")
_ESCAPE = {"%": "%25", "=": "%3D"}
_UNESCAPE = re.compile(r"%(25|3D|21|u[0-9a-f]{4})")

MISSING, ABSENT, UNSEEN, OTHER = "!missing", "!absent", "!unseen", "!other"
BELOW, ABOVE, NONFINITE, TYPE, HIDDEN = "!below", "!above", "!nonfinite", "!type", "!hidden"
SPECIAL_BINS = (MISSING, ABSENT, UNSEEN, OTHER, BELOW, ABOVE, NONFINITE, TYPE, HIDDEN)


def _escape_match(match: re.Match[str]) -> str:
    character = match[0]
    return _ESCAPE.get(character) or f"%u{ord(character):04x}"


def escape(text: str) -> str:
    """A feature's name or a bin's value as one half of a token."""
    escaped = _SPECIAL.sub(_escape_match, text)
    if escaped[:1] == "!":
        escaped = "%21" + escaped[1:]
    if len(escaped) > MAX_PART:
        digest = sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]
        kept = escaped[:_PREFIX_LENGTH]
        cut = kept.rfind("%", _PREFIX_LENGTH - 5)  # never end inside an escape
        return f"{kept if cut < 0 else kept[:cut]}%~{digest}"
    return escaped


def token(feature: str, value: str) -> str:
    """``feature=value`` for an ordinary value."""
    return f"{escape(feature)}={escape(value)}"


def special(feature: str, bin_name: str) -> str:
    """``feature=!missing`` and its like; also for bins whose text is already a token part."""
    return f"{escape(feature)}={bin_name}"


def _unescape_match(match: re.Match[str]) -> str:
    code = match[1]
    return chr(int(code[1:], 16)) if code[0] == "u" else chr(int(code, 16))


def split(text: str) -> tuple[str, str]:
    """The feature's name and the bin of a token, unescaped; a part that was cut stays as it is."""
    feature, _, value = text.partition("=")
    return _UNESCAPE.sub(_unescape_match, feature), _UNESCAPE.sub(_unescape_match, value)
