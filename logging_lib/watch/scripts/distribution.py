"""``ml-distribution``: whether the values that arrive are distributed as in training."""

from __future__ import annotations

from math import log, sqrt
from typing import NamedTuple

from logging_lib.watch.scripts.common import (
    Document,
    Given,
    buckets,
    chance,
    gamma_tail,
    judged,
    kept_share,
    line,
    number,
    owners,
    percent,
    prefix_of,
    profiles_of,
    quoted,
    setting,
    value_of,
    whole,
)
from logging_lib.watch.statistics import beta_binomial_tail, predictive

PREDICTION = "(prediction)"
SHOWN = 3
MAX_PREFIX = 129


class _Verdict(NamedTuple):
    """A measure that convicts: its chance, the line about it, further lines, and the bin that says most."""

    chance: float
    what: str
    lines: list[Document]
    bin: str


class _Bins(NamedTuple):
    """One feature: training rows a bin, which of the bins are in an order, and what each window has."""

    name: str
    expected: Given
    order: list[str]
    observed: dict[str, float]


def distribution(ctx: Given, params: Given) -> Document:
    """What ``metadata.measures`` lists, of each feature and of the prediction, a window after the other.

    - ``psi``: the population stability index, with ``min_psi`` as the least one left after what chance alone
      would make of it (see ``_psi``);
    - ``rare``: a bin that was rare in training (``rare_share``) and became common;
    - ``spread``: whether the values lie further from the middle of training, or nearer (see ``_spread``);
    - ``mean``: whether the prediction's mean left its standard error (see ``_mean``).

    Only ordinary bins count: a missing or an unseen value has a watch of its own, and one cause should not be
    told of twice. The aggregations ``inputs`` (of ``ml.input.bins``) and ``prediction`` (of
    ``ml.prediction.bin``) say what is judged. A window with fewer events than ``min_events`` is not judged; where
    that holds of the longest one, ``notes`` says so. A longer window convicts only while the next shorter one
    deviates in the same direction.
    """
    metadata = ctx["metadata"]
    windows, measures = metadata["windows"], metadata["measures"]
    profiles = profiles_of(ctx["payload"]["profiles"])
    findings: list[Document] = []
    skipped: list[Document] = []
    notes: list[Document] = []
    for model in buckets(ctx["payload"]["window"]["aggregations"]["models"], "models"):
        for version in buckets(model["versions"], "versions"):
            profile = profiles.get(model["key"] + ":" + version["key"])
            if profile is None:
                skipped.append({"model": model["key"], "version": version["key"], "reason": "no profile"})
                continue
            longest = version["windows"]["buckets"][windows[-1]]["doc_count"]
            min_events = setting(ctx, profile, "min_events")
            if longest < min_events:
                reason = f"{longest} events in {windows[-1]}, at least {min_events} are needed"
                notes.append({"model": model["key"], "version": version["key"], "reason": reason})
            tests = (profile["expected"]["features"] + 1) * len(measures) * len(windows)
            budget = setting(ctx, profile, "false_alarms_per_model_month")
            alpha = budget / (tests * metadata["ticks_per_month"])
            found: set[str] = set()
            shorter: dict[str, _Bins] | None = None
            for window in windows:
                bucket = version["windows"]["buckets"][window]
                recent, shorter = shorter, _features(profile, bucket)
                for name, bins in shorter.items():
                    if name in found:
                        continue
                    n = sum(bins.observed.values())
                    if n < min_events:
                        continue
                    before = recent.get(name) if recent is not None else None
                    if recent is not None and before is None:
                        continue
                    verdicts = _verdicts(ctx, profile, bucket, bins, before, alpha)
                    if not verdicts:
                        continue
                    found.add(name)
                    first = verdicts[0]
                    lines = [line(w.what, "by chance " + chance(w.chance)) for w in verdicts[1:]]
                    about = "ml.prediction.bin" if name == PREDICTION else "ml.input.bins"
                    token = first.bin if name == PREDICTION else prefix_of(name) + first.bin
                    where = f" and {about}: {quoted(token)}" if first.bin else ""
                    findings.append(
                        {
                            "model": model["key"],
                            "version": version["key"],
                            "feature": name,
                            "about": "model " + model["key"] + ", version " + version["key"],
                            "what": f"{name}: {first.what}",
                            "lines": [
                                line("observed", f"{whole(n)} events in the last {window}"),
                                *first.lines,
                                line("by chance, had nothing changed", chance(first.chance)),
                                *lines,
                            ],
                            "window": window,
                            "observed": whole(n),
                            "query": f"ml.model.name: {quoted(model['key'])} and ml.model.version: "
                            f"{quoted(version['key'])}{where}"
                            f' and event.ingested >= "{ctx["trigger"]["scheduled_time"]}||-{window}"',
                            **owners(profile),
                        }
                    )
    return {**judged(findings, skipped), "notes": notes}


