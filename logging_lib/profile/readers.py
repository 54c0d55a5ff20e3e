"""Readers of training data from a CSV, Parquet or JSON lines file into a DataFrame."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import orjson
import pandas as pd

from logging_lib._util.suggestions import suggest_file
from logging_lib.profile.coerce import parse_scalar
from logging_lib.profile.encoding import is_number_dtype
from logging_lib.profile.io import ProfileError
from logging_lib.profile.separators import SEPARATORS, find_separator, is_csv, open_binary
from logging_lib.profile.spellings import (
    DECIMAL_COMMA,
    THOUSANDS,
    find_number_spelling,
    is_padded,
    is_placeholder,
)

Masks = dict[str, np.ndarray[Any, Any]]

MAX_ODD = 0.1
"""The maximum share of other texts in a CSV's column of numbers."""
FEW_NUMBERS = 20
"""Beside words, up to this many distinct numbers are taken for names of categories."""
MIN_PADDED = 0.05
"""The minimum share of texts with leading zeros at which integers of different lengths are codes, too."""
_BLOCK = 1 << 22


class TrainingTable(NamedTuple):
    """A table as it was read from a file.

    Attributes:
        frame: the rows, shape (rows, columns).
        absent: column → mask of absent keys, shape (rows,), for the columns of JSON lines that have any.
        notes: remarks for people about how the file was read.
    """

    frame: pd.DataFrame
    absent: Masks
    notes: tuple[str, ...] = ()


def read_table(path: Path, *, na_values: Sequence[str], texts: Collection[str] = ()) -> TrainingTable:
    """Read the table in a file.

    A CSV has no types. Its separator is found from its content, and its columns become numbers, booleans or texts
    by the rules in ``docs/profile.md``.

    Args:
        path: ``.csv`` or ``.tsv`` (also ``.gz``), ``.parquet``, ``.jsonl`` or ``.ndjson``.
        na_values: spellings of a missing value, so that ``-`` among numbers does not make them texts.
        texts: columns of a CSV to read as text.

    Raises:
        ProfileError: the file cannot be read; the message names it, the reason and, for JSON lines, the line.
    """
    suffixes = [suffix.lower() for suffix in path.suffixes]
    try:
        if is_csv(path):
            return _read_csv(path, na_values, texts)
        if suffixes[-1:] in ([".parquet"], [".pq"]):
            return TrainingTable(pd.read_parquet(path), {})
        if suffixes[-1:] in ([".jsonl"], [".ndjson"], [".json"]):
            return _read_json_lines(path)
    except FileNotFoundError:
        raise ProfileError(f"{path}: no such file{suggest_file(path)}") from None
    except pd.errors.EmptyDataError:
        raise ProfileError(f"{path}: the file is empty: a profile needs the rows of training") from None
    except (OSError, ValueError) as error:
        if isinstance(error, ProfileError):
            raise
        raise ProfileError(f"{path}: cannot be read as {suffixes[-1]}: {error}") from error
    raise ProfileError(f"{path}: unknown format; give a .csv, .parquet or .jsonl file")


def _read_csv(path: Path, na_values: Sequence[str], texts: Collection[str]) -> TrainingTable:
    separator = find_separator(path)
    options: dict[str, Any] = {
        "sep": separator,
        "na_values": list(na_values),
        "keep_default_na": False,
        "low_memory": False,
    }
    frame = pd.read_csv(path, dtype=dict.fromkeys(texts, str), **options)
    notes = []
    if separator != ",":
        notes.append(f"its columns are separated by {SEPARATORS[separator]}")
    integers = [name for name in frame if _may_be_padded(frame[name])]
    if integers and _has_padded_numbers(path):
        for name, column in pd.read_csv(path, dtype=str, usecols=integers, **options).items():
            sizes = column.value_counts()
            if _are_padded(sizes.index.to_series(), sizes):
                frame[name] = column
    with_comma = []
    for name in frame:
        column = frame[name]
        if name in texts:
            frame[name] = _drop_decimals(column)
        elif pd.api.types.infer_dtype(column) == "string":  # neither numbers nor booleans with missing values
            numbers = _read_decimal_commas(column) if separator == ";" else None
            frame[name] = _type_texts(column) if numbers is None else numbers
            if numbers is not None:
                with_comma.append(str(name))
    if with_comma:
        notes.append(f"numbers have a decimal comma, as usual with semicolons: {', '.join(with_comma)}")
    return TrainingTable(frame, {}, tuple(notes))


