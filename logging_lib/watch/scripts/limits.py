"""``ml-limits``: counters and gauges of services, hosts and models against limits and against earlier weeks."""

from __future__ import annotations

from typing import Any, NamedTuple

from logging_lib.watch.scripts.common import (
    MAX_EFFECT,
    Document,
    JsonObject,
    add_severity,
    build_result,
    find_overrides,
    get_answer_buckets,
    get_buckets,
    index_profiles,
    measure_effect,
    name_services,
    new_finding,
    new_line,
    parse_length,
    parse_millis,
    quote,
)
from logging_lib.watch.scripts.formatting import (
    format_count,
    format_number,
    format_percent,
    format_span,
    format_time,
    format_window,
    round_half_up,
)
from logging_lib.watch.scripts.variation import QUARTER, find_hour_of_week

COMPARED_DAYS = (1, 2, 3, 7)
GAP_MARGIN = 1.5
MIN_KEPT = 12.0
"""With this expected number of kept events, none arrives by chance only once in 160,000 times, e^-12."""


class Traffic(NamedTuple):
    """The traffic that is expected from training in the window of a watch.

    Args:
        start: the start of the first quarter of an hour, in milliseconds since 1970.
        cumulated: the events of training that are expected before each quarter begins; 0 for the first.
        longest_gap: the events that were expected in the longest gap of training.
    """

    start: int
    cumulated: list[float]
    longest_gap: float

    def is_gap(self, since: float, until: float, weight: float) -> bool:
        """Return whether training had a gap with as many expected events; if events are sampled, fewer are kept."""
        return self.expect(since, until) <= GAP_MARGIN * self.longest_gap + MIN_KEPT * (weight - 1.0)

    def expect(self, since: float, until: float) -> float:
        """Return the events of training that are expected between two times."""
        return self._expect_until(until) - self._expect_until(since)

    def _expect_until(self, millis: float) -> float:
        last = len(self.cumulated) - 1
        place = min(max((millis - self.start) / QUARTER, 0.0), float(last))
        index = min(int(place), last - 1)
        before = self.cumulated[index]
        return before + (place - index) * (self.cumulated[index + 1] - before)


def limits(ctx: JsonObject, params: JsonObject) -> Document:
    """Find the buckets that pass a limit of ``metadata.groups``.

    A group names a terms aggregation of the window, ``by``, the ``fields`` whose values its buckets (and those of
    ``members`` below them) are, and ``limits``. A limit has a ``metric``, the dotted path to a number within the
    bucket (``now``: the time of the check); a number to subtract from it (``minus``) and one to divide it by
    (``of``, at least 1); and one or more bounds, all of which must be passed: ``above`` or ``below``; ``at_least``
    for the number before the division; and ``times_usual`` or ``below_usual``, factors of the usual number, with
    ``usual_at_least`` for that number itself, in kept events where traffic is sampled. The usual number is the
    least of the same number in ``metadata.references``, the names of earlier windows in the payload; a reference
    that has no such bucket says nothing, and without any there is no finding.

    A limit with ``spans`` is about the traffic of models. If the profile has training's hours of the week, it
    is evaluated in each span, the shortest first, before ``metric``; the longer ones serve models with few
    events. The usual number is then training's in these hours of the week, at the level that is served: see
    ``_expect_from_training``. A limit with ``beyond_gap`` is not passed while no more events were expected since
    the last one than in the longest gap of training. A limit with ``same_as`` names one before it in the group that
    has the same cause: both belong to one incident, and where both are passed, the first is reported.

    Of models, the profile of the deployed version (``ctx.payload.profiles``) has the owners, and overrides by the
    limit's name: ``{"no-traffic": {"silence": {"above": 3600000}}}``.
    """
    now = parse_millis(ctx["trigger"]["scheduled_time"])
    profiles = _find_deployed_profiles(ctx["payload"])
    findings: list[Document] = []
    for group in ctx["metadata"]["groups"]:
        is_of_models = group["fields"][0] == "ml.model.name"
        for bucket in get_answer_buckets(ctx["payload"]["window"], group["by"]):
            profile = profiles.get(bucket["key"]) if is_of_models else None
            if len(group["fields"]) > 1:
                for member in get_buckets(bucket["members"], "members"):
                    findings += _check_limits(
                        ctx, group, [bucket["key"], member["key"]], member, profile, now
                    )
            else:
                findings += _check_limits(ctx, group, [bucket["key"]], bucket, profile, now)
    return build_result(findings)


