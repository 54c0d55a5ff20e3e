"""``ml-distribution``: find features whose arriving values are distributed differently than in training."""

from __future__ import annotations

from math import sqrt

from logging_lib.profile.model import LENGTH, PREDICTION
from logging_lib.watch.scripts.bins import ExpectedBins, ObservedBins, get_features
from logging_lib.watch.scripts.common import (
    Document,
    JsonObject,
    add_severity,
    build_result,
    decode_value,
    encode_prefix,
    find_earlier_weeks,
    find_setting,
    get_answer_buckets,
    get_buckets,
    index_profiles,
    is_accepted,
    is_before_acceptance,
    name_services,
    new_finding,
    new_line,
    parse_length,
    quote,
)
from logging_lib.watch.scripts.formatting import (
    clip,
    format_amount,
    format_chance,
    format_percent,
    format_time,
    format_window,
    round_half_up,
)
from logging_lib.watch.scripts.measures import (
    Deviation,
    Thresholds,
    measure_mean,
    measure_psi,
    measure_rare,
    measure_shift,
    measure_spread,
)
from logging_lib.watch.scripts.variation import (
    DAY,
    compute_limit,
    is_measured,
    measure_length,
    mix_bins,
    mix_week,
)

# From these values on, another watch reports the cause: out-of-range, na-spike, ...
ELSEWHERE, ELSEWHERE_HITS = 0.05, 10.0
_BY_BINS = {"psi": measure_psi, "shift": measure_shift, "spread": measure_spread}


def distribution(ctx: JsonObject, params: JsonObject) -> Document:
    """Compare how values are distributed, by ``metadata.measures``, of each feature and of the prediction.

    - ``psi``: the population stability index, which must be at least ``min_psi`` after subtracting the part due to
      chance (see ``measure_psi``); for several labels, that of each label's share of the predictions;
    - ``rare``: a bin that was rare in training (``rare_share``) and became common;
    - ``shift``: whether the values of a number moved up or down (see ``measure_shift``);
    - ``spread``: whether the values are further from the middle of training, or nearer (see ``measure_spread``);
    - ``mean``: whether the prediction's mean left its standard error (see ``measure_mean``).

    Only ordinary bins count: missing and unseen values have their own watches, and one cause should not be
    reported twice. For the same reason a number is skipped while many of its values left the range to one side,
    and a prediction while its change is no greater than the share of events in which an input is missing, absent,
    unseen or out of range: ``notes`` say so.

    The aggregations ``inputs`` (of ``ml.input.bins``) and ``prediction`` (of ``ml.prediction.bin``) say what is
    compared. If ``metadata.references``, the same hours of earlier weeks, have ``min_events`` events, all
    windows but the longest are compared with those; the longest is always compared with training, so that neither
    slow drift nor a lasting shift becomes usual. A window with fewer events than ``min_events`` is not evaluated;
    if this is the longest one, ``notes`` say so. A longer window flags a feature only while the next
    shorter one deviates in the same direction; one of more than a day, while the next but one does, if that has
    ``min_events`` events: so a fixed fault is not reported for another day.
    """
    windows = ctx["metadata"]["windows"]
    profiles = index_profiles(ctx["payload"]["profiles"])
    findings: list[Document] = []
    skipped: list[Document] = []
    notes: list[Document] = []
    for model in get_answer_buckets(ctx["payload"]["window"], "models"):
        for version in get_buckets(model["versions"], "versions"):
            profile = profiles.get(model["key"] + ":" + version["key"])
            if profile is None:
                skipped.append({"model": model["key"], "version": version["key"], "reason": "no profile"})
                continue
            thresholds = _read_thresholds(ctx, profile)
            events = version["windows"]["buckets"][windows[-1]]["doc_count"]
            if events < thresholds.min_events:
                needed = round_half_up(thresholds.min_events)
                seen = format_amount(events, "event")
                reason = f"{seen} in {format_window(windows[-1])}, at least {needed} are needed"
                notes.append({"model": model["key"], "version": version["key"], "reason": reason})
                continue
            _flag_distributions(ctx, profile, model["key"], version, thresholds, findings, notes)
    return {**build_result(findings, skipped), "notes": notes}


