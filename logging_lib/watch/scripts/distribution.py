"""``ml-distribution``: whether the values that arrive are distributed as in training."""

from __future__ import annotations

from functools import lru_cache
from math import log, sqrt
from typing import NamedTuple

from logging_lib.watch.scripts.common import (
    Document,
    Given,
    buckets,
    chance,
    earlier,
    found,
    gamma_tail,
    judged,
    kept_share,
    line,
    number,
    percent,
    prefix_of,
    profiles_of,
    quoted,
    serving,
    setting,
    value_of,
    whole,
)
from logging_lib.watch.statistics import beta_binomial_tail, predictive

PREDICTION = "(prediction)"
SHOWN = 3
MAX_PREFIX = 129
ENDS = ("!below", "!above")
ELSEWHERE, ELSEWHERE_HITS = (
    0.05,
    10.0,
)  # from here on another watch tells of a cause: out-of-range, na-spike, ...


class _Verdict(NamedTuple):
    """A measure that convicts: its chance, the line about it, further lines, and the bin that says most."""

    chance: float
    what: str
    lines: list[Document]
    bin: str


class _Bins(NamedTuple):
    """One feature: expected rows a bin, which of the bins are in an order, and what a window has.

    ``ordinary``: those of the expected bins that are, sorted; ``rows``: how many rows are expected in these.
    """

    name: str
    expected: Given
    ordinary: list[str]
    rows: float
    order: list[str]
    observed: dict[str, float]


class _Layout(NamedTuple):
    """Each judged feature of a profile, with nothing observed, and where a token of ``ml.input.bins`` counts.

    ``places``: by token the feature's place in ``inputs``, -1 for none, and the bin; filled as the tokens come.
    """

    inputs: list[_Bins]
    by_prefix: dict[str, int]
    places: dict[str, tuple[int, str]]
    prediction: _Bins | None


class _Settings(NamedTuple):
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


