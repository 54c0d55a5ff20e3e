"""Compare a shadow model with the live one, request by request: agreement, difference, latency and error."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from logging_lib._util.formatting import format_number as figure
from logging_lib._util.formatting import format_probability
from logging_lib.analysis.contingency import Z, wilson
from logging_lib.analysis.paired_answers import TOLERANCE, PairedAnswers, agree, compare_pairs
from logging_lib.analysis.results import finite
from logging_lib.analysis.samples import SCORE
from logging_lib.store.history import PREDICTION

Array = np.ndarray[Any, Any]
MOST_DISAGREEMENTS = 20


@dataclass(frozen=True, slots=True)
class Shadow:
    """The comparison of one shadow version with the live model.

    Attributes:
        live, shadow: versions.
        requests: the number answered by both; ``only_live`` and ``only_shadow`` by one alone.
        kind: ``numeric`` or ``category``.
        agreement: the share of requests with the same answer, with its Wilson interval.
        kappa: for classes: Cohen's kappa, the agreement beyond chance.
        difference: for numbers, shadow minus live: mean, std, quantiles, correlation and the limits of agreement.
        disagreements: for classes: (live's, shadow's, requests), the most frequent first.
        latency: each model's p50, p95 and p99 in ms, and the median of the paired differences with its p.
        better: if there are labels: both models' error, the difference with its interval, p, and ``winner``.
        paired: how many outputs differ and where: the prediction and, where both have one, the score.
    """

    live: str
    shadow: str
    requests: int
    only_live: int
    only_shadow: int
    kind: str
    agreement: tuple[float, float, float]
    kappa: float | None = None
    difference: Mapping[str, float] = field(default_factory=dict)
    disagreements: tuple[tuple[str, str, int], ...] = ()
    latency: Mapping[str, float] = field(default_factory=dict)
    better: Mapping[str, Any] = field(default_factory=dict)
    paired: tuple[PairedAnswers, ...] = ()
    notes: tuple[str, ...] = ()

    def document(self) -> dict[str, Any]:
        """Return the comparison as a JSON object."""

        def plain(values: Mapping[str, Any]) -> dict[str, Any]:
            return {
                key: finite(value) if isinstance(value, float) else value for key, value in values.items()
            }

        share, low, high = map(finite, self.agreement)
        return {
            "live": self.live,
            "shadow": self.shadow,
            "requests": self.requests,
            "only_live": self.only_live,
            "only_shadow": self.only_shadow,
            "kind": self.kind,
            "agreement": {"share": share, "low": low, "high": high, "kappa": finite(self.kappa)},
            "difference": plain(self.difference),
            "disagreements": [
                {"live": live, "shadow": shadow, "requests": count}
                for live, shadow, count in self.disagreements
            ],
            "latency_ms": plain(self.latency),
            "better": plain(self.better),
            "paired": [pairs.document() for pairs in self.paired],
            "notes": list(self.notes),
        }

    def lines(self) -> list[str]:
        """Return a description, one sentence per line."""
        share, low, high = self.agreement
        lines = [
            f"shadow {self.shadow} beside live {self.live}: {self.requests:,} requests answered by both, "
            f"{self.only_live:,} by live alone, {self.only_shadow:,} by shadow alone",
            f"agreement {share:.2%} [{low:.2%}, {high:.2%}]"
            + (f", kappa {figure(self.kappa)}" if self.kappa is not None else ""),
        ]
        if self.difference:
            d = self.difference
            lines.append(
                f"difference (shadow - live): mean {figure(d['mean'])}, median {figure(d['median'])}, 95 % within "
                f"[{figure(d['p025'])}, {figure(d['p975'])}], correlation {figure(d['correlation'])}"
            )
        lines += [f"  {live} → {shadow}: {count:,}" for live, shadow, count in self.disagreements[:5]]
        lines += [each.describe() for pairs in self.paired[:1] for each in pairs.slices]
        if self.latency:
            t = self.latency
            lines.append(
                f"latency in ms: live p50 {figure(t['live_p50'])} p95 {figure(t['live_p95'])}, shadow p50 "
                f"{figure(t['shadow_p50'])} p95 {figure(t['shadow_p95'])}; median difference "
                f"{figure(t['median_difference'])}, p {format_probability(t['p'])}"
            )
        if self.better:
            b = self.better
            lines.append(
                f"{b['labels']:,} labels: {b['measure']} live {figure(b['live'])}, shadow {figure(b['shadow'])}; "
                f"difference {figure(b['difference'])} [{figure(b['low'])}, {figure(b['high'])}], "
                f"p {format_probability(b['p'])}: "
                + (f"{b['winner']} is better" if b["winner"] else "no difference shown")
            )
        return [*lines, *self.notes]


def compare_answers(
    pairs: pd.DataFrame,
    *,
    live: str,
    shadow: str,
    only_live: int = 0,
    only_shadow: int = 0,
    alpha: float = 0.05,
) -> Shadow:
    """Compare the answers of a live and a shadow model to the same requests.

    Args:
        pairs: one row per request; columns ``live`` and ``shadow`` (numbers or classes, missing if a model gave no
            answer), and, where known, ``live_score``, ``shadow_score``, ``live_ms``, ``shadow_ms``, ``actual`` and
            ``slices`` (a list of ``field=value``).
        live, shadow: versions.
        only_live, only_shadow: the number of requests that one model alone answered.
        alpha: the p from which on there is no winner.

    Raises:
        ValueError: no pair has two answers.
    """
    answered = pairs.dropna(subset=["live", "shadow"])
    if answered.empty:
        raise ValueError(
            "no request was answered by both the live and the shadow model: do both log request_id?"
        )
    numeric = all(
        pd.api.types.is_numeric_dtype(answered[name].infer_objects()) for name in ("live", "shadow")
    )
    a, b = _read_outputs(answered, "live", "shadow", numeric)
    notes = []
    difference: dict[str, float] = {}
    kappa: float | None = None
    disagreements: tuple[tuple[str, str, int], ...] = ()
    same = agree(a, b)
    if numeric:
        difference = _measure_difference(a, b)
        notes.append(f"numbers agree within {TOLERANCE:.0%} of the live answers' standard deviation")
    else:
        kappa = _kappa(a, b)
        disagreements = _count_disagreements(a[~same], b[~same])
    hits = int(same.sum())
    return Shadow(
        live,
        shadow,
        len(answered),
        only_live,
        only_shadow,
        "numeric" if numeric else "category",
        (hits / len(answered), *wilson(hits, len(answered))),
        kappa,
        difference,
        disagreements,
        _compare_latency(answered),
        _compare_errors(answered, numeric, alpha),
        tuple(_pair_outputs(pairs, numeric)),
        tuple(notes),
    )


def _read_outputs(pairs: pd.DataFrame, live: str, shadow: str, numeric: bool) -> tuple[Array, Array]:
    """Return the outputs as numbers, or as texts in arrays of objects."""
    if numeric:
        return pairs[live].to_numpy(dtype=float), pairs[shadow].to_numpy(dtype=float)
    return tuple(pairs[name].astype(str).to_numpy(dtype=object) for name in (live, shadow))  # type: ignore[return-value]


def _pair_outputs(pairs: pd.DataFrame, numeric: bool) -> Iterator[PairedAnswers]:
    """Compare each output that both models have; an output that only one of them gave differs."""
    for name, live, shadow, numbers in (
        (PREDICTION, "live", "shadow", numeric),
        (SCORE, "live_score", "shadow_score", True),
    ):
        if not {live, shadow} <= set(pairs.columns):
            continue
        outputs = pairs.dropna(subset=[live, shadow])
        if outputs.empty:
            continue
        unanswered = int((pairs[live].isna() != pairs[shadow].isna()).sum())
        slices = outputs["slices"].tolist() if "slices" in outputs else ()
        yield compare_pairs(name, *_read_outputs(outputs, live, shadow, numbers), unanswered, slices)


def _measure_difference(a: Array, b: Array) -> dict[str, float]:
    """Return the mean and the limits that contain 95 % of the differences (Bland and Altman, Lancet 327, 1986)."""
    d = b - a
    low, median, high = np.quantile(d, [0.025, 0.5, 0.975])
    varied = len(d) > 1 and a.std() > 0 and b.std() > 0
    return {
        "mean": float(d.mean()),
        "std": float(d.std(ddof=1)) if len(d) > 1 else 0.0,
        "median": float(median),
        "p025": float(low),
        "p975": float(high),
        "max_absolute": float(np.abs(d).max()),
        "correlation": float(np.corrcoef(a, b)[0, 1]) if varied else math.nan,
    }


def _kappa(a: Array, b: Array) -> float:
    """Return Cohen's kappa (Educational and Psychological Measurement 20, 1960)."""
    classes = np.unique(np.concatenate([a, b]))
    shares = [
        np.bincount(np.searchsorted(classes, answers), minlength=len(classes)) / len(answers)
        for answers in (a, b)
    ]
    by_chance = float(shares[0] @ shares[1])
    return 1.0 if by_chance == 1 else float(((a == b).mean() - by_chance) / (1 - by_chance))


