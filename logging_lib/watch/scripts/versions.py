"""``ml-versions``: check which versions are live, how old they are, and what changed at a service's last start."""

from __future__ import annotations

from typing import Any

from logging_lib.watch.scripts.common import (
    Document,
    JsonObject,
    add_severity,
    build_result,
    find_setting,
    get_answer_buckets,
    get_buckets,
    index_profiles,
    measure_effect,
    name_services,
    new_finding,
    new_line,
    parse_millis,
    quote,
)
from logging_lib.watch.scripts.formatting import (
    format_amount,
    format_percent,
    format_span,
    format_time,
    format_window,
    round_half_up,
)


def versions(ctx: JsonObject, params: JsonObject) -> Document:
    """Find the faults that ``metadata.rule`` names.

    - ``live``: a live version without a published profile, one that is not the deployed one while that is known,
      events checked against another version's profile (``min_hits``), and two versions live both now and an hour
      ago, which is no longer a roll-out.
    - ``age``: a live version whose ``trained_at`` is more than ``max_days`` ago.
    - ``changes``: libraries or the code's version at the newest start in the window, against the newest before it;
      and libraries that are not those of training.
    """
    rule = ctx["metadata"]["rule"]
    if rule == "changes":
        return build_result(_find_changes(ctx))
    profiles = index_profiles(ctx["payload"]["profiles"])
    findings: list[Document] = []
    for model in get_answer_buckets(ctx["payload"]["window"], "models"):
        deployed = sorted(
            profile["ml"]["model"]["version"]
            for profile in profiles.values()
            if profile["ml"]["model"]["name"] == model["key"] and profile["deployed"]
        )
        lasting: list[str] = []
        for version in get_buckets(model["versions"], "versions"):
            profile = profiles.get(model["key"] + ":" + version["key"])
            if round_half_up(version["now"]["weight"]["value"]) == 0:
                continue
            if rule == "age":
                findings += _check_age(ctx, model["key"], version, profile)
                continue
            if round_half_up(version["before"]["weight"]["value"]) > 0:
                lasting.append(version["key"])
            findings += _check_live(ctx, model["key"], version, profile, deployed)
        if len(lasting) > 1:
            lasting.sort()
            what = f"{len(lasting)} versions are live at once: {', '.join(lasting)}"
            lines = [new_line("Deployed", _name_deployed(deployed))]
            findings.append(
                _new_version_finding(ctx, model["key"], "", "several versions", what, lines, None)
            )
    return build_result(findings)


def _name_deployed(deployed: list[str]) -> str:
    return ", ".join(deployed) if deployed else "none is marked"


def _new_version_finding(
    ctx: JsonObject,
    model: str,
    version: str,
    feature: str,
    what: str,
    lines: list[Document],
    profile: JsonObject | None,
) -> Document:
    now = ctx["trigger"]["scheduled_time"]
    since = f"{now}||-{ctx['metadata']['window']}"
    of_version = f" and ml.model.version: {quote(version)}" if version else ""
    query = f'ml.model.name: {quote(model)}{of_version} and event.ingested >= "{since}"'
    finding = new_finding(ctx, profile, model, version, feature, what, lines, query, since, now)
    add_severity(finding, ctx, 1.0, None, "")
    return finding


def _check_live(
    ctx: JsonObject, model: str, version: JsonObject, profile: JsonObject | None, deployed: list[str]
) -> list[Document]:
    """Find what is wrong with a version that is live now.

    Args:
        deployed: the versions that are marked as deployed.
    """
    key = version["key"]
    live = round_half_up(version["now"]["weight"]["value"])
    lines = [
        *name_services(version),
        new_line(
            "Observed", f"{format_amount(live, 'event')} in the last {format_window(ctx['metadata']['live'])}"
        ),
        new_line("Deployed", _name_deployed(deployed)),
    ]
    findings: list[Document] = []
    if profile is None:
        what = "live without a published profile"
        findings.append(_new_version_finding(ctx, model, key, "profile", what, lines, profile))
    elif not profile["deployed"] and deployed:
        what = f"live, but {', '.join(deployed)} is deployed"
        findings.append(_new_version_finding(ctx, model, key, "version", what, lines, profile))
    wrong = round_half_up(version["mismatch"]["weight"]["value"])
    if wrong >= find_setting(ctx, profile, "min_hits"):
        share = wrong / round_half_up(version["weight"]["value"])
        what = f"{format_percent(share)} of events checked against another version's profile"
        finding = _new_version_finding(ctx, model, key, "profile mismatch", what, lines, profile)
        add_severity(finding, ctx, 1.0, share, "")
        findings.append(finding)
    return findings


