"""Plan a run from a seed before it begins: disruptions of each part, and faults in the stream."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

MODELS = ("pricing", "fraud")
NUMBERS = tuple(f"number_{n}" for n in range(12))
CATEGORIES = tuple(f"category_{n}" for n in range(6))
CHECKS = {"missing": NUMBERS, "out_of_range": NUMBERS, "unseen": CATEGORIES}
"""Check that a planted fault fails → the features in which it may be planted."""
FAULT_SECONDS = 60.0
_BEGIN, _QUIET_END = 20.0, 30.0
"""Seconds at the beginning and at the end in which nothing is disrupted."""
_GAP = (4.0, 20.0)
_APART = 90.0
"""Seconds between two outages of the store, which needs up to half a minute to start."""


@dataclass(frozen=True)
class Disruption:
    """A disruption of one part.

    Attributes:
        at: seconds after the run's beginning.
        what: ``kill`` (by signal 9), or ``fill`` (its disk).
        part: the part's name.
        seconds: how long the part stays down or full.
    """

    at: float
    what: str
    part: str
    seconds: float

    def __str__(self) -> str:
        return f"{self.at:7.1f} s  {self.what} {self.part} for {self.seconds:.1f} s"


@dataclass(frozen=True)
class Fault:
    """A feature of which four in ten values fail a check for a minute; that check's watch must alert."""

    at: float
    model: str
    feature: str
    check: str

    @property
    def until(self) -> float:
        return self.at + FAULT_SECONDS

    @property
    def key(self) -> tuple[str, str, str]:
        return self.model, self.feature, self.check


KINDS: dict[tuple[str, str], tuple[float, float]] = {
    **{("kill", f"workers of {model}"): (0.0, 0.0) for model in MODELS},
    **{("kill", f"service {model}"): (0.5, 5.0) for model in MODELS},
    ("kill", "shipper"): (0.5, 10.0),
    ("kill", "logstash"): (0.5, 5.0),
    ("kill", "elasticsearch"): (0.5, 5.0),
    ("kill", "runner"): (0.5, 15.0),
    ("kill", "mail server"): (1.0, 15.0),
    ("fill", "spool"): (3.0, 12.0),
    ("fill", "runner's state"): (3.0, 12.0),
    ("fill", "elasticsearch"): (5.0, 20.0),
}
"""(Kind, part) → the least and the longest duration of the disruption, in seconds."""


def plan_disruptions(
    chance: random.Random, seconds: float, *, without: Sequence[str] = ()
) -> list[Disruption]:
    """Plan disruptions of each kind in a random order, again and again, until shortly before the end.

    Args:
        without: parts that this run does not have.
    """
    plan: list[Disruption] = []
    deck: list[tuple[str, str]] = []
    at, store_at = _BEGIN, -_APART
    while at < seconds - _QUIET_END:
        is_store_allowed = at >= store_at + _APART
        while not (allowed := [kind for kind in deck if is_store_allowed or kind[1] != "elasticsearch"]):
            kinds = [kind for kind in KINDS if kind[1] not in without]
            deck += chance.sample(kinds, len(kinds))
        what, part = allowed[0]
        deck.remove(allowed[0])
        store_at = at if part == "elasticsearch" else store_at
        plan.append(Disruption(at, what, part, chance.uniform(*KINDS[what, part])))
        at += chance.uniform(*_GAP)
    return plan


def plan_faults(chance: random.Random, seconds: float) -> list[Fault]:
    """Plan faults over the whole run, each in its own feature, so that each is its own incident."""
    features = [(model, feature) for model in MODELS for feature in (*NUMBERS, *CATEGORIES)]
    chance.shuffle(features)
    end = seconds - FAULT_SECONDS - _QUIET_END
    gap = max(25.0, end / len(features))
    faults: list[Fault] = []
    at = _BEGIN
    while at < end and features:
        model, feature = features.pop()
        check = chance.choice([check for check, names in CHECKS.items() if feature in names])
        faults.append(Fault(at, model, feature, check))
        at += gap * chance.uniform(0.8, 1.2)
    return faults
