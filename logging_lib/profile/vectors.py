"""Two numbers derived from a vector, such as an embedding: its norm, and its cosine to the centroid of training.

They are features of their own, named ``embedding:norm`` and ``embedding:cosine``, and are fitted, checked and
watched like any number. A vector that is scaled, shifted or of another model moves at least one of them. The module
is pure Python, because the logger imports neither numpy nor pandas.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from operator import mul
from typing import Any

from logging_lib.profile.coerce import is_number, to_python

MIN_DIMENSION = 2
MAX_DIMENSION = 4096
"""The maximum length of a vector; a longer list is not one, because profiles and events would be too large."""
_LARGEST = 2**63
"""JSON can carry integers below this unchanged."""


def derived_names(name: str) -> tuple[str, str]:
    """Name the features that are derived from a vector: its norm and its cosine."""
    return f"{name}:norm", f"{name}:cosine"


def read_vector(value: Any) -> list[float] | None:
    """Read a list, a tuple or a one-dimensional array of numbers as a list; return None for anything else.

    A null among the numbers, which stands for NaN in JSON, becomes NaN.
    """
    if type(value) is not list:
        to_list = getattr(value, "tolist", None)
        try:
            value = to_list() if callable(to_list) else list(value) if isinstance(value, tuple) else None
        except Exception:  # noqa: BLE001 - such as an array of an unknown library
            return None
    if not isinstance(value, list) or not MIN_DIMENSION <= len(value) <= MAX_DIMENSION:
        return None
    vector: list[float] = value
    if set(map(type, value)) != {float}:
        items = [math.nan if item is None else to_python(item) for item in value]
        if not all(map(is_number, items)):
            return None
        vector = [item if -_LARGEST <= item < _LARGEST else _to_double(item) for item in items]
    return vector


def _to_double(number: float) -> float:
    try:
        return float(number)
    except OverflowError:  # an integer that is too large for a double
        return math.inf if number > 0 else -math.inf


def measure_vector(
    vector: Sequence[float], centroid: Sequence[float], centroid_norm: float
) -> tuple[float, float] | None:
    """Measure a vector's norm and its cosine to a centroid (0 if one of them is 0); None if they are not finite.

    Args:
        vector, centroid: two vectors of the same length.
        centroid_norm: the centroid's norm.
    """
    norm = math.sqrt(sum(map(mul, vector, vector)))
    product = sum(map(mul, vector, centroid))
    if not (math.isfinite(norm) and math.isfinite(product)):
        return None
    scale = norm * centroid_norm
    cosine = product / scale if scale > 0 else 0.0
    return round_number(norm), round_number(min(max(cosine, -1.0), 1.0))


def round_number(number: float) -> float:
    """Round to seven digits, as in single precision: the last digits of a double depend on the order of a sum."""
    return float(f"{number:.7g}")
