"""Explain why logged and recomputed values differ by trying each explanation on the rows that differ.

An explanation is a rule that turns the recomputed value into the logged one, or the reverse. Rules are tried from
the most to the least specific; the likeliest cause is the first that holds in ``EXPLAINS`` of the rows that differ.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from logging_lib._util.formatting import list_values
from logging_lib.profile.coerce import NA_VALUES, category_text, is_null, number_text, parse_scalar, to_epoch

Array = np.ndarray[Any, Any]
EXPLAINS: Final = 0.95
"""A cause is named if it explains at least this share of the rows that differ."""
SAME_ROWS: Final = 0.5
"""The columns of a lost join differ in at least this share of its rows; in the others they had no value anyway."""
JOIN_MISS: Final = "join miss"
DEFAULT: Final = "default filled in"
UNEXPLAINED: Final = "unexplained"
_NA: Final = frozenset(
    text.casefold() for text in (*NA_VALUES, "missing", "unknown", "nil", "undefined", "?", "none")
)
_SENTINELS: Final = frozenset(
    {-1.0, -9.0, -99.0, -999.0, -9999.0, 99.0, 999.0, 9999.0, 99999.0, 999999.0, -999999.0}
)
_FACTORS: Final = {
    100.0: "percent or cents", 1000.0: "thousands, kilo or milli", 1e6: "millions or micro", 1e9: "nano",
    10000.0: "basis points", 12.0: "a month and a year", 4.0: "a quarter and a year", 52.0: "a week and a year",
    365.0: "a day and a year", 365.25: "a day and a year", 7.0: "a day and a week", 24.0: "an hour and a day",
    60.0: "a minute", 3600.0: "an hour in seconds", 86400.0: "a day in seconds", 1024.0: "kibi",
    1048576.0: "mebi", 2.54: "inch and cm", 0.3048: "foot and metre", 1.609344: "mile and km",
    0.45359237: "pound and kg", 28.349523125: "ounce and gram", 3.785411784: "gallon and liter",
    57.29577951308232: "radian and degree", -1.0: "the sign",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Cause:
    """A cause that explains ``share`` of the rows that differ; ``detail`` says how.

    ``features`` lists all features that share this cause, if there are several.
    """

    name: str
    detail: str
    share: float
    features: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SkewedFeature:
    """One feature in all joined rows, in the order of time.

    Attributes:
        name: the feature.
        logged, recomputed: values, each of shape (rows,); None if there is no value.
        differs: mask, shape (rows,).
        others: logged values of the other features, to find swapped columns.
    """

    name: str
    logged: Array
    recomputed: Array
    differs: Array
    others: dict[str, Array]


def likeliest(feature: SkewedFeature) -> Cause:
    """Return the likeliest cause, or ``unexplained`` if no explanation holds. A rule may derive the logged value
    from the recomputed one, or the reverse."""
    rows = np.flatnonzero(feature.differs)
    if not len(rows):
        return Cause("none", "nothing differs", 1.0)
    pairs = [(feature.logged[i], feature.recomputed[i]) for i in rows]
    # A value that a double cannot hold is infinite or missing in a rule, and so explains nothing.
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        for explain in _EXPLANATIONS:
            for cause in explain(feature, rows, pairs):
                if cause.share >= EXPLAINS:
                    return cause
    return Cause(UNEXPLAINED, f"no rule explains {EXPLAINS:.0%} of the rows that differ", 0.0)


def find_lost_joins(causes: Mapping[str, Cause], differs: Mapping[str, Array]) -> dict[str, Cause]:
    """Find the columns that one lost join explains: they have no value, or a default, in the same rows.

    Args:
        causes: feature → the cause found for it alone.
        differs: feature → mask of the rows that differ, shape (rows,).

    Returns:
        The causes of the features that share a lost join; they replace the features' own causes.
    """
    joins: dict[str, Cause] = {}
    by_rows = sorted(causes, key=lambda name: (-int(differs[name].sum()), name))
    for first in by_rows:
        if first in joins or causes[first].name != JOIN_MISS:
            continue
        rows = differs[first]
        group = [
            name
            for name in by_rows
            if name not in joins
            and causes[name].name in (JOIN_MISS, DEFAULT)
            and (differs[name] & rows).sum() >= EXPLAINS * differs[name].sum()
            and differs[name].sum() >= SAME_ROWS * rows.sum()
        ]
        if len(group) > 1:
            detail = f"in the same {int(rows.sum()):,} rows as " + "{}: one lost join"
            for name in group:
                others = list_values([other for other in group if other != name])
                joins[name] = Cause(JOIN_MISS, detail.format(others), causes[name].share, tuple(group))
    return joins


Pairs = list[tuple[Any, Any]]


def _share(hits: int, pairs: Pairs) -> float:
    return hits / len(pairs)


def _is_missing(value: Any) -> bool:
    return is_null(value)


def _explain_missing(feature: SkewedFeature, rows: Array, pairs: Pairs) -> Iterator[Cause]:
    """Explain null on one side: an NA spelling, a default, or a lost join."""
    for lost, filled, where in ((1, 0, "logged"), (0, 1, "recomputed")):
        values = [pair[filled] for pair in pairs if _is_missing(pair[lost]) and not _is_missing(pair[filled])]
        if not values:
            continue
        counted = Counter(str(value) for value in values)
        spelled = [value for value in values if _is_na(value)]
        if spelled:
            spellings = ", ".join(repr(text) for text, _ in Counter(map(str, spelled)).most_common(3))
            detail = f"{where} {spellings} where the other has no value"
            yield Cause("NA spelling", detail, _share(len(spelled), pairs))
        value, count = counted.most_common(1)[0]
        if count > 2:
            yield Cause(DEFAULT, f"{where} {value[:60]!r} where the other has no value", _share(count, pairs))
        other_side = "recomputed" if where == "logged" else "logged"
        yield Cause(
            JOIN_MISS, f"{other_side} has no value where the {where} one has", _share(len(values), pairs)
        )


def _is_na(value: Any) -> bool:
    if isinstance(value, str):
        return value.strip().casefold() in _NA
    return isinstance(value, int | float) and not isinstance(value, bool) and float(value) in _SENTINELS


def _explain_sentinels(feature: SkewedFeature, rows: Array, pairs: Pairs) -> Iterator[Cause]:
    """Explain values on both sides, one of which stands for a missing value."""
    for side, where in ((0, "logged"), (1, "recomputed")):
        hits = [pair[side] for pair in pairs if _is_na(pair[side]) and not _is_na(pair[1 - side])]
        if hits:
            value = Counter(map(str, hits)).most_common(1)[0][0]
            yield Cause("NA spelling", f"{where} has {value!r} for a missing value", _share(len(hits), pairs))


def _explain_types(feature: SkewedFeature, rows: Array, pairs: Pairs) -> Iterator[Cause]:
    hits = 0
    kinds: Counter[str] = Counter()
    for a, b in pairs:
        if _is_missing(a) or _is_missing(b) or (type(a) is type(b) and not isinstance(a, str)):
            continue
        x, y = _parse_number(a), _parse_number(b)
        same = x is not None and y is not None and _is_close(x, y)
        if same or (_parse_boolean(a) is not None and _parse_boolean(a) == _parse_boolean(b)):
            hits += 1
            kinds[f"{type(a).__name__} {a!r:.20} for {type(b).__name__} {b!r:.20}"] += 1
    if hits:
        yield Cause(
            "type",
            f"the same value written otherwise: {kinds.most_common(1)[0][0]}",
            _share(hits, pairs),
        )


def _parse_boolean(value: Any) -> bool | None:
    if isinstance(value, bool):
        return value
    text = category_text(value)
    meanings = {"true": True, "yes": True, "y": True, "1": True, "t": True,
             "false": False, "no": False, "n": False, "0": False, "f": False}  # fmt: skip
    return meanings.get(text.strip().casefold()) if text is not None else None


def _parse_number(value: Any) -> float | None:
    """Parse a text as a number, with thousands separators, decimal commas and currency signs."""
    if isinstance(value, bool):
        return float(value)
    if isinstance(value, int | float):
        return float(value)
    if not isinstance(value, str):
        return None
    text = re.sub(r"[\s$€£¥%_']", "", value)
    if re.fullmatch(r"[+-]?\d{1,3}(,\d{3})+(\.\d+)?", text):
        text = text.replace(",", "")
    elif re.fullmatch(r"[+-]?\d+,\d+", text):
        text = text.replace(",", ".")
    try:
        return float(text)
    except ValueError:
        return None


def _is_close(a: float, b: float, tolerance: float = 1e-6) -> bool:
    return abs(a - b) <= tolerance * max(abs(a), abs(b), 1e-12)


def _explain_texts(feature: SkewedFeature, rows: Array, pairs: Pairs) -> Iterator[Cause]:
    """Explain texts that are the same except for case, space, encoding or accents."""
    texts = [(a, b) for a, b in pairs if isinstance(a, str) and isinstance(b, str)]
    if not texts:
        return
    for name, detail, same in _TEXT_RULES:
        hits = [(a, b) for a, b in texts if same(a, b)]
        if hits:
            a, b = hits[0]
            yield Cause(name, f"{detail}: logged {a[:40]!r}, recomputed {b[:40]!r}", _share(len(hits), pairs))


def _is_mojibake(a: str, b: str) -> bool:
    """Return whether one text is the other's UTF-8 read as Latin-1 or Windows-1252, possibly with losses."""
    for x, y in ((a, b), (b, a)):
        for wrong in ("latin-1", "cp1252"):
            try:
                if y.encode("utf-8").decode(wrong) == x:
                    return True
            except UnicodeError:
                continue
        for marks in ("?", "\ufffd", ""):
            lossy = "".join(c if ord(c) < 128 else marks for c in y)
            if lossy == x or lossy == x.replace("\ufffd\ufffd", "\ufffd"):
                return True
    return False