def distribution(ctx: Given, params: Given) -> Document:
    """What ``metadata.measures`` lists, of each feature and of the prediction, a window after the other.

    - ``psi``: the population stability index, with ``min_psi`` as the least one left after what chance alone
      would make of it (see ``_psi``);
    - ``rare``: a bin that was rare in training (``rare_share``) and became common;
    - ``shift``: whether the values of a number lie higher or lower (see ``_shift``);
    - ``spread``: whether the values lie further from the middle of training, or nearer (see ``_spread``);
    - ``mean``: whether the prediction's mean left its standard error (see ``_mean``).

    Only ordinary bins count: a missing or an unseen value has a watch of its own, and one cause should not be
    told of twice. For the same reason a number is passed over while many of its values left the range to one side,
    and a prediction while its change is no greater than the share of events in which an input is missing, absent,
    unseen or out of range: ``notes`` say so.

    The aggregations ``inputs`` (of ``ml.input.bins``) and ``prediction`` (of ``ml.prediction.bin``) say what is
    judged. Where ``metadata.references``, the same hours of earlier weeks, have ``min_events`` events, all windows
    but the longest are judged by those; the longest is always judged by training, so that neither a slow leak nor a
    lasting shift becomes usual. A window with fewer events than ``min_events`` is not judged; where that holds of
    the longest one, ``notes`` say so. A longer window convicts only while the next shorter one deviates in the same
    direction.
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
            judging = _settings(ctx, profile)
            longest = version["windows"]["buckets"][windows[-1]]["doc_count"]
            if longest < judging.min_events:
                reason = f"{longest} events in {windows[-1]}, at least {whole(judging.min_events)} are needed"
                notes.append({"model": model["key"], "version": version["key"], "reason": reason})
                continue
            layout = _layout(profile, inputs="inputs" in version["windows"]["buckets"][windows[-1]])
            weeks = earlier(ctx, model["key"], version["key"])
            told: set[str] = set()
            shorter: dict[str, _Bins] | None = None
            for window in windows:
                bucket = version["windows"]["buckets"][window]
                recent, shorter = shorter, _features(layout, bucket)
                if bucket["doc_count"] < judging.min_events:
                    continue
                usual = _usual(layout, weeks, window, judging) if window != windows[-1] else None
                for name, bins in shorter.items():
                    if name in told:
                        continue
                    n = sum(bins.observed.values())
                    if n < judging.min_events:
                        continue
                    before = recent.get(name) if recent is not None else None
                    if recent is not None and before is None:
                        continue
                    known = usual.get(name) if usual is not None else None
                    asked = bins if known is None else _bins(name, known, bins.order, bins.observed)
                    past = weeks if known is not None else []
                    verdicts = _verdicts(
                        measures, judging, profile, bucket, past, window, bins, asked, before
                    )
                    if not verdicts:
                        continue
                    elsewhere = _told_elsewhere(profile, bucket, asked)
                    if elsewhere != "":
                        notes.append({"model": model["key"], "version": version["key"], "reason": elsewhere})
                        continue
                    told.add(name)
                    first = verdicts[0]
                    source = (
                        "training"
                        if known is None
                        else f"{whole(sum(known.values()))} events in the same hours of earlier weeks"
                    )
                    lines = [
                        *serving(version),
                        line("observed", f"{whole(n)} events in the last {window}"),
                        *first.lines,
                        line("expected from", source),
                        line("by chance, had nothing changed", chance(first.chance)),
                    ]
                    lines += [line(each.what, "by chance " + chance(each.chance)) for each in verdicts[1:]]
                    since = bucket["first"]["value_as_string"]
                    lines.append(line("since", f"{since} at the latest"))
                    field = "ml.prediction.bin" if name == PREDICTION else "ml.input.bins"
                    token = first.bin if name == PREDICTION else prefix_of(name) + first.bin
                    where = f" and {field}: {quoted(token)}" if first.bin else ""
                    query = (
                        f"ml.model.name: {quoted(model['key'])}"
                        f" and ml.model.version: {quoted(version['key'])}{where}"
                        f' and event.ingested >= "{ctx["trigger"]["scheduled_time"]}||-{window}"'
                    )
                    what = f"{name}: {first.what}"
                    until = bucket["last"]["value_as_string"]
                    finding = found(
                        profile, model["key"], version["key"], name, what, lines, query, since, until
                    )
                    finding["window"] = window
                    finding["observed"] = whole(n)
                    findings.append(finding)
    return {**judged(findings, skipped), "notes": notes}


def _settings(ctx: Given, profile: Given) -> _Settings:
    def value(name: str) -> float:
        given = setting(ctx, profile, name) if name in ctx["metadata"] else None
        return float(given) if given is not None else 0.0

    metadata = ctx["metadata"]
    tests = (profile["expected"]["features"] + 1.0) * len(metadata["measures"]) * len(metadata["windows"])
    return _Settings(
        alpha=value("false_alarms_per_model_month") / (tests * metadata["ticks_per_month"]),
        min_events=value("min_events"),
        dispersion=value("dispersion"),
        min_psi=value("min_psi"),
        rare_share=value("rare_share"),
        min_rise=value("min_rise"),
        min_effect=value("min_effect"),
        min_shift=value("min_shift"),
        min_sd=value("min_sd"),
    )


def _bins(name: str, expected: Given, order: list[str], observed: dict[str, float]) -> _Bins:
    rows = float(sum([count for label, count in expected.items() if _is_ordinary(label)]))
    ordinary = [label for label in sorted(expected) if _is_ordinary(label)]
    return _Bins(name, expected, ordinary, rows, order, observed)


def _layout(profile: Given, *, inputs: bool) -> _Layout:
    expected = profile["expected"]
    features: list[_Bins] = []
    by_prefix: dict[str, int] = {}
    for name in sorted(expected["bins"]) if inputs else ():
        prefix = prefix_of(name)
        if len(prefix) <= MAX_PREFIX:
            by_prefix[prefix] = len(features)
            features.append(_bins(name, expected["bins"][name], expected["order"].get(name, []), {}))
    outputs = expected.get("prediction")
    prediction = _bins(PREDICTION, outputs["bins"], outputs["order"], {}) if outputs is not None else None
    return _Layout(features, by_prefix, {}, prediction)


def _features(layout: _Layout, bucket: Given) -> dict[str, _Bins]:
    """Each judged feature of one window, with the number of events in its bins that the sampling left."""
    return {
        one.name: _Bins(one.name, one.expected, one.ordinary, one.rows, one.order, observed)
        for one, observed in _observed(layout, bucket)
    }


def _observed(layout: _Layout, bucket: Given) -> list[tuple[_Bins, dict[str, float]]]:
    found: list[tuple[_Bins, dict[str, float]]] = []
    kept = kept_share(bucket)
    if "inputs" in bucket:
        found = [(one, {}) for one in layout.inputs]
        places = layout.places
        for token in buckets(bucket["inputs"], "inputs"):
            key = token["key"]
            place = places.get(key)
            if place is None:
                place = places[key] = _place(layout, key)
            if place[0] >= 0:
                found[place[0]][1][place[1]] = token["weight"]["value"] * kept
    if "prediction" in bucket and layout.prediction is not None:
        observed: dict[str, float] = {}
        for token in buckets(bucket["prediction"], "prediction"):
            if _counts(layout.prediction, token["key"]):
                observed[token["key"]] = token["weight"]["value"] * kept
        found.append((layout.prediction, observed))
    return found


def _place(layout: _Layout, token: str) -> tuple[int, str]:
    at = token.find("=") + 1
    place, label = layout.by_prefix.get(token[:at], -1), token[at:]
    return (place, label) if place >= 0 and _counts(layout.inputs[place], label) else (-1, label)


def _usual(
    layout: _Layout, weeks: list[Given], window: str, judging: _Settings
) -> dict[str, dict[str, float]] | None:
    """By feature, the events a bin in the same hours of earlier weeks; None where there were too few."""
    usual: dict[str, dict[str, float]] = {}
    events = 0.0
    for version in weeks:
        bucket = version["windows"]["buckets"][window]
        events += bucket["doc_count"]
        for one, observed in _observed(layout, bucket):
            sums = usual.setdefault(one.name, {})
            for label in sorted(observed):
                sums[label] = sums.get(label, 0.0) + observed[label]
    return usual if events > 0 and events >= judging.min_events else None


@lru_cache(maxsize=65536)  # asked of each bin of each feature, over and over
def _is_ordinary(name: str) -> bool:
    return not name.startswith("oov:") and (not name.startswith("!") or name == "!other")


def _counts(bins: _Bins, name: str) -> bool:
    # Beyond the ends of the range is a place, too, for the spread; ``_psi`` leaves it out.
    return (name in bins.expected and _is_ordinary(name)) or (bool(bins.order) and name in ENDS)


def _verdicts(
    measures: list[str],
    judging: _Settings,
    profile: Given,
    bucket: Given,
    weeks: list[Given],
    window: str,
    bins: _Bins,
    asked: _Bins,
    recent: _Bins | None,
) -> list[_Verdict]:
    """``bins`` have training as what is expected, ``asked`` perhaps earlier weeks. Rare is what training says."""
    if _beyond(asked):
        return []
    convicted: list[_Verdict] = []
    for measure in measures:
        verdict: _Verdict | None = None
        if measure == "rare":
            verdict = _rare(judging, bins, recent)
        elif measure == "psi":
            verdict = _psi(judging, asked, recent)
        elif measure == "shift":
            verdict = _shift(judging, asked, recent)
        elif measure == "spread":
            verdict = _spread(judging, asked, recent)
        elif measure == "mean" and bins.name == PREDICTION:
            verdict = _mean(judging, profile, bucket, weeks, window)
        if verdict is not None and verdict.chance < judging.alpha:
            convicted.append(verdict)
    return convicted


def _beyond(bins: _Bins) -> bool:
    """Whether so many values left the range to one side that this is another watch's finding."""
    side = bins.observed.get("!above", 0.0) - bins.observed.get("!below", 0.0)
    hits = side if side > 0 else -side
    if hits < ELSEWHERE_HITS:
        return False
    usual = bins.expected.get("!above", 0) - bins.expected.get("!below", 0)
    rows = sum(bins.expected.values())
    share = (usual if usual > 0 else -usual) / rows if rows > 0 else 0.0
    return bool(hits / sum(bins.observed.values()) - share >= ELSEWHERE)


