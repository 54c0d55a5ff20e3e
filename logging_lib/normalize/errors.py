"""The error of an event that cannot be used, and the format of values in its message."""

from __future__ import annotations

import json
from typing import Any

MAX_QUOTED = 200


class NormalizeError(Exception):
    """The error of an event that becomes a dead letter.

    ``reason`` is short and stable (``not_json``); the text is for people; ``stage`` is ``parse`` or ``normalize``.
    """

    def __init__(self, reason: str, message: str, stage: str = "normalize") -> None:
        super().__init__(message)
        self.reason = reason
        self.stage = stage


def to_json_text(value: Any) -> str:
    """Format a value of JSON's types exactly as the Ruby twin does, independently of the JSON library."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def quote_value(value: Any) -> str:
    """Format a value for a message: as JSON, cut to ``MAX_QUOTED`` characters."""
    text = to_json_text(value)
    return text if len(text) <= MAX_QUOTED else f"{text[:MAX_QUOTED]}…"