def _strip_accents(text: str) -> str:
    decomposed = unicodedata.normalize("NFKD", text)
    return "".join(c for c in decomposed if not unicodedata.combining(c))


def _collapse_spaces(text: str) -> str:
    return " ".join(text.split())


_TEXT_RULES: Final[tuple[tuple[str, str, Callable[[str, str], bool]], ...]] = (
    ("whitespace", "space before, after or within", lambda a, b: _collapse_spaces(a) == _collapse_spaces(b)),
    (
        "case",
        "upper and lower case",
        lambda a, b: _collapse_spaces(a).casefold() == _collapse_spaces(b).casefold(),
    ),
    ("encoding", "UTF-8 was read or written as something else", _is_mojibake),
    (
        "encoding",
        "another Unicode form or accents left out",
        lambda a, b: _strip_accents(a) == _strip_accents(b),
    ),
    (
        "punctuation",
        "letters and digits are the same",
        lambda a, b: bool(x := re.sub(r"\W|_", "", a).casefold()) and x == re.sub(r"\W|_", "", b).casefold(),
    ),
    ("truncated text", "one is the beginning of the other", lambda a, b: a.startswith(b) or b.startswith(a)),
)


def _explain_times(feature: SkewedFeature, rows: Array, pairs: Pairs) -> Iterator[Cause]:
    """Explain times that are a time zone apart, or whose time of day was lost."""
    moments = [(to_epoch(a), to_epoch(b)) for a, b in pairs if isinstance(a, str) or isinstance(b, str)]
    instants = [(a, b) for a, b in moments if a is not None and b is not None]
    if len(instants) < 0.5 * len(pairs):
        return
    gaps = np.array([a - b for a, b in instants])
    zone = (np.abs(gaps) % 900 < 1) & (np.abs(gaps) <= 14 * 3600) & (np.abs(gaps) > 0)
    values, counts = np.unique(np.round(gaps[zone] / 900) / 4, return_counts=True)
    top = np.argsort(counts)[::-1][:2]
    apart = (
        len(top) < 2
        or abs(values[top[0]] - values[top[1]]) == 1.0
        or counts[top[0]] >= EXPLAINS * counts.sum()
    )
    if len(values) and apart and counts[top].sum() >= EXPLAINS * zone.sum():
        hours = " or ".join(f"{values[i]:+g} h" for i in sorted(top, key=lambda i: values[i]))
        yield Cause("time zone", f"logged less recomputed: {hours}", _share(int(zone.sum()), pairs))
    days = [a % 86400 == 0 or b % 86400 == 0 for a, b in instants]
    same_day = np.abs(gaps) < 86400
    truncated = int((np.array(days) & same_day).sum())
    if truncated:
        yield Cause("time of day lost", "one has the day alone", _share(truncated, pairs))
    swapped = [_swap_day_and_month(a) == b for a, b in instants]
    if any(swapped):
        yield Cause(
            "day and month swapped", "the date was read in another order", _share(sum(swapped), pairs)
        )
    values, counts = np.unique(gaps, return_counts=True)
    if counts.max() > 1:
        text = f"logged less recomputed: {values[counts.argmax()] / 86400:+g} days"
        yield Cause("constant offset", text, _share(int(counts.max()), pairs))