def _check_limits(
    ctx: JsonObject,
    group: JsonObject,
    keys: list[str],
    bucket: JsonObject,
    profile: JsonObject | None,
    now: int,
) -> list[Document]:
    """Find the limits of a group that one of its buckets passes.

    Args:
        keys: the values of the group's fields that the bucket is about.
        now: the time of the check, in milliseconds since 1970.
    """
    fields = group["fields"]
    is_of_models = fields[0] == "ml.model.name"
    window = ctx["metadata"]["window"]
    until = ctx["trigger"]["scheduled_time"]
    since = f"{until}||-{window}"
    traffic = _expect_traffic(profile, now, window)
    findings: list[Document] = []
    passed: list[str] = []
    for shipped in group["limits"]:
        limit = _override_limit(ctx, profile, shipped)
        measured = None
        source = "by training's hours of the week, at the present level of traffic"
        if "spans" in limit and traffic is not None:
            measured = _measure_spans(bucket, limit, traffic, now)
        if measured is None:  # the model's own weeks may have a different rhythm than training
            measured = _measure_once(ctx, group["by"], keys, bucket, limit, now)
            source = "in the same hours of earlier weeks"
        if measured is None or limit.get("same_as") in passed or _is_in_gap(bucket, limit, traffic, now):
            continue
        passed.append(limit["name"])
        value, usual = measured["value"], measured["usual"]
        name = limit.get("same_as", limit["name"])
        where = " and ".join(f"{field}: {quote(key)}" for field, key in zip(fields, keys, strict=True))
        about = ", ".join(f"{label} {key}" for label, key in zip(group["labels"], keys, strict=True))
        observed = _format_value(value, limit["unit"])
        compared = "limit " + _describe_limit(limit)
        lines = [*name_services(bucket)]
        lines.append(new_line("Observed", f"{observed} in the last {format_window(measured['span'])}"))
        lines.append(new_line("Limit", _describe_limit(limit)))
        if usual is not None:
            earlier = _format_value(usual, limit["unit"])
            compared = "usually " + earlier
            lines.append(new_line("Usual", f"{earlier} {source}"))
        if bucket["last"].get("value") is not None:
            lines.append(new_line("Last event", format_time(bucket["last"]["value_as_string"])))
        what = f"{observed} {limit['name']}" if limit["unit"] == "" else f"{limit['name']} {observed}"
        finding = new_finding(
            ctx,
            profile,
            keys[0] if is_of_models else "",
            "",
            name if is_of_models else " ".join([*keys, name]),
            f"{what} ({compared})",
            lines,
            f'{where} and event.ingested >= "{since}"',
            since,
            until,
        )
        finding["about"] = keys[0] if is_of_models else about
        finding["observed"] = observed
        add_severity(finding, ctx, _measure_passing(limit, value, usual), None, "")
        findings.append(finding)
    return findings


def _expect_traffic(profile: JsonObject | None, now: int, window: str) -> Traffic | None:
    """Return the traffic that is expected from training in the window; None if no rhythm is known."""
    expected = profile.get("expected") if profile is not None else None
    variation = expected.get("variation") if expected is not None else None
    rhythm = variation.get("rhythm") if variation is not None else None
    if rhythm is None:
        return None
    start = now - parse_length(window)
    start -= start % QUARTER
    total = 0.0
    cumulated = [total]
    quarter = start
    while quarter < now:
        total += 0.25 * rhythm["traffic"][find_hour_of_week(quarter, rhythm["timezone"])]
        cumulated.append(total)
        quarter += QUARTER
    return Traffic(start, cumulated, float(rhythm.get("longest_gap", 0.0)))