def _check_age(
    ctx: JsonObject, model: str, version: JsonObject, profile: JsonObject | None
) -> list[Document]:
    """Find whether a version was trained too long ago."""
    trained_at = profile.get("trained_at") if profile is not None else None
    if trained_at is None:
        return []
    seconds = (parse_millis(ctx["trigger"]["scheduled_time"]) - parse_millis(trained_at)) / 1000.0
    max_days = find_setting(ctx, profile, "max_days")
    if seconds < max_days * 86400.0:
        return []
    lines = [
        *name_services(version),
        new_line("Trained", format_time(trained_at)),
        new_line("Limit", f"{max_days} days"),
    ]
    what = f"trained {format_span(seconds)} ago (limit {max_days} days)"
    finding = _new_version_finding(ctx, model, version["key"], "age", what, lines, profile)
    add_severity(finding, ctx, measure_effect(seconds, max_days * 86400.0), None, "")
    return [finding]


def _find_changes(ctx: JsonObject) -> list[Document]:
    """Compare the newest start of each service with the newest before it, and with training."""
    earlier: dict[str, Any] = {}
    for model in get_answer_buckets(ctx["payload"]["baseline"], "models"):
        for service in get_buckets(model["services"], "services"):
            earlier[model["key"] + "|" + service["key"]] = service["newest"]["hits"]["hits"][0]["_source"]
    findings: list[Document] = []
    for model in get_answer_buckets(ctx["payload"]["window"], "models"):
        for service in get_buckets(model["services"], "services"):
            start = service["newest"]["hits"]["hits"][0]["_source"]
            before = earlier.get(model["key"] + "|" + service["key"])
            version = start["ml"]["model"].get("version")
            lines = [
                new_line("Service", service["key"]),
                new_line("Start", format_time(start["@timestamp"])),
                new_line(
                    "Start before", format_time(before["@timestamp"]) if before is not None else "unknown"
                ),
            ]
            for feature, what in _compare_starts(service["key"], start, before):
                finding = _new_version_finding(ctx, model["key"], version or "", feature, what, lines, None)
                query = f'event.dataset: "ml.start" and ml.model.name: {quote(model["key"])}'
                finding["query"] = query
                finding["discover"] = query.replace("!", "!!").replace("'", "!'")
                findings.append(finding)
    return findings


def _compare_starts(service: str, start: JsonObject, before: JsonObject | None) -> list[list[str]]:
    """List the differences between two starts, and from training, each as a feature and a line about it."""
    changes: list[list[str]] = []
    recorded = _read_start(start)
    if before is not None:
        earlier = _read_start(before)
        if "libraries" in earlier and "libraries" in recorded:
            changes += _compare_libraries(_read_libraries(earlier), _read_libraries(recorded))
        old, new = _read_code_version(before), _read_code_version(start)
        if old != new and old != "" and new != "":
            changes.append(["code of " + service, f"code of {service} is {new} (was {old})"])
    for entry in sorted(recorded.get("training_libraries_differ") or []):
        library = entry[: entry.find("=")]
        changes.append([library + " of training", f"{library} differs from training ({entry})"])
    return changes


def _read_start(source: JsonObject) -> JsonObject:
    """Return the record of a start event; empty if it comes from elsewhere and has no ``ml.start``."""
    recorded: JsonObject = source["ml"].get("start") or {}
    return recorded


def _read_libraries(start: JsonObject) -> dict[str, str]:
    return {entry[: entry.find("=")]: entry[entry.find("=") + 1 :] for entry in start["libraries"]}


def _read_code_version(source: JsonObject) -> str:
    service = source.get("service")
    return str(service["version"]) if service is not None and "version" in service else ""


def _compare_libraries(old: dict[str, str], new: dict[str, str]) -> list[list[str]]:
    """List the libraries whose versions differ."""
    changes = []
    for name in sorted({*old, *new}):
        before, after = old.get(name, "not installed"), new.get(name, "not installed")
        if before != after:
            changes.append([name, f"{name} is {after} (was {before})"])
    return changes