def _swap_day_and_month(seconds: float) -> float | None:
    from datetime import UTC, datetime

    moment = datetime.fromtimestamp(seconds, UTC)
    if moment.day > 12:
        return None
    return moment.replace(day=moment.month, month=moment.day).timestamp()


def _explain_numbers(feature: SkewedFeature, rows: Array, pairs: Pairs) -> Iterator[Cause]:
    numbers = [
        (float(a), float(b))
        for a, b in pairs
        if all(isinstance(x, int | float) and not isinstance(x, bool) and not _is_missing(x) for x in (a, b))
    ]
    if len(numbers) < 0.5 * len(pairs) or len(numbers) < 2:
        return
    a, b = np.array(numbers).T
    usable = np.isfinite(a) & np.isfinite(b)
    a, b = a[usable], b[usable]
    if len(a) < 2:
        return
    for name, detail, hits in _test_numbers(feature, a, b):
        if hits:
            yield Cause(name, detail, _share(int(hits), pairs))


def _test_numbers(feature: SkewedFeature, a: Array, b: Array) -> Iterator[tuple[str, str, int]]:
    nonzero = (a != 0) & (b != 0)
    if nonzero.sum() >= 2:
        ratios = a[nonzero] / b[nonzero]
        factor = float(np.median(ratios))
        hits = int((np.abs(ratios / factor - 1) < 1e-3).sum()) + int(((a == 0) & (b == 0)).sum())
        if abs(factor - 1) > 1e-3 and (unit := _name_factor(factor)):
            yield "unit", f"logged is {factor:.6g} times the recomputed value: {unit}", hits
    yield from _test_rounding(a, b)
    fahrenheit = np.abs(a - (b * 9 / 5 + 32)) < 1e-6 * np.maximum(1, np.abs(a))
    celsius = np.abs(b - (a * 9 / 5 + 32)) < 1e-6 * np.maximum(1, np.abs(b))
    yield "unit", "degrees Fahrenheit and Celsius", max(int(fahrenheit.sum()), int(celsius.sum()))
    yield from _test_capping(feature, a, b)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        for label, function in (("log", np.log), ("log1p", np.log1p), ("log10", np.log10), ("square root", np.sqrt),
                                ("absolute value", np.abs)):  # fmt: skip
            for side, (x, y) in (("logged", (a, b)), ("recomputed", (b, a))):
                same = np.abs(function(y) - x) < 1e-6 * np.maximum(1e-6, np.abs(x))
                yield "transformation", f"{side} is the {label} of the other", int(same.sum())
    gaps = a - b
    offset = float(np.median(gaps))
    near = np.abs(gaps - offset) <= 1e-6 * max(abs(offset), float(np.median(np.abs(b))) * 1e-3, 1e-12)
    if abs(offset) > 0:
        yield "constant offset", f"logged less recomputed is {offset:.6g}", int(near.sum())
    if nonzero.sum() >= 2 and hits > 2 and abs(factor - 1) > 1e-3:
        yield "unit", f"logged is {factor:.6g} times the recomputed value", hits
    if len(a) > 10 and a.std() > 0 and b.std() > 0:
        slope, intercept = np.polyfit(b, a, 1)
        fits = np.abs(slope * b + intercept - a) < 1e-6 * np.maximum(np.abs(a), a.std())
        yield "scaling", f"logged is {slope:.6g} x recomputed {intercept:+.6g}", int(fits.sum())


