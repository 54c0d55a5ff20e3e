"""``ml-check-rate``: find failed checks that are more frequent than held-out rows or earlier traffic suggest."""

from __future__ import annotations

from typing import Any

from logging_lib.profile.model import NEW_WORDS
from logging_lib.watch.scripts.common import (
    Document,
    JsonObject,
    add_severity,
    beta_binomial_tail,
    build_result,
    decode_value,
    encode_prefix,
    find_earlier_weeks,
    find_setting,
    get_answer_buckets,
    get_buckets,
    get_sampled_share,
    index_profiles,
    is_accepted,
    measure_effect,
    name_services,
    new_finding,
    new_line,
    parse_length,
    predictive,
    quote,
)
from logging_lib.watch.scripts.formatting import (
    clip,
    format_amount,
    format_chance,
    format_count,
    format_example,
    format_percent,
    format_time,
    format_window,
    round_half_up,
    show_value,
)
from logging_lib.watch.scripts.variation import compute_limit, compute_rise, is_measured

MAX_VALUES_SHOWN = 5
MAX_NAME = 128  # tokens.MAX_PART: a longer name is hashed in tokens, which Painless cannot do
USUAL_ROWS = 200.0
TRAINED_ROW = "held-out training row"
USUALLY = 0.02


def check_rate(ctx: JsonObject, params: JsonObject) -> Document:
    """Find features that failed ``metadata.check``, or one of ``metadata.checks``, more often than expected.

    Each window of the ladder is evaluated, the shortest first, by the tail of the beta-binomial predictive
    distribution, and a feature is reported with the first window that flags it. A finding needs
    ``metadata.min_hits`` failed events and a rate ``metadata.min_effect`` above the expected one; and a longer
    window flags a feature only while the next shorter one still fails more than expected, so that a fixed fault is
    not reported until the longest window has forgotten it (Google, The Site Reliability Workbook, ch. 5,
    "Multiwindow, Multi-Burn-Rate Alerts").

    The check ``new_words`` is not a check of one event: the most frequent unknown words of a window, as tokens,
    take the place of features, and each is compared with the most frequent new word of held-out rows. A text has
    one finding, about the most frequent word that is flagged; the chance is divided by its ``candidates``.

    With ``metadata.checks`` the window's aggregations have the checks' names; otherwise the only one is
    ``features``. The profile gives the expected rates and their natural variation (``variation.compute_limit``).
    With ``metadata.usual_rate`` the expectation comes from ``ctx.payload.baseline``, an earlier window, to which
    that rate counts as 200 more events, so that a version without a past is evaluated, too. If the natural
    variation was not measured, all windows but the longest are compared with a baseline or with the earlier rate of
    the longest one, if that was lower (see ``_lower_expectation``), and, if ``metadata.references`` have 200
    events, with the same hours of earlier weeks. A model with fewer than ``min_hits`` events is not evaluated, and
    ``notes`` say so.
    """
    metadata = ctx["metadata"]
    windows = metadata["windows"]
    by_profile = "usual_rate" not in metadata
    profiles = index_profiles(ctx["payload"]["profiles"]) if "profiles" in ctx["payload"] else {}
    checks = metadata.get("checks") or [metadata["check"]]
    findings: list[Document] = []
    skipped: list[Document] = []
    notes: list[Document] = []
    for model in get_answer_buckets(ctx["payload"]["window"], "models"):
        for version in get_buckets(model["versions"], "versions"):
            profile = profiles.get(model["key"] + ":" + version["key"])
            if profile is None and by_profile:
                skipped.append({"model": model["key"], "version": version["key"], "reason": "no profile"})
                continue
            min_hits = find_setting(ctx, profile, "min_hits")
            events = round_half_up(version["windows"]["buckets"][windows[-1]]["weight"]["value"])
            if events < min_hits:
                seen = format_amount(events, "event")
                reason = f"{seen} in {format_window(windows[-1])}, at least {min_hits} are needed"
                notes.append({"model": model["key"], "version": version["key"], "reason": reason})
                continue
            features = _count_tested_features(profile, checks) if profile is not None and by_profile else 1
            tests = features * len(windows) * metadata["ticks_per_month"]
            alpha = find_setting(ctx, profile, "false_alarms_per_model_month") / tests
            by_week = not by_profile or not is_measured(profile)
            weeks = find_earlier_weeks(ctx, model["key"], version["key"]) if by_week else []
            for check in checks:
                findings += _flag_rates(ctx, profile, model["key"], version, check, alpha, weeks)
    return {**build_result(findings, skipped), "notes": notes}


