"""The Python twins of ``watchers/scripts/*.painless``: pure functions from ``ctx`` to a payload.

A parity test runs both on the same payloads. Keep them alike, line by line where that is possible.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import floor, log10
from typing import Any

from logging_lib.watch.statistics import beta_binomial_tail, predictive

Script = Callable[[Mapping[str, Any], Mapping[str, Any]], dict[str, Any]]

MAX_VALUES_SHOWN = 5
MAX_NAME = 128  # tokens.MAX_PART: a longer name is hashed in tokens, which Painless cannot do


class ScriptError(Exception):
    """A script found a payload that it must not judge; the message says why."""


def judged(findings: list[dict[str, Any]], skipped: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    """The payload of a judging script: ``count``, ``more`` (how many beside the first) and the findings."""
    return {
        "count": len(findings),
        "more": len(findings) - 1 if len(findings) > 1 else None,
        "findings": findings,
        "skipped": skipped or [],
    }


def check_rate(ctx: Mapping[str, Any], params: Mapping[str, Any]) -> dict[str, Any]:
    """``ml-check-rate``: features that failed ``metadata.check`` more often than held-out rows let expect.

    Judges each window of the ladder, the shortest first, by the tail of the beta-binomial predictive
    distribution, and reports a feature with the first window that convicts it. A finding needs
    ``metadata.min_hits`` failed events and a rate ``metadata.min_effect`` above the expected one; and a longer
    window convicts only while the next shorter one still fails more than expected, so that a mended fault is
    not reported until the longest window has forgotten it (Google, The Site Reliability Workbook, ch. 5,
    "Multiwindow, Multi-Burn-Rate Alerts").
    """
    metadata = ctx["metadata"]
    windows = metadata["windows"]
    profiles = _profiles(ctx["payload"]["profiles"])
    findings: list[dict[str, Any]] = []
    skipped: list[dict[str, Any]] = []
    for model in _buckets(ctx["payload"]["window"]["aggregations"]["models"], "models"):
        for version in _buckets(model["versions"], "versions"):
            profile = profiles.get(model["key"] + ":" + version["key"])
            if profile is None:
                skipped.append({"model": model["key"], "version": version["key"], "reason": "no profile"})
                continue
            expected = profile["expected"]
            checks = expected["checks"].get(metadata["check"], {})
            tests = expected["features"] * len(windows) * metadata["ticks_per_month"]
            alpha = metadata["false_alarms_per_model_month"] / tests
            found: set[str] = set()
            shorter: Mapping[str, Any] | None = None
            for window in windows:
                bucket = version["windows"]["buckets"][window]
                recent, shorter = shorter, bucket
                total = _whole(bucket["weight"]["value"])
                if total == 0:
                    continue
                for feature in bucket["features"]["buckets"]:  # the most frequent, if cut
                    name = feature["key"]
                    if name in found or name not in checks:
                        continue
                    expectation = checks[name]
                    hits = min(_whole(feature["weight"]["value"]), total)
                    a, b = predictive(expectation["count"], expectation["rows"], expectation["dispersion"])
                    if hits < metadata["min_hits"] or hits / total - a / (a + b) < metadata["min_effect"]:
                        continue
                    if recent is not None and _is_over(name, recent, a / (a + b)):
                        continue
                    tail = beta_binomial_tail(hits, total, a, b)
                    if tail >= alpha:
                        continue
                    found.add(name)
                    values = _values(name, bucket)
                    findings.append(
                        {
                            "model": model["key"],
                            "version": version["key"],
                            "feature": name,
                            "check": metadata["check"],
                            "window": window,
                            "observed": hits,
                            "total": total,
                            "observed_percent": _percent(hits / total),
                            "expected_count": expectation["count"],
                            "expected_rows": expectation["rows"],
                            "expected_percent": _percent(expectation["count"] / expectation["rows"])
                            if expectation["rows"] > 0
                            else "0.00",
                            "chance": _chance(tail),
                            "first": feature["first"]["value_as_string"],
                            "last": feature["last"]["value_as_string"],
                            "values": values,
                            "values_text": _values_text(name, values),
                            "query": _query(model["key"], version["key"], metadata["check"], name, feature),
                        }
                    )
    return judged(findings, skipped)


def _is_over(name: str, recent: Mapping[str, Any], expected: float) -> bool:
    """Whether the next shorter window has no events, or fails no more often than expected."""
    total = _whole(recent["weight"]["value"])
    if total == 0:
        return True
    for feature in recent["features"]["buckets"]:
        if feature["key"] == name:
            return bool(_whole(feature["weight"]["value"]) / total <= expected)
    return True


def _profiles(payload: Mapping[str, Any]) -> dict[str, Any]:
    found = {}
    for hit in payload["hits"]["hits"]:
        model = hit["_source"]["ml"]["model"]
        found[model["name"] + ":" + model["version"]] = hit["_source"]
    return found


def _buckets(aggregation: Mapping[str, Any], name: str) -> list[Any]:
    cut = aggregation.get("sum_other_doc_count", 0)
    if cut > 0:
        raise ScriptError(
            f"the aggregation {name} left out {cut} documents; raise its size or watch one model at a time"
        )
    buckets: list[Any] = aggregation["buckets"]
    return buckets


def _whole(value: float) -> int:
    return floor(value + 0.5)


def _percent(rate: float) -> str:
    hundredths = floor(rate * 10000.0 + 0.5)
    return f"{hundredths // 100}.{hundredths % 100:02d}"


def _chance(tail: float) -> str:
    if tail < 1e-300:
        return "less than 1 in 10^300"
    return f"1 in 10^{floor(-log10(tail))}"


def _values(feature: str, window: Mapping[str, Any]) -> list[dict[str, Any]]:
    if "failing" not in window:
        return []
    prefix = _prefix(feature)
    shown: list[dict[str, Any]] = []
    for bucket in window["failing"]["values"]["buckets"]:
        if bucket["key"].startswith(prefix) and len(shown) < MAX_VALUES_SHOWN:
            value = bucket["key"][len(prefix) :]
            value = value.replace("%21", "!").replace("%3D", "=").replace("%25", "%")
            shown.append({"value": value, "count": _whole(bucket["weight"]["value"])})
    return shown


def _prefix(feature: str) -> str:
    """``tokens.part`` of a name that is not too long, with its ``=``: Painless has the same."""
    prefix = feature.replace("%", "%25").replace("=", "%3D") + "="
    return "%21" + prefix[1:] if prefix.startswith("!") else prefix


def _values_text(feature: str, values: list[dict[str, Any]]) -> str:
    if len(_prefix(feature)) > MAX_NAME + 1:
        return "(the feature's name is too long to list its values)"
    return ", ".join(f"{value['value']} ({value['count']})" for value in values)


def _query(model: str, version: str, check: str, name: str, feature: Mapping[str, Any]) -> str:
    """The events in Kibana's query language."""
    return (
        f"ml.model.name: {_quoted(model)} and ml.model.version: {_quoted(version)}"
        f" and ml.check.{check}: {_quoted(name)}"
        f' and @timestamp >= "{feature["first"]["value_as_string"]}"'
        f' and @timestamp <= "{feature["last"]["value_as_string"]}"'
    )


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


SCRIPTS: Mapping[str, Script] = {"ml-check-rate": check_rate}