def _test_capping(feature: SkewedFeature, a: Array, b: Array) -> Iterator[tuple[str, str, int]]:
    """Test whether one side stops at a bound that is within the range of the other."""
    for side, x, y, other_values in (
        ("logged", a, b, feature.recomputed),
        ("recomputed", b, a, feature.logged),
    ):
        other_numbers = [float(v) for v in other_values if isinstance(v, int | float) and not is_null(v)]
        for bound, beyond, inside in (
            (x.max(), y > x.max(), min(other_numbers) < x.max()),
            (x.min(), y < x.min(), max(other_numbers) > x.min()),
        ):
            stuck = (x == bound) & beyond
            if inside and stuck.sum() > 2 and len(np.unique(y[stuck])) > 2:
                yield "capped", f"{side} stops at {number_text(float(bound))}", int(stuck.sum())


def _name_factor(factor: float) -> str | None:
    for unit_factor, unit in _FACTORS.items():
        if abs(factor / unit_factor - 1) < 1e-3 or abs(factor * unit_factor - 1) < 1e-3:
            return unit
    return None


def _test_rounding(a: Array, b: Array) -> Iterator[tuple[str, str, int]]:
    best: tuple[str, str, int] | None = None
    for digits in range(6, -4, -1):
        step = 10.0**-digits
        for side, (x, y) in (("logged", (a, b)), ("recomputed", (b, a))):
            near = np.abs(x / step - np.round(x / step)) < 1e-6
            for how, close in (("rounded", np.abs(x - y) <= step * 0.5000001), ("cut", np.abs(x - y) < step)):
                hits = int((near & close).sum())
                if hits > 2 and len(np.unique(x[near & close])) > 2 and (best is None or hits > best[2]):
                    best = ("rounding", f"{side} is {how} to {number_text(step)}", hits)
    short_a, short_b = np.float32(a).astype(float), np.float32(b).astype(float)
    single = (short_a == short_b) & np.isfinite(short_a)
    if best is None or single.sum() > best[2]:
        best = ("rounding", "one has single precision only", int(single.sum()))
    yield best


