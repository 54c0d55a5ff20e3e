"""Score the seven monitoring tests of the ML Test Score by what is deployed and was seen recently. Pure.

Source: Breck et al., The ML Test Score: A Rubric for ML Production Readiness and Technical Debt Reduction (2017),
section V. A test counts 1 if it runs automatically and regularly, and 0.5 if it was done by hand or in part.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

COVERED, PARTLY, MISSING = 1.0, 0.5, 0.0
WORDS: Final = {COVERED: "covered", PARTLY: "partly", MISSING: "missing"}
MEANING: Final = (
    (5.0, "exceptional: automated, and looked after"),
    (3.0, "strong: reasonably tested, further automation pays"),
    (2.0, "adequate: a productionized start, more to invest"),
    (1.0, "basic: first passes, serious gaps"),
    (0.0, "closer to research than to production"),
)
SKEW_DAYS: Final = 31
MOST_CHECKED: Final = 0.9
"""The share of the predictions that must be compared with a profile."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """The evidence about a model.

    Attributes:
        watches: id → the time of its last run; None if it is deployed and never ran.
        predictions: the recent ones, weighted; ``checked`` of them against a profile, ``timed`` with a duration.
        starts, health: recent events of the model's services.
        labels: joined labels that became known recently; ``unknown_labels`` are more, of classes that the model
            does not have.
        skew: the last recorded result of ``logging-lib skew``, or None.
        profile: of the deployed version: ``trained_at``, ``training_seconds``, ``quality``, ``libraries``; or None.
    """

    model: str
    watches: Mapping[str, datetime | None] = field(default_factory=dict)
    predictions: float = 0
    checked: float = 0
    timed: float = 0
    starts: int = 0
    health: int = 0
    labels: int = 0
    unknown_labels: int = 0
    skew: Mapping[str, Any] | None = None
    profile: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Monitor:
    """One of the seven tests. ``score`` is 0, 0.5 or 1; ``todo`` says what is missing, or what a test found."""

    number: int
    title: str
    score: float
    evidence: tuple[str, ...]
    todo: tuple[str, ...]

    @property
    def status(self) -> str:
        return WORDS[self.score]


@dataclass(frozen=True, slots=True)
class Scorecard:
    """All seven tests, in Breck et al.'s order."""

    model: str
    monitors: tuple[Monitor, ...]

    @property
    def score(self) -> float:
        return sum(monitor.score for monitor in self.monitors)

    @property
    def meaning(self) -> str:
        return next(text for threshold, text in MEANING if self.score > threshold or threshold == 0)

    @property
    def complete(self) -> bool:
        return all(monitor.score == COVERED for monitor in self.monitors)

    def document(self) -> dict[str, Any]:
        """Return the scorecard as a JSON object."""
        return {
            "model": self.model,
            "score": self.score,
            "of": len(self.monitors),
            "meaning": self.meaning,
            "monitors": [
                {
                    "number": monitor.number,
                    "title": monitor.title,
                    "score": monitor.score,
                    "status": monitor.status,
                    "evidence": list(monitor.evidence),
                    "todo": list(monitor.todo),
                }
                for monitor in self.monitors
            ],
        }


@dataclass(frozen=True, slots=True)
class WatchGroups:
    """The shipped watches by the test that they monitor, as their specs say: its short name → ids.

    Attributes:
        needed: the watches that a test needs, all of them.
        proxies: the watches each of which covers a test in part.
    """

    needed: Mapping[str, Sequence[str]]
    proxies: Mapping[str, Sequence[str]]


class _Need(NamedTuple):
    """A requirement of a monitor: whether it is met, what was seen, what to do if it is not met."""

    met: bool
    evidence: str
    todo: str


