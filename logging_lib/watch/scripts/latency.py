"""``ml-latency``: find predictions that became slower than before."""

from __future__ import annotations

from math import floor

from logging_lib.watch.scripts.common import (
    Document,
    JsonObject,
    add_severity,
    beta_binomial_tail,
    build_result,
    find_setting,
    get_answer_buckets,
    get_buckets,
    index_profiles,
    measure_effect,
    name_services,
    new_finding,
    new_line,
    predictive,
    quote,
)
from logging_lib.watch.scripts.formatting import (
    format_amount,
    format_chance,
    format_count,
    format_number,
    format_percent,
    format_time,
    format_window,
    round_half_up,
)

MILLION = 1000000.0


def latency(ctx: JsonObject, params: JsonObject) -> Document:
    """Compare the 95th percentile of ``event.duration`` with the model's own past, and with ``max_ms``.

    One in twenty of the past's durations is above the past's p95. The window's percentiles say what share of the
    window is above it; the tail of the beta-binomial distribution gives the probability of so large a share, and
    ``dispersion`` how much hours differ naturally. A finding needs a p95 of at least ``min_ratio`` times the past's
    and ``min_rise_ms`` more, or one above ``max_ms``; and a longer window needs both of the shorter one, too.
    """
    metadata = ctx["metadata"]
    windows = metadata["windows"]
    profiles = index_profiles(ctx["payload"]["profiles"])
    past = {}
    for model in get_answer_buckets(ctx["payload"]["baseline"], "models"):
        past[model["key"]] = model
    findings: list[Document] = []
    notes: list[Document] = []
    for model in get_answer_buckets(ctx["payload"]["window"], "models"):
        for version in get_buckets(model["versions"], "versions"):
            profile = profiles.get(model["key"] + ":" + version["key"])
            min_events = find_setting(ctx, profile, "min_events")
            events = int(version["windows"]["buckets"][windows[-1]]["timed"]["value"])
            if events < min_events:
                timed = format_amount(events, "timed event")
                reason = f"{timed} in {format_window(windows[-1])}, at least {min_events} are needed"
                notes.append({"model": model["key"], "version": version["key"], "reason": reason})
                continue
            before = past.get(model["key"])
            if before is None or before["timed"]["value"] < min_events:
                before = None
                reason = f"too few earlier events to compare with, at least {min_events} are needed"
                notes.append({"model": model["key"], "version": version["key"], "reason": reason})
            findings += _flag_latency(ctx, profile, model["key"], version, before)
    return {**build_result(findings), "notes": notes}


def _flag_latency(
    ctx: JsonObject, profile: JsonObject | None, model: str, version: JsonObject, before: JsonObject | None
) -> list[Document]:
    """Return the finding of the shortest window that is too slow.

    Args:
        before: the model's own past, if it had enough events.
    """
    metadata = ctx["metadata"]
    windows = metadata["windows"]
    alpha = find_setting(ctx, profile, "false_alarms_per_model_month") / (
        len(windows) * metadata["ticks_per_month"]
    )
    min_events = find_setting(ctx, profile, "min_events")
    limit = find_setting(ctx, profile, "max_ms") * MILLION
    shorter_p95: float | None = None
    for window in windows:
        bucket = version["windows"]["buckets"][window]
        events = int(bucket["timed"]["value"])
        if events < min_events:
            continue
        p95 = bucket["duration"]["values"]["95.0"]
        next_shorter, shorter_p95 = shorter_p95, p95
        tail = usual = grown = 0.0
        is_slower = False
        if before is not None:
            usual = before["duration"]["values"]["95.0"]
            dispersion = find_setting(ctx, profile, "dispersion")
            tail = _compute_tail_above(bucket, events, usual, before["timed"]["value"], dispersion)
            grown = max(
                find_setting(ctx, profile, "min_ratio") * usual,
                usual + find_setting(ctx, profile, "min_rise_ms") * MILLION,
            )
            is_slower = p95 >= grown and tail < alpha and (next_shorter is None or next_shorter >= grown)
        is_beyond = p95 >= limit and (next_shorter is None or next_shorter >= limit)
        if not is_slower and not is_beyond:
            continue
        median = _format_millis(bucket["duration"]["values"]["50.0"])
        observed = f"{format_amount(events, 'prediction')} in the last {format_window(window)}"
        lines = [
            *name_services(version),
            new_line("Observed", f"p95 {_format_millis(p95)}, median {median}, of {observed}"),
        ]
        if before is not None:
            earlier = format_amount(round_half_up(before["timed"]["value"]), "earlier prediction")
            above = format_percent(_get_share_above(bucket, usual))
            lines.append(new_line("Usual", f"p95 {_format_millis(usual)}, of {earlier}"))
            lines.append(new_line("Above the usual p95", f"at least {above} of predictions, expected 5.0 %"))
        if is_slower:
            lines.append(new_line("Probability", format_chance(tail) + " if nothing had changed"))
        lines.append(new_line("Limit", _format_millis(limit)))
        since = bucket["first"]["value_as_string"]
        lines.append(new_line("Since", format_time(since) + " or earlier"))
        query = (
            f"ml.model.name: {quote(model)} and ml.model.version: {quote(version['key'])}"
            f" and event.duration >= {round_half_up(usual if is_slower else limit)}"
            f' and event.ingested >= "{ctx["trigger"]["scheduled_time"]}||-{window}"'
        )
        compared = f"usually {_format_millis(usual)}" if is_slower else f"limit {_format_millis(limit)}"
        what = f"p95 latency {_format_millis(p95)} ({compared})"
        until = bucket["last"]["value_as_string"]
        finding = new_finding(
            ctx, profile, model, version["key"], "latency", what, lines, query, since, until
        )
        finding["window"] = window
        finding["observed"] = events
        effect = max(
            measure_effect(p95, grown) if is_slower else 1.0, measure_effect(p95, limit) if is_beyond else 1.0
        )
        add_severity(
            finding, ctx, effect, _get_share_above(bucket, usual) if before is not None else None, ""
        )
        return [finding]
    return []


def _get_share_above(bucket: JsonObject, usual: float) -> float:
    """Return the share of the window that is surely above ``usual``: 1 less the lowest percentile that is."""
    share = 0.0
    for percentile, value in bucket["duration"]["values"].items():
        if value > usual:  # checked first, because most are not
            share = max(share, 1.0 - float(percentile) / 100.0)
    return share


def _compute_tail_above(
    bucket: JsonObject, events: int, usual: float, rows: float, dispersion: float
) -> float:
    """Return the probability of at least this share of events above the past's p95 if nothing had changed."""
    a, b = predictive(0.05 * rows, rows, dispersion)
    return beta_binomial_tail(floor(events * _get_share_above(bucket, usual) + 1e-9), events, a, b)


def _format_millis(nanoseconds: float) -> str:
    millis = nanoseconds / MILLION
    return (format_count(round_half_up(millis)) if millis >= 10 else format_number(millis)) + " ms"
