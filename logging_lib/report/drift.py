"""Compare served traffic with training: rates, distributions, and how long they have differed. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from math import log
from typing import Any

from logging_lib.profile.model import CHECKS
from logging_lib.report.model import FeatureReport, Moment, Rate, Share, Status
from logging_lib.watch.scripts.common import beta_binomial_tail, gamma_tail, predictive
from logging_lib.watch.scripts.formatting import round_half_up

ALPHA = 0.001
"""The error probability of all tests of a report together: one report in a thousand names a chance result."""
MIN_EFFECT = 0.01
MIN_HITS = 5
MIN_PSI = 0.1
"""The usual rule: below 0.1 little changed, up to 0.25 some, above it much (Siddiqi, Credit Risk Scorecards)."""
MIN_EVENTS = 100
DISPERSION = 0.002  # as in the watch: how much windows vary naturally
VALUES_SHOWN = 5
MIN_PEAK = 10.0


def compare_rate(
    check: str, hits: float, total: float, expectation: Mapping[str, Any] | None, tests: int
) -> Rate:
    """Measure how often a check failed, and whether that is more often than expected from held-out rows.

    Args:
        expectation: ``count``, ``rows`` and ``dispersion`` of the profile.
        tests: the number of rates that the report tests, for Bonferroni's correction.
    """
    if expectation is None or not expectation["rows"] or total <= 0:
        return Rate(check, hits, total, None, 1.0, False)
    a, b = predictive(expectation["count"], expectation["rows"], expectation.get("dispersion", 0.0))
    tail = beta_binomial_tail(round_half_up(min(hits, total)), round_half_up(total), a, b)
    usual = expectation["count"] / expectation["rows"]
    elevated = hits >= MIN_HITS and hits / total - usual >= MIN_EFFECT and tail < ALPHA / max(tests, 1)
    return Rate(check, hits, total, usual, tail, elevated)


def population_stability(
    expected: Mapping[str, float], served: Mapping[str, float]
) -> tuple[float, float, float] | None:
    """Return (PSI, its expected value by chance, the probability of this PSI) over the bins that are not special.

    Bins with fewer than five expected events are tested as one, and empty cells are smoothed, as in the drift watch
    (``ml-distribution``, which names the source). Return None with fewer than ``MIN_EVENTS`` events or
    two bins.
    """
    before = {name: float(count) for name, count in expected.items() if _is_ordinary(name) and count}
    rows = sum(before.values())
    after = {name: count for name, count in served.items() if name in before}
    total = sum(after.values())
    if rows == 0 or total < MIN_EVENTS:
        return None
    often = {name: count for name, count in before.items() if total * count / rows >= 5}
    cells = [(count, after.get(name, 0.0)) for name, count in often.items()]
    rare = [(count, after.get(name, 0.0)) for name, count in before.items() if name not in often]
    if rare:
        cells.append((sum(count for count, _ in rare), sum(count for _, count in rare)))
    k = len(cells)
    if k < 2:
        return None
    psi = 0.0
    for count, seen in cells:
        q = (count + 0.5) / (rows + 0.5 * k)
        p = (seen + 0.5 * k * q) / (total + 0.5 * k)
        psi += (p - q) * log(p / q)
    scale = 1.0 / total + 1.0 / rows + DISPERSION
    return psi, (k - 1) * scale, gamma_tail(0.5 * (k - 1), 0.5 * psi / scale)


def labels_stability(
    expected: Mapping[str, float], served: Mapping[str, float], rows: tuple[float, float]
) -> tuple[float, float, float] | None:
    """Return ``population_stability`` of the label whose move is least likely: with it against without it.

    Labels are not parts of one whole, so each is tested by itself; the probability is multiplied by their number.

    Args:
        rows: the number of training rows and of predictions that have labels.
    """
    names = [name for name in expected if _is_ordinary(name)]
    stabilities = []
    for name in names:
        before, after = float(expected[name]), min(served.get(name, 0.0), rows[1])
        pair = {"with": before, "without": rows[0] - before}, {"with": after, "without": rows[1] - after}
        if (stability := population_stability(*pair)) is not None:
            stabilities.append(stability)
    if not stabilities:
        return None
    psi, by_chance, chance = min(stabilities, key=lambda stability: (stability[2], -stability[0]))
    return psi, by_chance, min(1.0, chance * len(names))


def _is_ordinary(name: str) -> bool:
    return not name.startswith("!") or name == "!other"


def has_moved(psi: tuple[float, float, float] | None, tests: int) -> bool:
    """Return whether the distribution moved by more than chance and the least effect allow."""
    return psi is not None and psi[0] - psi[1] >= MIN_PSI and psi[2] < ALPHA / max(tests, 1)


def infer_kind(bins: Iterable[str], ordered: bool) -> str:
    """Infer the kind of a feature from its bins."""
    ordinary = [name for name in bins if not name.startswith("!")]
    if any(name.startswith(("len:", "oov:")) for name in ordinary):
        return "text"
    if any(name.startswith("dim:") for name in ordinary):
        return "vector"
    if ordered:
        return "numeric"
    if not ordinary:
        return "hidden"
    if all(name.startswith("[") and name.endswith((")", "]")) for name in ordinary):
        return "date"
    return "category"


def compare_features(
    expected: Mapping[str, Any],
    served: Mapping[str, Mapping[str, float]],
    failed: Mapping[str, Mapping[str, float]],
    named: Mapping[str, Mapping[str, Mapping[str, float]]],
    checked: float,
    shares: Mapping[str, tuple[Share, ...]],
) -> list[FeatureReport]:
    """Compare every feature of the profile.

    Args:
        expected: the profile document's expectations.
        served: feature → bin → weight.
        failed: check → feature → weight.
        named: check → feature → value → weight, for unseen categories, values of the wrong type and unknown words.
        checked: the weight of the predictions that were checked.
        shares: feature → its bins, training against served.
    """
    expectations = expected["checks"]
    tests = len(expected["bins"]) * (len(CHECKS) + 1)
    reports = []
    for name, bins in expected["bins"].items():
        rates = []
        for check in CHECKS:
            hits = failed.get(check, {}).get(name, 0.0)
            expectation = expectations.get(check, {}).get(name)
            if expectation is None and not hits:
                continue
            rate = compare_rate(check, hits, checked, expectation, tests)
            values = _rank_values(named.get(check, {}).get(name, {})) if hits else ()
            rates.append(replace(rate, values=values))
        psi = population_stability(bins, served.get(name, {}))
        kind = infer_kind(bins, bool(expected["order"].get(name)))
        if kind == "text" and not expected["order"].get(name):
            psi = None  # its bins are shares of unknown words: the check ``oov`` tests them
        status: Status = "as_trained"
        if checked == 0:
            status = "not_evaluated"
        elif has_moved(psi, tests) or any(rate.elevated for rate in rates):
            status = "moved"
        reports.append(
            FeatureReport(
                name=name,
                kind=kind,
                status=status,
                shares=shares.get(name, ()),
                rates=tuple(rates),
                psi=psi[0] if psi else None,
                psi_by_chance=psi[1] if psi else None,
            )
        )
    return reports


def _rank_values(values: Mapping[str, float]) -> tuple[tuple[str, float], ...]:
    return tuple(sorted(values.items(), key=lambda item: (-item[1], item[0]))[:VALUES_SHOWN])


def choose_followed(
    features: Sequence[FeatureReport], alerted: Iterable[tuple[str, str]], limit: int = 24
) -> list[tuple[str, str]]:
    """Return the (check, feature) pairs to search over time: those of alerts, then those that are elevated."""
    elevated = [(rate.check, feature.name) for feature in features for rate in feature.rates if rate.elevated]
    names = {feature.name for feature in features}
    alerted_pairs = [pair for pair in alerted if pair[0] in CHECKS and pair[1] in names]
    return list(dict.fromkeys([*alerted_pairs, *elevated]))[:limit]


def add_course(rate: Rate, feature: str, moments: Sequence[Moment]) -> Rate:
    """Add a rate's highest value, and the last interval in which it was more than chance."""
    peak: float | None = None
    last: datetime | None = None
    for moment in moments:
        hits = moment.checks.get((rate.check, feature))
        if hits is None or moment.checked <= 0:
            continue
        share = hits / moment.checked
        if moment.checked >= MIN_PEAK:
            peak = share if peak is None else max(peak, share)
        if is_elevated(hits, moment.checked, rate.expected):
            last = moment.time
    return replace(rate, peak=peak, last=last)


def is_elevated(hits: float, total: float, expected: float | None) -> bool:
    """Return whether an interval's rate is above the expected one: by its effect, and at 1 % by its tail."""
    usual = expected or 0.0
    if hits < 2 or hits / total - usual < MIN_EFFECT:
        return False
    a, b = predictive(usual * 1000.0, 1000.0, 0.0)
    return beta_binomial_tail(round_half_up(hits), round_half_up(total), a, b) < 0.01


def rank(features: Iterable[FeatureReport]) -> list[FeatureReport]:
    """Sort features, the most striking first: with alerts, then moved, then by the differing share of traffic."""

    def place(feature: FeatureReport) -> tuple[int, float]:
        excess = max((rate.rate - (rate.expected or 0.0) for rate in feature.rates), default=0.0)
        return _RANK[feature.status], -max(excess, (feature.psi or 0.0) - (feature.psi_by_chance or 0.0))

    return sorted(features, key=place)


_RANK = {"alerted": 0, "moved": 1, "not_evaluated": 2, "as_trained": 3}
