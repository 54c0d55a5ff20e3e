"""Define what a dashboard's YAML file may contain: panels, the datasets they read, and their fields. Pure."""

from __future__ import annotations

from functools import cached_property
from typing import Annotated, Any, Final, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PlainValidator,
    ValidationError,
    model_validator,
)

from logging_lib.dashboards import formula as formulas
from logging_lib.dashboards.formula import Formula
from logging_lib.schema import data_stream
from logging_lib.schema.fields import Field as SchemaField
from logging_lib.schema.fields import load
from logging_lib.schema.templates import WATCH_STATE

ALERT: Final = "alert"
"""The alerts that the watch runner sent to people: documents of its state, not our events."""

_ALERT_FIELDS: Final = {
    name: SchemaField(name, kind, description, (ALERT,))
    for name, kind, description in (
        ("@timestamp", "date", "When the watch ran."),
        ("kind", "keyword", "`history` for what was done."),
        ("record", "keyword", "`alert`, `delivery`, `run`, and so on."),
        ("watch", "keyword", "The watch."),
        ("model", "keyword", "The model."),
    )
}


def indices(dataset: Dataset, namespace: str | None = None) -> str:
    """Return the index pattern of a dataset, or the data stream of one namespace."""
    if dataset == ALERT:
        return WATCH_STATE
    return f"logs-ml.{dataset}-*" if namespace is None else data_stream(f"ml.{dataset}", namespace)


def field(name: str, dataset: str) -> SchemaField | None:
    """Return the field of this name in a dataset, or None."""
    if dataset == ALERT:
        return _ALERT_FIELDS.get(name)
    schema_field = load().field(name)
    return schema_field if schema_field is not None and f"ml.{dataset}" in schema_field.datasets else None


def names(dataset: str) -> list[str]:
    """Return all fields of a dataset; a trailing ``*`` stands for any key."""
    if dataset == ALERT:
        return list(_ALERT_FIELDS)
    return [schema_field.name for schema_field in load().fields if f"ml.{dataset}" in schema_field.datasets]


def control_field(control: Control, dataset: str) -> str | None:
    """Return the field that a control narrows in a dataset; None if it has none."""
    if dataset == ALERT:
        return "model" if control == "model" else None
    name = CONTROL_FIELDS.get(control)
    return name if name is not None and field(name, dataset) is not None else None


Chart = Literal["line", "area", "bar", "metric", "table", "heatmap", "pie", "rates", "bins", "events", "text"]
Dataset = Literal["prediction", "label", "deadletter", "health", "start", "alert"]
Control = Literal["model", "version", "role", "service", "feature"]
Format = Literal["number", "percent", "bytes", "ns", "s"]
Check = Literal["missing", "absent", "unseen", "out_of_range", "not_finite", "wrong_type", "oov"]

SERIES_CHARTS = ("line", "area", "bar")
TIME = "time"
WEIGHTED = ("prediction", "label")
"""Datasets whose documents can represent more than one event."""

CONTROL_FIELDS: dict[Control, str] = {
    "model": "ml.model.name",
    "version": "ml.model.version",
    "role": "ml.model.role",
    "service": "service.name",
}

Text = Annotated[str, Field(min_length=1)]
Value = str | int | float | bool


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class Range(_Strict):
    gte: float | None = None
    gt: float | None = None
    lt: float | None = None
    lte: float | None = None


class Exists(_Strict):
    exists: bool


class Not(_Strict):
    not_: Value | list[Value] = Field(alias="not")


_CONDITION = "expected a value, a list of values, or one of {exists: true}, {not: ...}, {gte: 0, lt: 1}"


def _condition(condition: Any) -> Any:
    if isinstance(condition, (Exists, Not, Range)):
        return condition
    if isinstance(condition, dict):
        model = Exists if "exists" in condition else Not if "not" in condition else Range
        try:
            return model.model_validate(condition)
        except ValidationError as error:
            raise ValueError(_CONDITION) from error
    values = condition if isinstance(condition, list) else [condition]
    if not values or not all(isinstance(value, (str, int, float, bool)) for value in values):
        raise ValueError(_CONDITION)
    return condition


Condition = Annotated[Value | list[Value] | Exists | Not | Range, PlainValidator(_condition)]
Filter = dict[str, Condition]
"""Field → required value; all conditions must hold. A list means any of its values."""


def _formula(text: str) -> str:
    formulas.parse(text)
    return text


FormulaText = Annotated[str, AfterValidator(_formula)]