def score(
    evidence: Evidence, groups: WatchGroups, *, now: datetime, recent: timedelta = timedelta(days=7)
) -> Scorecard:
    """Score the evidence: each of the seven tests is covered, partly covered or missing.

    Args:
        groups: the watches of each test.
        recent: runs and events that are older than this do not count.
    """
    runs = _WatchRuns(evidence.watches, groups, now, recent)
    monitors = (
        _build_monitor(
            1, "Dependency changes result in a notification", list(_check_dependencies(evidence, runs))
        ),
        _build_monitor(
            2, "Data invariants hold in training and serving inputs", list(_check_invariants(evidence, runs))
        ),
        _check_skew(evidence, runs),
        _build_monitor(4, "Models are not too stale", list(_check_staleness(evidence, runs))),
        _build_monitor(5, "The model is numerically stable", list(_check_stability(evidence, runs))),
        _build_monitor(
            6,
            "Training speed, serving latency, throughput and memory have not regressed",
            list(_check_speed(evidence, runs)),
        ),
        _check_quality(evidence, runs),
    )
    return Scorecard(evidence.model, monitors)


@dataclass(frozen=True, slots=True)
class _WatchRuns:
    """The last runs of the watches, and which of them each test needs."""

    watches: Mapping[str, datetime | None]
    groups: WatchGroups
    now: datetime
    recent: timedelta

    def require(self, monitor: str) -> Iterator[_Need]:
        """Yield a need for each watch that the test needs."""
        for name in self.groups.needed.get(monitor, ()):
            yield self._check(name)

    def find_proxies(self, monitor: str) -> list[str]:
        """Return the evidence of the watches that cover the test in part and ran."""
        needs = [self._check(name) for name in self.groups.proxies.get(monitor, ())]
        return [need.evidence for need in needs if need.met]

    def _check(self, name: str) -> _Need:
        if name not in self.watches:
            return _Need(
                False,
                "",
                f"run the watch {name}: logging-lib watch run, or with Watcher: logging-lib stack deploy",
            )
        last = self.watches[name]
        if last is None:
            return _Need(False, f"{name} is deployed and never ran", f"start the runner, so that {name} runs")
        ran = f"{name} ran last at {last:%Y-%m-%d %H:%M} UTC"
        if self.now - last > self.recent:
            return _Need(
                False, ran, f"{name} has not run for {(self.now - last).days} days: is the runner alive?"
            )
        return _Need(True, ran, "")


def _build_monitor(number: int, title: str, needs: list[_Need]) -> Monitor:
    met = [need for need in needs if need.met]
    value = COVERED if len(met) == len(needs) else PARTLY if len(met) * 2 >= len(needs) else MISSING
    return Monitor(
        number,
        title,
        value,
        tuple(need.evidence for need in needs if need.evidence),
        tuple(need.todo for need in needs if not need.met),
    )


def _require_checks(evidence: Evidence) -> _Need:
    if not evidence.predictions:
        return _Need(False, "no prediction arrived", "send predictions: log.prediction(inputs, output)")
    share = evidence.checked / evidence.predictions
    text = f"{share:.0%} of {evidence.predictions:,.0f} predictions were compared with a profile"
    todo = "fit a profile and give it to the logger, or publish it and run: logging-lib annotate --follow"
    return _Need(share >= MOST_CHECKED, text, todo)


def _check_dependencies(evidence: Evidence, runs: _WatchRuns) -> Iterator[_Need]:
    yield from runs.require("dependencies")
    yield _Need(
        evidence.starts > 0,
        f"{evidence.starts} starts reported their library versions" if evidence.starts else "",
        "let services say their versions: logging_lib.configure(...) writes ml.start",
    )


def _check_invariants(evidence: Evidence, runs: _WatchRuns) -> Iterator[_Need]:
    yield _require_checks(evidence)
    yield from runs.require("invariants")