def _flag_distributions(
    ctx: JsonObject,
    profile: JsonObject,
    model: str,
    version: JsonObject,
    thresholds: Thresholds,
    findings: list[Document],
    notes: list[Document],
) -> None:
    """Add the features that deviate, each in the shortest window that flags it, to ``findings``."""
    windows = ctx["metadata"]["windows"]
    weeks = [] if is_measured(profile) else find_earlier_weeks(ctx, model, version["key"])
    longest = version["windows"]["buckets"][windows[-1]]
    features = get_features(profile, inputs="inputs" in longest, prediction="prediction" in longest)
    flagged: set[str] = set()
    before: dict[str, ObservedBins] | None = None
    next_shorter: dict[str, ObservedBins] | None = None
    counted: dict[str, ObservedBins] | None = None
    for window in windows:
        bucket = version["windows"]["buckets"][window]
        before, next_shorter, counted = next_shorter, counted, features.count_observed(bucket)
        if bucket["doc_count"] < thresholds.min_events:
            continue
        usual = features.sum_weeks(weeks, window, thresholds.min_events) if window != windows[-1] else None
        mixture = mix_week(profile, bucket, window)
        length = measure_length(bucket, window)
        if parse_length(window) > DAY and length < 0.5 * parse_length(window):
            continue  # a day and some hours of a week contain more of these hours than any whole days do
        for name, observed in counted.items():
            if name in flagged or observed.total < thresholds.min_events:
                continue
            if is_before_acceptance(ctx, profile, name, window):
                continue
            shorter = next_shorter.get(name) if next_shorter is not None else None
            if next_shorter is not None and shorter is None:
                continue
            if before is not None and parse_length(window) > DAY:
                recent = before.get(name)
                if recent is not None and recent.total >= thresholds.min_events:
                    shorter = recent
            trained = features.expected[name]
            is_new = is_accepted(profile, name, "bins")
            of_weeks = usual.get(name) if usual is not None and not is_new else None
            mixed = mix_bins(profile, name, mixture) if not is_new and not trained.is_multiple else None
            expected = trained if of_weeks is None else of_weeks
            if mixed is not None:
                expected = ExpectedBins(mixed, trained.order)
            if _is_out_of_range(expected, observed):
                continue
            deviations = []
            for measure in ctx["metadata"]["measures"]:
                by_part = mixed is not None and measure != "mean"
                if measure == "rare":
                    usual_bins = expected if by_part else trained
                    deviation = measure_rare(thresholds, usual_bins, observed, shorter)
                elif measure != "mean":
                    deviation = _BY_BINS[measure](thresholds, expected, observed, shorter)
                elif name == PREDICTION:
                    past = weeks if of_weeks is not None else []
                    deviation = measure_mean(thresholds, profile, bucket, past, window, trained, observed)
                else:
                    deviation = None
                if deviation is None or deviation.chance >= thresholds.alpha:
                    continue
                limit = compute_limit(ctx, profile, measure, name, length, deviation.noise, by_part)
                if abs(deviation.distance) > limit:
                    deviations.append(deviation)
            if not deviations:
                continue
            elsewhere = _explain_elsewhere(profile, bucket, name, expected, observed)
            if elsewhere != "":
                notes.append({"model": model, "version": version["key"], "reason": elsewhere})
                continue
            flagged.add(name)
            source = "training"
            if mixed is not None:
                source = "training, at the same hours of the week"
            elif of_weeks is not None:
                rows = round_half_up(of_weeks.total)
                source = f"{format_amount(rows, 'event')} in the same hours of earlier weeks"
            events = round_half_up(observed.total)
            findings.append(
                _new_bins_finding(ctx, profile, model, version, window, name, events, source, deviations)
            )


def _new_bins_finding(
    ctx: JsonObject,
    profile: JsonObject,
    model: str,
    version: JsonObject,
    window: str,
    name: str,
    events: int,
    source: str,
    deviations: list[Deviation],
) -> Document:
    bucket = version["windows"]["buckets"][window]
    first = deviations[0]
    lines = [
        *name_services(version),
        new_line("Observed", f"{format_amount(events, 'event')} in the last {format_window(window)}"),
        *first.lines,
        new_line("Compared with", source),
        new_line("Probability", format_chance(first.chance) + " if nothing had changed"),
    ]
    lines.extend(
        new_line("Also", deviation.what + ", " + format_chance(deviation.chance))
        for deviation in deviations[1:]
    )
    since, until = bucket["first"]["value_as_string"], bucket["last"]["value_as_string"]
    lines.append(new_line("Since", format_time(since) + " or earlier"))
    field = "ml.prediction.bin" if name == PREDICTION else "ml.input.bins"
    token = first.bin if name == PREDICTION else encode_prefix(name) + first.bin
    where = f" and {field}: {quote(token)}" if first.bin else ""
    query = (
        f"ml.model.name: {quote(model)} and ml.model.version: {quote(version['key'])}{where}"
        f' and event.ingested >= "{ctx["trigger"]["scheduled_time"]}||-{window}"'
    )
    shown = "prediction" if name == PREDICTION else clip(name)
    what = f"{shown}{_name_unit(profile, name)} {first.what}"
    finding = new_finding(ctx, profile, model, version["key"], name, what, lines, query, since, until)
    finding["window"] = window
    finding["observed"] = events
    share: float | None = None
    leading = ""
    for deviation in deviations:
        share = deviation.share if share is None else share
        leading = leading or deviation.bin
    add_severity(finding, ctx, max(deviation.effect for deviation in deviations), share, leading)
    return finding