def _told_elsewhere(profile: Given, bucket: Given, bins: _Bins) -> str:
    """Why a change of the prediction needs no message of its own; empty where it does.

    It is explained where the total variation distance of its bins, less what chance makes of it, is no greater than
    the rise of the share of events in which one input is missing, absent, unseen or out of range: changing those
    events alone can have moved no more. By chance each bin's share is off by sqrt(2 q (1 - q) / (pi n)) on average.
    """
    if bins.name != PREDICTION or "special" not in bucket:
        return ""
    total = bucket["weight"]["value"]
    cause = ""
    most = 0.0
    for token in buckets(bucket["special"], "special"):
        key = token["key"]
        at = key.find("=") + 1
        name = value_of(key[: at - 1])
        if token["doc_count"] < ELSEWHERE_HITS or name not in profile["expected"]["bins"]:
            continue
        usual = profile["expected"]["bins"][name]
        rows = sum(usual.values())
        rise = token["weight"]["value"] / total - (usual.get(key[at:], 0) / rows if rows > 0 else 0.0)
        if rise > most:
            most = rise
            cause = (
                f"{name} is {key[at + 1 :]} in {percent(token['weight']['value'] / total)} % of the events"
            )
    if most < ELSEWHERE:
        return ""
    n, m = _total(bins), bins.rows
    if n == 0 or m == 0:
        return ""
    distance = 0.0
    for name in bins.ordinary:
        q = bins.expected[name] / m
        off = bins.observed.get(name, 0.0) / n - q
        distance += 0.5 * ((off if off > 0 else -off) - sqrt(0.6366197723675814 * q * (1.0 - q) / n))
    if distance > most:
        return ""
    return f"the prediction changed no more than its cause explains, which has a watch of its own: {cause}"


