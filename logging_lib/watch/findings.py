"""Read the findings of a payload, and group them by the incidents that they belong to. All functions are pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any, NamedTuple

from logging_lib._util.times import parse_instant
from logging_lib.schema import tokens
from logging_lib.watch.scripts.check_rate import MAX_VALUES_SHOWN
from logging_lib.watch.scripts.common import encode_prefix

Finding = dict[str, Any]
Summarize = Callable[[list[Finding]], dict[str, Any]]
"""Build the payload of a script as if it had found only these findings."""
DOUBLED = 2.0
"""The factor by which an effect has to exceed the one that people know before they are notified again."""


class Key(NamedTuple):
    """The key of an incident within its watch. ``feature`` is empty for the whole model; all are empty for the
    watch."""

    model: str = ""
    version: str = ""
    feature: str = ""


def key_of(finding: Mapping[str, Any]) -> Key:
    """Return the key of a finding's incident within its watch. Lone surrogates, which no store accepts, are
    replaced."""
    parts = ("" if finding.get(part) is None else str(finding[part]) for part in Key._fields)
    return Key(*(part.encode("utf-8", "replace").decode() for part in parts))


def name_incident(watch: str, key: Key) -> str:
    """Name an incident in one word, for command lines: ``na-spike/loans/1/income``."""
    return "/".join(part.replace("/", "%2F") for part in (watch, *key))


def findings_of(payload: Mapping[str, Any]) -> list[Finding] | None:
    """Find the findings of a payload, at ``findings`` or ``result.findings``; None if it has neither."""
    for place in (payload, payload.get("result")):
        if isinstance(place, Mapping) and isinstance(place.get("findings"), list):
            findings: list[Finding] = place["findings"]
            return findings
    return None


def skipped_models(payload: Mapping[str, Any]) -> tuple[dict[str, Any], ...]:
    """Return the model versions that the script could not evaluate, each with the reason."""
    result = payload.get("result")
    return tuple(result.get("skipped") or ()) if isinstance(result, Mapping) else ()


def has_evaluated(payload: Mapping[str, Any]) -> bool:
    """Return whether anything was evaluated: a finding, or more model versions than were skipped."""
    window = payload.get("window")
    models = window.get("aggregations", {}).get("models", {}) if isinstance(window, Mapping) else {}
    buckets = models.get("buckets") if isinstance(models, Mapping) else None
    skipped = sum(["model" in reason for reason in skipped_models(payload)])
    if findings_of(payload):
        return True
    if not isinstance(buckets, list):
        return not skipped
    return sum([len(model.get("versions", {}).get("buckets", ())) for model in buckets]) > skipped


def with_findings(
    payload: Mapping[str, Any], findings: Iterable[Finding], summarize: Summarize
) -> dict[str, Any]:
    """Build the payload as if the script had found only these findings; the list of skipped models is kept."""
    is_at_top = isinstance(payload.get("findings"), list)
    old: Mapping[str, Any] = payload if is_at_top else payload["result"]
    new = {**old, **summarize(list(findings))}
    if "skipped" in old:
        new["skipped"] = old["skipped"]
    return new if is_at_top else {**payload, "result": new}


def by_model_version(findings: Iterable[Finding] | None) -> dict[tuple[str, str], list[Finding]]:
    """Group the findings by (model, version), in their order; without findings, the watch itself is one group."""
    groups: dict[tuple[str, str], list[Finding]] = {}
    for finding in findings or ():
        key = key_of(finding)
        groups.setdefault((key.model, key.version), []).append(finding)
    return groups or {("", ""): []}


def keys_of(findings: Iterable[Finding]) -> list[Key]:
    """Return the keys of one group's incidents; without findings, the key of the watch."""
    return [key_of(finding) for finding in findings] or [Key()]


def gravest_by_key(findings: Iterable[Finding]) -> dict[Key, Finding]:
    """Return, by incident, the finding with the largest effect; without findings, an empty one for the watch."""
    gravest: dict[Key, Finding] = {}
    for finding in findings:
        key = key_of(finding)
        if key not in gravest or (effect_of(finding) or 0.0) > (effect_of(gravest[key]) or 0.0):
            gravest[key] = finding
    return gravest or {Key(): {}}


def effect_of(finding: Finding) -> float | None:
    """Return the effect that a finding states, if it is a number."""
    effect = finding.get("effect")
    return float(effect) if isinstance(effect, int | float) and not isinstance(effect, bool) else None


def leave_out_accepted(
    findings: list[Finding], watch_id: str, payload: Mapping[str, Any], now: datetime
) -> list[Finding]:
    """Return the findings without the accepted ones, which the profiles in the searches' responses list."""
    answer = payload.get("profiles")
    hits = answer["hits"]["hits"] if isinstance(answer, Mapping) and "hits" in answer else []
    accepted = {
        hit["_id"]: hit["_source"]["accepted"] for hit in hits if hit.get("_source", {}).get("accepted")
    }
    return [
        finding
        for finding in findings
        if not _is_accepted(
            finding, watch_id, accepted.get(f"{finding.get('model')}:{finding.get('version')}", ()), now
        )
    ]


def _is_accepted(finding: Finding, watch: str, accepted: Iterable[Mapping[str, Any]], now: datetime) -> bool:
    """Return whether someone accepted a finding that a profile cannot expect. A doubled effect is new."""
    effect = effect_of(finding) or 1.0
    return any(
        entry["watch"] == watch
        and entry["feature"] == finding.get("feature")
        and not entry["part"]
        and parse_instant(entry["at"]) <= now
        and effect < DOUBLED * entry["effect"]
        for entry in accepted
    )


def lists_too_few_values(finding: Finding) -> bool:
    """Return whether a feature's events have more values than are listed, and whether there is room for them.

    Each failing event has one value of a feature. The token of a long name is hashed, so its values are not found.
    """
    values = finding.get("values")
    return bool(
        all(key_of(finding))
        and "check" in finding
        and isinstance(values, list)
        and isinstance(finding.get("lines"), list)
        and len(values) < MAX_VALUES_SHOWN
        and sum(value["count"] for value in values) < finding.get("observed", 0)
        and len(encode_prefix(str(finding["feature"]))) <= tokens.MAX_PART + 1
    )