def _measure_once(
    ctx: JsonObject, by: str, keys: list[str], bucket: JsonObject, limit: JsonObject, now: int
) -> Document | None:
    """Return the number and the usual one if they pass the limit."""
    value = _measure_value(bucket, limit, now)
    if value is None:
        return None
    usual = _find_usual(ctx, by, keys, limit)
    span = ctx["metadata"]["recent" if "spans" in limit else "window"]
    is_passed = _is_passed(limit, value, usual, _measure_weight(bucket, limit))
    return {"value": value, "usual": usual, "span": span} if is_passed else None


def _measure_spans(bucket: JsonObject, limit: JsonObject, traffic: Traffic, now: int) -> Document | None:
    """Return the events of the shortest span in which they pass the limit, and the usual ones.

    A span in which training expects only a few more events than in its longest gap is not evaluated.
    """
    weight = _measure_weight(bucket, limit)
    for span in limit["spans"]:
        value = _count_span(bucket, span, 0)
        if value is None or traffic.is_gap(now - parse_length(span), now, weight):
            continue
        usual = _expect_from_training(bucket, span, traffic, now)
        if _is_passed(limit, value, usual, weight):
            return {"value": value, "usual": usual, "span": span}
    return None


def _count_span(bucket: JsonObject, span: str, days: int) -> float | None:
    """Return the number of events in the same span the given number of days ago."""
    spans = bucket["spans"]["buckets"]
    name = f"{span}-{days}"
    return float(spans[name]["weight"]["value"]) if name in spans else None


def _expect_from_training(bucket: JsonObject, span: str, traffic: Traffic, now: int) -> float | None:
    """Return training's events in a span's hours of the week, at the level of the served traffic.

    The level is the number of events that arrived before the span, for each event that training suggests since the
    first one in the window; but no more than in the best of the same hours one, two, three and seven days ago in
    which training had half as many or more. So hours at which this model never has traffic, although training had,
    are not a silence, and a silence that lasts is found for a week. Return None if no such day was served.
    """
    length = parse_length(span)
    first = bucket["first"].get("value")
    if first is None:
        return None
    expected = traffic.expect(now - length, now)
    best: float | None = None
    for days in COMPARED_DAYS:
        until = now - days * 86400000
        before = traffic.expect(until - length, until)
        count = _count_span(bucket, span, days)
        if count is None or first > until - length or before <= 0 or before < 0.5 * expected:
            continue
        if best is None or count / before > best:
            best = count / before
    of_training = traffic.expect(first, now - length)
    now_served = _count_span(bucket, span, 0)
    if best is None or now_served is None or of_training <= 0:
        return None
    level = min(best, (bucket["total"]["value"] - now_served) / of_training)
    return float(round_half_up(expected * level))


def _is_in_gap(bucket: JsonObject, limit: JsonObject, traffic: Traffic | None, now: int) -> bool:
    """Return whether a limit does not apply because training had gaps with as many expected events."""
    if traffic is None or "beyond_gap" not in limit:
        return False
    last = bucket["last"].get("value")
    return last is not None and traffic.is_gap(last, now, _measure_weight(bucket, limit))


def _find_deployed_profiles(payload: JsonObject) -> Document:
    """Return the profile of each model's deployed version, or of its last one if none is marked."""
    deployed: Document = {}
    if "profiles" not in payload:
        return deployed
    profiles = index_profiles(payload["profiles"])
    for key in sorted(profiles):
        name = profiles[key]["ml"]["model"]["name"]
        if name not in deployed or profiles[key]["deployed"]:
            deployed[name] = profiles[key]
    return deployed


def _override_limit(ctx: JsonObject, profile: JsonObject | None, limit: JsonObject) -> JsonObject:
    """Return the limit with the profile's overrides."""
    of_watch = find_overrides(ctx, profile)
    return {**limit, **of_watch[limit["name"]]} if of_watch and limit["name"] in of_watch else limit


def _read_number(bucket: JsonObject, path: str) -> float | None:
    """Return the number at a dotted path; None if there is none."""
    value: Any = bucket
    for part in path.split("."):
        value = value.get(part) if value is not None else None
    if value is None:
        return None
    return float(value)


