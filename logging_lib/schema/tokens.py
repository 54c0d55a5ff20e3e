"""The tokens of ``ml.input.bins``: ``feature=bin``, a string that is different for each pair.

In names and values, ``%``, ``=`` and a leading ``!`` are escaped, so that the only unescaped ``=`` separates name
and bin, and an unescaped leading ``!`` marks a special bin. A part longer than ``MAX_PART`` is cut and followed by
``%~`` and its SHA-256. A lone surrogate, which UTF-8 cannot carry, becomes ``%u`` and its code.
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
NONE = "!none"
"""The bin of a prediction that is an empty list of labels."""
SPECIAL_BINS = (MISSING, ABSENT, UNSEEN, OTHER, BELOW, ABOVE, NONFINITE, TYPE, HIDDEN)


def _escape_match(match: re.Match[str]) -> str:
    character = match[0]
    return _ESCAPE.get(character) or f"%u{ord(character):04x}"


def escape(text: str) -> str:
    """Escape a feature's name or a bin's value as one part of a token."""
    escaped = _SPECIAL.sub(_escape_match, text)
    if escaped[:1] == "!":
        escaped = "%21" + escaped[1:]
    if len(escaped) > MAX_PART:
        digest = sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]
        beginning = escaped[:_PREFIX_LENGTH]
        cut = beginning.rfind("%", _PREFIX_LENGTH - 5)  # never end inside an escape
        return f"{beginning if cut < 0 else beginning[:cut]}%~{digest}"
    return escaped


def token(feature: str, value: str) -> str:
    """Build the token ``feature=value`` of an ordinary value."""
    return f"{escape(feature)}={escape(value)}"


def special(feature: str, bin_name: str) -> str:
    """Build the token of a special bin, such as ``feature=!missing``, or that of an escaped bin."""
    return f"{escape(feature)}={bin_name}"


def _unescape_match(match: re.Match[str]) -> str:
    code = match[1]
    return chr(int(code[1:], 16)) if code[0] == "u" else chr(int(code, 16))


def split(text: str) -> tuple[str, str]:
    """Split a token into the feature's name and the bin, unescaped; a part that was cut is not restored."""
    feature, _, value = text.partition("=")
    return _UNESCAPE.sub(_unescape_match, feature), _UNESCAPE.sub(_unescape_match, value)