def _name_unit(profile: JsonObject, name: str) -> str:
    """Name the quantity that the bins of a text measure; empty for any other feature."""
    order = (profile["expected"].get("order") or {}).get(name) or []
    return " (number of words)" if order and order[0].startswith(LENGTH) else ""


def _read_thresholds(ctx: JsonObject, profile: JsonObject) -> Thresholds:
    def value(name: str) -> float:
        setting = find_setting(ctx, profile, name) if name in ctx["metadata"] else None
        return float(setting) if setting is not None else 0.0

    metadata = ctx["metadata"]
    tests = (profile["expected"]["features"] + 1.0) * len(metadata["measures"]) * len(metadata["windows"])
    return Thresholds(
        alpha=value("false_alarms_per_model_month") / (tests * metadata["ticks_per_month"]),
        min_events=value("min_events"),
        min_psi=value("min_psi"),
        min_points=value("min_points"),
        rare_share=value("rare_share"),
        min_rise=value("min_rise"),
        min_effect=value("min_effect"),
        min_shift=value("min_shift"),
        min_sd=value("min_sd"),
    )


def _is_out_of_range(expected: ExpectedBins, observed: ObservedBins) -> bool:
    """Return whether enough values left the range on one side to be another watch's finding."""
    side = observed.counts.get("!above", 0.0) - observed.counts.get("!below", 0.0)
    hits = side if side > 0 else -side
    if hits < ELSEWHERE_HITS:
        return False
    usual = expected.counts.get("!above", 0) - expected.counts.get("!below", 0)
    rows = sum(expected.counts.values())
    share = (usual if usual > 0 else -usual) / rows if rows > 0 else 0.0
    return bool(hits / observed.total - share >= ELSEWHERE)


def _explain_elsewhere(
    profile: JsonObject, bucket: JsonObject, feature: str, expected: ExpectedBins, observed: ObservedBins
) -> str:
    """Say why a change of the prediction needs no separate message; empty if it needs one.

    It is explained if the total variation distance of its bins, minus the part due to chance, is no greater than
    the rise of the share of events in which one input is missing, absent, unseen or out of range: changing those
    events alone can have moved no more. By chance each bin's share is off by sqrt(2 q (1 - q) / (pi n)) on average.
    Of several labels, which are not parts of one whole, the share that is furthest off counts.
    """
    if feature != PREDICTION or "special" not in bucket:
        return ""
    total = bucket["weight"]["value"]
    cause = ""
    most = 0.0
    for token in get_buckets(bucket["special"], "special"):
        key = token["key"]
        at = key.find("=") + 1
        name = decode_value(key[: at - 1])
        if token["doc_count"] < ELSEWHERE_HITS or name not in profile["expected"]["bins"]:
            continue
        usual = profile["expected"]["bins"][name]
        rows = sum(usual.values())
        now = token["weight"]["value"] / total
        rise = now - (usual.get(key[at:], 0) / rows if rows > 0 else 0.0)
        if rise > most:
            most = rise
            cause = f"{name} is {key[at + 1 :]} in {format_percent(now)} of the events"
    if most < ELSEWHERE:
        return ""
    n, m = observed.ordinary, expected.rows
    if n == 0 or m == 0:
        return ""
    distance = furthest = 0.0
    for name, count in expected.ordinary:
        q = min(1.0, count / m)  # earlier weeks may have fewer rows than one label's
        off = observed.counts.get(name, 0.0) / n - q
        off = (off if off > 0 else -off) - sqrt(0.6366197723675814 * q * (1.0 - q) / n)
        distance += 0.5 * off
        furthest = max(furthest, off)
    if expected.is_multiple:
        distance = furthest
    if distance > most:
        return ""
    return f"the prediction changed no more than its cause explains, which has a watch of its own: {cause}"
