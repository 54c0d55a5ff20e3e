"""``ml-limits``: counters and gauges of services, hosts and models against limits and against earlier weeks."""

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
    number,
    percent,
    profiles_of,
    quoted,
    serving,
    span,
    whole,
)


def limits(ctx: Given, params: Given) -> Document:
    """What passes a limit of ``metadata.groups``.

    A group names a terms aggregation of the window, ``by``, the ``fields`` whose values its buckets (and those of
    ``members`` below them) are, and ``limits``. A limit has a ``metric``, the dotted path to a number within the
    bucket (``now``: the time of the check); what is taken from it (``minus``) and what it is divided by (``of``,
    at least 1); and one or more bounds, all of which must be passed: ``above`` or ``below``; ``at_least`` for the
    number before the division; and ``times_usual`` or ``below_usual``, factors of the usual number, with
    ``usual_at_least`` for that number itself. Usual is the least of the same number in ``metadata.references``,
    the names of earlier windows in the payload; a reference that has no such bucket says nothing, and without any
    there is no finding.

    Of models, the profile of the deployed version (``ctx.payload.profiles``) has the owners, and overrides by the
    limit's name: ``{"no-traffic": {"silence": {"above": 3600000}}}``.
    """
    metadata = ctx["metadata"]
    now = millis(ctx["trigger"]["scheduled_time"])
    profiles = _by_model(ctx["payload"])
    findings: list[Document] = []
    for group in metadata["groups"]:
        by, fields = group["by"], group["fields"]
        for bucket in buckets_in(ctx["payload"]["window"], by):
            members = buckets(bucket["members"], "members") if len(fields) > 1 else [None]
            for member in members:
                at = bucket if member is None else member
                keys = [bucket["key"]] if member is None else [bucket["key"], member["key"]]
                of_model = fields[0] == "ml.model.name"
                profile = profiles.get(bucket["key"]) if of_model else None
                for shipped in group["limits"]:
                    limit = _own(ctx, profile, shipped)
                    value = _value(at, limit, now)
                    if value is None:
                        continue
                    usual = _usual(ctx, by, keys, limit)
                    if not _passed(at, limit, value, usual):
                        continue
                    where = " and ".join(f"{f}: {quoted(k)}" for f, k in zip(fields, keys, strict=True))
                    labels = group["labels"]
                    about = ", ".join(f"{name} {k}" for name, k in zip(labels, keys, strict=True))
                    lines = [
                        *serving(at),
                        line("observed", _shown(value, limit["unit"]) + " in the last " + metadata["window"]),
                    ]
                    lines.append(line("limit", _limit(limit)))
                    if usual is not None:
                        lines.append(
                            line(
                                "usual", _shown(usual, limit["unit"]) + " in the same hours of earlier weeks"
                            )
                        )
                    if at["last"].get("value") is not None:
                        lines.append(line("last heard of", at["last"]["value_as_string"]))
                    until = ctx["trigger"]["scheduled_time"]
                    since = f"{until}||-{metadata['window']}"
                    finding = found(
                        profile,
                        bucket["key"] if of_model else "",
                        "",
                        limit["name"] if of_model else " ".join([*keys, limit["name"]]),
                        f"{limit['name']} {_shown(value, limit['unit'])}, {_limit(limit)}",
                        lines,
                        f'{where} and event.ingested >= "{since}"',
                        since,
                        until,
                    )
                    finding["about"] = about
                    finding["observed"] = _shown(value, limit["unit"])
                    findings.append(finding)
    return judged(findings)


def _by_model(payload: Given) -> Document:
    """The profile of each model's deployed version; of the last one, where none is marked."""
    deployed: Document = {}
    if "profiles" not in payload:
        return deployed
    known = profiles_of(payload["profiles"])
    for key in sorted(known):
        name = known[key]["ml"]["model"]["name"]
        if name not in deployed or known[key]["deployed"]:
            deployed[name] = known[key]
    return deployed


def _own(ctx: Given, profile: Given | None, limit: Given) -> Given:
    """The limit with what the profile overrides of it."""
    overrides = profile.get("overrides") if profile is not None else None
    mine = overrides.get(ctx["watch_id"]) if overrides else None
    return {**limit, **mine[limit["name"]]} if mine and limit["name"] in mine else limit


def _at(bucket: Given, path: str) -> float | None:
    value: Any = bucket
    for part in path.split("."):
        value = value.get(part) if value is not None else None
    if value is None:
        return None
    return float(value)


def _value(bucket: Given, limit: Given, now: int) -> float | None:
    value = float(now) if limit["metric"] == "now" else _at(bucket, limit["metric"])
    if value is None:
        return None
    if "minus" in limit:
        less = _at(bucket, limit["minus"])
        if less is None:
            return None
        value -= less
    if "at_least" in limit and value < limit["at_least"]:
        return None
    if "of" in limit:
        whole_of = _at(bucket, limit["of"])
        value /= whole_of if whole_of is not None and whole_of > 1 else 1.0
    return value


def _usual(ctx: Given, by: str, keys: list[str], limit: Given) -> float | None:
    """The least of the earlier windows, so that a holiday last week makes no alarm today."""
    least: float | None = None
    for name in ctx["metadata"].get("references") or []:
        for bucket in buckets_in(ctx["payload"][name], by):
            if bucket["key"] != keys[0]:
                continue
            for member in bucket["members"]["buckets"] if len(keys) > 1 else [bucket]:
                if len(keys) > 1 and member["key"] != keys[1]:
                    continue
                value = _at(member, limit["metric"])
                if value is not None and (least is None or value < least):
                    least = value
    return least


def _passed(bucket: Given, limit: Given, value: float, usual: float | None) -> bool:
    if "above" in limit and value < limit["above"]:
        return False
    if "below" in limit and value > limit["below"]:
        return False
    if "times_usual" in limit and (usual is None or value < limit["times_usual"] * usual):
        return False
    if "below_usual" in limit and (usual is None or value > limit["below_usual"] * usual):
        return False
    return not ("usual_at_least" in limit and (usual is None or usual < limit["usual_at_least"]))


def _limit(limit: Given) -> str:
    """The bounds as people say them."""
    parts = []
    if "above" in limit:
        parts.append("from " + _shown(limit["above"], limit["unit"]) + " on")
    if "below" in limit:
        parts.append("down to " + _shown(limit["below"], limit["unit"]))
    if "times_usual" in limit:
        parts.append("from " + number(limit["times_usual"]) + " times the usual on")
    if "below_usual" in limit:
        parts.append("under " + percent(limit["below_usual"]) + " % of the usual")
    return "alarm " + " and ".join(parts)


def _shown(value: float, unit: str) -> str:
    if unit == "share":
        return percent(value) + " %"
    if unit == "bytes":
        return number(value / 1048576.0) + " MiB"
    if unit == "ms":
        return span(value / 1000.0)
    if unit == "s":
        return span(value)
    return str(whole(value)) if value == whole(value) else number(value)