def _features(profile: Given, bucket: Given) -> dict[str, _Bins]:
    """Each judged feature of one window, with the number of events in its bins that the sampling left."""
    made: dict[str, _Bins] = {}
    expected = profile["expected"]
    kept = kept_share(bucket)
    if "inputs" in bucket:
        by_prefix: dict[str, _Bins] = {}
        for name in sorted(expected["bins"]):
            bins = expected["bins"][name]
            prefix = prefix_of(name)
            if len(prefix) <= MAX_PREFIX:
                made[name] = by_prefix[prefix] = _Bins(name, bins, expected["order"].get(name, []), {})
        for token in buckets(bucket["inputs"], "inputs"):
            key = token["key"]
            at = key.find("=") + 1
            one = by_prefix.get(key[:at])
            if one is not None:
                _count(one, key[at:], token["weight"]["value"] * kept)
    outputs = expected.get("prediction")
    if "prediction" in bucket and outputs is not None:
        made[PREDICTION] = _Bins(PREDICTION, outputs["bins"], outputs["order"], {})
        for token in buckets(bucket["prediction"], "prediction"):
            _count(made[PREDICTION], token["key"], token["weight"]["value"] * kept)
    return made


def _is_ordinary(name: str) -> bool:
    return not name.startswith("oov:") and (not name.startswith("!") or name == "!other")


def _count(bins: _Bins, name: str, weight: float) -> None:
    # Beyond the ends of the range is a place, too, for the spread; ``_cells`` leaves it out.
    if (_is_ordinary(name) and name in bins.expected) or (bins.order and name in ("!below", "!above")):
        bins.observed[name] = weight


def _verdicts(
    ctx: Given, profile: Given, bucket: Given, bins: _Bins, recent: _Bins | None, alpha: float
) -> list[_Verdict]:
    found: list[_Verdict] = []
    for measure in ctx["metadata"]["measures"]:
        verdict: _Verdict | None = None
        if measure == "rare":
            verdict = _rare(ctx, profile, bins, recent, alpha)
        elif measure == "psi":
            verdict = _psi(ctx, profile, bins, recent)
        elif measure == "spread":
            verdict = _spread(ctx, profile, bins, recent)
        elif measure == "mean" and bins.name == PREDICTION:
            verdict = _mean(ctx, profile, bucket)
        if verdict is not None and verdict.chance < alpha:
            found.append(verdict)
    return found


def _share(bins: _Bins, name: str) -> float:
    """Of the ordinary bins' weight; 0 without any."""
    total = sum(weight for key, weight in bins.observed.items() if _is_ordinary(key))
    return bins.observed.get(name, 0.0) / total if total > 0 else 0.0


