"""Read training data from a CSV, Parquet or JSON lines file into a DataFrame."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pandas as pd

from logging_lib.profile.io import ProfileError

Masks = dict[str, np.ndarray[Any, Any]]


def read_table(
    path: Path, *, na_values: Sequence[str], texts: Sequence[str] = ()
) -> tuple[pd.DataFrame, Masks]:
    """Read the table in a file, and for JSON lines which keys were absent in which rows.

    Args:
        path: ``.csv`` (or ``.csv.gz``), ``.parquet``, ``.jsonl`` or ``.ndjson``.
        na_values: spellings of a missing value, so that ``-`` among numbers does not make them texts.
        texts: columns of a CSV to read as text: ``02139`` is not a number.

    Returns:
        The DataFrame, shape (rows, columns), and column → mask of absent keys, shape (rows,).

    Raises:
        ProfileError: names the file, what is wrong and, for JSON lines, the line.
    """
    suffixes = [suffix.lower() for suffix in path.suffixes]
    try:
        if ".csv" in suffixes:
            options = {"na_values": list(na_values), "keep_default_na": False, "low_memory": False}
            return pd.read_csv(path, dtype=dict.fromkeys(texts, str), **options), {}  # type: ignore[call-overload]
        if suffixes[-1:] in ([".parquet"], [".pq"]):
            return pd.read_parquet(path), {}
        if suffixes[-1:] in ([".jsonl"], [".ndjson"], [".json"]):
            return _read_json_lines(path)
    except FileNotFoundError:
        raise ProfileError(f"{path}: no such file") from None
    except pd.errors.EmptyDataError:
        raise ProfileError(f"{path}: the file is empty: a profile needs the rows of training") from None
    except (OSError, ValueError) as error:
        if isinstance(error, ProfileError):
            raise
        raise ProfileError(f"{path}: cannot be read as {suffixes[-1]}: {error}") from error
    raise ProfileError(f"{path}: unknown format; give a .csv, .parquet or .jsonl file")


def _read_json_lines(path: Path) -> tuple[pd.DataFrame, Masks]:
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
    return frame, {name: mask for name, mask in absent.items() if mask.any()}