def _flag_rates(
    ctx: JsonObject,
    profile: JsonObject | None,
    model: str,
    version: JsonObject,
    check: str,
    alpha: float,
    weeks: list[Any],
) -> list[Document]:
    """Find the features that fail a check too often or too rarely, each in the shortest window that flags it."""
    metadata = ctx["metadata"]
    aggregation = check if "checks" in metadata else "features"
    min_hits = find_setting(ctx, profile, "min_hits")
    findings: list[Document] = []
    flagged: set[str] = set()
    shorter: JsonObject | None = None
    for window in metadata["windows"]:
        bucket = version["windows"]["buckets"][window]
        next_shorter, shorter = shorter, bucket
        total = round_half_up(bucket["weight"]["value"])
        if total < min_hits:
            continue
        names = [feature["key"] for feature in bucket[aggregation]["buckets"]]  # the most frequent, if cut
        counted = dict(zip(names, bucket[aggregation]["buckets"], strict=True))
        for key in [*names, *_list_falling(metadata, profile, check, counted)]:
            feature = counted.get(key)
            name = _find_text(profile, key) if check == NEW_WORDS else key
            hits = min(round_half_up(feature["weight"]["value"]), total) if feature is not None else 0
            if name in flagged or (hits < min_hits and not _is_two_sided(metadata, check)):
                continue
            expectation = _expect(ctx, profile, model, version, check, name, window, weeks)
            if expectation is None:
                continue
            rate = _measure_rate(ctx, profile, check, name, window, bucket, feature, hits, total, expectation)
            if rate is None or (
                rate["is_above"] and rate["rate"] < _get_rate_bound(metadata, "min_rates", check, 0.0)
            ):
                continue
            if hits / total >= _get_rate_bound(metadata, "max_rates", check, 2.0):
                flagged.add(name)  # in the longer windows, too, this is another watch's concern
                continue
            if next_shorter is not None and _has_ended(
                key, next_shorter, aggregation, rate["usual"], is_above=rate["is_above"]
            ):
                continue
            if rate["chance"] >= alpha * rate["side"]:
                continue
            flagged.add(name)
            findings.append(
                _new_rate_finding(
                    ctx,
                    profile,
                    model,
                    version,
                    check,
                    name,
                    key,
                    window,
                    feature,
                    hits,
                    total,
                    expectation,
                    rate,
                )
            )
    return findings


def _find_text(profile: JsonObject | None, token: str) -> str:
    """Return the name of the text that a word's token belongs to; empty if the profile has none."""
    expected = _get_expected_checks(profile, NEW_WORDS) if profile is not None else {}
    for name in expected:
        if token.startswith(encode_prefix(name)):
            return name
    return ""


def _list_falling(
    metadata: JsonObject, profile: JsonObject | None, check: str, counted: JsonObject
) -> list[str]:
    """List the features that usually fail a check but no longer fail it at all, and so have no bucket."""
    if not _is_two_sided(metadata, check) or profile is None:
        return []
    expected = _get_expected_checks(profile, check)
    return [
        name
        for name in sorted(expected)
        if name not in counted and expected[name]["count"] >= USUALLY * expected[name]["rows"] > 0
    ]


def _is_two_sided(metadata: JsonObject, check: str) -> bool:
    return "usual_rate" not in metadata and check in (metadata.get("two_sided") or [])


