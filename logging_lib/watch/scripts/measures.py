"""The measures of ``ml-distribution``: how far a feature's bins are from the expected ones, and with what chance.

Each takes ``shorter``, the same feature in the next shorter window, which must deviate in the same direction.
"""

from __future__ import annotations

from math import log, sqrt
from typing import NamedTuple

from logging_lib.profile.model import LENGTH
from logging_lib.watch.scripts.bins import ExpectedBins, ObservedBins, is_ordinary
from logging_lib.watch.scripts.common import (
    Document,
    JsonObject,
    beta_binomial_tail,
    decode_value,
    gamma_tail,
    get_sampled_share,
    measure_effect,
    new_line,
    predictive,
)
from logging_lib.watch.scripts.formatting import (
    clip,
    format_count,
    format_number,
    format_percent,
    round_half_up,
    show_value,
)
from logging_lib.watch.scripts.variation import compute_rise

SHOWN = 3
FEW_BINS = 5


class Deviation(NamedTuple):
    """The result of a measure.

    Args:
        chance: the probability of such a window if its events were drawn like training's.
        distance: the distance from what is expected; its mean square is ``noise`` if only chance differs.
        noise: 1/n + 1/m, for n events and m rows.
        what: the line about it.
        lines: further lines.
        bin: the bin that contributes most.
        effect, share: the values of the finding, see ``add_severity``.
    """

    chance: float
    distance: float
    noise: float
    what: str
    lines: list[Document]
    bin: str
    effect: float
    share: float | None


class Thresholds(NamedTuple):
    """The settings of one model version; a chance of ``alpha`` or more is not flagged."""

    alpha: float
    min_events: float
    min_psi: float
    min_points: float
    rare_share: float
    min_rise: float
    min_effect: float
    min_shift: float
    min_sd: float


def measure_rare(
    thresholds: Thresholds, expected: ExpectedBins, observed: ObservedBins, shorter: ObservedBins | None
) -> Deviation | None:
    """Find the category or length of texts, rare in training, with the least likely rise.

    The chance is the beta-binomial tail times the number of bins. The bins of numbers are measured by shift and
    spread.
    """
    rows = expected.rows
    total = round_half_up(observed.ordinary)
    if rows == 0 or total == 0 or (expected.order and not expected.order[0].startswith(LENGTH)):
        return None
    best: Deviation | None = None
    for name, count in expected.find_rare(thresholds.rare_share):
        if name not in observed.counts:
            continue
        usual = count / rows
        hits = round_half_up(observed.counts[name])
        if hits < 5 or hits > total:
            continue
        share = hits / total
        if share - usual < thresholds.min_rise or share < 2.0 * usual:
            continue
        if shorter is not None and shorter.get_share(name) <= usual:
            continue
        a, b = predictive(count, rows, 0.0)
        tail = min(1.0, beta_binomial_tail(hits, total, a, b) * len(expected.counts))
        if best is None or tail < best.chance:
            value, now = show_value(decode_value(name)), format_percent(share)
            what = f'"{clip(value)}" {now} (expected {format_percent(usual)}), rare in training'
            trained = f"{format_count(round_half_up(count))} of {format_count(round_half_up(rows))}"
            seen = f"{format_count(hits)} of {format_count(total)}"
            lines = [new_line("Rare value", f"{value}: {seen}, in training {trained}")]
            rise = compute_rise(share, a / (a + b))
            effect = measure_effect(share - usual, thresholds.min_rise)
            best = Deviation(tail, rise, 1.0 / total + 1.0 / rows, what, lines, name, effect, share)
    return best


def measure_psi(
    thresholds: Thresholds, expected: ExpectedBins, observed: ObservedBins, shorter: ObservedBins | None
) -> Deviation | None:
    """Compare the shares of bins: by chance (``compute_chance``) and by effect, the population stability index.

    The index Σ (p - q) ln(p / q) says how large the change is (Yurdakul and Naranjo, "Statistical properties of the
    population stability index", Journal of Risk Model Validation 14 (2020)): from ``min_psi`` on, above its mean
    under no change, (bins - 1)(1/n + 1/m). Of up to five bins, a share that moved by ``min_points`` is enough, as
    their index is small. Bins in which fewer than five events are expected count as one; half the
    number of bins is added to the window's counts as events distributed as in training, and half a row per bin to
    training's counts.
    """
    rows, total = float(expected.rows), observed.ordinary
    if rows == 0 or total == 0:
        return None
    if expected.is_multiple:
        return _measure_labels(thresholds, expected, observed, shorter)
    return _compare_cells(thresholds, _group_cells(expected, observed, rows, total), rows, total, shorter)


