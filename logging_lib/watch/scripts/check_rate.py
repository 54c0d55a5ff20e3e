"""``ml-check-rate``: what happens more often than held-out rows, or earlier traffic, let expect."""

from __future__ import annotations

from typing import Any

from logging_lib.watch.scripts.common import (
    Document,
    Given,
    buckets,
    buckets_in,
    chance,
    earlier,
    found,
    judged,
    kept_share,
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
from logging_lib.watch.statistics import beta_binomial_tail, predictive

MAX_VALUES_SHOWN = 5
MAX_NAME = 128  # tokens.MAX_PART: a longer name is hashed in tokens, which Painless cannot do
USUAL_ROWS = 200.0


def check_rate(ctx: Given, params: Given) -> Document:
    """Features that failed ``metadata.check``, or one of ``metadata.checks``, more often than expected.

    Judges each window of the ladder, the shortest first, by the tail of the beta-binomial predictive
    distribution, and reports a feature with the first window that convicts it. A finding needs
    ``metadata.min_hits`` failed events and a rate ``metadata.min_effect`` above the expected one; and a longer
    window convicts only while the next shorter one still fails more than expected, so that a mended fault is
    not reported until the longest window has forgotten it (Google, The Site Reliability Workbook, ch. 5,
    "Multiwindow, Multi-Burn-Rate Alerts").

    With ``metadata.checks`` the window's aggregations bear the checks' names, else the only one is ``features``.
    What is expected comes from the profile; with ``metadata.usual_rate`` from ``ctx.payload.baseline``, an earlier
    window, to which that rate counts as 200 more events, so that a version without a past is judged, too. With a
    profile, all windows but the longest are judged by a baseline, or by what the longest one had before, where that
    was less: see ``_lower``. Where ``metadata.references`` have 200 events, those windows are judged by the
    same hours of earlier weeks. A model with fewer than ``min_hits`` events is not judged, and ``notes`` say so.
    """
    metadata = ctx["metadata"]
    windows = metadata["windows"]
    by_profile = "usual_rate" not in metadata
    profiles = profiles_of(ctx["payload"]["profiles"]) if "profiles" in ctx["payload"] else {}
    checks = metadata.get("checks") or [metadata["check"]]
    findings: list[Document] = []
    skipped: list[Document] = []
    notes: list[Document] = []
    for model in buckets_in(ctx["payload"]["window"], "models"):
        for version in buckets(model["versions"], "versions"):
            profile = profiles.get(model["key"] + ":" + version["key"])
            if profile is None and by_profile:
                skipped.append({"model": model["key"], "version": version["key"], "reason": "no profile"})
                continue
            features = _features(profile, checks) if profile is not None and by_profile else 1
            tests = features * len(windows) * metadata["ticks_per_month"]
            alpha = setting(ctx, profile, "false_alarms_per_model_month") / tests
            min_hits, min_effect = setting(ctx, profile, "min_hits"), setting(ctx, profile, "min_effect")
            most = whole(version["windows"]["buckets"][windows[-1]]["weight"]["value"])
            if most < min_hits:
                reason = f"{most} events in {windows[-1]}, at least {min_hits} are needed"
                notes.append({"model": model["key"], "version": version["key"], "reason": reason})
                continue
            before = earlier(ctx, model["key"], version["key"])
            for check in checks:
                at = check if "checks" in metadata else "features"
                told: set[str] = set()
                shorter: Given | None = None
                for window in windows:
                    bucket = version["windows"]["buckets"][window]
                    recent, shorter = shorter, bucket
                    total = whole(bucket["weight"]["value"])
                    if total < min_hits:
                        continue
                    for feature in bucket[at]["buckets"]:  # the most frequent, if cut
                        name = feature["key"]
                        hits = min(whole(feature["weight"]["value"]), total)
                        if hits < min_hits or hits / total < min_effect or name in told:
                            continue
                        expectation = (
                            _from_profile(profile, check, name)
                            if by_profile and profile is not None
                            else _from_baseline(ctx, model["key"], version["key"], at, name)
                        )
                        if expectation is None:
                            continue
                        if by_profile and window != windows[-1]:
                            expectation = _lower(ctx, model["key"], version, at, name, expectation)
                        if before and window != windows[-1]:
                            expectation = _from_earlier(before, window, at, name, expectation)
                        a, b = predictive(
                            expectation["count"], expectation["rows"], expectation["dispersion"]
                        )
                        if hits / total - a / (a + b) < min_effect:
                            continue
                        if hits / total < _bound(metadata, "min_rates", check, 0.0):
                            continue
                        if hits / total >= _bound(metadata, "max_rates", check, 2.0):
                            told.add(name)  # another watch's concern, in the longer windows, too
                            continue
                        if recent is not None and _is_over(name, recent, at, a / (a + b)):
                            continue
                        kept = kept_share(feature)
                        tail = beta_binomial_tail(whole(hits * kept), whole(total * kept), a, b)
                        if tail >= alpha:
                            continue
                        told.add(name)
                        values = _values(name, bucket)
                        rate = percent(hits / total)
                        usual = _usual(expectation)
                        first, last = feature["first"]["value_as_string"], feature["last"]["value_as_string"]
                        lines = [
                            *serving(version),
                            line("observed", f"{hits} of {total} events in the last {window}"),
                            line("expected", expectation["text"]),
                            line("by chance, had nothing changed", chance(tail)),
                            line("since", f"{first}, the last at {last}"),
                        ]
                        finding = found(
                            profile,
                            model["key"],
                            version["key"],
                            name,
                            _what(metadata, check, name, rate, usual),
                            lines,
                            _query(metadata, model["key"], version["key"], check, feature),
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
                        finding["values_text"] = _values_text(name, values)
                        findings.append(finding)
    return {**judged(findings, skipped), "notes": notes}


def _features(profile: Given, checks: list[str]) -> int:
    """How many features can fail these checks."""
    number = 0
    for check in checks:
        number += len(_known(profile, check))
    return number if number > 1 else 1


def _known(profile: Given, check: str) -> Given:
    """What is expected of each feature that can fail the check. A search leaves out what is empty."""
    checks = profile["expected"].get("checks") or {}
    known: Given = checks.get(check) or {}
    return known


def _from_profile(profile: Given, check: str, name: str) -> Any:
    checks = _known(profile, check)
    if name in checks:
        known = checks[name]
        return _expected(known["count"], known["rows"], known["dispersion"], "held-out training rows")
    if check == "unexpected":
        return _expected(0, profile["expected"]["rows"], 0.0, "held-out training rows")
    return None


def _expected(count: float, rows: float, dispersion: float, source: str) -> Document:
    text = f"{whole(count)} of {whole(rows)} {source}"
    return {"count": count, "rows": rows, "dispersion": dispersion, "text": text}


def _lower(ctx: Given, model: str, version: Given, at: str, name: str, trained: Document) -> Document:
    """What a baseline, or else the longest window before the next shorter one, had; training's where that is less.

    The lower one: a sharper expectation where training's was an estimate from few rows, and no fault that lasts
    ever becomes usual.
    """
    windows = ctx["metadata"]["windows"]
    last, next_one = windows[-1], windows[-2]
    if "baseline" in ctx["payload"]:
        count, rows = _past(ctx, model, version["key"], at, name)
        source = f"events of the {ctx['metadata']['baseline']} until {last} ago"
    else:
        longest, shorter = version["windows"]["buckets"][last], version["windows"]["buckets"][next_one]
        rows = longest["weight"]["value"] - shorter["weight"]["value"]
        count = max(0.0, _count(longest, at, name) - _count(shorter, at, name))
        source = f"events of the {last} until {next_one} ago"
    if rows < USUAL_ROWS or (count + 0.5) / (rows + 1.0) >= (trained["count"] + 0.5) / (
        trained["rows"] + 1.0
    ):
        return trained
    return _expected(count, rows, trained["dispersion"], source)


def _count(bucket: Given, at: str, name: str) -> float:
    for feature in bucket[at]["buckets"]:
        if feature["key"] == name:
            return float(feature["weight"]["value"])
    return 0.0


def _from_baseline(ctx: Given, model: str, version: str, at: str, name: str) -> Document:
    usual = ctx["metadata"]["usual_rate"]
    past = _past(ctx, model, version, at, name)
    count, rows = usual * USUAL_ROWS + past[0], USUAL_ROWS + past[1]
    known = {"count": count, "rows": rows, "dispersion": ctx["metadata"]["dispersion"]}
    known["text"] = f"{_usual(known)} %, from the usual rate and {whole(rows - USUAL_ROWS)} earlier events"
    return known


def _past(ctx: Given, model: str, version: str, at: str, name: str) -> tuple[float, float]:
    """How often it happened in ``ctx.payload.baseline``, of how many events."""
    count = rows = 0.0
    baseline = ctx["payload"].get("baseline")
    if baseline is not None:
        for one in buckets_in(baseline, "models"):
            for other in buckets(one["versions"], "versions") if one["key"] == model else ():
                if other["key"] == version:
                    rows += other["weight"]["value"]
                    count += _count(other, at, name)
    return count, rows


def _from_earlier(before: list[Any], window: str, at: str, name: str, otherwise: Document) -> Document:
    """What the same hours of earlier weeks had, if they had enough."""
    count = rows = 0.0
    for version in before:
        bucket = version["windows"]["buckets"][window]
        rows += bucket["weight"]["value"]
        count += _count(bucket, at, name)
    if rows < USUAL_ROWS:
        return otherwise
    return _expected(count, rows, otherwise["dispersion"], "events in the same hours of earlier weeks")


def _bound(metadata: Given, name: str, check: str, otherwise: float) -> float:
    """The rate from which on, or up to which, a check is this watch's concern."""
    rates = metadata.get(name)
    return float(rates[check]) if rates and check in rates else otherwise


def _is_over(name: str, recent: Given, at: str, expected: float) -> bool:
    """Whether the next shorter window has no events, or fails no more often than expected."""
    total = whole(recent["weight"]["value"])
    if total == 0:
        return True
    for feature in recent[at]["buckets"]:
        if feature["key"] == name:
            return bool(whole(feature["weight"]["value"]) / total <= expected)
    return True


def _usual(expectation: Given) -> str:
    return percent(expectation["count"] / expectation["rows"]) if expectation["rows"] > 0 else "0.00"


def _what(metadata: Given, check: str, name: str, rate: str, usual: str) -> str:
    """The finding in one line, with ``metadata.words`` of the check or of the very value."""
    words = metadata.get("words") or {}
    if name in words:
        return f"{rate} % {words[name]}, expected {usual} %"
    return f"{name}: {rate} % {words.get(check, check)}, expected {usual} %"


def _values(feature: str, window: Given) -> list[Document]:
    if "failing" not in window:
        return []
    prefix = prefix_of(feature)
    shown: list[Document] = []
    for bucket in window["failing"]["values"]["buckets"]:
        if bucket["key"].startswith(prefix) and len(shown) < MAX_VALUES_SHOWN:
            value = value_of(bucket["key"][len(prefix) :])
            shown.append({"value": value, "count": whole(bucket["weight"]["value"])})
    return shown


def _values_text(feature: str, values: list[Document]) -> str:
    if len(prefix_of(feature)) > MAX_NAME + 1:
        return "(the feature's name is too long to list its values)"
    return ", ".join(f"{value['value']} ({value['count']})" for value in values)


def _query(metadata: Given, model: str, version: str, check: str, feature: Given) -> str:
    """The events in Kibana's query language."""
    fields = metadata.get("fields") or {}
    field = fields[check] if check in fields else "ml.check." + check
    return (
        f"ml.model.name: {quoted(model)} and ml.model.version: {quoted(version)}"
        f" and {field}: {quoted(feature['key'])}"
        f' and @timestamp >= "{feature["first"]["value_as_string"]}"'
        f' and @timestamp <= "{feature["last"]["value_as_string"]}"'
    )
