"""What a report says, as values: the search answers are read into these, and the pages written from them.

Every count is a sum of sampling weights, unless it says "documents".
"""

from __future__ import annotations

from collections.abc import Mapping
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
"""From the least on."""

SHOWN: Final = 10
"""Alerts that a report shows at once; it folds the others."""

Status = Literal["alerted", "moved", "as_trained", "not_evaluated"]
STATUS_LABELS: Final = {
    "alerted": "alert",
    "moved": "moved",
    "as_trained": "as in training",
    "not_evaluated": "not evaluated",
}


@dataclass(frozen=True, slots=True)
class Subject:
    """What the report is about. ``start`` and ``end`` are of ``@timestamp``, both included."""

    model: str
    version: str
    role: str
    start: datetime
    end: datetime


@dataclass(frozen=True, slots=True)
class Training:
    """What the report compares with, from the profile."""

    profile_id: str
    rows: int
    features: int
    trained_at: str | None


@dataclass(frozen=True, slots=True)
class Variant:
    """One version in one role, over the whole period.

    Attributes:
        documents: stored events; ``predictions`` is the sum of their weights.
        checked: predictions that were checked against a profile.
        mismatched: of those, against the profile of another model or version.
        latency: percentile (``"50"``, ``"95"``, ``"99"``) → milliseconds; empty where none was measured.
        mean, std: of the predicted number; None where there is none.
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


@dataclass(frozen=True, slots=True)
class Moment:
    """One interval of time in which there were predictions.

    Attributes:
        mean, error: of the predicted number, and the mean's standard error.
        checks: (check, feature) → predictions that failed it, for the features that are followed.
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
        chance: of at least so many hits, had nothing changed; 1 where that was not asked.
        elevated: more often than chance and the least effect allow.
        peak: the highest rate in an interval that had ten predictions; None where the feature is not followed.
        last: the last interval in which it was elevated; None where none was.
        values: the values or words that did it, and how often, the most frequent first.
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
    """One input, training against served. ``psi`` is None where there is too little to say."""

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

    ``rows`` are, of a model with several labels, the rows of training and the predictions that have labels: each of
    the ``shares`` is a share of these.
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
    """Late labels by the time of their predictions: mean absolute error or accuracy, with its standard error."""

    time: datetime
    labels: float
    value: float
    error: float


@dataclass(frozen=True, slots=True)
class QualityReport:
    """What the labels say of one version in one role.

    Attributes:
        measure: ``mean absolute error`` or ``accuracy``.
        labels: that could be joined to a prediction; ``unjoined`` could not.
        value, error: of the measure, and its standard error; ``trained`` that of held-out rows.
        rmse, bias: of numbers; bias is the mean of prediction minus actual.
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
    """The quality of a classifier's predictions as its calibrated probabilities let expect it, without labels.

    Attributes:
        predictions: that have an expected error.
        metrics: metric → its estimate; ``intervals`` hold what labels will show, if what is assumed holds.
        classes: class → its estimated precision, recall and the like.
        expected: metric → its value on the ``rows`` of the evaluation, or of training where not ``evaluated``.
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
    """What labels say of a classifier, in full; documents are those of ``analysis.quality.SegmentQuality``.

    Attributes:
        labels: that were measured.
        trained: metric → its value on the rows of the evaluation, or of training where not ``evaluated``.
        by: what the slices are of.
        overall: of all labels; ``periods`` of each period, ``slices`` of each slice.
        curve: (probability, observed share) as the profile has them.
        estimated: metric → what would have been estimated of these predictions without their labels.
        problem: why nothing could be measured; empty where it was.
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

    ``effect`` is how much changed, in the measure of its watch; None where the watch does not say it.
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
        watch, title, concern: of the watch with the gravest finding; ``also`` are the others' titles.
        times: when they were sent.
        until: the end of its duration: the last alert, or what the events say of a later time.
        state: what the events say about the end of it; empty where they cannot.
        runbook: as the watch names it: a path of the documentation or a URL.
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
    """Where the alerts come from: ``source`` in words; runs that failed or were not evaluated, in words."""

    source: str
    watches: int
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Verdict:
    """``sentence`` says what is wrong or that all is well; ``seen`` how much was looked at."""

    level: Level
    sentence: str
    seen: str


@dataclass(frozen=True, slots=True)
class ModelReport:
    """All of it. ``notes`` are what a reader must know to trust the numbers; ``sent`` is the number of alerts
    before those with one cause were merged.

    ``shadows`` say, line by line, how each shadow version answered the requests that a live one answered, too.
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
        """The version and role that the report is about, where it predicted anything."""
        identity = (self.subject.version, self.subject.role)
        return next((v for v in self.variants if (v.version, v.role) == identity), None)

    def feature(self, name: str) -> FeatureReport | None:
        return next((feature for feature in self.features if feature.name == name), None)


Answer = Mapping[str, Any]
"""A search's answer."""