def _measure_labels(
    thresholds: Thresholds, expected: ExpectedBins, observed: ObservedBins, shorter: ObservedBins | None
) -> Deviation | None:
    """Find the label whose share of the predictions is least likely; its chance is times the number of labels.

    Labels are not parts of one whole, so each is compared separately: the events with it and those without it.
    """
    rows, total = float(expected.rows), observed.ordinary
    best: Deviation | None = None
    for name, count in expected.ordinary:
        seen, count = min(observed.counts.get(name, 0.0), total), min(float(count), rows)
        share, usual = seen / total, count / rows
        if shorter is not None and (shorter.get_share(name) - usual) * (share - usual) <= 0:
            continue
        cells = [(name, count, seen), ("", rows - count, total - seen)]
        deviation = _compare_cells(thresholds, cells, rows, total, None)
        if deviation is None:
            continue
        chance = min(1.0, deviation.chance * len(expected.ordinary))
        if best is None or chance < best.chance:
            label, now = show_value(decode_value(name)), f"{format_percent(share)} of the predictions"
            what = f'label "{clip(label)}" in {now} (expected {format_percent(usual)})'
            lines = [new_line(f"Label {label}", f"in {now}, expected {format_percent(usual)}")]
            best = deviation._replace(chance=chance, what=what, lines=lines, bin=name)
    return best


def _compare_cells(
    thresholds: Thresholds,
    cells: list[tuple[str, float, float]],
    rows: float,
    total: float,
    shorter: ObservedBins | None,
) -> Deviation | None:
    k = len(cells)
    if k < 2:
        return None
    n, m = total + 0.5 * k, rows + 0.5 * k
    parts = []
    index = points = moved = 0.0
    added = 0.5 * k
    for _, count, seen in cells:
        q = (count + 0.5) / m
        p = (seen + added * q) / n
        part = (p - q) * log(p / q)
        parts.append(part)
        index += part
        points = max(points, abs(seen / total - count / rows))
        moved += max(0.0, seen / total - count / rows)
    noise = 1.0 / total + 1.0 / rows
    usual = (k - 1) * noise
    effect = measure_effect(index - usual, thresholds.min_psi)
    has_few = k <= FEW_BINS and thresholds.min_points > 0
    if has_few:
        effect = max(effect, measure_effect(points, thresholds.min_points))
    if index - usual < thresholds.min_psi and not (has_few and points >= thresholds.min_points):
        return None
    shown = sorted(
        (-part, name, seen / total, count / rows)
        for part, (name, count, seen) in zip(parts, cells, strict=True)
    )
    _, most, share, before = shown[0]
    if shorter is not None and most != "" and (shorter.get_share(most) - before) * (share - before) <= 0:
        return None
    lines = []
    for _, name, share, before in shown[:SHOWN]:
        lines.append(
            new_line(
                _name_cell(name), f"{format_percent(share)} of the values, expected {format_percent(before)}"
            )
        )
    lines.append(new_line("PSI", f"{format_number(index)} (expected {format_number(usual)})"))
    _, _, share, before = shown[0]
    what = (
        f"redistributed: {clip(_name_cell(most))} {format_percent(share)} (expected {format_percent(before)})"
    )
    chance = compute_chance(cells, rows, total)
    return Deviation(chance, sqrt(index / (k - 1)), noise, what, lines, most, effect, moved)


def _name_cell(name: str) -> str:
    return "rare values" if name == "" else show_value(decode_value(name))


