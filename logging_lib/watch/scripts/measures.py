"""The measures of ``ml-distribution``: how far one feature's bins are from what is expected, and by what chance."""

from __future__ import annotations

from math import log, sqrt
from typing import NamedTuple

from logging_lib.watch.scripts.bins import Expected, Observed, is_ordinary
from logging_lib.watch.scripts.common import (
    Document,
    Given,
    gamma_tail,
    kept_share,
    line,
    number,
    percent,
    value_of,
    whole,
)
from logging_lib.watch.statistics import beta_binomial_tail, predictive

SHOWN = 3


class MeasureResult(NamedTuple):
    """A measure that convicts: its chance, the line about it, further lines, and the bin that says most."""

    chance: float
    what: str
    lines: list[Document]
    bin: str


class Settings(NamedTuple):
    """What is set for one model version; ``alpha`` is the chance from which on nothing is told."""

    alpha: float
    min_events: float
    dispersion: float
    min_psi: float
    rare_share: float
    min_rise: float
    min_effect: float
    min_shift: float
    min_sd: float


def rare(
    judging: Settings, expected: Expected, observed: Observed, recent: Observed | None
) -> MeasureResult | None:
    """The bin, rare in training, whose rise is the least likely: the exact beta-binomial tail times the bins."""
    rows = expected.rows
    total = whole(observed.ordinary)
    if rows == 0 or total == 0:
        return None
    best: MeasureResult | None = None
    for name, count in expected.rare(judging.rare_share):
        if name not in observed.counts:
            continue
        usual = count / rows
        hits = whole(observed.counts[name])
        if hits < 5 or hits > total:
            continue
        share = hits / total
        if share - usual < judging.min_rise:
            continue
        if recent is not None and recent.share(name) <= usual:
            continue
        a, b = predictive(count, rows, judging.dispersion)
        tail = min(1.0, beta_binomial_tail(hits, total, a, b) * len(expected.counts))
        if best is None or tail < best.chance:
            shown = value_of(name)
            what = (
                f"{shown}, rare in training, is {percent(share)} % of the values, expected {percent(usual)} %"
            )
            lines = [
                line("rare value", f"{shown}: {hits} of {total}, in training {whole(count)} of {whole(rows)}")
            ]
            best = MeasureResult(tail, what, lines, name)
    return best


def psi(
    judging: Settings, expected: Expected, observed: Observed, recent: Observed | None
) -> MeasureResult | None:
    """The population stability index Σ (p - q) ln(p / q) over bins.

    Bins in which fewer than five events are expected are judged as one. Empty cells: to the window's counts so
    many events are added as half the number of bins, distributed as in training, to training's half a row a bin.
    With nothing changed PSI / (1/n + 1/m) is about chi-squared with bins - 1 degrees (Yurdakul and Naranjo,
    "Statistical properties of the population stability index", Journal of Risk Model Validation 14 (2020));
    ``dispersion``, how much windows differ by themselves, is added to 1/n + 1/m. What counts as the effect is the
    PSI above its mean under no change, (bins - 1)(1/n + 1/m + dispersion).
    """
    rows, total = float(expected.rows), observed.ordinary
    if rows == 0 or total == 0:
        return None
    cells = _cells(expected, observed, rows, total)
    k = len(cells)
    if k < 2:
        return None
    n, m = total + 0.5 * k, rows + 0.5 * k
    parts = []
    index = 0.0
    added = 0.5 * k
    for _, count, seen in cells:
        q = (count + 0.5) / m
        p = (seen + added * q) / n
        part = (p - q) * log(p / q)
        parts.append(part)
        index += part
    scale = 1.0 / total + 1.0 / rows + judging.dispersion
    usual = (k - 1) * scale
    if index - usual < judging.min_psi:
        return None
    shown = sorted(
        (-part, name, seen / total, count / rows)
        for part, (name, count, seen) in zip(parts, cells, strict=True)
    )
    _, most, share, before = shown[0]
    if recent is not None and most != "" and (recent.share(most) - before) * (share - before) <= 0:
        return None
    lines = []
    for _, name, share, before in shown[:SHOWN]:
        label = "the rare values together" if name == "" else value_of(name)
        lines.append(line(label, f"{percent(share)} % of the values, expected {percent(before)} %"))
    what = f"PSI {number(index)}, by chance about {number(usual)}"
    return MeasureResult(gamma_tail(0.5 * (k - 1), 0.5 * index / scale), what, lines, most)


def _cells(
    expected: Expected, observed: Observed, rows: float, total: float
) -> list[tuple[str, float, float]]:
    """Name, expected and observed of each bin of five expected events or more, and of all others as one."""
    counts = observed.counts
    ordinary = expected.ordinary
    cells = [(name, count, counts.get(name, 0.0)) for name, count in ordinary if total * count / rows >= 5]
    few_expected = few_observed = 0.0
    if len(cells) < len(ordinary):
        for name, count in ordinary:
            if total * count / rows < 5:
                few_expected += count
                few_observed += counts.get(name, 0.0)
    for name in sorted(counts.keys() - expected.counts.keys()):
        if is_ordinary(name):
            few_observed += counts[name]
    if few_expected > 0 or few_observed > 0:
        cells.append(("", few_expected, few_observed))
    return cells


