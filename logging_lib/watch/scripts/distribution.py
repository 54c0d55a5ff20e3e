"""``ml-distribution``: whether the values that arrive are distributed as in training."""

from __future__ import annotations

from math import sqrt

from logging_lib.watch.scripts.bins import PREDICTION, Expected, Observed, features_of
from logging_lib.watch.scripts.common import (
    Document,
    Given,
    buckets,
    buckets_in,
    chance,
    earlier,
    found,
    judged,
    line,
    percent,
    prefix_of,
    profiles_of,
    quoted,
    serving,
    setting,
    value_of,
    whole,
)
from logging_lib.watch.scripts.measures import Settings, mean, psi, rare, shift, spread

ELSEWHERE, ELSEWHERE_HITS = (
    0.05,
    10.0,
)  # from here on another watch tells of a cause: out-of-range, na-spike, ...
_BY_BINS = {"psi": psi, "shift": shift, "spread": spread}


def distribution(ctx: Given, params: Given) -> Document:
    """What ``metadata.measures`` lists, of each feature and of the prediction, a window after the other.

    - ``psi``: the population stability index, with ``min_psi`` as the least one left after what chance alone
      would make of it (see ``psi``);
    - ``rare``: a bin that was rare in training (``rare_share``) and became common;
    - ``shift``: whether the values of a number lie higher or lower (see ``shift``);
    - ``spread``: whether the values lie further from the middle of training, or nearer (see ``spread``);
    - ``mean``: whether the prediction's mean left its standard error (see ``mean``).

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
    for model in buckets_in(ctx["payload"]["window"], "models"):
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
            weeks = earlier(ctx, model["key"], version["key"])
            told: set[str] = set()
            asked_for = version["windows"]["buckets"][windows[-1]]
            features = features_of(
                profile, inputs="inputs" in asked_for, prediction="prediction" in asked_for
            )
            shorter: dict[str, Observed] | None = None
            for window in windows:
                bucket = version["windows"]["buckets"][window]
                recent, shorter = shorter, features.observed(bucket)
                if bucket["doc_count"] < judging.min_events:
                    continue
                usual = features.usual(weeks, window, judging.min_events) if window != windows[-1] else None
                for name, observed in shorter.items():
                    if name in told:
                        continue
                    n = observed.total
                    if n < judging.min_events:
                        continue
                    before = recent.get(name) if recent is not None else None
                    if recent is not None and before is None:
                        continue
                    known = usual.get(name) if usual is not None else None
                    trained = features.expected[name]
                    asked = trained if known is None else known
                    if _is_beyond(asked, observed):
                        continue
                    verdicts = []
                    for measure in measures:
                        if measure == "rare":
                            verdict = rare(judging, trained, observed, before)
                        elif measure != "mean":
                            verdict = _BY_BINS[measure](judging, asked, observed, before)
                        elif name == PREDICTION:
                            past = weeks if known is not None else []
                            verdict = mean(judging, profile, bucket, past, window)
                        else:
                            verdict = None
                        if verdict is not None and verdict.chance < judging.alpha:
                            verdicts.append(verdict)
                    if not verdicts:
                        continue
                    elsewhere = _told_elsewhere(profile, bucket, name, asked, observed)
                    if elsewhere != "":
                        notes.append({"model": model["key"], "version": version["key"], "reason": elsewhere})
                        continue
                    told.add(name)
                    first = verdicts[0]
                    source = (
                        "training"
                        if known is None
                        else f"{whole(sum(known.counts.values()))} events in the same hours of earlier weeks"
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


def _settings(ctx: Given, profile: Given) -> Settings:
    def value(name: str) -> float:
        given = setting(ctx, profile, name) if name in ctx["metadata"] else None
        return float(given) if given is not None else 0.0

    metadata = ctx["metadata"]
    tests = (profile["expected"]["features"] + 1.0) * len(metadata["measures"]) * len(metadata["windows"])
    return Settings(
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


def _is_beyond(expected: Expected, observed: Observed) -> bool:
    """Whether so many values left the range to one side that this is another watch's finding."""
    side = observed.counts.get("!above", 0.0) - observed.counts.get("!below", 0.0)
    hits = side if side > 0 else -side
    if hits < ELSEWHERE_HITS:
        return False
    usual = expected.counts.get("!above", 0) - expected.counts.get("!below", 0)
    rows = sum(expected.counts.values())
    share = (usual if usual > 0 else -usual) / rows if rows > 0 else 0.0
    return bool(hits / observed.total - share >= ELSEWHERE)


def _told_elsewhere(
    profile: Given, bucket: Given, feature: str, expected: Expected, observed: Observed
) -> str:
    """Why a change of the prediction needs no message of its own; empty where it does.

    It is explained where the total variation distance of its bins, less what chance makes of it, is no greater than
    the rise of the share of events in which one input is missing, absent, unseen or out of range: changing those
    events alone can have moved no more. By chance each bin's share is off by sqrt(2 q (1 - q) / (pi n)) on average.
    """
    if feature != PREDICTION or "special" not in bucket:
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
    n, m = observed.ordinary, expected.rows
    if n == 0 or m == 0:
        return ""
    distance = 0.0
    for name, count in expected.ordinary:
        q = count / m
        off = observed.counts.get(name, 0.0) / n - q
        distance += 0.5 * ((off if off > 0 else -off) - sqrt(0.6366197723675814 * q * (1.0 - q) / n))
    if distance > most:
        return ""
    return f"the prediction changed no more than its cause explains, which has a watch of its own: {cause}"