def _total(bins: _Bins) -> float:
    """The ordinary bins' weight; beside them only the ends are ever observed."""
    return sum([weight for name, weight in bins.observed.items() if name not in ENDS])


def _share(bins: _Bins, name: str) -> float:
    """Of the ordinary bins' weight; 0 without any."""
    total = _total(bins)
    return bins.observed.get(name, 0.0) / total if total > 0 else 0.0


def _rare(judging: _Settings, bins: _Bins, recent: _Bins | None) -> _Verdict | None:
    """The bin, rare in training, whose rise is the least likely: the exact beta-binomial tail times the bins."""
    rows, total = bins.rows, whole(_total(bins))
    if rows == 0 or total == 0:
        return None
    best: _Verdict | None = None
    for name in bins.ordinary:
        count = bins.expected[name]
        usual = count / rows
        if usual > judging.rare_share or name not in bins.observed:
            continue
        hits = whole(bins.observed[name])
        if hits < 5 or hits > total:
            continue
        share = hits / total
        if share - usual < judging.min_rise:
            continue
        if recent is not None and _share(recent, name) <= usual:
            continue
        a, b = predictive(count, rows, judging.dispersion)
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


def _psi(judging: _Settings, bins: _Bins, recent: _Bins | None) -> _Verdict | None:
    """The population stability index Σ (p - q) ln(p / q) over bins.

    Bins in which fewer than five events are expected are judged as one. Empty cells: to the window's counts so
    many events are added as half the number of bins, distributed as in training, to training's half a row a bin.
    With nothing changed PSI / (1/n + 1/m) is about chi-squared with bins - 1 degrees (Yurdakul and Naranjo,
    "Statistical properties of the population stability index", Journal of Risk Model Validation 14 (2020));
    ``dispersion``, how much windows differ by themselves, is added to 1/n + 1/m. What counts as the effect is the
    PSI above its mean under no change, (bins - 1)(1/n + 1/m + dispersion).
    """
    rows, total = bins.rows, _total(bins)
    if rows == 0 or total == 0:
        return None
    cells: list[tuple[str, float, float]] = []
    few_expected = few_observed = 0.0
    for name in bins.ordinary:
        expected, observed = float(bins.expected[name]), bins.observed.get(name, 0.0)
        if total * expected / rows < 5:
            few_expected += expected
            few_observed += observed
        else:
            cells.append((name, expected, observed))
    for name in sorted(bins.observed.keys() - bins.expected.keys()):
        if name not in ENDS:
            few_observed += bins.observed[name]
    if few_expected > 0 or few_observed > 0:
        cells.append(("", few_expected, few_observed))
    k = len(cells)
    if k < 2:
        return None
    psi = 0.0
    for _, expected, observed in cells:
        q = (expected + 0.5) / (rows + 0.5 * k)
        p = (observed + 0.5 * k * q) / (total + 0.5 * k)
        psi += (p - q) * log(p / q)
    scale = 1.0 / total + 1.0 / rows + judging.dispersion
    usual = (k - 1) * scale
    if psi - usual < judging.min_psi:
        return None
    parts: list[tuple[float, str, float, float]] = []
    for name, expected, observed in cells:
        q = (expected + 0.5) / (rows + 0.5 * k)
        p = (observed + 0.5 * k * q) / (total + 0.5 * k)
        parts.append((-(p - q) * log(p / q), name, observed / total, expected / rows))
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


