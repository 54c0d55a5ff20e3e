"""The values that a report consists of: search answers are read into these, and pages are written from them.

Every count is a sum of sampling weights, unless it says "documents".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final, Literal

Level = Literal["alert", "notice", "well", "unknown"]
"""``alert``: a watch alerted; ``notice``: worth a look; ``unknown``: nothing could be evaluated."""

HEADLINES: Final[Mapping[Level, str]] = {
    "alert": "Needs attention",
    "notice": "Worth a look",
    "well": "All is well",
    "unknown": "Not evaluated",
}

Severity = Literal["low", "medium", "high", "critical"]
SEVERITIES: Final[tuple[Severity, ...]] = ("low", "medium", "high", "critical")
"""The levels, in ascending order."""

SHOWN: Final = 10
"""The number of alerts that a report shows at once; it folds the others."""

Status = Literal["alerted", "moved", "as_trained", "not_evaluated"]
STATUS_LABELS: Final = {
    "alerted": "alert",
    "moved": "moved",
    "as_trained": "as in training",
    "not_evaluated": "not evaluated",
}


@dataclass(frozen=True, slots=True)
class Subject:
    """The subject of a report. ``start`` and ``end`` are of ``@timestamp``, both included."""

    model: str
    version: str
    role: str
    start: datetime
    end: datetime


@dataclass(frozen=True, slots=True)
class Training:
    """The training that the report compares with, from the profile."""

    profile_id: str
    rows: int
    features: int
    trained_at: str | None


@dataclass(frozen=True, slots=True)
class Variant:
    """One version in one role, over the whole period.

    Attributes:
        documents: the number of stored events; ``predictions`` is the sum of their weights.
        checked: the number of predictions that were checked against a profile.
        mismatched: how many of those were checked against the profile of another model or version.
        latency: percentile (``"50"``, ``"95"``, ``"99"``) → milliseconds; empty if none was measured.
        mean, std: of the predicted number; None if there is none.
    """

    version: str
    role: str
    documents: int
    predictions: float
    failures: float
    checked: float
    mismatched: float
    first: datetime
    last: datetime
    latency: Mapping[str, float]
    mean: float | None
    std: float | None


def find_variant(variants: Iterable[Variant], subject: Subject) -> Variant | None:
    """Return the variant that is the subject's version and role; None if it has no predictions."""
    return next((v for v in variants if (v.version, v.role) == (subject.version, subject.role)), None)


@dataclass(frozen=True, slots=True)
class Moment:
    """One interval of time with predictions.

    Attributes:
        mean, error: of the predicted number, and the mean's standard error.
        checks: (check, feature) → predictions that failed it, for the features that are followed over time.
    """

    time: datetime
    predictions: float
    failures: float
    checked: float
    latency: Mapping[str, float]
    mean: float | None
    error: float | None
    checks: Mapping[tuple[str, str], float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Share:
    """One bin: ``trained`` rows of training, ``served`` predictions; ``name`` is its token, unescaped."""

    name: str
    trained: float
    served: float
    special: bool


@dataclass(frozen=True, slots=True)
class Rate:
    """How often a check failed, against held-out rows.

    Attributes:
        expected: the rate among held-out rows; None without an expectation.
        chance: the probability of at least this many hits if nothing changed; 1 if it was not computed.
        elevated: whether the rate is higher than chance and the least effect allow.
        peak: the highest rate in an interval with ten predictions; None if the feature is not followed over time.
        last: the last interval in which it was elevated; None if there was none.
        values: the values or words that failed, with their frequencies, the most frequent first.
    """

    check: str
    hits: float
    total: float
    expected: float | None
    chance: float
    elevated: bool
    peak: float | None = None
    last: datetime | None = None
    values: tuple[tuple[str, float], ...] = ()

    @property
    def rate(self) -> float:
        return self.hits / self.total if self.total else 0.0


@dataclass(frozen=True, slots=True)
class FeatureReport:
    """One input, training against served. ``psi`` is None if there is too little data."""

    name: str
    kind: str
    status: Status
    shares: tuple[Share, ...]
    rates: tuple[Rate, ...]
    psi: float | None
    psi_by_chance: float | None
    alerts: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Output:
    """The prediction, training against served.

    For a model with several labels, ``rows`` are the training rows and the predictions that have labels; the
    ``shares`` are shares of these.
    """

    kind: str
    shares: tuple[Share, ...]
    psi: float | None
    psi_by_chance: float | None
    trained_mean: float | None
    trained_std: float | None
    rows: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True)
class QualityMoment:
    """Late labels by prediction time: mean absolute error or accuracy, with its standard error."""

    time: datetime
    labels: float
    value: float
    error: float