def shift(
    judging: Settings, expected: Expected, observed: Observed, recent: Observed | None
) -> MeasureResult | None:
    """Whether values lie higher or lower: the Wilcoxon rank test on the bins, mean ridit less 1/2.

    One degree of freedom, where the PSI has one less than there are bins: so it needs fewer events for the same
    shift. Convicts from ``min_shift`` standard deviations of the ridits on; with a normal distribution that is
    about as many standard deviations of the values. Source: Bross, Biometrics 14 (1958); Wilcoxon with ties:
    Lehmann, Nonparametrics (1975), section 1.4.
    """
    score = _mood(expected, observed)
    if score is None:
        return None
    effect = score[1]
    if (effect if effect > 0 else -effect) < judging.min_shift:
        return None
    if recent is not None:
        before = _mood(expected, recent)
        if before is None or before[1] * effect <= 0:
            return None
    z = effect / sqrt(1.0 / observed.total + 1.0 / expected.ordered + judging.dispersion)
    upper = _upper(expected, observed)
    what = (
        f"values are {'higher' if effect > 0 else 'lower'}: {percent(upper[0])} % in the upper half, "
        f"expected {percent(upper[1])} %"
    )
    lines = [line("shift of the ranks", f"{number(effect)} standard deviations")]
    return MeasureResult(gamma_tail(0.5, 0.5 * z * z), what, lines, "")


def _upper(expected: Expected, observed: Observed) -> tuple[float, float]:
    """The share of values in the bins of the upper half, observed and expected."""
    m, n = float(expected.ordered), observed.total
    below = seen = usual = 0.0
    for name in expected.order:
        share = expected.counts.get(name, 0) / m
        if below + 0.5 * share >= 0.5:
            seen += observed.counts.get(name, 0.0) / n
            usual += share
        below += share
    return seen + observed.counts.get("!above", 0.0) / n, usual


def spread(
    judging: Settings, expected: Expected, observed: Observed, recent: Observed | None
) -> MeasureResult | None:
    """Mood's test of dispersion on the bins: mean squared distance from training's median, in ranks.

    The rank of a bin is the middle of its cumulated share in training (its ridit); beyond the range are ranks 0
    and 1. The variance is that of training's bins, so ties are exact. Convicts from ``min_effect`` standard
    deviations of the squared distance, and only where the values are not rather moved to one side: that is the
    drift's concern. Source: Mood, Annals of Mathematical Statistics 25 (1954); Bross, Biometrics 14 (1958).
    """
    score = _mood(expected, observed)
    if score is None:
        return None
    effect, moved, outer, usual = score
    if (effect if effect > 0 else -effect) < judging.min_effect:
        return None
    if (effect if effect > 0 else -effect) <= (moved if moved > 0 else -moved):
        return None
    if recent is not None:
        before = _mood(expected, recent)
        if before is None or before[0] * effect <= 0:
            return None
    z = effect / sqrt(1.0 / observed.total + 1.0 / expected.ordered + judging.dispersion)
    direction = "wider" if effect > 0 else "narrower"
    what = (
        f"values spread {direction} than expected: {percent(outer)} % outside the middle half, "
        f"expected {percent(usual)} %"
    )
    distance = "squared distance from the median"
    lines = [line(distance, f"{number(effect)} standard deviations from the expected one")]
    return MeasureResult(gamma_tail(0.5, 0.5 * z * z), what, lines, "")


def _mood(expected: Expected, observed: Observed) -> tuple[float, float, float, float] | None:
    """(effect, shift) in standard deviations, and the share outside the middle half, observed and expected."""
    ranks, n = expected.ranks, observed.total
    if ranks is None or n == 0:
        return None
    outer = squares = location = 0.0
    counts = observed.counts
    for name, rank in ranks.bins:
        if name in counts:
            moment = counts[name] / n * rank
            squares += moment * rank
            location += moment
    for name in ranks.outer:
        outer += counts.get(name, 0.0) / n
    return (squares - ranks.mean) / ranks.off, location / ranks.side, outer, ranks.usual


def mean(
    judging: Settings, profile: Given, bucket: Given, weeks: list[Given], window: str
) -> MeasureResult | None:
    """The prediction's mean against the expected one, with both means' errors and from ``min_sd`` deviations on."""
    moments = profile["expected"]["prediction"]["moments"]
    if "mean" not in moments or moments["std"] <= 0:
        return None
    n, seen = _average([bucket])
    if n < judging.min_events or n == 0:
        return None
    m, expected = float(moments["count"]), float(moments["mean"])
    if weeks:
        m, expected = _average([version["windows"]["buckets"][window] for version in weeks])
        if m < judging.min_events or m == 0:
            return None
    std = moments["std"]
    effect = (seen - expected) / std
    if (effect if effect > 0 else -effect) < judging.min_sd:
        return None
    error = sqrt(1.0 / n + 1.0 / m + judging.dispersion)
    z = effect / error
    what = f"mean {number(seen)}, expected {number(expected)} ± {number(std * error)}"
    lines = [line("mean", f"{number(effect)} standard deviations from the expected one")]
    return MeasureResult(gamma_tail(0.5, 0.5 * z * z), what, lines, "")


def _average(given: list[Given]) -> tuple[float, float]:
    """How many predictions were seen, and their mean by weight."""
    seen = n = total = 0.0
    for bucket in given:
        for stratum in bucket["values"]["buckets"]:  # one a sampling weight
            if stratum["value"]["count"] > 0:
                weight = stratum["key"] * stratum["value"]["count"]
                seen += weight * kept_share(bucket)
                n += weight
                total += weight * stratum["value"]["avg"]
    return seen, total / n if n > 0 else 0.0
