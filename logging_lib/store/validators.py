"""Validate the parts of a search body and name the JSON path of a part that is wrong."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping
from typing import Any

from logging_lib.store.port import QueryNotSupported, SearchError

_PLAIN_KEY = re.compile(r"[\w@-]+")


def child_path(path: str, key: str | int) -> str:
    """Return the JSON path of ``key`` below ``path``; keys with dots or quotes are bracketed."""
    if isinstance(key, int):
        return f"{path}[{key}]"
    if _PLAIN_KEY.fullmatch(key):
        return f"{path}.{key}"
    escaped = key.replace("\\", "\\\\").replace("'", "\\'")
    return f"{path}['{escaped}']"


def check_keys(part: Mapping[str, Any], allowed: Collection[str], path: str) -> None:
    """Raise QueryNotSupported for a key that is not one of ``allowed``."""
    for key in part:
        if key not in allowed:
            raise unsupported_error(key, path)


def unsupported_error(key: str, path: str) -> QueryNotSupported:
    return QueryNotSupported(
        "the embedded store does not answer this part of the search", child_path(path, key)
    )


def expect_object(value: Any, path: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise SearchError(f"expected an object, not {_shorten(value)}", path)
    for key in value:
        if not isinstance(key, str):
            raise SearchError(f"expected text as key, not {_shorten(key)}", path)
    return value


def expect_list(value: Any, path: str) -> list[Any]:
    """Return a list; a single value means a list of one, as in Elasticsearch."""
    if value is None:
        raise SearchError("expected a list, not null", path)
    return list(value) if isinstance(value, (list, tuple)) else [value]


def expect_string(value: Any, path: str) -> str:
    if not isinstance(value, str):
        raise SearchError(f"expected text, not {_shorten(value)}", path)
    return value


def expect_bool(value: Any, path: str) -> bool:
    if isinstance(value, bool):
        return value
    if value in ("true", "false"):
        return bool(value == "true")
    raise SearchError(f"expected true or false, not {_shorten(value)}", path)


def expect_int(value: Any, path: str, *, least: int | None = None) -> int:
    if isinstance(value, str) and re.fullmatch(r"-?\d{1,18}", value, re.ASCII):
        value = int(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise SearchError(f"expected a whole number, not {_shorten(value)}", path)
    if not -(1 << 63) <= value < 1 << 63:
        raise SearchError(f"{_shorten(value)} is too large", path)
    if least is not None and value < least:
        raise SearchError(f"expected at least {least}, not {value}", path)
    return value


def expect_number(value: Any, path: str) -> float:
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            raise SearchError(f"expected a number, not {_shorten(value)}", path) from None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value != value:
        raise SearchError(f"expected a number, not {_shorten(value)}", path)
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if math.isinf(number):
        raise SearchError(f"{_shorten(value)} is too large", path)
    return number


def expect_single_key(part: Any, path: str) -> tuple[str, Any]:
    """Return the only key and its value of an object such as ``{"term": {...}}``."""
    entries = expect_object(part, path)
    if len(entries) != 1:
        raise SearchError(f"expected one key, not {len(entries)}", path)
    return next(iter(entries.items()))


def _shorten(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
