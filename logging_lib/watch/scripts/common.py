"""Functions that the scripts share: read a payload, compute statistics, and build findings.

Each function has a namesake in the Painless scripts that need it; ``tests/watch/test_common.py`` checks that those
copies have the same text everywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from math import exp, lgamma, log
from typing import Any

from logging_lib.watch.scripts.formatting import format_time

Document = dict[str, Any]
JsonObject = Mapping[str, Any]
Script = Callable[[JsonObject, JsonObject], Document]

SEVERAL = 3
MAX_TERMS = 100_000
SEVERITIES = ("low", "medium", "high", "critical")
COLORS = ("#3b6ea5", "#8a5a00", "#c2410c", "#b3001b")
"""The colors of the severities in messages; white text is readable on them."""
MAX_EFFECT = 1000.0


class ScriptError(Exception):
    """Raised if a script got a payload that it must not evaluate; the message says why."""


def build_result(findings: list[Document], skipped: list[Document] | None = None) -> Document:
    """Build the payload that a script returns.

    Returns:
        ``count``; ``more``, the number of findings besides the first; ``together``, the number of findings if one
        cause is likely; the findings, the gravest first; and ``skipped``, the model versions that could not be
        evaluated.
    """
    return {
        "count": len(findings),
        "more": len(findings) - 1 if len(findings) > 1 else None,
        "together": len(findings) if len(findings) >= SEVERAL else None,
        "findings": sort_findings(findings),
        "skipped": skipped or [],
    }


def sort_findings(findings: list[Document]) -> list[Document]:
    """Sort the gravest first: by severity, then by effect, else in the order in which they were found."""
    return sorted(
        findings, key=lambda finding: (-_rank(finding.get("severity")), -_size(finding.get("effect")))
    )


def _rank(severity: Any) -> int:
    return SEVERITIES.index(severity) if severity in SEVERITIES else -1


def _size(effect: Any) -> float:
    return float(effect) if isinstance(effect, int | float) else 0.0


def index_profiles(payload: JsonObject) -> dict[str, Any]:
    """Index the profiles' documents by ``model:version``."""
    profiles = {}
    for hit in payload["hits"]["hits"]:
        model = hit["_source"]["ml"]["model"]
        profiles[model["name"] + ":" + model["version"]] = hit["_source"]
    return profiles


def find_overrides(ctx: JsonObject, profile: JsonObject | None) -> JsonObject | None:
    """Return the profile's overrides for this watch, by ``metadata.watch``, which a deployed watch has, or its
    id."""
    overrides = profile.get("overrides") if profile is not None else None
    return overrides.get(ctx["metadata"].get("watch") or ctx["watch_id"]) if overrides else None


def find_setting(ctx: JsonObject, profile: JsonObject | None, name: str) -> Any:
    """Return a setting: the profile's override for this model version, else the value in the watch's metadata."""
    of_watch = find_overrides(ctx, profile)
    return of_watch[name] if of_watch and name in of_watch else ctx["metadata"][name]


def is_accepted(profile: JsonObject, feature: str, part: str) -> bool:
    """Return whether someone accepted a change of a feature's expected part: a check's rate, or its ``bins``.

    Then the profile's document expects what was found, and no earlier traffic is used for comparison.
    """
    accepted = profile.get("accepted") or []
    return any(entry["feature"] == feature and entry["part"] == part for entry in accepted)


def is_before_acceptance(ctx: JsonObject, profile: JsonObject, feature: str, window: str) -> bool:
    """Return whether a window has events from before an accepted change of a feature's bins, which would
    deviate."""
    begin = parse_millis(ctx["trigger"]["scheduled_time"]) - parse_length(window)
    accepted = profile.get("accepted") or []
    return any(
        entry["feature"] == feature and entry["part"] == "bins" and begin < parse_millis(entry["since"])
        for entry in accepted
    )


def find_owners(profile: JsonObject | None) -> Document:
    """Return the model's owners from its profile, who are further recipients of the messages about it."""
    owners = profile.get("owners") if profile is not None else None
    return {
        "owner_email": owners.get("email") if owners else None,
        "owner_slack": owners.get("slack") if owners else None,
    }


def new_finding(
    ctx: JsonObject,
    profile: JsonObject | None,
    model: str,
    version: str,
    feature: str,
    what: str,
    lines: list[Document],
    query: str,
    since: str,
    until: str,
) -> Document:
    """Build a finding, from which every message is built.

    ``what`` says in a few words what happened and how much; with ``about`` in front, it becomes the subject.
    ``query`` is in Kibana's query language; ``discover`` is the same as a string of Discover's address (RISON,
    which escapes by an exclamation mark), still to be percent-encoded; ``since`` and ``until`` are its range of
    ``@timestamp``.
    """
    return {
        "model": model,
        "version": version,
        "feature": feature,
        "about": name_version(model, version),
        "what": what,
        "lines": lines,
        "checked": format_time(ctx["trigger"]["scheduled_time"]),
        "query": query,
        "discover": query.replace("!", "!!").replace("'", "!'"),
        "since": since,
        "until": until,
        **find_owners(profile),
    }


