"""Readers of one row of inputs that is not a plain mapping, such as a DataFrame of one row, a Series or a record.

Inputs that are not clearly one row with the names of its features are refused, with the reason. pandas is not
imported: a row is recognized by its attributes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from logging_lib._util.errors import LoggingLibError
from logging_lib.profile.coerce import to_microseconds

MAX_NESTED = 2
"""How many nested lists of one element are unpacked: a model's batch of one row has shape (1, 1)."""
_NOT_SINGLE: Any = object()


class InputsError(LoggingLibError):
    """The error for inputs that are not one row with names. The message has types and sizes, but no values."""


def read_row(inputs: Any) -> Mapping[Any, Any]:
    """Read one row as feature → value.

    Args:
        inputs: a mapping, which is returned unchanged; a DataFrame of one row; a Series with the names as its
            index; a named tuple, a dataclass or a pydantic model; or a list with one of these.

    Raises:
        InputsError: the inputs are something else, or more than one row.
    """
    if isinstance(inputs, Mapping):
        return inputs
    if is_frame(inputs):
        return _read_frame(inputs)
    if _is_record(inputs):
        return _read_record(inputs)
    if (
        isinstance(inputs, list | tuple)
        and inputs
        and all(is_frame(row) or _is_record(row) for row in inputs)
    ):
        if len(inputs) == 1:
            return read_row(inputs[0])
        raise InputsError(
            f"inputs must be one row, and this {type(inputs).__name__} has {len(inputs)}: log each row by itself, "
            "or pandas.DataFrame(rows) with predictions()"
        )
    has_values = hasattr(inputs, "__len__") and not isinstance(inputs, str | bytes)
    raise InputsError(
        'inputs must be a mapping of feature names to values, such as {"amount": 12.5}; found '
        + describe(inputs)
        + (": give each value its name, dict(zip(names, values))" if has_values else "")
    )


def is_frame(inputs: Any) -> bool:
    """Return whether an object is a DataFrame of pandas, or of a library like it."""
    shape = getattr(inputs, "shape", None)
    return hasattr(inputs, "columns") and isinstance(shape, tuple) and len(shape) == 2


def describe(inputs: Any) -> str:
    """Describe an object by its type and size, without its values."""
    kind = type(inputs)
    name = kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__name__}"
    if isinstance(shape := getattr(inputs, "shape", None), tuple):
        return f"{name} of shape {shape}"
    return f"{name} of {len(inputs)} values" if isinstance(inputs, list | tuple) else name


def _read_frame(frame: Any) -> Mapping[Any, Any]:
    rows = frame.shape[0]
    if rows != 1:
        raise InputsError(
            f"inputs must be one row, and this {type(frame).__name__} has {rows}: log the rows of a DataFrame with "
            "predictions()"
        )
    if hasattr(frame, "column_names"):  # pyarrow
        return name_values(frame.column_names, [column[0].as_py() for column in frame.columns])
    values = next(frame.itertuples(index=False, name=None)) if hasattr(frame, "itertuples") else frame.row(0)
    return name_values(frame.columns, values)


REPEATED_NAME = "inputs must have one value for each feature name, and a name is there twice"


def has_repeated_name(names: Sequence[Any]) -> bool:
    """Return whether two columns have the same name, or names with the same text, such as ``1`` and ``"1"``."""
    return len(set(map(str, names))) < len(names)


def name_values(names: Iterable[Any], values: Iterable[Any]) -> dict[Any, Any]:
    """Give each value its name. Raise InputsError if two names have the same text."""
    names = list(names)
    row = dict(zip(names, values, strict=True))
    if has_repeated_name(names):
        raise InputsError(REPEATED_NAME)
    return row


def _is_record(value: Any) -> bool:
    """Return whether an object is one row with the names of its values."""
    return isinstance(value, Mapping) or (
        not isinstance(value, type)
        and (
            hasattr(value, "_asdict")
            or hasattr(value, "model_dump")
            or dataclasses.is_dataclass(value)
            or _is_series(value)
        )
    )


def _is_series(value: Any) -> bool:
    return hasattr(value, "tolist") and hasattr(getattr(value, "index", None), "tolist")


def _read_record(record: Any) -> Mapping[Any, Any]:
    if _is_series(record):
        return name_values(record.index.tolist(), record.tolist())
    if hasattr(record, "_asdict"):
        return dict(record._asdict())
    if hasattr(record, "model_dump"):
        return dict(record.model_dump())
    return {field.name: getattr(record, field.name) for field in dataclasses.fields(record)}


def unpack_columns(columns: Mapping[Any, Any]) -> dict[Any, Any] | None:
    """Unpack a row that was sent as columns of one value; return None if a column is anything else.

    Args:
        columns: feature → a list, tuple or array of one value, or, as ``DataFrame.to_dict()`` and ``to_json()``
            write it, a mapping of the row's number to the value.
    """
    row: dict[Any, Any] = {}
    for name, values in columns.items():
        row[name] = value = _unpack(values)
        if value is _NOT_SINGLE:
            return None
    return row


def _unpack(values: Any) -> Any:
    if isinstance(values, Mapping):
        numbers = list(values)
        is_number = len(numbers) == 1 and (type(numbers[0]) is int or str(numbers[0]).isdecimal())
        return values[numbers[0]] if is_number else _NOT_SINGLE
    if hasattr(values, "tolist"):
        shape = getattr(values, "shape", None)
        if not isinstance(shape, tuple) or set(shape) != {1}:
            return _NOT_SINGLE
        values = (to_microseconds(values) if type(values).__module__ == "numpy" else values).tolist()
    if not _is_single(values):
        return _NOT_SINGLE
    for _ in range(MAX_NESTED):
        if _is_single(values):
            values = values[0]
    return values


def _is_single(values: Any) -> bool:
    return isinstance(values, list | tuple) and len(values) == 1
