"""Read the YAML of watch tests: a profile, streams of events, and the expected findings at given times.

All times are relative to the start of a case, a Monday at midnight UTC: ``90m``, ``1h 30m``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from logging_lib._util.errors import LoggingLibError
from logging_lib._util.suggestions import explain_unreadable
from logging_lib._util.times import parse_duration
from logging_lib.profile.model import Kind

START = datetime(2018, 1, 1, tzinfo=UTC)
_CHANGE = re.compile(r"(?P<share>[\d.]+)(\s+from\s+(?P<start>[\w ]+?))?(\s+until\s+(?P<end>[\w ]+))?")


class CaseError(LoggingLibError, ValueError):
    """Raised if a file of cases is refused; the message names the file, the line, the path and the remedy."""


def parse_case_duration(value: Any) -> timedelta:
    """Parse ``1h 30m`` or ``0s``. Raises ValueError."""
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{value!r} is not a duration: write such as 90m, or 1h 30m")
    return sum((parse_duration(part) for part in value.split()), timedelta(0))


def _validate_duration(value: Any) -> timedelta:
    if isinstance(value, timedelta):
        return value
    try:
        return parse_case_duration(value)
    except ValueError as error:
        raise PydanticCustomError("duration", "{reason}", {"reason": str(error)}) from error


class TimedShare(BaseModel):
    """A share of the events that applies from one time until another."""

    model_config = ConfigDict(frozen=True)

    share: float
    start: timedelta = timedelta(0)
    end: timedelta = timedelta.max

    def at(self, moment: timedelta) -> float:
        """Return the share at a time after the start; 0 if it does not apply."""
        return self.share if self.start <= moment < self.end else 0.0


def _parse_share(value: Any) -> TimedShare:
    match = _CHANGE.fullmatch(str(value).strip()) if not isinstance(value, bool) else None
    try:
        if match is None or not 0 <= float(match["share"]) <= 1:
            raise ValueError
        return TimedShare(
            share=float(match["share"]),
            start=parse_case_duration(match["start"]) if match["start"] else timedelta(0),
            end=parse_case_duration(match["end"]) if match["end"] else timedelta.max,
        )
    except ValueError:
        raise PydanticCustomError(
            "share",
            "{given} is not a share: write such as 0.3, or 0.3 from 10m until 1h",
            {"given": repr(value)},
        ) from None


Duration = Annotated[timedelta, BeforeValidator(_validate_duration)]
Rate = Annotated[TimedShare, BeforeValidator(_parse_share)]


class CaseModel(BaseModel):
    """Refuse unknown keys and changes."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Distribution(CaseModel):
    """Describe random values by exactly one of ``normal`` (mean, sd), ``lognormal`` (mu, sigma), ``uniform`` (low,
    high), ``choice``, shares by value, and ``labels``, lists of labels by the share of the rows that have each.
    """

    normal: tuple[float, float] | None = None
    lognormal: tuple[float, float] | None = None
    uniform: tuple[float, float] | None = None
    choice: dict[str | bool | float, float] | None = None
    labels: dict[str, float] | None = None

    @model_validator(mode="after")
    def _check_one(self) -> Distribution:
        if sum(getattr(self, name) is not None for name in Distribution.model_fields) != 1:
            raise PydanticCustomError(
                "random", "give exactly one of normal, lognormal, uniform, choice and labels"
            )
        return self


Values = Distribution | float | str | bool | None


class GeneratedColumn(Distribution):
    """Describe a feature of the training data."""

    kind: Kind | None = None
    missing: float = Field(0.0, ge=0, le=1)


class ProfileDescription(CaseModel):
    """Describe a profile that is fitted on generated rows: ``rows`` of ``features``, with a ``prediction``.

    They are spread evenly over the ``days`` before the cases begin; with 0 days they have no times. With
    ``classifier`` the prediction is the probability of the class 1, and the target is drawn with it; ``evaluation``
    says whether the same number of further rows belong to an evaluation.
    """

    rows: int = Field(2000, ge=10, le=200_000)
    seed: int = 1
    days: float = Field(28, ge=0, le=3660)
    features: dict[str, GeneratedColumn] = Field(min_length=1)
    prediction: GeneratedColumn | None = None
    error: Distribution | None = None
    classifier: bool = False
    evaluation: bool = True
    trained_at: str | None = None
    deployed: bool = True
    owners: dict[str, Any] = {}
    overrides: dict[str, dict[str, Any]] = {}


class Replacement(CaseModel):
    """Replace a ``share`` of a feature's values."""

    by: Values
    share: Rate


class EventStream(CaseModel):
    """Describe when the events of a stream happen. ``begin`` and ``length`` are ``from`` and ``for`` in YAML."""

    every: Duration
    begin: Duration = Field(timedelta(0), alias="from")
    length: Duration = Field(alias="for")
    seed: int = 0
    service: str | None = "api"
    host: str = "host-1"
    delay: Duration = timedelta(0)
    not_before: Duration = timedelta(0)


class PredictionStream(EventStream):
    """Describe predictions of the logger's own code; inputs are drawn like the training data by default.

    ``missing``, ``absent`` and ``failing`` are shares of the events. ``not_before``: nothing arrives earlier, as
    after an outage of the shipper.
    """

    version: str | None = None
    role: Literal["live", "shadow"] = "live"
    profile: Literal["matched", "mismatch", "none"] = "matched"
    inputs: dict[str, Values] = {}
    missing: dict[str, Rate] = {}
    absent: dict[str, Rate] = {}
    replace: dict[str, Replacement] = {}
    prediction: Values = None
    failing: Rate = TimedShare(share=0.0)
    milliseconds: Values = None
    weight: float = Field(1.0, ge=1)