def _type_texts(column: pd.Series) -> pd.Series:
    """Convert a CSV's texts to numbers or booleans if nearly all are; the other values remain texts."""
    sizes = column.value_counts()
    texts = sizes.index.to_series()
    numbers = pd.to_numeric(texts, errors="coerce").dropna()
    if 2 * (count := sizes[numbers.index].sum()) > sizes.sum():
        odd = texts.drop(numbers.index)
        are_few = sizes.sum() - count <= MAX_ODD * sizes.sum() and len(numbers) > FEW_NUMBERS
        is_numeric = (are_few or _are_placeholders(odd)) and not _are_padded(texts[numbers.index], sizes)
        return _read_texts(column, numbers.to_dict()) if is_numeric else column
    booleans = {text: value for text in texts if isinstance(value := parse_scalar(text), bool)}
    is_boolean = 2 * sizes[list(booleans)].sum() > sizes.sum()
    if is_boolean and _are_placeholders(texts.drop(list(booleans))):
        return _read_texts(column, booleans)
    return column


def _are_placeholders(texts: pd.Series) -> bool:
    return all(is_placeholder(text) or not text.strip() for text in texts)


def _read_texts(column: pd.Series, readings: Mapping[Any, Any]) -> pd.Series:
    """Replace texts by their readings; blank texts become missing, and all others are unchanged."""
    blank = {text: np.nan for text in column.dropna().unique() if not text.strip()}
    replaced = {**blank, **readings}
    read = column.astype(object).map(lambda text: replaced.get(text, text))
    return read.infer_objects() if len(blank) < len(replaced) else read


def _may_be_padded(column: pd.Series) -> bool:
    """Return whether a column was read as integers, possibly with missing values."""
    return is_number_dtype(column) and bool((column.dropna() % 1 == 0).all())


def _has_padded_numbers(path: Path) -> bool:
    """Return whether a field of a file may begin with a zero and a digit; if not, it need not be read as texts."""
    before, digits = (np.zeros(256, dtype=bool) for _ in range(2))
    before[list(b'\n,;\t|"')] = True
    digits[list(b"0123456789")] = True
    with open_binary(path) as file:
        rest = b""
        while block := file.read(_BLOCK):
            text = np.frombuffer(rest + block, dtype=np.uint8)
            zeros = np.flatnonzero(text[1:-1] == ord("0"))
            if (before[text[zeros]] & digits[text[zeros + 2]]).any():
                return True
            rest = block[-2:]
    return False


def _are_padded(texts: pd.Series, sizes: pd.Series) -> bool:
    """Return whether texts are codes with leading zeros, such as ``02139``: all of one length, or many padded.

    Args:
        texts: the distinct texts.
        sizes: the number of rows with each text.
    """
    padded = texts.map(is_padded).astype(bool)
    if not padded.any() or not texts.str.fullmatch("[0-9]+").all():
        return False
    share = float(sizes[texts[padded]].sum() / sizes[texts].sum())
    return texts.str.len().nunique() == 1 or share >= MIN_PADDED


def _read_decimal_commas(column: pd.Series) -> pd.Series | None:
    """Read the numbers of a column of texts such as ``12,5``; return None if they are not numbers."""
    uniques = [text for text in column.dropna().unique() if not is_placeholder(text)]
    spelling = find_number_spelling(uniques, usual_mark=",")
    if spelling is None or spelling.mark != "," or not {*spelling.traits} <= {THOUSANDS, DECIMAL_COMMA}:
        return None
    readings = {text: number for text in uniques if (number := spelling.read(text)) is not None}
    return _read_texts(column, readings)


def _drop_decimals(texts: pd.Series) -> pd.Series:
    """Rewrite ``10.0``, as pandas writes integers of a column with missing values, to 10, as the service sends."""
    present = texts[texts.notna()]
    if present.empty or not present.str.fullmatch(r"-?[0-9]+\.0").all():
        return texts
    return texts.str.removesuffix(".0")


def _read_json_lines(path: Path) -> TrainingTable:
    rows: list[dict[str, Any]] = []
    columns: dict[str, None] = {}
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                row = orjson.loads(line)
            except orjson.JSONDecodeError as error:
                raise ProfileError(f"{path}: line {number}: not JSON: {error}") from error
            if not isinstance(row, dict):
                raise ProfileError(f"{path}: line {number}: expected an object, found {type(row).__name__}")
            rows.append(row)
            columns.update(dict.fromkeys(row))
    frame = pd.DataFrame({name: pd.Series([row.get(name) for row in rows]) for name in columns})
    absent = {name: np.array([name not in row for row in rows], dtype=bool) for name in columns}
    return TrainingTable(frame, {name: mask for name, mask in absent.items() if mask.any()})
