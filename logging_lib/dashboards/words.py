"""Bins as people read them. Pure."""

from __future__ import annotations

BIN_WORDS = {
    "!missing": "missing",
    "!absent": "key not there",
    "!unseen": "unknown to training",
    "!other": "rarer values",
    "!below": "below the range",
    "!above": "above the range",
    "!nonfinite": "infinite",
    "!type": "of another type",
    "!hidden": "hidden",
}


def compact(value: float) -> str:
    """For axes: ``50k``, ``1.2M``, ``0.25``."""
    size = abs(value)
    for limit, divisor, unit in ((1e9, 1e9, "G"), (1e6, 1e6, "M"), (1e4, 1e3, "k")):
        if size >= limit:
            return f"{value / divisor:.4g}{unit}"
    return f"{value:.4g}"


def interval(text: str) -> str:
    """``[32000,40300)`` as ``32k to 40.3k``, ``oov:[0,0.25)`` as ``0 to 25 % unknown``; any other text as it is."""
    inner = text.removeprefix("oov:")
    if inner[:1] != "[" or inner[-1:] not in ("]", ")") or "," not in inner:
        return text
    low, _, high = inner[1:-1].rpartition(",")
    try:
        numbers = float(low), float(high)
    except ValueError:
        return f"{low[:10]} to {high[:10]}" if low[:4].isdecimal() and low[4:5] == "-" else text
    if inner != text:
        return f"{numbers[0] * 100:.0f} to {numbers[1] * 100:.0f} % unknown"
    shown = compact(numbers[0]), compact(numbers[1])
    return shown[0] if shown[0] == shown[1] else f"{shown[0]} to {shown[1]}"


def bin_label(name: str) -> str:
    """A bin of ``ml.input.bins`` or ``ml.prediction.bin``, its token's part."""
    return BIN_WORDS.get(name) or interval(name)