def _check_skew(evidence: Evidence, runs: _WatchRuns) -> Monitor:
    title = "Training and serving features compute the same values"
    command = "logging-lib skew features.parquet --save, in CI or each night"
    now = runs.now
    if evidence.skew is not None and evidence.skew["at"] <= now:
        at: datetime = evidence.skew["at"]
        names = ", ".join(map(str, evidence.skew.get("skewed", ()))) or "events without a recomputed row"
        result = "no feature was skewed" if evidence.skew.get("ok") else f"skewed: {names}"
        text = f"compared at {at:%Y-%m-%d}: {result}"
        if now - at <= timedelta(days=SKEW_DAYS):
            todo = () if evidence.skew.get("ok") else ("fix the features that are skewed",)
            return Monitor(3, title, COVERED, (text,), todo)
        return Monitor(
            3, title, PARTLY, (text,), (f"that is {(now - at).days} days ago; run again: {command}",)
        )
    proxies = runs.find_proxies("skew")
    if proxies and _require_checks(evidence).met:
        texts = tuple(
            f"{proxy}: it sees distributions that differ from training, not single values"
            for proxy in proxies
        )
        return Monitor(3, title, PARTLY, texts, (f"compare the values themselves: {command}",))
    return Monitor(3, title, MISSING, (), (f"run: {command}",))


def _check_staleness(evidence: Evidence, runs: _WatchRuns) -> Iterator[_Need]:
    trained = (evidence.profile or {}).get("trained_at")
    yield from runs.require("staleness")
    yield _Need(
        trained is not None,
        f"trained at {trained}" if trained else "",
        "say when the model was trained: logging-lib profile fit --trained-at ..., and publish the profile",
    )


def _check_stability(evidence: Evidence, runs: _WatchRuns) -> Iterator[_Need]:
    yield from runs.require("stability")
    yield _require_checks(evidence)


def _check_speed(evidence: Evidence, runs: _WatchRuns) -> Iterator[_Need]:
    yield from runs.require("speed")
    share = evidence.timed / evidence.predictions if evidence.predictions else 0.0
    yield _Need(
        share >= MOST_CHECKED,
        f"{share:.0%} of the predictions tell how long they took" if evidence.predictions else "",
        "measure each prediction: with log.prediction(inputs) as p: ..., or duration=",
    )
    yield _Need(
        evidence.health > 0,
        f"{evidence.health:,} health events" if evidence.health else "",
        "let the logger report on itself: it does, unless health=False; is the health stream shipped?",
    )
    seconds = (evidence.profile or {}).get("training_seconds")
    yield _Need(
        seconds is not None,
        f"training took {seconds:,.0f} s" if seconds is not None else "",
        "record how long training took: logging-lib profile fit --training-time ..., and publish the profile",
    )


def _check_quality(evidence: Evidence, runs: _WatchRuns) -> Monitor:
    title = "Prediction quality has not regressed on served data"
    needs = [
        *runs.require("quality"),
        _Need(
            evidence.labels > 0,
            _describe_labels(evidence),
            "write labels as the model writes its classes, and ingest them again"
            if evidence.unknown_labels
            else "log the label when it is known: log.label(request_id, actual), or logging-lib labels ingest",
        ),
        _Need(
            bool((evidence.profile or {}).get("quality")),
            "the profile knows the model's quality in training"
            if (evidence.profile or {}).get("quality")
            else "",
            "fit the profile with --target and --prediction, so that there is a quality to compare with",
        ),
    ]
    monitor = _build_monitor(7, title, needs)
    if monitor.score == COVERED:
        return monitor
    proxies = runs.find_proxies("quality")
    value = PARTLY if evidence.labels > 0 or proxies else MISSING
    texts = (*monitor.evidence, *(f"{proxy}: a proxy where labels arrive late" for proxy in proxies))
    return Monitor(7, title, value, texts, monitor.todo)


def _describe_labels(evidence: Evidence) -> str:
    texts = [f"{evidence.labels:,} predictions have a label"] if evidence.labels else []
    if evidence.unknown_labels:
        texts.append(f"{evidence.unknown_labels:,} have one that is not a class of the model")
    return ", ".join(texts)