def _measure_value(bucket: JsonObject, limit: JsonObject, now: int) -> float | None:
    """Return the number that the limit is about; None if it cannot be known."""
    value = float(now) if limit["metric"] == "now" else _read_number(bucket, limit["metric"])
    if value is None:
        return None
    if "minus" in limit:
        subtracted = _read_number(bucket, limit["minus"])
        if subtracted is None:
            return None
        value -= subtracted
    if "at_least" in limit and value < limit["at_least"]:
        return None
    if "of" in limit:
        divisor = _read_number(bucket, limit["of"])
        value /= divisor if divisor is not None and divisor > 1 else 1.0
    return value


def _find_usual(ctx: JsonObject, by: str, keys: list[str], limit: JsonObject) -> float | None:
    """Return the least of the earlier weeks, so that a holiday last week causes no alarm today."""
    least: float | None = None
    for name in ctx["metadata"].get("references") or []:
        for bucket in get_answer_buckets(ctx["payload"][name], by):
            if bucket["key"] != keys[0]:
                continue
            for member in bucket["members"]["buckets"] if len(keys) > 1 else [bucket]:
                if len(keys) > 1 and member["key"] != keys[1]:
                    continue
                value = _read_number(member, limit["metric"])
                if value is not None and (least is None or value < least):
                    least = value
    return least


def _measure_weight(bucket: JsonObject, limit: JsonObject) -> float:
    """Return how many events a kept one represents on average, for a limit about traffic; else 1."""
    if "spans" not in limit and "beyond_gap" not in limit:
        return 1.0
    total, count = _read_number(bucket, "total.value"), bucket.get("doc_count", 0)
    return max(1.0, total / count) if total is not None and count > 0 else 1.0


def _is_passed(limit: JsonObject, value: float, usual: float | None, weight: float) -> bool:
    if "above" in limit and value < limit["above"]:
        return False
    if "below" in limit and value > limit["below"]:
        return False
    if "times_usual" in limit and (usual is None or value < limit["times_usual"] * usual):
        return False
    if "below_usual" in limit and (usual is None or value > limit["below_usual"] * usual):
        return False
    return not ("usual_at_least" in limit and (usual is None or usual < limit["usual_at_least"] * weight))


def _measure_passing(limit: JsonObject, value: float, usual: float | None) -> float:
    """Return the smallest factor by which a bound is passed; 1 for a time that merely elapses."""
    if limit["metric"] == "now":
        return 1.0
    effect = MAX_EFFECT
    if "above" in limit:
        effect = min(effect, measure_effect(value, limit["above"]))
    if "times_usual" in limit and usual is not None:
        effect = min(effect, measure_effect(value, limit["times_usual"] * usual))
    if value > 0 and "below" in limit:
        effect = min(effect, measure_effect(limit["below"], value))
    if value > 0 and "below_usual" in limit and usual is not None:
        effect = min(effect, measure_effect(limit["below_usual"] * usual, value))
    return effect


def _describe_limit(limit: JsonObject) -> str:
    """Describe the bounds of a limit in words."""
    parts = []
    if "above" in limit:
        parts.append(_format_value(limit["above"], limit["unit"]))
    if "below" in limit:
        parts.append(_format_value(limit["below"], limit["unit"]))
    if "times_usual" in limit:
        parts.append(format_number(limit["times_usual"]) + " times the usual")
    if "below_usual" in limit:
        parts.append(format_percent(limit["below_usual"]) + " of the usual")
    return " and ".join(parts)


def _format_value(value: float, unit: str) -> str:
    """Format a number for people, in its unit."""
    if unit == "share":
        return format_percent(value)
    if unit == "bytes":
        size = value / 1048576.0
        return format_number(size) + " MiB" if size < 1024 else format_number(size / 1024.0) + " GiB"
    if unit == "ms":
        return format_span(value / 1000.0)
    if unit == "s":
        return format_span(value)
    return format_count(round_half_up(value)) if value == round_half_up(value) else format_number(value)