class Metric(_Strict):
    """One number of a panel: a formula, or an operation and its field. See ``formula``."""

    label: str = ""
    metric: str | None = None
    field: str | None = None
    percentile: float | None = None
    formula: FormulaText | None = None
    format: Format = "number"
    decimals: int | None = Field(default=None, ge=0, le=9)

    @model_validator(mode="after")
    def _readable(self) -> Metric:
        if (self.formula is None) == (self.metric is None):
            raise ValueError("give either 'metric' or 'formula'")
        if self.formula is not None and (self.field is not None or self.percentile is not None):
            raise ValueError("'field' and 'percentile' go with 'metric'; a formula names its fields itself")
        self.parsed  # noqa: B018 - raises FormulaError, which is a ValueError
        return self

    @cached_property
    def parsed(self) -> Formula:
        if self.formula is not None:
            return formulas.parse(self.formula)
        name = self.metric or ""
        if name not in (*formulas.OF_EVENTS, *formulas.OF_FIELD):
            functions = ", ".join((*formulas.OF_EVENTS, *formulas.OF_FIELD))
            raise formulas.FormulaError(f"metric: {name!r:.80} is not one of {functions}")
        if name in formulas.OF_FIELD and not self.field:
            raise formulas.FormulaError(f"metric: {name} needs a 'field'")
        if name in formulas.OF_EVENTS and self.field:
            raise formulas.FormulaError(f"metric: {name} takes no 'field'")
        if (name == "percentile") != (self.percentile is not None):
            raise formulas.FormulaError("'percentile' goes with metric: percentile, and it with a number")
        if self.percentile is not None and not 0 < self.percentile < 100:
            raise formulas.FormulaError(f"percentile: {self.percentile:g} is not between 0 and 100")
        return formulas.Operation(name, self.field or "", self.percentile or 0.0)


class Reference(_Strict):
    """A constant line, such as a rate in training."""

    value: float
    label: Text


class Panel(_Strict):
    """One panel.

    Attributes:
        title: what is shown, and what good looks like.
        description: more detail; shown when the pointer rests on the title.
        chart: how it is drawn. ``rates``: the share of events whose check failed, by feature over time.
            ``bins``: a feature's bins now and in the week before. ``events``: single events. ``text``: Markdown.
        dataset: which events.
        x: ``time``, or a field; for a line, area, bar or heat map.
        split: one series, row or slice for each value of this field; a table takes several.
        size: the number of values of ``split``, the largest first.
        metric, field, percentile, formula, format: the number, if there is only one; otherwise use ``metrics``.
        where: the filters that formulas name.
        filter: which events count at all.
        needs: the preview shows the panel only if an event matches this filter, such as one of a shadow model.
        band: a band of the mean's standard error, for ``metric: average`` alone.
        stack: ``no``, ``yes``, or ``share`` (stacked to 100 %).
        expected: the values in training, from the published profile: of a check (``rates``), or of all bins.
        references: constant lines.
        feature: the feature of ``bins``; default: the chosen one.
        training: bin → share of training rows, for ``bins``; replaces the published profile.
        columns: the fields of ``events``.
        text: the text of a ``text`` panel.
        elsewhere: replaces that text if the panel is shown without Kibana.
        drilldown: the dashboard that a click opens.
        width, height: in 48ths of the width, and in rows of 20 pixels.
    """

    title: Text
    description: str = ""
    chart: Chart
    dataset: Dataset = "prediction"
    x: str = TIME
    split: str | list[str] = Field(default_factory=list)
    size: int = Field(default=10, ge=1, le=1000)
    metric: str | None = None
    field: str | None = None
    percentile: float | None = None
    formula: FormulaText | None = None
    format: Format = "number"
    decimals: int | None = Field(default=None, ge=0, le=9)
    metrics: tuple[Metric, ...] = ()
    where: dict[str, Filter] = Field(default_factory=dict)
    filter: Filter = Field(default_factory=dict)
    needs: Filter = Field(default_factory=dict)
    band: bool = False
    stack: Literal["no", "yes", "share"] = "no"
    expected: Check | Literal["bins"] | None = None
    references: tuple[Reference, ...] = ()
    feature: str | None = None
    training: dict[str, float] | None = None
    columns: tuple[str, ...] = ()
    text: str = ""
    elsewhere: str = ""
    drilldown: str | None = None
    width: int = Field(default=24, ge=4, le=48)
    height: int = Field(default=12, ge=2, le=60)

    @model_validator(mode="before")
    @classmethod
    def _booleans(cls, document: Any) -> Any:
        """Undo that YAML reads a bare ``no`` or ``yes`` as a boolean."""
        if isinstance(document, dict) and isinstance(document.get("stack"), bool):
            return {**document, "stack": "yes" if document["stack"] else "no"}
        return document

    @model_validator(mode="after")
    def _short_form(self) -> Panel:
        short = self.metric is not None or self.formula is not None
        if short and self.metrics:
            raise ValueError("give either one 'metric' or 'formula', or the list 'metrics'")
        if self.band and (self.metric != "average" or not self.field):
            raise ValueError("'band' goes with 'metric: average' and its 'field'")
        self.numbers  # noqa: B018 - raises where one is wrong
        return self

    @property
    def splits(self) -> tuple[str, ...]:
        return (self.split,) if isinstance(self.split, str) else tuple(self.split)

    @cached_property
    def numbers(self) -> tuple[Metric, ...]:
        """Return the panel's metrics, including its short form."""
        if self.metrics or (self.metric is None and self.formula is None):
            return self.metrics
        field = None if self.formula is not None else self.field
        return (
            Metric(
                metric=self.metric,
                field=field,
                percentile=self.percentile,
                formula=self.formula,
                format=self.format,
                decimals=self.decimals,
            ),
        )

    @property
    def weighted(self) -> bool:
        return self.dataset in WEIGHTED


class Dashboard(_Strict):
    """A dashboard file. ``id`` is the file's stem; ``period`` is the initial time span (``24h``)."""

    id: Text
    title: Text
    description: str = ""
    period: str = Field(default="24h", pattern=r"^[1-9]\d{0,3}[mhdw]$")
    controls: tuple[Control, ...] = ()
    panels: tuple[Panel, ...] = Field(min_length=1)