def _measure_rate(
    ctx: JsonObject,
    profile: JsonObject | None,
    check: str,
    name: str,
    window: str,
    bucket: JsonObject,
    feature: JsonObject | None,
    hits: int,
    total: int,
    expectation: JsonObject,
) -> Document | None:
    """Compare a rate with its expectation; None if it differs too little, or no more than is natural.

    A fall is also found for a check in ``metadata.two_sided`` that at least one row in fifty failed: if no values
    are missing any more, they were filled in somewhere. Each side then has half the budget.
    """
    min_hits, min_effect = find_setting(ctx, profile, "min_hits"), find_setting(ctx, profile, "min_effect")
    rate = hits / total
    sampled = get_sampled_share(feature) if feature is not None else 1.0
    count, rows = expectation["count"], expectation["rows"]
    is_usual = _is_two_sided(ctx["metadata"], check) and count >= USUALLY * rows
    if profile is not None and is_accepted(profile, name, check):
        is_usual = False  # before a change was accepted, the rate was lower
    share = (count + 0.5) / (rows + 1.0)
    dispersion = expectation["dispersion"] + share / (1.0 - share) * _get_uncertainty(bucket)
    a, b = predictive(count, rows, dispersion)
    usual = a / (a + b)
    is_above = rate >= usual
    if is_above:
        if hits < min_hits or rate < min_effect or rate - usual < min_effect:
            return None
        chance = beta_binomial_tail(round_half_up(hits * sampled), round_half_up(total * sampled), a, b)
    else:
        if not is_usual or usual - rate < min_effect:
            return None
        sampled = min(sampled, get_sampled_share(bucket))
        rest = total - hits
        chance = beta_binomial_tail(round_half_up(rest * sampled), round_half_up(total * sampled), b, a)
    if profile is not None and "usual_rate" not in ctx["metadata"]:
        noise = 1.0 / (total * sampled) + 1.0 / (rows + 1.0)
        rise = compute_rise(rate, usual)
        if abs(rise) <= compute_limit(ctx, profile, check, name, parse_length(window), noise, False):
            return None
    side = 0.5 if is_usual else 1.0
    return {"rate": rate, "usual": usual, "is_above": is_above, "chance": chance, "side": side}


def _get_uncertainty(bucket: JsonObject) -> float:
    """Return the squared error of the estimated number of events, relative to it: Σ w(w - 1) / (Σ w)².

    Failed events are always kept, so in a sampled stream only the number of all events is an estimate
    (Horvitz and Thompson, JASA 47 (1952)).
    """
    sampling = bucket.get("sampling")
    if sampling is None or (sampling.get("sum") or 0.0) <= 0:
        return 0.0
    error = sampling["sum_of_squares"] - sampling["sum"]
    return float(error / (sampling["sum"] * sampling["sum"])) if error > 0 else 0.0


def _new_rate_finding(
    ctx: JsonObject,
    profile: JsonObject | None,
    model: str,
    version: JsonObject,
    check: str,
    name: str,
    key: str,
    window: str,
    feature: JsonObject | None,
    hits: int,
    total: int,
    expectation: JsonObject,
    measured: JsonObject,
) -> Document:
    metadata = ctx["metadata"]
    bucket = version["windows"]["buckets"][window]
    values = _list_values(check, name, bucket)
    rate = format_percent(hits / total)
    usual = _format_usual_rate(expectation)
    observed = f"{format_count(hits)} of {format_amount(total, 'event')} in the last {format_window(window)}"
    lines = [
        *name_services(version),
        new_line("Observed", observed),
        new_line("Expected", expectation["text"]),
        new_line("Probability", format_chance(measured["chance"]) + " if nothing had changed"),
    ]
    if values:
        lines.append(new_line("Values", _format_values(name, values)))
    if feature is not None:
        first, last = feature["first"]["value_as_string"], feature["last"]["value_as_string"]
        lines.append(new_line("First seen", format_time(first)))
        lines.append(new_line("Last seen", format_time(last)))
    else:
        last = ctx["trigger"]["scheduled_time"]
        first = f"{last}||-{window}"
        lines.append(new_line("Since", format_window(window) + " ago or earlier"))
    finding = new_finding(
        ctx,
        profile,
        model,
        version["key"],
        name,
        _describe(metadata, check, name, key, rate, usual),
        lines,
        _build_query(metadata, model, version["key"], check, key, first, last),
        first,
        last,
    )
    finding["check"] = check
    finding["window"] = window
    finding["observed"] = hits
    finding["total"] = total
    finding["observed_percent"] = rate
    finding["expected_percent"] = usual
    finding["values"] = values
    change = measured["rate"] - measured["usual"]
    effect = measure_effect(change if change > 0 else -change, find_setting(ctx, profile, "min_effect"))
    share = measured["rate"] if measured["is_above"] else -change
    add_severity(finding, ctx, effect, share, values[0]["value"] if values else "")
    return finding


def _count_tested_features(profile: JsonObject, checks: list[str]) -> int:
    """Count the features that can fail these checks, and the words that can be new, at least 1."""
    number = 0
    for check in checks:
        for known in _get_expected_checks(profile, check).values():
            number += known.get("candidates", 1)
    return number if number > 1 else 1