def _rare(ctx: Given, profile: Given, bins: _Bins, recent: _Bins | None, alpha: float) -> _Verdict | None:
    """The bin, rare in training, whose rise is the least likely: the exact beta-binomial tail times the bins."""
    rows = sum(count for name, count in bins.expected.items() if _is_ordinary(name))
    total = whole(sum(weight for name, weight in bins.observed.items() if _is_ordinary(name)))
    if rows == 0 or total == 0:
        return None
    best: _Verdict | None = None
    for name in sorted(bins.expected):
        count, hits = bins.expected[name], whole(bins.observed.get(name, 0.0))
        if not _is_ordinary(name) or hits < 5 or hits > total:
            continue
        usual, share = count / rows, hits / total
        if usual > setting(ctx, profile, "rare_share") or share - usual < setting(ctx, profile, "min_rise"):
            continue
        if recent is not None and _share(recent, name) <= usual:
            continue
        a, b = predictive(count, rows, setting(ctx, profile, "dispersion"))
        tail = min(1.0, beta_binomial_tail(hits, total, a, b) * len(bins.expected))
        if best is None or tail < best.chance:
            shown = value_of(name)
            what = (
                f"{shown}, rare in training, is {percent(share)} % of the values, expected {percent(usual)} %"
            )
            lines = [
                line("rare value", f"{shown}: {hits} of {total}, in training {whole(count)} of {whole(rows)}")
            ]
            best = _Verdict(tail, what, lines, name)
    return best


def _psi(ctx: Given, profile: Given, bins: _Bins, recent: _Bins | None) -> _Verdict | None:
    """The population stability index Σ (p - q) ln(p / q) over bins.

    Bins in which fewer than five events are expected are judged as one. Empty cells: to the window's counts so
    many events are added as half the number of bins, distributed as in training, to training's half a row a bin.
    With nothing changed PSI / (1/n + 1/m) is about chi-squared with bins - 1 degrees (Yurdakul and Naranjo,
    "Statistical properties of the population stability index", Journal of Risk Model Validation 14 (2020));
    ``dispersion``, how much windows differ by themselves, is added to 1/n + 1/m. What counts as the effect is the
    PSI above its mean under no change, (bins - 1)(1/n + 1/m + dispersion).
    """
    rows = float(sum(count for name, count in bins.expected.items() if _is_ordinary(name)))
    total = sum(weight for name, weight in bins.observed.items() if _is_ordinary(name))
    if rows == 0 or total == 0:
        return None
    cells: list[tuple[str, float, float]] = []
    few_expected = few_observed = 0.0
    for name in sorted(bins.expected):
        if not _is_ordinary(name):
            continue
        if total * bins.expected[name] / rows < 5:
            few_expected += bins.expected[name]
            few_observed += bins.observed.get(name, 0.0)
        else:
            cells.append((name, float(bins.expected[name]), bins.observed.get(name, 0.0)))
    if few_expected > 0:
        cells.append(("", few_expected, few_observed))
    k = len(cells)
    if k < 2:
        return None
    psi = 0.0
    parts: list[tuple[float, str, float, float]] = []
    for name, expected, observed in cells:
        q = (expected + 0.5) / (rows + 0.5 * k)
        p = (observed + 0.5 * k * q) / (total + 0.5 * k)
        part = (p - q) * log(p / q)
        psi += part
        parts.append((-part, name, observed / total, expected / rows))
    scale = 1.0 / total + 1.0 / rows + setting(ctx, profile, "dispersion")
    usual = (k - 1) * scale
    if psi - usual < setting(ctx, profile, "min_psi"):
        return None
    parts.sort(key=lambda part: (part[0], part[1]))
    _, most, share, before = parts[0]
    if recent is not None and most != "" and (_share(recent, most) - before) * (share - before) <= 0:
        return None
    lines = []
    for _, name, share, before in parts[:SHOWN]:
        label = "the rare values together" if name == "" else value_of(name)
        lines.append(line(label, f"{percent(share)} % of the values, expected {percent(before)} %"))
    what = f"PSI {number(psi)}, by chance about {number(usual)}"
    return _Verdict(gamma_tail(0.5 * (k - 1), 0.5 * psi / scale), what, lines, most)


