from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any


def identity(context: Mapping[str, Any], name: str, *parts: str) -> str:
    """The same for the same alert, so that what is repeated after a crash can be told from what is new."""
    text = "\x00".join([context["ctx"]["id"], name, *parts])
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:32]