def compute_chance(cells: list[tuple[str, float, float]], rows: float, total: float) -> float:
    """Compute the chance of counts at least as unlikely if both were samples of one distribution.

    The chi-squared tail of the deviance; of two cells, where few counts are possible and that tail can be five
    times too small, twice the exact beta-binomial tail.
    """
    if len(cells) > 2:
        return gamma_tail(0.5 * (len(cells) - 1), 0.5 * compute_deviance(cells, rows, total))
    trials = round_half_up(total)
    hits = min(round_half_up(cells[0][2]), trials)
    a, b = predictive(cells[0][1], rows, 0.0)
    if hits > trials * a / (a + b):
        return min(1.0, 2.0 * beta_binomial_tail(hits, trials, a, b))
    return min(1.0, 2.0 * beta_binomial_tail(trials - hits, trials, b, a))


def compute_deviance(cells: list[tuple[str, float, float]], rows: float, total: float) -> float:
    """Compute the likelihood ratio statistic G of two samples of the same distribution, with Williams' correction.

    Source: Sokal and Rohlf, Biometry, 3rd ed. (1995), box 17.8 (G of a table of two rows; Williams, Biometrika 63
    (1976), for its correction).
    """
    g = inverse = 0.0
    both = rows + total
    for _, count, seen in cells:
        share = (count + seen) / both
        if seen > 0:
            g += seen * log(seen / (total * share))
        if count > 0:
            g += count * log(count / (rows * share))
        inverse += 1.0 / share
    correction = 1.0 + (both / rows + both / total - 1.0) * (inverse - 1.0) / (6.0 * both * (len(cells) - 1))
    return 2.0 * g / correction if g > 0 else 0.0


def _group_cells(
    expected: ExpectedBins, observed: ObservedBins, rows: float, total: float
) -> list[tuple[str, float, float]]:
    """Return (name, expected, observed) of each bin with at least five expected events, and of all others as
    one."""
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


def measure_shift(
    thresholds: Thresholds, expected: ExpectedBins, observed: ObservedBins, shorter: ObservedBins | None
) -> Deviation | None:
    """Test whether values moved up or down: the Wilcoxon rank test on the bins, mean ridit less 1/2.

    The test has one degree of freedom, while the PSI has one fewer than there are bins, so it needs fewer events
    for the same shift. It flags from ``min_shift`` standard deviations of the ridits on; with a normal distribution
    that is about as many standard deviations of the values. Source: Bross, Biometrics 14 (1958); Wilcoxon with
    ties: Lehmann, Nonparametrics (1975), section 1.4.
    """
    score = _compute_mood(expected, observed)
    if score is None:
        return None
    effect = score[1]
    if (effect if effect > 0 else -effect) < thresholds.min_shift:
        return None
    if shorter is not None:
        before = _compute_mood(expected, shorter)
        if before is None or before[1] * effect <= 0:
            return None
    noise = 1.0 / observed.total + 1.0 / expected.ordered
    z = effect / sqrt(noise)
    upper = _compute_upper_shares(expected, observed)
    what = (
        f"{'higher' if effect > 0 else 'lower'}: {format_percent(upper[0])} in the upper half "
        f"(expected {format_percent(upper[1])})"
    )
    lines = [new_line("Shift of the ranks", f"{format_number(effect)} standard deviations")]
    times = measure_effect(abs(effect), thresholds.min_shift)
    return Deviation(gamma_tail(0.5, 0.5 * z * z), effect, noise, what, lines, "", times, None)


def _compute_upper_shares(expected: ExpectedBins, observed: ObservedBins) -> tuple[float, float]:
    """Return the share of values in the bins of the upper half, observed and expected."""
    m, n = float(expected.ordered), observed.total
    below = seen = usual = 0.0
    for name in expected.order:
        share = expected.counts.get(name, 0) / m
        if below + 0.5 * share >= 0.5:
            seen += observed.counts.get(name, 0.0) / n
            usual += share
        below += share
    return seen + observed.counts.get("!above", 0.0) / n, usual


