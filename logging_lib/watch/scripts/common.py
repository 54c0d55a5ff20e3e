"""What the judging scripts share: reading the payload, numbers as texts, findings.

Each function has a namesake in the Painless scripts that need it; ``tests/watch/test_painless.py`` sees that those
copies are the same text everywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from math import exp, floor, log, log10
from typing import Any

from logging_lib.watch.statistics import log_gamma

Document = dict[str, Any]
Given = Mapping[str, Any]
Script = Callable[[Given, Given], Document]

SEVERAL = 3


class ScriptError(Exception):
    """A script found a payload that it must not judge; the message says why."""


def judged(findings: list[Document], skipped: list[Document] | None = None) -> Document:
    """The payload of a judging script.

    ``count``, ``more`` (how many beside the first), ``together`` (how many, where they are so many that one cause
    is likely), the findings, and the model versions that could not be judged.
    """
    return {
        "count": len(findings),
        "more": len(findings) - 1 if len(findings) > 1 else None,
        "together": len(findings) if len(findings) >= SEVERAL else None,
        "findings": findings,
        "skipped": skipped or [],
    }


def profiles_of(payload: Given) -> dict[str, Any]:
    """The profiles' documents by ``model:version``."""
    found = {}
    for hit in payload["hits"]["hits"]:
        model = hit["_source"]["ml"]["model"]
        found[model["name"] + ":" + model["version"]] = hit["_source"]
    return found


def setting(ctx: Given, profile: Given | None, name: str) -> Any:
    """A setting of the watch: what the profile overrides for this model version, else the watch's metadata."""
    overrides = profile.get("overrides") if profile is not None else None
    own = overrides.get(ctx["watch_id"]) if overrides else None
    return own[name] if own and name in own else ctx["metadata"][name]


def owners(profile: Given | None) -> Document:
    """Who owns the model, as its profile says: further recipients of the messages about it."""
    found = profile.get("owners") if profile is not None else None
    return {
        "owner_email": found.get("email") if found else None,
        "owner_slack": found.get("slack") if found else None,
    }


def found(
    profile: Given | None,
    model: str,
    version: str,
    feature: str,
    what: str,
    lines: list[Document],
    query: str,
    since: str,
    until: str,
) -> Document:
    """A finding: what every message is made of.

    ``query`` is in Kibana's query language; ``discover`` is the same as a string of Discover's address (RISON,
    which escapes by an exclamation mark), still to be percent-encoded; ``since`` and ``until`` are its range of
    ``@timestamp``.
    """
    return {
        "model": model,
        "version": version,
        "feature": feature,
        "about": "model " + model + (", version " + version if version else ""),
        "what": what,
        "lines": lines,
        "query": query,
        "discover": query.replace("!", "!!").replace("'", "!'"),
        "since": since,
        "until": until,
        **owners(profile),
    }


def serving(bucket: Given) -> list[Document]:
    """The line that names the services whose events these are, the most busy ones; none where none is known."""
    names = [each["key"] for each in bucket["services"]["buckets"]] if "services" in bucket else []
    if not names:
        return []
    text = ", ".join(names[:SEVERAL])
    return [line("service", text if len(names) <= SEVERAL else f"{text} and {len(names) - SEVERAL} more")]


def earlier(ctx: Given, model: str, version: str) -> list[Any]:
    """The buckets of a model version in ``metadata.references``: the same hours of earlier weeks."""
    same = []
    for name in ctx["metadata"].get("references") or []:
        for one in buckets_in(ctx["payload"][name], "models"):
            if one["key"] == model:
                same += [each for each in buckets(one["versions"], "versions") if each["key"] == version]
    return same


def buckets(aggregation: Given, name: str) -> list[Any]:
    """The buckets of a terms aggregation. Raises ScriptError when some were cut off."""
    cut = aggregation.get("sum_other_doc_count", 0)
    if cut > 0:
        raise ScriptError(
            f"the aggregation {name} left out {cut} documents; raise its size or watch one model at a time"
        )
    found: list[Any] = aggregation["buckets"]
    return found


def buckets_in(answer: Given, name: str) -> list[Any]:
    """The buckets of a search's outermost aggregation, as ``buckets``.

    Where no index matches, Elasticsearch answers without aggregations: there are no buckets then.
    """
    return buckets(answer["aggregations"][name], name) if "aggregations" in answer else []


def kept_share(bucket: Given) -> float:
    """Documents a unit of weight: what sampling kept. A statistic must not count what it has not seen."""
    weight = bucket["weight"]["value"]
    return float(bucket["doc_count"] / weight) if weight > bucket["doc_count"] else 1.0


def millis(instant: str) -> int:
    """Milliseconds since 1970 of an ISO instant with its zone. Watcher gives scripts a date, the runner a text."""
    return round(datetime.fromisoformat(instant).timestamp() * 1000)


def whole(value: float) -> int:
    return floor(value + 0.5)


def percent(rate: float) -> str:
    hundredths = floor((-rate if rate < 0 else rate) * 10000.0 + 0.5)
    return f"{'-' if rate < 0 else ''}{hundredths // 100}.{hundredths % 100:02d}"


def number(value: float) -> str:
    """For people: whole from 1000 on, two decimals from 1 on, four below."""
    sign, size = ("-", -value) if value < 0 else ("", value)
    if size >= 1e15:
        return f"{sign}10^{floor(log10(size))}"
    decimals = 0 if size >= 1000 else 2 if size >= 1 else 4
    scale = 10**decimals
    scaled = floor(size * scale + 0.5)
    if decimals == 0:
        return f"{sign}{scaled}"
    return f"{sign}{scaled // scale}.{scaled % scale:0{decimals}d}"


def span(seconds: float) -> str:
    """A length of time for people."""
    if seconds < 120:
        return f"{whole(seconds)} s"
    if seconds < 7200:
        return f"{whole(seconds / 60)} min"
    if seconds < 172800:
        return f"{whole(seconds / 3600)} h"
    return f"{whole(seconds / 86400)} days"


def chance(tail: float) -> str:
    if tail < 1e-300:
        return "less than 1 in 10^300"
    return f"1 in 10^{floor(-log10(tail))}"


def quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def line(name: str, value: str) -> Document:
    return {"name": name, "value": value}


def prefix_of(feature: str) -> str:
    """``tokens.part`` of a name that is not too long, with its ``=``."""
    prefix = feature.replace("%", "%25").replace("=", "%3D") + "="
    return "%21" + prefix[1:] if prefix.startswith("!") else prefix


def value_of(part: str) -> str:
    """The value that a token's second half stands for."""
    return part.replace("%21", "!").replace("%3D", "=").replace("%25", "%")


def gamma_tail(a: float, x: float) -> float:
    """Q(a, x), the upper regularized incomplete gamma function: P(chi-squared of 2a degrees > 2x).

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
