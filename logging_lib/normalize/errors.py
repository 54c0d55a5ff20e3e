"""Why an event cannot be used, and how values are shown in that reason."""

from __future__ import annotations

import json
from typing import Any

MAX_SHOWN = 200


class NormalizeError(Exception):
    """The event becomes a dead letter.

    ``reason`` is short and stable (``not_json``), the text is for people, ``stage`` is ``parse`` or ``normalize``.
    """

    def __init__(self, reason: str, message: str, stage: str = "normalize") -> None:
        super().__init__(message)
        self.reason = reason
        self.stage = stage


def to_json_text(value: Any) -> str:
    """A value of JSON's types as text, spelled as the Ruby twin spells it, whatever the JSON library."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def quote_value(value: Any) -> str:
    """A value for a message: as JSON, cut."""
    text = to_json_text(value)
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}…"