@dataclass(frozen=True, slots=True)
class QualityReport:
    """The quality of one version in one role according to its labels.

    Attributes:
        measure: ``mean absolute error`` or ``accuracy``.
        labels: the number joined to a prediction; ``unjoined`` could not be joined.
        value, error: the measure and its standard error; ``trained`` is its value on held-out rows.
        rmse, bias: for numbers; bias is the mean of prediction minus actual.
        delay: median seconds from prediction to label.
        confusion: true class → predicted class → labels.
    """

    version: str
    role: str
    measure: str
    labels: float
    value: float
    error: float
    trained: float | None
    rmse: float | None
    bias: float | None
    delay: float | None
    moments: tuple[QualityMoment, ...]
    confusion: Mapping[str, Mapping[str, float]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class EstimateReport:
    """The quality of a classifier's predictions expected from its calibrated probabilities, without labels.

    Attributes:
        predictions: the number that have an expected error.
        metrics: metric → its estimate; ``intervals`` contain what labels will show, if the assumptions hold.
        classes: class → its estimated precision, recall and the like.
        expected: metric → its value on the ``rows`` of the evaluation, or of training if not ``evaluated``.
        moments: the estimated accuracy of each interval.
    """

    predictions: float
    metrics: Mapping[str, float | None]
    intervals: Mapping[str, tuple[float, float]]
    classes: Mapping[str, Mapping[str, float | None]]
    expected: Mapping[str, float]
    evaluated: bool
    rows: int
    moments: tuple[QualityMoment, ...]


@dataclass(frozen=True, slots=True)
class ClassifierReport:
    """The full quality of a classifier by its labels; documents are of ``analysis.quality.SegmentQuality``.

    Attributes:
        labels: the number that were measured.
        trained: metric → its value on the rows of the evaluation, or of training if not ``evaluated``.
        by: the field that defines the slices.
        overall: for all labels; ``periods`` for each period, ``slices`` for each slice.
        curve: (probability, observed share) from the profile.
        estimated: metric → the estimate for these predictions without their labels.
        problem: why nothing could be measured; empty if it could.
    """

    labels: int
    trained: Mapping[str, float]
    evaluated: bool
    by: str = ""
    overall: Mapping[str, Any] = field(default_factory=dict)
    curve: tuple[tuple[float, float], ...] = ()
    estimated: Mapping[str, float | None] = field(default_factory=dict)
    periods: tuple[Mapping[str, Any], ...] = ()
    slices: tuple[Mapping[str, Any], ...] = ()
    notes: tuple[str, ...] = ()
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Finding:
    """One finding of an alert: a line, its evidence as (name, value), and the query that finds the events.

    ``effect`` is the size of the change, in the measure of its watch; None if the watch does not give it.
    """

    feature: str
    what: str
    evidence: tuple[tuple[str, str], ...]
    query: str
    check: str
    severity: Severity = "medium"
    effect: float | None = None


@dataclass(frozen=True, slots=True)
class ReportedAlert:
    """Alerts with one cause, of one watch or several, sent once or several times.

    Attributes:
        number: its rank by severity and duration, from 1.
        watch, title, concern: those of the watch with the gravest finding; ``also`` are the others' titles.
        times: when they were sent.
        until: the end of its duration: the last alert, or a later time according to the events.
        state: the state at its end according to the events; empty if they do not show it.
        runbook: the watch's reference to it: a path of the documentation or a URL.
    """

    number: int
    watch: str
    title: str
    concern: str
    runbook: str
    version: str
    subject: str
    features: tuple[str, ...]
    times: tuple[datetime, ...]
    findings: tuple[Finding, ...]
    severity: Severity
    also: tuple[str, ...]
    until: datetime
    state: str = ""
    going_on: bool = False

    @property
    def duration(self) -> timedelta:
        return self.until - self.times[0]


@dataclass(frozen=True, slots=True)
class AlertSource:
    """The origin of the alerts: ``source`` in words; runs that failed or were not evaluated, in words."""

    source: str
    watches: int
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Verdict:
    """``sentence`` says what is wrong or that all is well; ``seen`` how much was examined."""

    level: Level
    sentence: str
    seen: str


@dataclass(frozen=True, slots=True)
class ModelReport:
    """The whole report. ``notes`` are what a reader must know to trust the numbers; ``sent`` is the number of
    alerts before those with one cause were merged.

    ``shadows`` say, line by line, how each shadow version answered requests that a live version answered as well.
    """

    made_at: datetime
    subject: Subject
    verdict: Verdict
    training: Training | None
    alert_source: AlertSource
    interval: timedelta
    alerts: tuple[ReportedAlert, ...]
    variants: tuple[Variant, ...]
    moments: tuple[Moment, ...]
    features: tuple[FeatureReport, ...]
    output: Output | None
    quality: tuple[QualityReport, ...]
    shadow_moments: tuple[Moment, ...]
    notes: tuple[str, ...]
    runbooks: Mapping[str, str] = field(default_factory=dict)
    shadows: tuple[tuple[str, ...], ...] = ()
    sent: int = 0
    classifier: ClassifierReport | None = None
    estimate: EstimateReport | None = None

    @property
    def main(self) -> Variant | None:
        """Return the version and role that the report is about, if it has predictions."""
        return find_variant(self.variants, self.subject)

    def feature(self, name: str) -> FeatureReport | None:
        return next((feature for feature in self.features if feature.name == name), None)


Answer = Mapping[str, Any]
"""The answer to a search."""
