"""Read the specs of the shipped watches, ``watchers/*.yml``, and refuse invalid ones.

A spec has a ``kind``, which determines the searches and the stored script that evaluates them, and ``settings``,
which become the watch's ``metadata``. ``logging_lib.watch.generate`` compiles specs to Watcher's JSON.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationError,
    model_validator,
)

from logging_lib._util.suggestions import explain_unreadable, suggest
from logging_lib._util.times import parse_duration
from logging_lib.watch.errors import WatchError, WatchProblem, json_path

Number = int | float
Dataset = Literal["prediction", "label", "deadletter", "health", "start"]


def _duration(text: str) -> str:
    parse_duration(text)
    return text


Duration = Annotated[str, AfterValidator(_duration)]
Week = Annotated[str, Field(pattern=r"^week[1-9]$")]
"""The same hours, the given number of weeks ago."""
Windows = Annotated[list[Duration], Field(min_length=2)]
"""Windows, the shortest first."""


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


# -- settings: what becomes the watch's metadata -----------------------------------------------------------


class Budgeted(Strict):
    """Settings with a ``budget_weight``: the watch's share, relative to others, of a model's monthly false
    alarms."""

    windows: Windows
    budget_weight: Annotated[Number, Field(gt=0)]
    dispersion: Number | None = None


class Seasonal(Budgeted):
    """Settings with ``seasonal``: a pattern of the models whose shorter windows are compared with
    ``references``."""

    seasonal: str | None = None
    references: list[Week] = []

    @model_validator(mode="after")
    def _together(self) -> Seasonal:
        if (self.seasonal is None) != (not self.references):
            raise ValueError("'seasonal' and 'references' go together")
        return self


class RateSettings(Seasonal):
    """Settings with either one ``check`` or several ``checks``, which ``words`` name in messages."""

    check: str | None = None
    checks: list[str] | None = None
    words: dict[str, str] = {}
    fields: dict[str, str] = {}
    baseline: Duration | None = None
    usual_rate: Number | None = None
    min_effect: Number
    min_hits: int
    min_rates: dict[str, Number] = {}
    max_rates: dict[str, Number] = {}
    two_sided: list[Literal["missing", "absent"]] = []

    @model_validator(mode="after")
    def _one_way(self) -> RateSettings:
        if (self.check is None) == (self.checks is None):
            raise ValueError("give either 'check' or 'checks'")
        if self.fields and (self.checks is None or not self.words):
            raise ValueError("'fields' needs 'checks', and in 'words' the values that are counted")
        if self.usual_rate is not None and self.dispersion is None:
            raise ValueError("'usual_rate' needs 'dispersion': no profile says it")
        return self


_THRESHOLDS = {
    "psi": ("min_psi", "min_points"),
    "shift": ("min_shift",),
    "rare": ("rare_share", "min_rise"),
    "spread": ("min_effect",),
    "mean": ("min_sd",),
}


class DistributionSettings(Seasonal):
    """Settings with ``measures``, each of which has its thresholds."""

    measures: list[Literal["psi", "shift", "rare", "spread", "mean"]]
    min_events: int
    min_psi: Number | None = None
    min_points: Number | None = None
    min_shift: Number | None = None
    rare_share: Number | None = None
    min_rise: Number | None = None
    min_sd: Number | None = None
    min_effect: Number | None = None

    @model_validator(mode="after")
    def _with_thresholds(self) -> DistributionSettings:
        for measure in self.measures:
            for threshold in _THRESHOLDS[measure]:
                if getattr(self, threshold) is None:
                    raise ValueError(f"the measure {measure!r} needs {threshold!r}")
        return self


class LatencySettings(Budgeted):
    baseline: Duration
    min_events: int
    min_ratio: Number
    min_rise_ms: Number
    max_ms: Number


class QualitySettings(Budgeted):
    min_events: int
    min_ratio: Number
    min_drop: Number


class EstimateSettings(Budgeted):
    min_events: int
    min_drop: Number


class VersionSettings(Strict):
    """Settings of one rule: ``live`` has ``min_hits``, and ``age`` has ``max_days``."""

    rule: Literal["live", "age"]
    window: Duration
    live: Duration
    min_hits: int | None = None
    max_days: Number | None = None

    @model_validator(mode="after")
    def _with_threshold(self) -> VersionSettings:
        threshold = "min_hits" if self.rule == "live" else "max_days"
        if getattr(self, threshold) is None:
            raise ValueError(f"the rule {self.rule!r} needs {threshold!r}")
        return self


class StartSettings(Strict):
    rule: Literal["changes"]
    window: Duration
    baseline: Duration


class Limit(Strict):
    """A measured value and its limit: see ``logging_lib.watch.scripts.limits``."""

    name: str
    metric: str
    minus: str | None = None
    of: str | None = None
    at_least: Number | None = None
    unit: Literal["", "share", "bytes", "ms", "s"]
    above: Number | None = None
    below: Number | None = None
    times_usual: Number | None = None
    below_usual: Number | None = None
    usual_at_least: Number | None = None
    spans: list[Duration] | None = None
    beyond_gap: Literal[True] | None = None
    same_as: str | None = None


class Group(Strict):
    """The buckets of one or two fields, and their limits; ``by`` names their entry of the spec's ``counts``."""

    by: str
    fields: list[str] = Field(min_length=1, max_length=2)
    labels: list[str]
    limits: list[Limit] = Field(min_length=1)

    @model_validator(mode="after")
    def _with_named_limits(self) -> Group:
        for place, limit in enumerate(self.limits):
            names = [other.name for other in self.limits[:place]]
            if limit.same_as is not None and limit.same_as not in names:
                raise ValueError(f"'same_as' of {limit.name} names no limit before it: {limit.same_as}")
        return self


