"""The reading of one row of values, at a place that a file of aliases names; its twin is in ``pipelines/ruby``.

A row is a list, a list of one row, a tensor of Seldon (``{"shape": …, "values": …}``), the tensors of the Open
Inference Protocol, or a text: JSON, one line of CSV, or one of these in base64. Its columns have names, or their
numbers.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from logging_lib.normalize.errors import NormalizeError
from logging_lib.normalize.parsing import is_filled
from logging_lib.normalize.payloads import (
    ROWS,
    are_tensors,
    batch_error,
    expect_single_row,
    flatten,
    parse_text,
    read_tensors,
    unwrap,
)
from logging_lib.profile.coerce import parse_scalar

_ROWS = ("inputs", *ROWS)
_SPACE = " \t\r\n"
_CELL = re.compile(r'[ \t]*+(?:"((?:[^"]++|"")*+)"[ \t]*+|([^",\r\n]*+))(,|\r\n|\n|\r|\Z)')


class RowPlace(NamedTuple):
    """A place of a row.

    Attributes:
        path: the place, for messages.
        names: the names of the columns.
        encoding: how a text is encoded: ``CSV``, ``JSON`` or ``BASE64``; anything else: as it looks.
        is_table: whether a text is a row; otherwise only JSON is read.
    """

    path: str
    names: Sequence[str] | None
    encoding: Any
    is_table: bool


def read_inputs(value: Any, table: RowPlace) -> dict[str, Any] | None:
    """Read inputs by name; return None if the value cannot be read.

    Raises:
        NormalizeError: ``batch``, for several rows; ``names``, if there are more or fewer values than names.
    """
    if isinstance(value, str):
        value = _read_text(value, table.encoding) if table.is_table else parse_text(value)
        if isinstance(value, dict) and table.is_table:
            rows = next((value[key] for key in _ROWS if isinstance(value.get(key), list)), None)
            if rows is None:
                inputs = unwrap(value, _ROWS[:1]).get("inputs")
                return inputs if isinstance(inputs, dict) else value
            value = rows
    row = _read_row(value)
    if row is None or isinstance(row, dict):
        return row
    if table.names is None:
        return {str(i): cell for i, cell in enumerate(row)}
    if len(table.names) != len(row):
        raise NormalizeError("names", f"{len(row)} values in `{table.path}`, but {len(table.names)} names")
    return dict(zip(table.names, row, strict=True))


def read_output(value: Any, table: RowPlace, payload_keys: Sequence[str]) -> Any:
    """Read an output; names that are not as many as its values are not used.

    Args:
        value: the value at the place.
        table: the place.
        payload_keys: the possible keys of the output in a payload, for one that is a text.

    Raises:
        NormalizeError: ``batch``, for several rows.

    Returns:
        The only value of a row, a row by name or as a list, or anything else unchanged.
    """
    if isinstance(value, str) and table.is_table:
        value = _read_text(value, table.encoding)
        if isinstance(value, list):
            value = [parse_scalar(cell) for cell in value]
        elif isinstance(value, dict):
            value = next((value[key] for key in payload_keys if is_filled(value.get(key))), value)
    if isinstance(value, list) and (are_tensors(value) or not table.is_table):
        return value
    row = _read_row(value)
    if not isinstance(row, list):
        return value
    if len(row) == 1:
        return row[0]
    if table.names is None or len(table.names) != len(row):
        return row
    return dict(zip(table.names, row, strict=True))


def _read_row(value: Any) -> list[Any] | dict[str, Any] | None:
    """Read the only row: a list of its values, or a mapping by name; return None for anything else."""
    if isinstance(value, dict):
        if not _is_tensor(value):
            return value
        shape, values = value["shape"], flatten(value["values"])
        if shape and type(shape[0]) is int and shape[0] > 1:
            raise batch_error(shape[0])
        return values or None
    if not isinstance(value, list) or not value:
        return None
    if are_tensors(value):
        return read_tensors(value) or None
    if all(isinstance(row, dict) for row in value) or all(isinstance(row, list) for row in value):
        row = expect_single_row(value)
        return (row if isinstance(row, dict) else flatten(row)) or None
    return None if any(isinstance(cell, (dict, list)) for cell in value) else value


def _is_tensor(value: Mapping[str, Any]) -> bool:
    """Return whether a mapping is a tensor of Seldon's protocol."""
    return isinstance(value.get("shape"), list) and isinstance(value.get("values"), list)


def _read_text(text: str, encoding: Any) -> Any:
    """Read a text as JSON or as a row of CSV; return None if it is neither."""
    if encoding == "BASE64":
        decoded = _decode(text)
        if decoded is None:
            return None
        text = decoded
    text = text.lstrip(_SPACE)
    if encoding != "CSV" and text[:1] in ("{", "["):
        value = parse_text(text)
        return None if isinstance(value, str) else value
    return _parse_csv(text)


def _decode(text: str) -> str | None:
    """Decode base64, which must be canonical, so that all libraries read the same."""
    try:
        content = base64.b64decode(text)
        return content.decode("utf-8") if base64.b64encode(content) == text.encode() else None
    except ValueError:
        return None


def _parse_csv(text: str) -> list[str] | None:
    """Parse the only row of CSV (RFC 4180) into its cells, without blanks around them.

    Raises:
        NormalizeError: ``batch``, for several rows.
    """
    rows: list[list[str]] = []
    row: list[str] = []
    position = 0
    while (match := _CELL.match(text, position)) is not None:
        quoted, plain, end = match.groups()
        row.append(plain.rstrip(" \t") if quoted is None else quoted.replace('""', '"'))
        position = match.end()
        if end == ",":
            continue
        if row != [""]:
            rows.append(row)
        row = []
        if position == len(text):
            return expect_single_row(rows) if rows else None
    return None