def _explain_stale(feature: SkewedFeature, rows: Array, pairs: Pairs) -> Iterator[Cause]:
    """Explain values that come from an earlier or a later row."""
    for lag in (1, 2, 3, -1):
        reached = [i for i in rows if 0 <= i - lag < len(feature.recomputed)]
        if len(reached) < 3:
            continue
        hits = sum(_is_equal(feature.logged[i], feature.recomputed[i - lag]) for i in reached)
        distinct = len({str(feature.logged[i]) for i in reached})
        if distinct > 2:
            when = f"{lag} rows earlier" if lag > 1 else "one row earlier" if lag == 1 else "one row later"
            yield Cause("stale value", f"logged is what was recomputed {when}", _share(hits, pairs))


def _explain_swapped(feature: SkewedFeature, rows: Array, pairs: Pairs) -> Iterator[Cause]:
    for name, values in feature.others.items():
        hits = [i for i in rows if _is_equal(values[i], feature.recomputed[i])]
        if len(hits) > 2 and len({str(feature.recomputed[i]) for i in hits}) > 2:
            detail = f"recomputed is what was logged as {name}"
            yield Cause("swapped columns", detail, _share(len(hits), pairs))


def _explain_constant(feature: SkewedFeature, rows: Array, pairs: Pairs) -> Iterator[Cause]:
    """Explain a side that has one and the same value wherever the two differ."""
    for side, where in ((0, "logged"), (1, "recomputed")):
        counted = Counter(str(pair[side]) for pair in pairs)
        value, count = counted.most_common(1)[0]
        other_values = {str(pair[1 - side]) for pair in pairs if str(pair[side]) == value}
        if count > 2 and len(other_values) > 3:
            yield Cause(
                DEFAULT,
                f"{where} is {value[:60]} whatever the other is",
                _share(count, pairs),
            )


def _explain_renamed(feature: SkewedFeature, rows: Array, pairs: Pairs) -> Iterator[Cause]:
    """Explain categories that each have one other name on the other side."""
    if not all(isinstance(x, str | bool | int) for pair in pairs for x in pair):
        return
    names: dict[str, Counter[str]] = {}
    for a, b in pairs:
        names.setdefault(str(b), Counter())[str(a)] += 1
    hits = sum(counted.most_common(1)[0][1] for counted in names.values())
    if len(pairs) > 2 * len(names):
        examples = ", ".join(
            f"{counted.most_common(1)[0][0]:.20} for {b:.20}" for b, counted in list(names.items())[:3]
        )
        yield Cause("renamed categories", f"logged {examples}", _share(hits, pairs))


def _explain_misaligned(feature: SkewedFeature, rows: Array, pairs: Pairs) -> Iterator[Cause]:
    """Explain sides that have the same values as a whole, but in other rows."""
    logged, recomputed = (Counter(str(pair[side]) for pair in pairs) for side in (0, 1))
    common = sum((logged & recomputed).values())
    if len(logged) > 3 and len(pairs) > 5:
        yield Cause(
            "rows misaligned",
            "the same values, in other rows: joined by a wrong key?",
            _share(common, pairs),
        )


def _is_equal(a: Any, b: Any) -> bool:
    if isinstance(a, int | float) and isinstance(b, int | float):
        return _is_close(float(a), float(b))
    if isinstance(a, list) != isinstance(b, list):  # numpy compares a number with each item of a list
        return False
    return bool(parse_scalar(a) == parse_scalar(b)) and not _is_missing(a)


_EXPLANATIONS: Final[tuple[Callable[[SkewedFeature, Array, Pairs], Iterator[Cause]], ...]] = (
    _explain_missing,
    _explain_types,
    _explain_texts,
    _explain_sentinels,
    _explain_times,
    _explain_swapped,
    _explain_stale,
    _explain_numbers,
    _explain_constant,
    _explain_renamed,
    _explain_misaligned,
)