def _spread(ctx: Given, profile: Given, bins: _Bins, recent: _Bins | None) -> _Verdict | None:
    """Mood's test of dispersion on the bins: mean squared distance from training's median, in ranks.

    The rank of a bin is the middle of its cumulated share in training (its ridit); beyond the range are ranks 0
    and 1. The variance is that of training's bins, so ties are exact. Convicts from ``min_effect`` standard
    deviations of the squared distance, and only where the values are not rather moved to one side: that is the
    drift's concern. Source: Mood, Annals of Mathematical Statistics 25 (1954); Bross, Biometrics 14 (1958).
    """
    score = _mood(bins)
    if score is None:
        return None
    effect, shift, outer, usual = score
    if (effect if effect > 0 else -effect) < setting(ctx, profile, "min_effect"):
        return None
    if (effect if effect > 0 else -effect) <= (shift if shift > 0 else -shift):
        return None
    if recent is not None:
        before = _mood(recent)
        if before is None or before[0] * effect <= 0:
            return None
    n = sum(bins.observed.values())
    m = sum(bins.expected.get(name, 0) for name in bins.order)
    z = effect / sqrt(1.0 / n + 1.0 / m + setting(ctx, profile, "dispersion"))
    direction = "wider" if effect > 0 else "narrower"
    what = (
        f"values spread {direction} than in training: {percent(outer)} % outside its middle half, "
        f"expected {percent(usual)} %"
    )
    distance = "squared distance from training's median"
    lines = [line(distance, f"{number(effect)} standard deviations from training's")]
    return _Verdict(gamma_tail(0.5, 0.5 * z * z), what, lines, "")


def _mood(bins: _Bins) -> tuple[float, float, float, float] | None:
    """(effect, shift) in standard deviations, and the share outside the middle half, observed and expected."""
    m = float(sum(bins.expected.get(name, 0) for name in bins.order))
    n = sum(bins.observed.values())
    if m == 0 or n == 0 or len(bins.order) < 4:
        return None
    below = 0.0
    mean = square = side = outer = usual = observed = location = 0.0
    for name in ["!below", *bins.order, "!above"]:
        inside = name not in ("!below", "!above")
        share = bins.expected.get(name, 0) / m if inside else 0.0
        rank = below + 0.5 * share - 0.5
        below += share
        seen = bins.observed.get(name, 0.0) / n
        mean += share * rank * rank
        square += share * rank * rank * rank * rank
        side += share * rank * rank
        observed += seen * rank * rank
        location += seen * rank
        if rank < -0.25 or rank > 0.25:
            outer += seen
            usual += share
    variance = square - mean * mean
    if variance <= 1e-12 or side <= 1e-12:
        return None
    return (observed - mean) / sqrt(variance), location / sqrt(side), outer, usual


def _mean(ctx: Given, profile: Given, bucket: Given) -> _Verdict | None:
    """The prediction's mean against training's, with both means' errors and at least ``min_sd`` deviations."""
    moments = profile["expected"]["prediction"]["moments"]
    if "mean" not in moments or moments["std"] <= 0:
        return None
    n = total = 0.0
    for stratum in bucket["values"]["buckets"]:  # one a sampling weight
        if stratum["value"]["count"] > 0:
            weight = stratum["key"] * stratum["value"]["count"]
            n += weight
            total += weight * stratum["value"]["avg"]
    if n * kept_share(bucket) < setting(ctx, profile, "min_events"):
        return None
    mean, std = total / n, moments["std"]
    effect = (mean - moments["mean"]) / std
    if (effect if effect > 0 else -effect) < setting(ctx, profile, "min_sd"):
        return None
    n *= kept_share(bucket)
    error = sqrt(1.0 / n + 1.0 / moments["count"] + setting(ctx, profile, "dispersion"))
    z = effect / error
    what = f"mean {number(mean)}, expected {number(moments['mean'])} ± {number(std * error)}"
    lines = [line("mean", f"{number(effect)} standard deviations of training from its mean")]
    return _Verdict(gamma_tail(0.5, 0.5 * z * z), what, lines, "")
