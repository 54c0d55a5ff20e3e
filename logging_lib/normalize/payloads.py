"""Flatten the payload logs of model servers to one foreign event.

- CloudEvents (KServe's logger): ``specversion`` and ``data``, which holds the payload.
- Inference tables of MLflow on Databricks: ``request`` and ``response``, objects or JSON text.
- The payloads themselves: the Open Inference Protocol v2 (``inputs``, ``outputs`` as lists of tensors), v1
  (``instances``, ``predictions``), MLflow's ``dataframe_records`` and ``dataframe_split``.

An event is one prediction, so a payload of several rows is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeGuard

from logging_lib.normalize.errors import NormalizeError
from logging_lib.normalize.parsing import parse

_ENVELOPES = ("data", "request", "response", "request_metadata")


def unwrap(document: Mapping[str, Any]) -> dict[str, Any]:
    """Flatten an event: the content of its envelopes, the inputs by name, and the prediction of the one row.

    Raises:
        NormalizeError: ``batch``, for several rows.
    """
    flat = dict(document)
    cloud_event = "specversion" in flat
    for name in _ENVELOPES:
        if name != "data" or cloud_event:
            _open_envelope(flat, name)
    if cloud_event:
        if "inferenceservicename" in flat and "model_name" not in flat:
            flat["model_name"] = flat.pop("inferenceservicename")
        if "id" in flat:
            flat.setdefault("request_id", flat["id"])
    inputs = _read_inputs(flat)
    if inputs is not None:
        flat["inputs"] = inputs
        _read_outputs(flat)
    return flat


def _open_envelope(flat: dict[str, Any], name: str) -> None:
    """Move the content of an envelope to the event; keys of the event itself take precedence."""
    content = flat.get(name)
    if isinstance(content, str) and content[:1] == "{":
        try:
            content, _ = parse(content.encode())
        except NormalizeError:
            return
    if isinstance(content, list) and name == "response":
        content = {"predictions": content}
    if not isinstance(content, dict):
        return
    del flat[name]
    for key, value in content.items():
        flat[f"{name}.{key}" if key in flat else key] = value


def _read_inputs(flat: dict[str, Any]) -> dict[str, Any] | None:
    """Read the inputs of the one row, by name; None where the event has no known payload."""
    tensors = _find_tensors(flat.get("inputs"))
    if tensors is not None:
        return _read_tensors(tensors)
    for key in ("dataframe_records", "instances"):
        if _is_rows(rows := flat.get(key)):
            del flat[key]
            row = _expect_single_row(rows)
            return row if isinstance(row, dict) else {str(i): v for i, v in enumerate(_flatten(row))}
    split = flat.get("dataframe_split")
    if isinstance(split, dict) and _is_rows(rows := split.get("data")):
        row, columns = _expect_single_row(rows), split.get("columns")
        if isinstance(row, list) and isinstance(columns, list) and len(row) == len(columns):
            del flat["dataframe_split"]
            return {
                name if isinstance(name, str) else str(i): value
                for i, (name, value) in enumerate(zip(columns, row, strict=True))
            }
    return None


def unpack_rows(inputs: Any) -> Any:
    """Return the one row of a list of rows by name; anything else as it is.

    Raises:
        NormalizeError: ``batch``, for several rows.
    """
    are_rows = _is_rows(inputs) and all(isinstance(row, dict) for row in inputs)
    return _expect_single_row(inputs) if are_rows else inputs


def _read_outputs(flat: dict[str, Any]) -> None:
    tensors = _find_tensors(flat.get("outputs"))
    if tensors is not None:
        del flat["outputs"]
        values = _read_tensors(tensors)
        flat["prediction"] = next(iter(values.values())) if len(values) == 1 else values
    elif _is_rows(rows := flat.get("predictions")):
        flat["prediction"] = _expect_single_row(rows)
        del flat["predictions"]


def _find_tensors(value: Any) -> list[dict[str, Any]] | None:
    if not isinstance(value, list) or not value:
        return None
    are_tensors = all(
        isinstance(tensor, dict)
        and isinstance(tensor.get("name"), str)
        and isinstance(tensor.get("data"), list)
        for tensor in value
    )
    return value if are_tensors else None


def _read_tensors(tensors: list[dict[str, Any]]) -> dict[str, Any]:
    """Read tensors of one row as values by name; several elements are ``name.0``, ``name.1``, ..."""
    values: dict[str, Any] = {}
    for tensor in tensors:
        name, data, shape = tensor["name"], _flatten(tensor["data"]), tensor.get("shape")
        rows = shape[0] if isinstance(shape, list) and shape and type(shape[0]) is int else len(data)
        if rows > 1:
            raise _batch_error(rows)
        if len(data) == 1:
            values[name] = data[0]
        else:
            values.update((f"{name}.{i}", value) for i, value in enumerate(data))
    return values


def _flatten(value: Any) -> list[Any]:
    """Flatten nested lists; parsing has bounded the depth."""
    if not isinstance(value, list):
        return [value]
    return [element for item in value for element in _flatten(item)]


def _is_rows(value: Any) -> TypeGuard[list[Any]]:
    return isinstance(value, list) and bool(value)


def _expect_single_row(rows: list[Any]) -> Any:
    if len(rows) > 1:
        raise _batch_error(len(rows))
    return rows[0]


def _batch_error(rows: int) -> NormalizeError:
    return NormalizeError("batch", f"the payload holds {rows} rows; log one event a prediction")
