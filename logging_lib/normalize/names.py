"""Names of features and labels that are safe for every store: not blank, not long, no empty part between dots."""

from __future__ import annotations

import re
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

MAX_NAME = 256
"""The maximum length in characters; a longer name is cut and ends in its hash."""
_PREFIX_LENGTH = 200
_MAX_CACHED_NAMES = 10_000
_UNSAFE = re.compile(r"[%.\s]")

_safe_names: set[str] = set()


def with_safe_names(values: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the mapping with safe names; if all are safe, which is nearly always so, return it unchanged."""
    if values.keys() <= _safe_names:
        return values
    if len(_safe_names) > _MAX_CACHED_NAMES:
        _safe_names.clear()
    unknown = [name for name in values if name not in _safe_names]
    unsafe = {name for name in unknown if not _is_safe(name)}
    _safe_names.update(name for name in unknown if name not in unsafe)
    return values if not unsafe else _rename_unsafe(values, unsafe)


def _rename_unsafe(values: Mapping[str, Any], unsafe: set[str]) -> dict[str, Any]:
    """Rename the unsafe names; if two names become equal, the second gets ``~2``. Safe names do not change."""
    used_names = {name for name in values if name not in unsafe}
    renamed: dict[str, Any] = {}
    for name, value in values.items():
        if name in unsafe:
            stem = safe_name = _make_safe(name)
            number = 1
            while safe_name in used_names:
                number += 1
                safe_name = f"{stem}~{number}"
            used_names.add(safe_name)
            renamed[safe_name] = value
        else:
            renamed[name] = value
    return renamed


def _is_safe(name: str) -> bool:
    return len(name) <= MAX_NAME and _has_parts(name)


def _has_parts(name: str) -> bool:
    return all(part.strip() for part in name.split("."))


def _make_safe(name: str) -> str:
    if not _has_parts(name):
        name = _UNSAFE.sub(_percent_encode, name) or "%"
    if len(name) > MAX_NAME:
        name = f"{name[:_PREFIX_LENGTH]}~{sha256(name.encode()).hexdigest()[:16]}"
    return name


def _percent_encode(match: re.Match[str]) -> str:
    return "".join(f"%{byte:02X}" for byte in match[0].encode())
