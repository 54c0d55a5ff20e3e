"""The flattening of payload logs of model servers to one foreign event.

- CloudEvents (KServe's logger): ``specversion`` and ``data``, which holds the payload.
- Inference tables of MLflow on Databricks: ``request`` and ``response``, objects or JSON text.
- The payloads themselves: the Open Inference Protocol v2 (``inputs`` as a list of tensors), v1 (``instances``),
  MLflow's ``inputs`` as a list of rows or as columns, ``dataframe_records`` and ``dataframe_split``.

An event is one prediction, so a payload of several rows is refused.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from logging_lib.normalize.errors import NormalizeError
from logging_lib.normalize.parsing import is_filled, parse_value

_ENVELOPES = ("data", "request", "response", "request_metadata")
ROWS = ("dataframe_records", "instances")
_OF_COLUMNS = ("specversion", "request_metadata", "databricks_request_id")
"""Keys of the payload logs whose ``inputs`` may be columns: a list of the rows' values for each name."""


def unwrap(document: Mapping[str, Any], keys_of_inputs: Sequence[str]) -> dict[str, Any]:
    """Flatten an event: move up the content of its envelopes, and put its row under ``inputs``, by name.

    Args:
        document: the event.
        keys_of_inputs: the possible keys of its inputs; the first one whose value can be read is used.

    Raises:
        NormalizeError: ``batch``, for several rows.
    """
    flat = dict(document)
    is_cloud_event, may_be_columns = "specversion" in flat, any(key in flat for key in _OF_COLUMNS)
    for name in _ENVELOPES:
        if name != "data" or is_cloud_event:
            _open_envelope(flat, name)
    if is_cloud_event:
        if "inferenceservicename" in flat and not is_filled(flat.get("model_name")):
            flat["model_name"] = flat.pop("inferenceservicename")
        if "id" in flat and not is_filled(flat.get("request_id")):
            flat["request_id"] = flat["id"]
    for key in (*keys_of_inputs, *ROWS, "dataframe_split"):
        value = parse_text(flat.get(key))
        inputs = _read_inputs(key, value, may_be_columns) if is_filled(value) else None
        if inputs is not None:
            del flat[key]
            if (unread := flat.get("inputs")) is not None:
                flat[f"{key}.inputs"] = unread
            flat["inputs"] = inputs
            break
    return flat


def _open_envelope(flat: dict[str, Any], name: str) -> None:
    """Move the content of an envelope to the event; keys of the event itself take precedence, unless null."""
    content = parse_text(flat.get(name))
    if isinstance(content, list) and name == "response":
        content = {"predictions": content}
    if not isinstance(content, dict):
        return
    del flat[name]
    for key, value in content.items():
        flat[key if flat.get(key) is None else f"{name}.{key}"] = value


def parse_text(value: Any) -> Any:
    """Parse an object or a list that is written as JSON text; return anything else unchanged."""
    if not isinstance(value, str) or value[:1] not in ("{", "["):
        return value
    try:
        return parse_value(value.encode())[0]
    except NormalizeError:
        return value


def _read_inputs(key: str, value: Any, may_be_columns: bool) -> dict[str, Any] | None:
    """Read the inputs of the only row, by name; return None if the value is not a known payload."""
    if key == "dataframe_split":
        return _read_split(value)
    if isinstance(value, dict) and key not in ROWS:
        return _read_columns(value) if key == "inputs" and may_be_columns else value
    if not isinstance(value, list):
        return None
    if key not in ROWS:
        if are_tensors(value):
            return read_tensors(value) or None
        if not any(all(isinstance(row, kind) for row in value) for kind in (dict, list)):
            return None
    row = expect_single_row(value)
    return row if isinstance(row, dict) else {str(i): v for i, v in enumerate(flatten(row))} or None


def _read_split(split: Any) -> dict[str, Any] | None:
    """Read the only row of a pandas frame in the orientation ``split``."""
    rows, columns = (split.get("data"), split.get("columns")) if isinstance(split, dict) else (None, None)
    if not isinstance(rows, list) or not rows:
        return None
    row = expect_single_row(rows)
    if not isinstance(row, list) or not isinstance(columns, list) or len(row) != len(columns):
        return None
    return {
        name if isinstance(name, str) else str(i): value
        for i, (name, value) in enumerate(zip(columns, row, strict=True))
    }


def _read_columns(inputs: dict[str, Any]) -> dict[str, Any]:
    """Read the only row of columns, which are lists of the same length; return anything else unchanged."""
    lengths = {len(values) if isinstance(values, list) else 0 for values in inputs.values()}
    if len(lengths) != 1 or 0 in lengths:
        return inputs
    return {name: expect_single_row(values) for name, values in inputs.items()}


def unpack_tensors(output: Any) -> Any:
    """Return an output's tensors as values by name, or as the only value; return anything else unchanged.

    Raises:
        NormalizeError: ``batch``, for several rows.
    """
    if not isinstance(output, list) or not are_tensors(output):
        return output
    values = read_tensors(output)
    return next(iter(values.values())) if len(values) == 1 else values


def are_tensors(values: list[Any]) -> bool:
    return bool(values) and all(
        isinstance(tensor, dict)
        and isinstance(tensor.get("name"), str)
        and isinstance(tensor.get("data"), list)
        for tensor in values
    )


def read_tensors(tensors: list[dict[str, Any]]) -> dict[str, Any]:
    """Read tensors of one row as values by name; the elements of a longer one are ``name.0``, ``name.1``, ..."""
    values: dict[str, Any] = {}
    for tensor in tensors:
        name, data, shape = tensor["name"], flatten(tensor["data"]), tensor.get("shape")
        rows = shape[0] if isinstance(shape, list) and shape and type(shape[0]) is int else len(data)
        if rows > 1:
            raise batch_error(rows)
        if len(data) == 1:
            values[name] = data[0]
        else:
            values.update((f"{name}.{i}", value) for i, value in enumerate(data))
    return values


def flatten(value: Any) -> list[Any]:
    """Flatten nested lists, whose depth the parser has limited."""
    if not isinstance(value, list):
        return [value]
    return [element for item in value for element in flatten(item)]


def expect_single_row(rows: list[Any]) -> Any:
    if len(rows) > 1:
        raise batch_error(len(rows))
    return rows[0]


def batch_error(rows: int) -> NormalizeError:
    return NormalizeError("batch", f"the payload holds {rows} rows; log one event a prediction")