class CounterSettings(Strict):
    window: Duration
    recent: Duration | None = None
    counted: Duration | None = None
    recovery_after: Duration | None = None
    references: list[Week] = []
    groups: list[Group] = Field(min_length=1)

    @model_validator(mode="after")
    def _with_recent(self) -> CounterSettings:
        if self.recent is None and any(limit.spans for group in self.groups for limit in group.limits):
            raise ValueError("'spans' needs 'recent', the span where the profile knows no rhythm")
        return self


MonitorName = Literal[
    "dependencies", "invariants", "skew", "staleness", "stability", "speed", "quality", "none"
]
"""The monitoring tests of the ML Test Score, in its order; ``none`` for watches of the service or the logging."""


# -- specs -------------------------------------------------------------------------------------------------


class Spec(Strict):
    """The part of a spec that every kind of watch has.

    Args:
        id: the file's stem.
        title: the beginning of messages.
        concern: what is wrong if the watch finds something, in one sentence.
        related: other watches that may report the same cause.
        every: the interval between two runs.
        throttle_period: how long after a notification an unchanged incident does not notify again.
        min_severity: the lowest severity of a finding, which its effect and its share raise.
        monitor: the monitoring test of the ML Test Score that the watch is needed for, for the scorecard.
        proxy: whether the watch covers that test only in part, as one of several that stand in for the real one.
        of_models: whether ``metadata.model``, a pattern, selects the models whose events are searched.
        settings: the watch's own metadata, in the order of the file; ``Settings`` defines its content.
    """

    script: ClassVar[str]
    dataset: ClassVar[Dataset] = "prediction"
    causes: ClassVar[str] = "one common cause"
    Settings: ClassVar[type[Strict]]

    id: str
    title: str
    concern: str
    related: str = ""
    every: Duration
    throttle_period: Duration = "24h"
    min_severity: Literal["low", "medium", "high", "critical"] = "low"
    monitor: MonitorName = "none"
    proxy: bool = False
    of_models: bool = True
    settings: dict[str, Any]

    @property
    def discover(self) -> Dataset:
        """Return the dataset whose events Discover shows."""
        return self.dataset


class Values(Strict):
    """The field with the values that fail a check; ``include`` selects some of them by a regular expression."""

    field: str
    include: str | None = None


class Rates(Spec):
    """Watches of checks that events fail more often than expected. ``values`` lists the values that failed."""

    script = "ml-check-rate"
    causes = "one common cause upstream of the model"
    Settings = RateSettings
    kind: Literal["rates"]
    values: Values | None = None


class Distributions(Spec):
    """Watches of bins that fill differently from what is expected.

    ``hold_back``: report nothing while missing, absent, unseen or out-of-range inputs explain the change.
    """

    script = "ml-distribution"
    causes = "one common cause upstream of the model"
    Settings = DistributionSettings
    kind: Literal["distributions"]
    bins_of: list[Literal["inputs", "prediction"]] = Field(min_length=1)
    hold_back: bool = False


class Latency(Spec):
    """Watches of predictions that take longer than before."""

    script = "ml-latency"
    Settings = LatencySettings
    kind: Literal["latency"]


class QualitySpec(Spec):
    """Watches of labels that show that the model is wrong more often than in training."""

    script = "ml-quality"
    dataset = "label"
    Settings = QualitySettings
    kind: Literal["quality"]


class EstimateSpec(Spec):
    """Watches of predictions whose calibrated probabilities imply more wrong answers than in the evaluation."""

    script = "ml-estimate"
    Settings = EstimateSettings
    kind: Literal["estimate"]


class Versions(Spec):
    """Watches of the versions that answer now."""

    script = "ml-versions"
    Settings = VersionSettings
    kind: Literal["versions"]


class Starts(Spec):
    """Watches of the starts of services, and of the starts before them."""

    script = "ml-versions"
    dataset = "start"
    Settings = StartSettings
    kind: Literal["starts"]


NumberText = Annotated[str, Field(pattern=r"^(sum|avg|min|max|value_count|cardinality|top) [\w.@]+$")]
"""An aggregation and its field: ``sum ml.health.logged``. ``top`` returns the most frequent values."""