def add_severity(
    finding: Document, ctx: JsonObject, effect: float, share: float | None, leading: str
) -> None:
    """Add how grave a finding is.

    Args:
        effect: the ratio to the least effect that the watch flags, see ``measure_effect``.
        share: the share of the window's events that are affected; None if it is not known.
        leading: the value or the bin that contributes most; empty if there is none.
    """
    finding["effect"] = effect
    finding["share"] = share
    finding["leading"] = leading
    finding["severity"] = rate_severity(ctx["metadata"].get("min_severity", "low"), effect, share)
    finding["color"] = COLORS[SEVERITIES.index(finding["severity"])]


def measure_effect(value: float, least: float) -> float:
    """Return the ratio of a value to ``least``, from 1 to MAX_EFFECT; 1 if ``least`` is 0."""
    return min(MAX_EFFECT, max(1.0, value / least)) if least > 0 else 1.0


def rate_severity(least: str, effect: float, share: float | None) -> str:
    """Return a finding's severity: ``least``, which the watch sets, raised by the finding's effect and share.

    It rises by one from twice the least flagged effect on, by two from five times on, and by one if half of the
    events are affected.
    """
    level = SEVERITIES.index(least)
    level += 2 if effect >= 5.0 else 1 if effect >= 2.0 else 0
    level += 1 if share is not None and share >= 0.5 else 0
    return SEVERITIES[min(level, 3)]


def name_version(model: str, version: str) -> str:
    """Name a model version: ``loans v3``, or ``loans champion``."""
    return model + ("" if version == "" else " v" + version if "0" <= version[0] <= "9" else " " + version)


def name_services(bucket: JsonObject) -> list[Document]:
    """Build the line that names the busiest services among those events; no line if none is known."""
    names = [service["key"] for service in bucket["services"]["buckets"]] if "services" in bucket else []
    if not names:
        return []
    text = ", ".join(names[:SEVERAL])
    return [new_line("Service", text if len(names) <= SEVERAL else f"{text} and {len(names) - SEVERAL} more")]


def find_earlier_weeks(ctx: JsonObject, model: str, version: str) -> list[Any]:
    """Return the buckets of a model version in the same hours of earlier weeks, ``metadata.references``."""
    weeks = []
    for name in ctx["metadata"].get("references") or []:
        for model_bucket in get_answer_buckets(ctx["payload"][name], "models"):
            if model_bucket["key"] == model:
                versions = get_buckets(model_bucket["versions"], "versions")
                weeks += [bucket for bucket in versions if bucket["key"] == version]
    return weeks


def get_buckets(aggregation: JsonObject, name: str) -> list[Any]:
    """Return the buckets of a terms aggregation. Raises ScriptError if some were omitted."""
    cut = aggregation.get("sum_other_doc_count", 0)
    if cut > 0:
        raise ScriptError(
            f"the aggregation {name} left out {cut} documents; raise its size or watch one model at a time"
        )
    buckets: list[Any] = aggregation["buckets"]
    return buckets


def get_answer_buckets(answer: JsonObject, name: str) -> list[Any]:
    """Return the buckets of a search's outermost terms aggregation, as ``get_buckets`` does.

    If no index matches, Elasticsearch answers without aggregations, and there are no buckets.
    """
    return get_buckets(answer["aggregations"][name], name) if "aggregations" in answer else []


def get_sampled_share(bucket: JsonObject) -> float:
    """Return the share of events that sampling kept, since a statistic must not count events that it has not seen.

    Events of different weights count as (Σ w)² / Σ w² of one weight (Kish, Survey Sampling (1965), section 11.7).
    """
    sampling = bucket.get("sampling")
    if sampling is not None and (sampling.get("sum_of_squares") or 0.0) > 0:
        return min(1.0, float(sampling["sum"]) / float(sampling["sum_of_squares"]))
    weight = bucket["weight"]["value"]
    return float(bucket["doc_count"] / weight) if weight > bucket["doc_count"] else 1.0


def parse_millis(instant: str) -> int:
    """Return an ISO instant with its zone in milliseconds since 1970.

    Watcher passes a date to scripts, but the runner passes a text.
    """
    return round(datetime.fromisoformat(instant).timestamp() * 1000)