def measure_spread(
    thresholds: Thresholds, expected: ExpectedBins, observed: ObservedBins, shorter: ObservedBins | None
) -> Deviation | None:
    """Apply Mood's test of dispersion to the bins: the mean squared distance from training's median, in ranks.

    The rank of a bin is the middle of its cumulated share in training (its ridit); beyond the range are ranks 0
    and 1. The variance is that of training's bins, so ties are exact. It flags from ``min_effect`` standard
    deviations of the squared distance, and only if the values have not mainly moved to one side, which is the
    concern of ``measure_shift``. Source: Mood, Annals of Mathematical Statistics 25 (1954); Bross, Biometrics 14
    (1958).
    """
    score = _compute_mood(expected, observed)
    if score is None:
        return None
    effect, moved, outer, usual = score
    if (effect if effect > 0 else -effect) < thresholds.min_effect:
        return None
    if (effect if effect > 0 else -effect) <= (moved if moved > 0 else -moved):
        return None
    if shorter is not None:
        before = _compute_mood(expected, shorter)
        if before is None or before[0] * effect <= 0:
            return None
    noise = 1.0 / observed.total + 1.0 / expected.ordered
    z = effect / sqrt(noise)
    direction = "wider" if effect > 0 else "narrower"
    what = (
        f"spread {direction}: {format_percent(outer)} outside the middle half "
        f"(expected {format_percent(usual)})"
    )
    distance = "Squared distance from the median"
    lines = [new_line(distance, f"{format_number(effect)} standard deviations from the expected one")]
    times = measure_effect(abs(effect), thresholds.min_effect)
    return Deviation(gamma_tail(0.5, 0.5 * z * z), effect, noise, what, lines, "", times, None)


def _compute_mood(expected: ExpectedBins, observed: ObservedBins) -> tuple[float, float, float, float] | None:
    """Return effect and shift in standard deviations, and the shares outside the middle half, now and expected."""
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
    return (
        (squares - ranks.mean) / ranks.square_deviation,
        location / ranks.deviation,
        outer,
        ranks.outer_share,
    )


def measure_mean(
    thresholds: Thresholds,
    profile: JsonObject,
    bucket: JsonObject,
    weeks: list[JsonObject],
    window: str,
    expected: ExpectedBins,
    observed: ObservedBins,
) -> Deviation | None:
    """Compare the prediction's mean with the expected one, by both means' errors, from ``min_sd`` deviations on.

    The mean of a heavy-tailed prediction depends on its few largest values, whose probability no normal
    distribution gives. So the chance is no less than that of the bins' shares: a mean flags only with moved bins.
    """
    moments = profile["expected"]["prediction"]["moments"]
    if "mean" not in moments or moments["std"] <= 0:
        return None
    n, seen = _compute_average([bucket])
    if n < thresholds.min_events or n == 0:
        return None
    m, usual = float(moments["count"]), float(moments["mean"])
    if weeks:
        m, usual = _compute_average([version["windows"]["buckets"][window] for version in weeks])
        if m < thresholds.min_events or m == 0:
            return None
    std = moments["std"]
    effect = (seen - usual) / std
    if (effect if effect > 0 else -effect) < thresholds.min_sd:
        return None
    rows, total = float(expected.rows), observed.ordinary
    cells = _group_cells(expected, observed, rows, total) if rows > 0 and total > 0 else []
    if len(cells) < 2:
        return None
    bins = compute_chance(cells, rows, total)
    noise = 1.0 / n + 1.0 / m
    z = effect / sqrt(noise)
    error = std * sqrt(noise)
    what = f"mean {format_number(seen)} (expected {format_number(usual)} ± {format_number(error)})"
    lines = [new_line("Mean", f"{format_number(effect)} standard deviations from the expected one")]
    times = measure_effect(abs(effect), thresholds.min_sd)
    chance = max(gamma_tail(0.5, 0.5 * z * z), bins)
    return Deviation(chance, effect, noise, what, lines, "", times, None)


def _compute_average(buckets: list[JsonObject]) -> tuple[float, float]:
    """Return the number of predictions seen, and their weighted mean."""
    seen = n = total = 0.0
    for bucket in buckets:
        for stratum in bucket["values"]["buckets"]:  # one per sampling weight
            if stratum["value"]["count"] > 0:
                weight = stratum["key"] * stratum["value"]["count"]
                seen += weight * get_sampled_share(bucket)
                n += weight
                total += weight * stratum["value"]["avg"]
    return seen, total / n if n > 0 else 0.0