class LabelStream(EventStream):
    """Describe labels with their predictions, which differ by ``error``; classes come from ``confusion``, shares of
    the predicted class by the actual one. ``known_after``: time from the prediction to its label. Labels of a
    classifier are drawn with the predicted probabilities, but for the share ``by_chance``, half of which is 1."""

    version: str | None = None
    error: Distribution | None = None
    by_chance: float = Field(0.0, ge=0, le=1)
    confusion: dict[str, dict[str, float]] = {}
    known_after: Duration = timedelta(0)


class HealthStream(EventStream):
    """Describe counters and gauges below ``ml.health``, dotted; for one model if ``of_model`` is set."""

    of_model: bool = False
    pid: int = 1
    fields: dict[str, Values]


class StartStream(EventStream):
    """Describe starts of a service, each in its own process."""

    version: str | None = None
    code: str | None = None
    libraries: dict[str, str] = {}
    training: dict[str, str] = {}


class DeadLetterStream(EventStream):
    """Describe events that were rejected at a stage of the pipeline."""

    reason: str = "not_json"
    stage: Literal["spool", "ship", "parse", "normalize", "index"] = "parse"


class Streams(CaseModel):
    """Describe all streams of a case."""

    predictions: tuple[PredictionStream, ...] = ()
    labels: tuple[LabelStream, ...] = ()
    health: tuple[HealthStream, ...] = ()
    starts: tuple[StartStream, ...] = ()
    deadletters: tuple[DeadLetterStream, ...] = ()


class ExpectedAlert(CaseModel):
    """Expect a finding: its feature (as the finding names it), and texts that the notification must contain."""

    feature: str = ""
    model: str | None = None
    version: str | None = None
    says: tuple[str, ...] = ()


class TimedExpectation(CaseModel):
    """Expect exactly these alerts at a time; an empty list is silence. ``notes``: why something was skipped."""

    at: Duration
    alerts: tuple[ExpectedAlert, ...]
    notes: tuple[str, ...] | None = None


class Case(Streams):
    """Describe one test: streams, changes of the profile and of the watch's metadata, and what is expected."""

    name: str
    without_profile: bool = False
    profile: dict[str, Any] = {}
    metadata: dict[str, Any] = {}
    expect: tuple[TimedExpectation, ...] = Field(min_length=1)


class CaseFile(CaseModel):
    """Describe the tests of one watch. ``profile`` is a description, or the path from here of a ``profile.json`` or
    of a description in YAML; ``common`` streams are part of each case."""

    watch: str
    model: str = "loans"
    version: str = "1"
    profile: str | ProfileDescription
    common: Streams = Streams()
    cases: tuple[Case, ...] = Field(min_length=1)


@dataclass(frozen=True)
class LoadedCaseFile:
    """Hold a file that has been read. ``lines``: where each case begins, from 1."""

    file: Path
    content: CaseFile
    lines: tuple[int, ...]


def load_case_file(file: Path) -> LoadedCaseFile:
    """Read one file of cases. Raises CaseError with all its problems."""
    try:
        text = file.read_text("utf-8")
        node = yaml.compose(text)
        document = yaml.safe_load(text)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise CaseError(f"{file}: {explain_unreadable(file, error)}") from error
    if not isinstance(document, dict):
        raise CaseError(f"{file}: expected an object with watch, profile and cases")
    try:
        content = CaseFile.model_validate(document)
    except ValidationError as error:
        raise CaseError(
            "\n".join(_describe_problem(file, node, entry) for entry in error.errors())
        ) from error
    lines = [_find_line(node, ("cases", index)) for index in range(len(content.cases))]
    return LoadedCaseFile(file, content, tuple(lines))


def load_description(file: Path) -> ProfileDescription:
    """Read a description of a profile. Raises CaseError."""
    try:
        return ProfileDescription.model_validate(yaml.safe_load(file.read_text("utf-8")))
    except (OSError, UnicodeDecodeError, yaml.YAMLError, ValidationError) as error:
        raise CaseError(f"{file}: is not a description of a profile: {error}") from error


def find_case_files(paths: list[Path]) -> list[Path]:
    """List the files of cases at these paths and in these folders. Raises CaseError if there are none."""
    files: list[Path] = []
    for path in paths:
        folder_files = sorted(path.glob("*.yml")) if path.is_dir() else [path]
        if not folder_files:
            raise CaseError(f"{path}: there is no *.yml in this folder")
        files += folder_files
    return files


def _describe_problem(file: Path, node: Any, entry: Mapping[str, Any]) -> str:
    path = entry["loc"]
    shown = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    message = entry["msg"]
    if entry["type"] == "extra_forbidden":
        message = "is unknown here; remove it or correct its name"
    return f"{file}:{_find_line(node, path)}: ${shown}: {message}"


def _find_line(node: Any, path: tuple[Any, ...]) -> int:
    """Return the line of the deepest part of a path that the file has."""
    for part in path:
        child = None
        if isinstance(node, yaml.MappingNode):
            child = next((value for key, value in node.value if key.value == str(part)), None)
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            child = node.value[part]
        if child is not None:  # pydantic's path has parts that the file does not: the branch of a union
            node = child
    return int(node.start_mark.line) + 1