def _shift(judging: _Settings, bins: _Bins, recent: _Bins | None) -> _Verdict | None:
    """Whether values lie higher or lower: the Wilcoxon rank test on the bins, mean ridit less 1/2.

    One degree of freedom, where the PSI has one less than there are bins: so it needs fewer events for the same
    shift. Convicts from ``min_shift`` standard deviations of the ridits on; with a normal distribution that is
    about as many standard deviations of the values. Source: Bross, Biometrics 14 (1958); Wilcoxon with ties:
    Lehmann, Nonparametrics (1975), section 1.4.
    """
    score = _mood(bins)
    if score is None:
        return None
    effect = score[1]
    if (effect if effect > 0 else -effect) < judging.min_shift:
        return None
    if recent is not None:
        before = _mood(bins._replace(order=recent.order, observed=recent.observed))
        if before is None or before[1] * effect <= 0:
            return None
    n = sum(bins.observed.values())
    m = sum(bins.expected.get(name, 0) for name in bins.order)
    z = effect / sqrt(1.0 / n + 1.0 / m + judging.dispersion)
    upper = _upper(bins)
    what = (
        f"values are {'higher' if effect > 0 else 'lower'}: {percent(upper[0])} % in the upper half, "
        f"expected {percent(upper[1])} %"
    )
    lines = [line("shift of the ranks", f"{number(effect)} standard deviations")]
    return _Verdict(gamma_tail(0.5, 0.5 * z * z), what, lines, "")


def _upper(bins: _Bins) -> tuple[float, float]:
    """The share of values in the bins of the upper half, observed and expected."""
    m = float(sum(bins.expected.get(name, 0) for name in bins.order))
    n = sum(bins.observed.values())
    below = observed = usual = 0.0
    for name in bins.order:
        share = bins.expected.get(name, 0) / m
        if below + 0.5 * share >= 0.5:
            observed += bins.observed.get(name, 0.0) / n
            usual += share
        below += share
    return observed + bins.observed.get("!above", 0.0) / n, usual


def _spread(judging: _Settings, bins: _Bins, recent: _Bins | None) -> _Verdict | None:
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
    if (effect if effect > 0 else -effect) < judging.min_effect:
        return None
    if (effect if effect > 0 else -effect) <= (shift if shift > 0 else -shift):
        return None
    if recent is not None:
        before = _mood(bins._replace(order=recent.order, observed=recent.observed))
        if before is None or before[0] * effect <= 0:
            return None
    n = sum(bins.observed.values())
    m = sum(bins.expected.get(name, 0) for name in bins.order)
    z = effect / sqrt(1.0 / n + 1.0 / m + judging.dispersion)
    direction = "wider" if effect > 0 else "narrower"
    what = (
        f"values spread {direction} than expected: {percent(outer)} % outside the middle half, "
        f"expected {percent(usual)} %"
    )
    distance = "squared distance from the median"
    lines = [line(distance, f"{number(effect)} standard deviations from the expected one")]
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


def _mean(
    judging: _Settings, profile: Given, bucket: Given, weeks: list[Given], window: str
) -> _Verdict | None:
    """The prediction's mean against the expected one, with both means' errors and from ``min_sd`` deviations on."""
    moments = profile["expected"]["prediction"]["moments"]
    if "mean" not in moments or moments["std"] <= 0:
        return None
    n, mean = _average([bucket])
    if n < judging.min_events or n == 0:
        return None
    m, expected = float(moments["count"]), float(moments["mean"])
    if weeks:
        m, expected = _average([version["windows"]["buckets"][window] for version in weeks])
        if m < judging.min_events or m == 0:
            return None
    std = moments["std"]
    effect = (mean - expected) / std
    if (effect if effect > 0 else -effect) < judging.min_sd:
        return None
    error = sqrt(1.0 / n + 1.0 / m + judging.dispersion)
    z = effect / error
    what = f"mean {number(mean)}, expected {number(expected)} ± {number(std * error)}"
    lines = [line("mean", f"{number(effect)} standard deviations from the expected one")]
    return _Verdict(gamma_tail(0.5, 0.5 * z * z), what, lines, "")


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