def parse_length(window: str) -> int:
    """Return the length of a window such as ``15m`` in milliseconds."""
    number = int(window[:-1])
    unit = window[-1:]
    if unit == "s":
        return number * 1000
    if unit == "m":
        return number * 60000
    if unit == "h":
        return number * 3600000
    return number * (604800000 if unit == "w" else 86400000)


def quote(text: str) -> str:
    """Quote a value for Kibana's query language."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def new_line(name: str, value: str) -> Document:
    """Build a line of a message."""
    return {"name": name, "value": value}


def encode_prefix(feature: str) -> str:
    """Return the beginning of a feature's tokens: ``tokens.part`` of a name that is not too long, and ``=``."""
    prefix = feature.replace("%", "%25").replace("=", "%3D") + "="
    return "%21" + prefix[1:] if prefix.startswith("!") else prefix


def decode_value(part: str) -> str:
    """Return the value that a token's second half stands for."""
    return part.replace("%21", "!").replace("%3D", "=").replace("%25", "%")


def predictive(count: float, rows: float, dispersion: float) -> tuple[float, float]:
    """Return the beta distribution (a, b) of the rate that a window will have, from held-out rows.

    The mean is Jeffreys' estimate, (count + 1/2) / (rows + 1). The width has two parts that add up on the scale of
    the intraclass correlation 1 / (a + b + 1): the uncertainty from a finite number of rows, 1 / (rows + 2), and
    the variation of the rate between blocks of time, ``dispersion``.

    Source: Gelman et al., Bayesian Data Analysis, 3rd ed., section 2.4 (posterior under Jeffreys' prior);
    Skellam, JRSS B 10 (1948) (beta-binomial as a mixture).
    """
    mean = (count + 0.5) / (rows + 1.0)
    correlation = min(1.0 / (rows + 2.0) + dispersion, 0.999)
    weight = 1.0 / correlation - 1.0
    return mean * weight, (1.0 - mean) * weight


def beta_binomial_tail(hits: int, trials: int, a: float, b: float) -> float:
    """Compute P(X >= hits) for X ~ beta-binomial(trials, a, b): exact, by summing the terms upwards.

    Args:
        hits: the observed number, 0 to ``trials``.
        trials: the number of events.
        a: first parameter of the beta distribution, > 0.
        b: second parameter, > 0.

    Returns:
        A probability, 0 to 1; ``1`` at or below the mean, where no alarm is needed.
    """
    if hits <= 0 or hits <= trials * a / (a + b):
        return 1.0
    if hits > trials:
        return 0.0
    term = total = 1.0
    for i in range(hits, min(trials, hits + MAX_TERMS)):
        term *= (trials - i) / (i + 1.0) * (i + a) / (trials - i - 1.0 + b)
        total += term
        if term < total * 1e-13:
            break
    log_first = (
        lgamma(trials + 1.0)
        - lgamma(hits + 1.0)
        - lgamma(trials - hits + 1.0)
        + lgamma(hits + a)
        + lgamma(trials - hits + b)
        - lgamma(trials + a + b)
        - lgamma(a)
        - lgamma(b)
        + lgamma(a + b)
    )
    return min(1.0, exp(log_first + log(total)))


def log_gamma(x: float) -> float:
    """Compute ln Γ(x) for x > 0 as the Painless scripts do, which have no library function for it.

    Source: Abramowitz and Stegun 6.1.41 (Stirling's series) from 10 upwards, the recurrence below.
    """
    shift, y = 0.0, x
    while y < 10.0:
        shift += log(y)
        y += 1.0
    r = 1.0 / (y * y)
    inner = 1.0 / 1680.0 - r * (1.0 / 1188.0 - r * (691.0 / 360360.0 - r / 156.0))
    series = (1.0 / 12.0 - r * (1.0 / 360.0 - r * (1.0 / 1260.0 - r * inner))) / y
    return (y - 0.5) * log(y) - y + 0.91893853320467274178 + series - shift


def gamma_tail(a: float, x: float) -> float:
    """Return Q(a, x), the upper regularized incomplete gamma function: P(chi-squared of 2a degrees > 2x).

    The series below a + 1, the continued fraction above. Source: Press et al., Numerical Recipes, 3rd ed., 6.2.
    """
    if x <= 0:
        return 1.0
    front = -x + a * log(x) - log_gamma(a)
    if x < a + 1:
        term = total = 1 / a
        for i in range(1, 1000):
            term *= x / (a + i)
            total += term
            if term < total * 1e-15:
                break
        return max(0.0, 1 - exp(front) * total)
    b = x + 1 - a
    c = 1e300
    d = 1 / b
    h = d
    for i in range(1, 1000):
        b += 2
        numerator = -i * (i - a)
        d = 1 / (numerator * d + b)
        c = b + numerator / c
        step = d * c
        h *= step
        if -1e-15 < step - 1 < 1e-15:
            break
    return exp(front) * h