def _get_expected_checks(profile: JsonObject, check: str) -> JsonObject:
    """Return the expectation of each feature that can fail the check. A search omits empty ones."""
    checks = profile["expected"].get("checks") or {}
    expected: JsonObject = checks.get(check) or {}
    return expected


def _expect(
    ctx: JsonObject,
    profile: JsonObject | None,
    model: str,
    version: JsonObject,
    check: str,
    name: str,
    window: str,
    weeks: list[Any],
) -> Document | None:
    """Return the expectation of a feature in a window; None if nothing is known about it."""
    metadata = ctx["metadata"]
    aggregation = check if "checks" in metadata else "features"
    if profile is None or "usual_rate" in metadata:
        expectation: Document | None = _expect_from_baseline(ctx, model, version["key"], aggregation, name)
    else:
        expectation = _expect_from_profile(profile, check, name)
    if expectation is None or window == metadata["windows"][-1]:
        return expectation
    if "usual_rate" not in metadata and check != NEW_WORDS and not is_measured(profile):
        if profile is not None and is_accepted(profile, name, check):
            return expectation
        expectation = _lower_expectation(ctx, model, version, aggregation, name, expectation)
    return _expect_from_weeks(weeks, window, aggregation, name, expectation)


def _expect_from_profile(profile: JsonObject, check: str, name: str) -> Document | None:
    source = ", the most frequent new word" if check == NEW_WORDS else ""
    checks = _get_expected_checks(profile, check)
    if name in checks:
        known = checks[name]
        return _new_expectation(known["count"], known["rows"], known["dispersion"], TRAINED_ROW, source)
    if check == "unexpected":
        return _new_expectation(0, profile["expected"]["rows"], 0.0, TRAINED_ROW, source)
    return None


def _new_expectation(count: float, rows: float, dispersion: float, noun: str, source: str) -> Document:
    text = f"{format_count(round_half_up(count))} of {format_amount(round_half_up(rows), noun)}{source}"
    return {"count": count, "rows": rows, "dispersion": dispersion, "text": text}


def _lower_expectation(
    ctx: JsonObject, model: str, version: JsonObject, aggregation: str, name: str, trained: Document
) -> Document:
    """Lower training's expectation to the rate of a baseline, or of the longest window before the next shorter one.

    If that is not lower, training's expectation is kept. So the expectation is sharper if training's was estimated
    from few rows, and a lasting fault never becomes usual.
    """
    windows = ctx["metadata"]["windows"]
    longest, second = windows[-1], windows[-2]
    if "baseline" in ctx["payload"]:
        count, rows = _sum_baseline(ctx, model, version["key"], aggregation, name)
        source = f" ({format_window(ctx['metadata']['baseline'])} to {format_window(longest)} ago)"
    else:
        longer, shorter = version["windows"]["buckets"][longest], version["windows"]["buckets"][second]
        rows = longer["weight"]["value"] - shorter["weight"]["value"]
        count = max(0.0, _get_count(longer, aggregation, name) - _get_count(shorter, aggregation, name))
        source = f" ({format_window(longest)} to {format_window(second)} ago)"
    trained_rate = (trained["count"] + 0.5) / (trained["rows"] + 1.0)
    if rows < USUAL_ROWS or (count + 0.5) / (rows + 1.0) >= trained_rate:
        return trained
    return _new_expectation(count, rows, trained["dispersion"], "event", source)


def _get_count(bucket: JsonObject, aggregation: str, name: str) -> float:
    for feature in bucket[aggregation]["buckets"]:
        if feature["key"] == name:
            return float(feature["weight"]["value"])
    return 0.0


def _expect_from_baseline(ctx: JsonObject, model: str, version: str, aggregation: str, name: str) -> Document:
    usual_rate = ctx["metadata"]["usual_rate"]
    earlier_count, earlier_rows = _sum_baseline(ctx, model, version, aggregation, name)
    count, rows = usual_rate * USUAL_ROWS + earlier_count, USUAL_ROWS + earlier_rows
    expectation = {"count": count, "rows": rows, "dispersion": ctx["metadata"]["dispersion"]}
    usual, events = _format_usual_rate(expectation), round_half_up(rows - USUAL_ROWS)
    expectation["text"] = f"{usual}, from the usual rate and {format_amount(events, 'earlier event')}"
    return expectation


