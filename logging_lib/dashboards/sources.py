"""Where a panel's documents are, and which fields they have. Pure."""

from __future__ import annotations

from typing import Final

from logging_lib.dashboards.spec import CONTROL_FIELDS, Control, Dataset
from logging_lib.schema.fields import Field, load
from logging_lib.schema.streams import data_stream
from logging_lib.schema.templates import WATCH_STATE

ALERT: Final = "alert"
"""What the watch runner told people: documents of its state, none of our events."""

_ALERT_FIELDS: Final = {
    name: Field(name, kind, description, (ALERT,))
    for name, kind, description in (
        ("@timestamp", "date", "When the watch ran."),
        ("kind", "keyword", "`history` for what was done."),
        ("record", "keyword", "`alert`, `delivery`, `run`, and so on."),
        ("watch", "keyword", "The watch."),
        ("model", "keyword", "The model."),
    )
}


def indices(dataset: Dataset, namespace: str | None = None) -> str:
    """The index pattern of a dataset, or the data stream of one namespace."""
    if dataset == ALERT:
        return WATCH_STATE
    return f"logs-ml.{dataset}-*" if namespace is None else data_stream(f"ml.{dataset}", namespace)


def field(name: str, dataset: str) -> Field | None:
    """The field of this name in a dataset, or None."""
    if dataset == ALERT:
        return _ALERT_FIELDS.get(name)
    found = load().field(name)
    return found if found is not None and f"ml.{dataset}" in found.datasets else None


def names(dataset: str) -> list[str]:
    """All fields of a dataset; a trailing ``*`` stands for any key."""
    if dataset == ALERT:
        return list(_ALERT_FIELDS)
    return [one.name for one in load().fields if f"ml.{dataset}" in one.datasets]


def control_field(control: Control, dataset: str) -> str | None:
    """The field that a control narrows in a dataset; None where it has none."""
    if dataset == ALERT:
        return "model" if control == "model" else None
    name = CONTROL_FIELDS.get(control)
    return name if name is not None and field(name, dataset) is not None else None