def _count_disagreements(a: Array, b: Array) -> tuple[tuple[str, str, int], ...]:
    counted = Counter(zip(a.tolist(), b.tolist(), strict=True)).most_common(MOST_DISAGREEMENTS)
    return tuple((x, y, count) for (x, y), count in counted)


def _compare_latency(pairs: pd.DataFrame) -> dict[str, float]:
    if not {"live_ms", "shadow_ms"} <= set(pairs.columns):
        return {}
    durations = pairs[["live_ms", "shadow_ms"]].dropna()
    if durations.empty:
        return {}
    percentiles: dict[str, float] = {}
    for name in ("live", "shadow"):
        for quantile in (50, 95, 99):
            percentiles[f"{name}_p{quantile}"] = float(durations[f"{name}_ms"].quantile(quantile / 100))
    d = (durations["shadow_ms"] - durations["live_ms"]).to_numpy(dtype=float)
    percentiles["median_difference"] = float(np.median(d))
    percentiles["p"] = float(stats.wilcoxon(d).pvalue) if (d != 0).any() else 1.0
    return percentiles


def _compare_errors(pairs: pd.DataFrame, numeric: bool, alpha: float) -> dict[str, Any]:
    """Compare the errors. Numbers: mean absolute errors, by the paired t-test. Classes: shares of wrong answers, by
    McNemar's exact test (Psychometrika 12, 1947), with Bonett and Price's interval (Journal of Educational and
    Behavioral Statistics 37, 2012). The difference is the shadow's error minus the live one's: below 0 the shadow
    is better."""
    if "actual" not in pairs:
        return {}
    labeled = pairs.dropna(subset=["actual"])
    if len(labeled) < 2:
        return {}
    n = len(labeled)
    if numeric:
        actual = labeled["actual"].to_numpy(dtype=float)
        errors = [np.abs(labeled[name].to_numpy(dtype=float) - actual) for name in ("live", "shadow")]
        d = errors[1] - errors[0]
        mean, error = float(d.mean()), float(d.std(ddof=1) / math.sqrt(n))
        half = float(stats.t.isf(0.025, n - 1)) * error
        p = float(stats.ttest_1samp(d, 0).pvalue) if error > 0 else 1.0
        live, shadow = (float(values.mean()) for values in errors)
        low, high, measure = mean - half, mean + half, "mean absolute error"
    else:
        actual_text = labeled["actual"].astype(str).to_numpy()
        wrong = [labeled[name].astype(str).to_numpy() != actual_text for name in ("live", "shadow")]
        worse, bettered = int((wrong[1] & ~wrong[0]).sum()), int((wrong[0] & ~wrong[1]).sum())
        p = float(stats.binomtest(worse, worse + bettered).pvalue) if worse + bettered else 1.0
        live, shadow, measure = float(wrong[0].mean()), float(wrong[1].mean()), "share of wrong answers"
        mean = shadow - live
        p1, p2 = (worse + 1) / (n + 2), (bettered + 1) / (n + 2)
        half = Z * math.sqrt((p1 + p2 - (p1 - p2) ** 2) / (n + 2))
        low, high = p1 - p2 - half, p1 - p2 + half
    winner = None if p >= alpha else "shadow" if mean < 0 else "live"
    return {
        "labels": n, "measure": measure, "live": live, "shadow": shadow, "difference": mean, "low": low,
        "high": high, "p": p, "winner": winner,
    }  # fmt: skip
