"""``ml-versions``: which versions are live, how old they are, and what changed at a service's last start."""

from __future__ import annotations

from typing import Any

from logging_lib.watch.scripts.common import (
    Document,
    Given,
    buckets,
    buckets_in,
    found,
    judged,
    line,
    millis,
    percent,
    profiles_of,
    quoted,
    serving,
    setting,
    span,
    whole,
)


def versions(ctx: Given, params: Given) -> Document:
    """Judges by ``metadata.rule``.

    - ``live``: a live version without a published profile, one that is not the deployed one while that is known,
      events checked against another version's profile (``min_hits``), and two versions live both now and an hour
      ago, which is no roll-out any more.
    - ``age``: a live version whose ``trained_at`` is more than ``max_days`` ago.
    - ``changes``: libraries or the code's version at the newest start in the window, against the newest before it;
      and libraries that are not those of training.
    """
    rule = ctx["metadata"]["rule"]
    if rule == "changes":
        return judged(_changes(ctx))
    profiles = profiles_of(ctx["payload"]["profiles"])
    findings: list[Document] = []
    for model in buckets_in(ctx["payload"]["window"], "models"):
        deployed = sorted(
            source["ml"]["model"]["version"]
            for source in profiles.values()
            if source["ml"]["model"]["name"] == model["key"] and source["deployed"]
        )
        lasting: list[str] = []
        for version in buckets(model["versions"], "versions"):
            profile = profiles.get(model["key"] + ":" + version["key"])
            if whole(version["now"]["weight"]["value"]) == 0:
                continue
            if rule == "age":
                findings += _age(ctx, model["key"], version, profile)
                continue
            if whole(version["before"]["weight"]["value"]) > 0:
                lasting.append(version["key"])
            seen = f"{whole(version['now']['weight']['value'])} events in the last {ctx['metadata']['live']}"
            lines = [
                *serving(version),
                line("observed", seen),
                line("deployed", ", ".join(deployed) if deployed else "none is marked"),
            ]
            if profile is None:
                what = f"version {version['key']} is live and has no published profile"
                findings.append(_finding(ctx, model["key"], version["key"], "profile", what, lines, profile))
            elif not profile["deployed"] and deployed:
                what = f"version {version['key']} is live, deployed is {', '.join(deployed)}"
                findings.append(_finding(ctx, model["key"], version["key"], "version", what, lines, profile))
            wrong = whole(version["mismatch"]["weight"]["value"])
            if wrong >= setting(ctx, profile, "min_hits"):
                share = percent(wrong / whole(version["weight"]["value"]))
                what = f"{share} % of the events were checked against another version's profile"
                findings.append(
                    _finding(ctx, model["key"], version["key"], "profile mismatch", what, lines, profile)
                )
        if len(lasting) > 1:
            lasting.sort()
            what = f"{len(lasting)} versions are live at once: {', '.join(lasting)}"
            lines = [line("deployed", ", ".join(deployed) if deployed else "none is marked")]
            findings.append(_finding(ctx, model["key"], "", "several versions", what, lines, None))
    return judged(findings)


def _finding(
    ctx: Given,
    model: str,
    version: str,
    feature: str,
    what: str,
    lines: list[Document],
    profile: Given | None,
) -> Document:
    now = ctx["trigger"]["scheduled_time"]
    since = f"{now}||-{ctx['metadata']['window']}"
    of_version = f" and ml.model.version: {quoted(version)}" if version else ""
    query = f'ml.model.name: {quoted(model)}{of_version} and event.ingested >= "{since}"'
    return found(profile, model, version, feature, what, lines, query, since, now)


def _age(ctx: Given, model: str, version: Given, profile: Given | None) -> list[Document]:
    trained = profile.get("trained_at") if profile is not None else None
    if trained is None:
        return []
    seconds = (millis(ctx["trigger"]["scheduled_time"]) - millis(trained)) / 1000.0
    days = setting(ctx, profile, "max_days")
    if seconds < days * 86400.0:
        return []
    lines = [*serving(version), line("trained at", trained), line("limit", f"{days} days")]
    what = f"trained {span(seconds)} ago, limit {days} days"
    return [_finding(ctx, model, version["key"], "age", what, lines, profile)]


def _changes(ctx: Given) -> list[Document]:
    earlier: dict[str, Any] = {}
    for model in buckets_in(ctx["payload"]["baseline"], "models"):
        for service in buckets(model["services"], "services"):
            earlier[model["key"] + "|" + service["key"]] = service["newest"]["hits"]["hits"][0]["_source"]
    findings: list[Document] = []
    for model in buckets_in(ctx["payload"]["window"], "models"):
        for service in buckets(model["services"], "services"):
            now = service["newest"]["hits"]["hits"][0]["_source"]
            before = earlier.get(model["key"] + "|" + service["key"])
            version = now["ml"]["model"].get("version")
            where = [
                line("service", service["key"]),
                line("start", now["@timestamp"]),
                line("start before", before["@timestamp"] if before is not None else "none is known"),
            ]
            changed: list[list[str]] = []
            if before is not None:
                changed += _differences(_libraries(before["ml"]["start"]), _libraries(now["ml"]["start"]))
                old, new = _code(before), _code(now)
                if old != new and old != "" and new != "":
                    changed.append(["code of " + service["key"], f"the service's code is {new}, was {old}"])
            for entry in sorted(now["ml"]["start"].get("training_libraries_differ") or []):
                changed.append(
                    [entry[: entry.find("=")] + " of training", f"training had {entry}, the service has not"]
                )
            for feature, what in changed:
                finding = _finding(ctx, model["key"], version or "", feature, what, where, None)
                query = f'event.dataset: "ml.start" and ml.model.name: {quoted(model["key"])}'
                finding["query"] = query
                finding["discover"] = query.replace("!", "!!").replace("'", "!'")
                findings.append(finding)
    return findings


def _libraries(start: Given) -> dict[str, str]:
    return {entry[: entry.find("=")]: entry[entry.find("=") + 1 :] for entry in start["libraries"]}


def _code(source: Given) -> str:
    service = source.get("service")
    return str(service["version"]) if service is not None and "version" in service else ""


def _differences(old: dict[str, str], new: dict[str, str]) -> list[list[str]]:
    changed = []
    for name in sorted({*old, *new}):
        before, after = old.get(name, "not there"), new.get(name, "gone")
        if old.get(name) != new.get(name):
            changed.append([name, f"{name} is {after}, was {before}"])
    return changed
