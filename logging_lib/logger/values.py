"""The conversion of any Python value to JSON's types; it marks values that it cuts, and never raises."""

from __future__ import annotations

import base64
import dataclasses
import math
from collections.abc import Mapping, Set
from datetime import date, datetime, time, timedelta
from enum import Enum
from typing import Any
from uuid import UUID

from logging_lib.profile.coerce import format_epoch, is_null, to_epoch, to_microseconds, to_python

MAX_DEPTH = 16
MAX_ITEMS = 1000
MAX_TEXT = 8192
_INT64 = range(-(2**63), 2**64)


def escape_surrogates(text: str) -> str:
    r"""Replace lone surrogates, which UTF-8 cannot carry, by their escapes: ``\ud800``."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode("utf-8")


def to_jsonable(
    value: Any, *, depth: int = MAX_DEPTH, max_text: int | None = None, max_items: int = MAX_ITEMS
) -> Any:
    """Convert a value to JSON's types.

    NaN becomes null, and infinity the text ``Infinity``; dates become ISO 8601 in UTC, bytes base64, sets sorted
    lists, dataclasses and mappings objects, an integer beyond 64 bits a float, and anything else its ``repr``.
    Values nested deeper than ``depth`` (as in a cycle), and items beyond ``max_items``, are replaced by a text that
    says so. Texts longer than ``max_text`` characters are cut, with a mark. Of keys with the same text, such as
    ``1`` and ``"1"``, the later ones have their place added: ``1<2>``.
    """
    try:
        converted = _to_jsonable(value, depth, max_items)
        return converted if max_text is None else _cut_texts(converted, max_text)
    except Exception as error:  # noqa: BLE001 - a faulty __repr__, or a mapping that changes while it is read
        return f"<{type(value).__name__}: not readable: {type(error).__name__}>"


def cut_text(text: str, length: int) -> str:
    """Cut a text that is longer than ``length`` characters, with a mark."""
    return text if len(text) <= length else f"{text[:length]}<cut: {len(text) - length} more characters>"


def _cut_texts(value: Any, length: int) -> Any:
    if isinstance(value, str):
        return cut_text(value, length)
    if isinstance(value, dict):
        document: dict[str, Any] = {}
        for key, item in value.items():
            document[_find_free_name(document, cut_text(key, length))] = _cut_texts(item, length)
        return document
    return [_cut_texts(item, length) for item in value] if isinstance(value, list) else value


def _to_jsonable(value: Any, depth: int, max_items: int) -> Any:
    if value is None or value is True or value is False:
        return value
    kind = type(value)
    if kind is float:  # scores by class are many values of one plain type
        return to_json_number(value)
    if kind is str:
        return escape_surrogates(value)
    if isinstance(value, Enum):
        return _to_jsonable(value.value, depth, max_items)
    if isinstance(value, str):
        return escape_surrogates(str(value))
    value = to_python(value)
    if isinstance(value, bool):
        return bool(value)
    if isinstance(value, int):
        return _to_json_integer(int(value))
    if isinstance(value, float):
        return to_json_number(float(value))
    if is_null(value):
        return None
    if isinstance(value, datetime | date):
        return _date_text(value)
    if isinstance(value, bytes | bytearray | memoryview):
        return base64.b64encode(bytes(value)).decode("ascii")
    if isinstance(value, UUID | time | timedelta):
        return str(value)
    if depth <= 0:
        return f"<{type(value).__name__}: nested deeper than {MAX_DEPTH}>"
    return _container_to_jsonable(value, depth - 1, max_items)


def _container_to_jsonable(value: Any, depth: int, max_items: int) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        pairs = list(value.items())
        document: dict[str, Any] = {}
        for key, item in pairs[:max_items]:
            document[_find_free_name(document, to_key_text(key))] = _to_jsonable(item, depth, max_items)
        if len(pairs) > max_items:
            document["<cut>"] = f"{len(pairs) - max_items} more keys"
        return document
    if hasattr(value, "tolist") and type(value).__module__.startswith(("numpy", "pandas")):
        is_numpy = type(value).__module__.startswith("numpy") and hasattr(value, "dtype")
        value = (to_microseconds(value) if is_numpy else value).tolist()
    if isinstance(value, Set):
        value = sorted(value, key=repr)
    if isinstance(value, list | tuple):
        items = [_to_jsonable(item, depth, max_items) for item in value[:max_items]]
        if len(value) > max_items:
            items.append(f"<cut: {len(value) - max_items} more items>")
        return items
    try:
        text = escape_surrogates(repr(value))
    except Exception as error:  # noqa: BLE001 - one faulty value must not affect the others
        return f"<{type(value).__name__}: not readable: {type(error).__name__}>"
    return cut_text(text, MAX_TEXT)


def _to_json_integer(value: int) -> int | float | str:
    if value in _INT64:
        return value
    try:
        return float(value)
    except OverflowError:
        return f"<integer of {value.bit_length()} bits>"


def to_json_number(value: float) -> float | str | None:
    """Convert a float to JSON: NaN becomes null, and infinity a text."""
    if math.isfinite(value):
        return value
    return None if value != value else ("Infinity" if value > 0 else "-Infinity")


def _date_text(value: datetime | date) -> str:
    seconds = to_epoch(value)
    return format_epoch(seconds) if seconds is not None else str(value)


def _find_free_name(document: Mapping[str, Any], name: str) -> str:
    """Return a name that the object does not have yet: the wanted one, or the same with its place."""
    place = len(document)
    while name in document:
        place += 1
        name = f"{name}<{place}>"
    return name


def to_key_text(key: Any) -> str:
    """Convert a mapping's key to an object's name."""
    if isinstance(key, str):
        return escape_surrogates(str(key))
    if isinstance(key, bool) or key is None:
        return {True: "true", False: "false", None: "null"}[key]
    return (
        escape_surrogates(str(key))
        if isinstance(key, int | float)
        else escape_surrogates(repr(key)[:MAX_TEXT])
    )
