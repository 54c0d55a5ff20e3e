"""A review of the columns of training data: what is odd about them, and which setting of ``profile.yml`` helps."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import islice

import numpy as np

from logging_lib.profile.coerce import is_number, number_text, parse_scalar
from logging_lib.profile.encoding import Array, EncodedColumn
from logging_lib.profile.model import Kind
from logging_lib.profile.notes import Importance, Note
from logging_lib.profile.spellings import (
    MAX_TRIED,
    find_boolean_words,
    find_date_formats,
    find_number_spelling,
    is_padded,
    is_placeholder,
)

MIN_ROWS = 20
"""The minimum number of rows: fewer may increase or differ by chance."""
_MAX_EXAMPLE = 40
_CODE_NAME = re.compile(
    r"(?:.*[_. -])?(?:id|code|zip|zipcode|postcode|plz|fips|naics|sic|cpt|icd)", re.IGNORECASE
)
_EXAMPLE_TIME = datetime(2018, 1, 31, 18, 30)
_SENTINEL = re.compile(r"-9+|9{2,}")


def review_numbers(numbers: Array, kind: Kind, name: str, rank: Array | None) -> list[Note]:
    """Review the numbers of a column, or the seconds since 1970 of its dates.

    Args:
        numbers: the values, with NaN for a missing one; shape (rows,).
        kind: numeric or date.
        name: the column's name.
        rank: each row's position in order of time, if that is known; shape (rows,).
    """
    in_order = numbers if rank is None else numbers[np.argsort(rank)]
    present = in_order[np.isfinite(in_order)]
    if len(present) == 0:
        return []
    least_steps = 10 if kind == "date" else len(present) // 2
    if (direction := _find_direction(present, least_steps)) and (kind != "date" or rank is None):
        if kind == "date":
            question = "the time of the request? Give it with --time, or exclude it"
            return [_note_rise(direction, question, "time")]
        return [_note_rise(direction, "a counter, an identifier or a time? Exclude it", "exclude")]
    if kind == "date":
        return []
    ordered = np.sort(present)
    notes = []
    if ordered[0] != ordered[-1] and _is_dummy(ordered):
        notes.append(
            Note(Importance.DUMMY, "holds only 0 and 1: true or false, if served, is of the wrong type")
        )
    elif _is_identifier(ordered):
        notes.append(note_identifier("has another integer in each row", is_advised=True))
    elif _CODE_NAME.fullmatch(name) and bool((ordered == np.floor(ordered)).all()):
        text = "holds integers and has the name of a code: numeric; if its size means nothing, set kind: category"
        notes.append(Note(Importance.CODE, text, "kind: category"))
    return notes + _find_sentinels(ordered)


def _note_rise(direction: str, question: str, setting: str) -> Note:
    text = f"only {direction} from row to row: {question}; what is served will be out of range"
    return Note(Importance.RISES, text, setting, is_advised=True)


def _find_direction(numbers: Array, least_steps: int) -> str:
    """Return whether numbers only increase or only decrease, in at least this many steps; empty if neither."""
    before, after = numbers[:-1], numbers[1:]
    if len(numbers) < MIN_ROWS or np.count_nonzero(before != after) < least_steps:
        return ""
    return "rises" if bool((before <= after).all()) else "falls" if bool((before >= after).all()) else ""


def _is_dummy(ordered: Array) -> bool:
    return bool(np.isin(ordered, (0, 1)).all())


def _is_identifier(ordered: Array) -> bool:
    """Return whether integers all differ although, drawn at random from their range, ten pairs would be equal."""
    if len(ordered) < MIN_ROWS or bool((ordered != np.floor(ordered)).any()):
        return False
    width = float(ordered[-1]) - float(ordered[0]) + 1
    return len(ordered) ** 2 / (2 * width) > 10 and bool((ordered[:-1] < ordered[1:]).all())


def note_identifier(what: str, *, is_advised: bool = False) -> Note:
    """Note that a column seems to hold identifiers; ``what`` says why."""
    text = f"{what}: is it an identifier? Then exclude it"
    return Note(Importance.IDENTIFIER, text, "exclude", is_advised)


def _find_sentinels(ordered: Array) -> list[Note]:
    """Find an extreme of nines that is frequent, and further from the other numbers than these are spread."""
    notes = []
    for end, others in (
        (ordered[0], ordered[ordered > ordered[0]]),
        (ordered[-1], ordered[ordered < ordered[-1]]),
    ):
        count = len(ordered) - len(others)
        is_frequent = max(5, 0.01 * len(ordered)) <= count <= len(others)
        if not is_frequent or _SENTINEL.fullmatch(number_text(end)) is None:
            continue
        low, high, number = float(others[0]), float(others[-1]), float(end)
        if min(abs(low - number), abs(high - number)) > high - low:
            share = _format_share(count / len(ordered))
            text = (
                f"is {number_text(number)} in {share} of the rows, far from all others: "
                "does it stand for a missing value?"
            )
            notes.append(Note(Importance.OTHER_VALUES, text))
    return notes


def review_values(column: EncodedColumn, kind: Kind, wrong_type: Array, *, is_inferred: bool) -> list[Note]:
    """Review the distinct values of a column that does not hold numbers.

    Args:
        column: the values.
        kind: the kind that they were fitted as.
        wrong_type: the mask of values of another type, shape (rows,).
        is_inferred: whether the kind was inferred, so that another one may be meant.
    """
    counts = count_values(column, np.ones_like(column.missing))
    if not counts:
        return []
    notes = []
    if odd := count_values(column, wrong_type):
        share = sum(odd.values()) / sum(counts.values())
        value = next(iter(odd))
        if share > 0.5 and not isinstance(value, str | int | float):
            text = "holds lists or objects, which are not watched: log what they are made of, or exclude it"
            return [Note(Importance.NOT_WATCHED, text, "exclude")]
        where = f"in {_format_share(share)} of the rows, such as {_show(value, odd[value])}"
        text = f"is not {kind} {where}: wrong_type is expected as often"
        notes.append(Note(Importance.OTHER_VALUES, text))
    if is_inferred and kind in ("category", "text"):
        texts = {value: rows for value, rows in counts.items() if isinstance(value, str)}
        notes += _review_texts(texts, kind) if texts else []
    return notes


def count_values(column: EncodedColumn, rows: Array) -> dict[object, int]:
    """Count the rows of each value within a mask of shape (rows,), the most frequent value first."""
    sizes = np.bincount(column.codes[rows & (column.codes >= 0)], minlength=len(column.uniques))
    order = np.argsort(-sizes, kind="stable")
    return {_to_key(column.uniques[code]): int(sizes[code]) for code in order[: np.count_nonzero(sizes)]}


def _to_key(value: object) -> object:
    try:
        hash(value)
    except TypeError:
        return (repr(value),)
    return value


def _review_texts(texts: Mapping[str, int], kind: Kind) -> list[Note]:
    """Review texts (text → rows) for values that the service may send as another type."""
    if all(text.isdecimal() for text in texts) and any(map(is_padded, texts)):
        code = _show(next(text for text in texts if is_padded(text)), max(texts.values()))
        loss = "unseen" if kind == "category" else "of the wrong type"
        codes = f"holds codes with leading zeros, such as {code}: a {kind}"
        return [Note(Importance.SPELLING, f"{codes}; a number without them, if served, is {loss}")]
    if words := find_boolean_words(texts):
        if set(texts) == {"false", "true"}:  # a served boolean has the same text
            return []
        text = f"holds {words[0]!r} and {words[1]!r}: a {kind}"
        remedy = "if the service sends true and false, set kind: boolean"
        return [Note(Importance.WORDS, f"{text}; {remedy}", "kind: boolean")]
    if note := _note_numbers(texts, kind) or _note_dates(list(texts), kind):
        return [note]
    rows = sum(texts.values())
    words_only = {text: count for text, count in texts.items() if not is_number(parse_scalar(text))}
    share = 1 - sum(words_only.values()) / rows
    if kind == "text" and 0.5 < share < 1:
        word = next(iter(words_only))
        what = f"holds numbers in {_format_share(share)} of the rows and texts such as"
        text = f"{what} {_show(word, words_only[word])}: a text; a number, if served, is of the wrong type"
        return [Note(Importance.OTHER_VALUES, text, "kind: category")]
    is_word = kind == "category" or not any(" " in text.strip() for text in islice(texts, MAX_TRIED))
    if len(texts) == rows >= MIN_ROWS and is_word:
        return [note_identifier("has another text in each row")]
    return []


def _note_numbers(texts: Mapping[str, int], kind: Kind) -> Note | None:
    spelling = find_number_spelling(list(texts))
    if spelling is None or not (
        spelling.traits or kind == "text"
    ):  # a category's plain number is the same text
        return None
    how = f"numbers with {' and '.join(spelling.traits)}" if spelling.traits else "numbers"
    readable = [text for text in texts if spelling.read(text) is not None]
    example = next((text for text in readable if not is_number(parse_scalar(text))), readable[0])
    example = example if texts[example] > 1 else _mask_digits(example)
    text = f"holds {how} as texts, such as {example!r}: a {kind}"
    remedy = f"set kind: numeric, which reads it as {number_text(spelling.read(example) or 0.0)}"
    return Note(Importance.SPELLING, f"{text}; if the service sends numbers, {remedy}", "kind: numeric")


def _note_dates(texts: Sequence[str], kind: Kind) -> Note | None:
    formats = find_date_formats(texts)
    if not formats:
        return None
    example = _EXAMPLE_TIME.strftime(formats[0])
    text = f"holds dates that are not ISO 8601, but as {example!r}: a {kind}"
    if len(formats) > 1:
        unknown = "day and month cannot be distinguished: write them as 2018-01-31"
        return Note(Importance.SPELLING, f"{text}; {unknown}")
    return Note(Importance.SPELLING, f"{text}; if the service sends dates, set kind: date", "kind: date")


def find_placeholders(odd: Mapping[object, int]) -> dict[str, int]:
    """Choose the texts that usually stand for a missing value, with their rows."""
    return {text: rows for text, rows in odd.items() if isinstance(text, str) and is_placeholder(text)}


def note_placeholders(placeholders: Mapping[str, int], rows: int) -> Note:
    """Note that texts among other values count as missing."""
    listed = ", ".join(map(repr, placeholders))
    share = _format_share(sum(placeholders.values()) / rows)
    return Note(
        Importance.OTHER_VALUES,
        f"has {listed} in {share} of the rows, which counts as missing",
        "na_values",
        is_advised=True,
    )


def _format_share(share: float) -> str:
    return f"{100 * share:.2g} %" if share < 0.995 else "nearly all"


def _show(value: object, rows: int) -> str:
    """Quote a value; for a text of a single row, show only its form, because profiles do not hold rare values."""
    if isinstance(value, str) and rows < 2:
        value = re.sub(r"[^\W\d_]", "x", _mask_digits(value))
    text = repr(value)
    return text if len(text) <= _MAX_EXAMPLE else f"{text[:_MAX_EXAMPLE]}…"


def _mask_digits(text: str) -> str:
    return re.sub(r"[1-9]", "9", text)