class Counter(Strict):
    """Numbers over some of the events: those of ``datasets``, those that arrived ``since`` a duration ago, or both.

    ``since`` can be the name of a setting.
    """

    datasets: list[Dataset] = []
    since: str | None = None
    numbers: dict[str, NumberText]

    @model_validator(mode="after")
    def _some(self) -> Counter:
        if not self.datasets and self.since is None:
            raise ValueError("say which events count: 'datasets' or 'since'")
        return self


Count = Annotated[
    Annotated[NumberText, Tag("[text]")] | Annotated[Counter, Tag("[counter]")],
    Discriminator(lambda value: "[text]" if isinstance(value, str) else "[counter]"),
]


class Counters(Spec):
    """Watches of numbers that pass a limit.

    Args:
        datasets: the datasets that are searched; Discover shows the first, or ``shown``.
        only: conditions that all events must meet.
        counts: for each group of ``settings.groups``, its numbers by name, or a ``Counter`` with several. The time
            of the last event, ``last``, is always included.
    """

    script = "ml-limits"
    Settings = CounterSettings
    kind: Literal["counters"]
    of_models: bool = False
    datasets: list[Dataset] = Field(min_length=1)
    shown: Dataset | None = None
    only: list[Literal["live", "without_model"]] = []
    counts: dict[str, dict[str, Count]]

    @model_validator(mode="after")
    def _counted(self) -> Counters:
        groups = [group.get("by") for group in self.settings.get("groups", []) if isinstance(group, dict)]
        if sorted(map(str, groups)) != sorted(self.counts):
            raise ValueError("'counts' and 'settings.groups' (by 'by') do not name the same groups")
        return self

    @property
    def discover(self) -> Dataset:
        return self.shown or self.datasets[0]


_KINDS: Mapping[str, type[Spec]] = {
    "rates": Rates,
    "distributions": Distributions,
    "latency": Latency,
    "quality": QualitySpec,
    "estimate": EstimateSpec,
    "versions": Versions,
    "starts": Starts,
    "counters": Counters,
}


# -- reading -----------------------------------------------------------------------------------------------


def load_specs(folder: Path) -> list[Spec]:
    """Read all ``*.yml`` of a folder, sorted by name. Raises WatchError with all problems of all files."""
    specs: list[Spec] = []
    problems: list[WatchProblem] = []
    for file in sorted(folder.glob("*.yml")):
        try:
            specs.append(load_spec(file))
        except WatchError as error:
            problems.extend(error.problems)
    if problems:
        raise WatchError(problems)
    return specs


def load_spec(file: Path) -> Spec:
    """Read one file. Raises WatchError."""
    try:
        return parse_spec(file.read_text("utf-8"), id=file.stem, file=str(file))
    except (OSError, UnicodeDecodeError) as error:
        raise WatchError([WatchProblem(str(file), "$", explain_unreadable(file, error))]) from error


def parse_spec(text: str, *, id: str, file: str = "watch") -> Spec:  # noqa: A002 - Watcher's word
    """Check a spec given as YAML. Raises WatchError with all problems found."""
    try:
        document = yaml.load(text, Loader=_Loader)  # noqa: S506 - a SafeLoader
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise WatchError([WatchProblem(file, "$", f"is not YAML: {error}")]) from error
    if not isinstance(document, dict):
        raise WatchError([WatchProblem(file, "$", "expected a mapping with title, kind and settings")])
    kind = _KINDS.get(str(document.get("kind")))
    if kind is None:
        raise WatchError([WatchProblem(file, "$.kind", f"write one of {', '.join(_KINDS)}")])
    problems = _find_problems(file, kind, {**document, "id": id}, ())
    problems += _find_problems(file, kind.Settings, document.get("settings"), ("settings",))
    if "id" in document:
        problems.append(WatchProblem(file, "$.id", "leave it out: it is the file's name"))
    if problems:
        raise WatchError(problems)
    return kind.model_validate({**document, "id": id})


class _Loader(yaml.SafeLoader):
    """A loader that refuses a repeated key, of which YAML would use the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise ValueError(f"line {node.start_mark.line + 1}: the key {key!r} is given twice")
        return super().construct_mapping(node, deep)


def _find_problems(
    file: str, model: type[Strict], document: Any, path: tuple[str, ...]
) -> list[WatchProblem]:
    try:
        model.model_validate(document)
    except ValidationError as error:
        return [
            WatchProblem(file, json_path(*path, *_keys(entry["loc"])), _describe(entry, model))
            for entry in error.errors()
        ]
    return []


def _keys(location: tuple[str | int, ...]) -> list[str | int]:
    """Return a location without the branches of a union, which do not exist in the file."""
    return [part for part in location if not str(part).startswith("[")]


def _describe(entry: Any, model: type[Strict]) -> str:
    if entry["type"] == "extra_forbidden":
        return "unknown key" + (suggest(entry["loc"][-1], _list_keys(model)) or "; remove it")
    if entry["type"] == "missing":
        return "is required and missing"
    return str(entry["msg"]).removeprefix("Value error, ")


def _list_keys(model: type[Strict]) -> Sequence[str]:
    nested = (Limit, Group) if model is CounterSettings else (Values, Counter)
    return [name for part in (model, *nested) for name in part.model_fields]