def _sum_baseline(
    ctx: JsonObject, model: str, version: str, aggregation: str, name: str
) -> tuple[float, float]:
    """Count how often it happened in ``ctx.payload.baseline``, and in how many events."""
    count = rows = 0.0
    baseline = ctx["payload"].get("baseline")
    if baseline is not None:
        for model_bucket in get_answer_buckets(baseline, "models"):
            if model_bucket["key"] != model:
                continue
            for bucket in get_buckets(model_bucket["versions"], "versions"):
                if bucket["key"] == version:
                    rows += bucket["weight"]["value"]
                    count += _get_count(bucket, aggregation, name)
    return count, rows


def _expect_from_weeks(
    weeks: list[Any], window: str, aggregation: str, name: str, otherwise: Document
) -> Document:
    """Return the expectation from the same hours of earlier weeks, if these had enough events."""
    count = rows = 0.0
    for version in weeks:
        bucket = version["windows"]["buckets"].get(window)
        if bucket is None:  # a day or longer is compared with training
            continue
        rows += bucket["weight"]["value"]
        count += _get_count(bucket, aggregation, name)
    if rows < USUAL_ROWS:
        return otherwise
    source = " in the same hours of earlier weeks"
    return _new_expectation(count, rows, otherwise["dispersion"], "event", source)


def _get_rate_bound(metadata: JsonObject, name: str, check: str, otherwise: float) -> float:
    """Return the rate from which, or up to which, a check is this watch's concern."""
    rates = metadata.get(name)
    return float(rates[check]) if rates and check in rates else otherwise


def _has_ended(name: str, shorter: JsonObject, aggregation: str, expected: float, *, is_above: bool) -> bool:
    """Return whether the next shorter window has no events, or fails no more often (or rarely) than expected."""
    total = round_half_up(shorter["weight"]["value"])
    if total == 0:
        return True
    rate = round_half_up(_get_count(shorter, aggregation, name)) / total
    return rate <= expected if is_above else rate >= expected


def _format_usual_rate(expectation: JsonObject) -> str:
    return format_percent(expectation["count"] / expectation["rows"]) if expectation["rows"] > 0 else "0 %"


def _describe(metadata: JsonObject, check: str, name: str, key: str, rate: str, usual: str) -> str:
    """Describe the finding in one line, with ``metadata.words`` for the check or for the specific value."""
    words = metadata.get("words") or {}
    if check == NEW_WORDS:
        word = clip(show_value(decode_value(key[key.find("=") + 1 :])))
        return f"{clip(name)} {rate} of texts contain {quote(word)} (expected {usual})"
    if name in words:
        return f"{rate} {words[name]} (expected {usual})"
    return f"{clip(name)} {rate} {words.get(check, check)} (expected {usual})"


def _list_values(check: str, feature: str, window: JsonObject) -> list[Document]:
    """List the most frequent values of a feature among those that failed."""
    if "failing" not in window and check != NEW_WORDS:
        return []
    prefix = encode_prefix(feature)
    values: list[Document] = []
    for bucket in (
        window["features"]["buckets"] if check == NEW_WORDS else window["failing"]["values"]["buckets"]
    ):
        if bucket["key"].startswith(prefix) and len(values) < MAX_VALUES_SHOWN:
            value = decode_value(bucket["key"][len(prefix) :])
            values.append({"value": value, "count": round_half_up(bucket["weight"]["value"])})
    return values


def _format_values(feature: str, values: list[Document]) -> str:
    if len(encode_prefix(feature)) > MAX_NAME + 1:
        return "not listed, as the feature's name is too long"
    return ", ".join(format_example(value["value"], value["count"]) for value in values)


def _build_query(
    metadata: JsonObject, model: str, version: str, check: str, name: str, first: str, last: str
) -> str:
    """Build the query of the events in Kibana's query language."""
    fields = metadata.get("fields") or {}
    field = fields[check] if check in fields else "ml.check." + check
    if check == NEW_WORDS:
        field = "ml.text.oov_words"
    return (
        f"ml.model.name: {quote(model)} and ml.model.version: {quote(version)}"
        f" and {field}: {quote(name)}"
        f' and @timestamp >= "{first}"'
        f' and @timestamp <= "{last}"'
    )
