"""Find the resolved incidents of which someone must still be notified, and word the notifications. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import datetime

from logging_lib._util.formatting import join_names
from logging_lib._util.times import format_instant
from logging_lib.profile.model import PREDICTION
from logging_lib.watch.incidents import Incident, Incidents, Mute, is_muted
from logging_lib.watch.notify.base import Notification
from logging_lib.watch.scripts.common import name_version
from logging_lib.watch.scripts.formatting import format_span, format_time

MAX_FEATURES = 3


def awaiting_resolution(
    incidents: Incidents, now: datetime, *, watch: str, mutes: Collection[Mute] = ()
) -> list[Incident]:
    """Return the closed incidents whose recipients were not notified of the resolution; muted ones wait."""
    return [
        incident
        for key, incident in incidents.items()
        if incident.closed_at is not None
        and any(receipt.kind == "alert" for receipts in incident.notified.values() for receipt in receipts)
        and not is_muted(mutes, now, watch=watch, model=key.model, version=key.version, feature=key.feature)
    ]


def by_address(incidents: Iterable[Incident]) -> list[tuple[Notification, list[Incident]]]:
    """Group incidents into one group per resolution notification: those of one model version that one action sent
    to one address, with the notification that it sent."""
    groups: dict[tuple[str, ...], tuple[Notification, list[Incident]]] = {}
    for incident in incidents:
        for action, receipts in incident.notified.items():
            for receipt in receipts:
                if receipt.kind != "alert":
                    continue
                address = str(sorted(receipt.address.items()))
                key = (action, incident.key.model, incident.key.version, receipt.channel, address)
                groups.setdefault(key, (receipt, []))[1].append(incident)
    return list(groups.values())


def is_address_open(receipt: Notification, incidents: Iterable[Incident]) -> bool:
    """Return whether another incident at the same address is still open."""
    return any(
        sibling.channel == receipt.channel and sibling.address == receipt.address
        for incident in incidents
        if incident.closed_at is None
        for sibling in incident.notified.get(receipt.action, ())
        if sibling.kind == "alert"
    )


def resolution_subject(title: str, incidents: Iterable[Incident]) -> str:
    """Return ``[Resolved] loans v3: income, age (NA spike)``."""
    keys = [incident.key for incident in incidents]
    about = name_version(keys[0].model, keys[0].version)
    names = [_name_feature(key.feature) for key in keys if key.feature]
    text = ": ".join(part for part in (about, join_names(names, MAX_FEATURES)) if part)
    return f"[Resolved] {text} ({title})" if text else f"[Resolved] {title}"


def resolution_line(incident: Incident) -> str:
    """Return ``income: open 26 days 22 h (2018-02-02 10:36:23 UTC to 2018-03-01 09:05:00 UTC)``."""
    until = incident.absent_since or incident.closed_at or incident.opened_at
    name = _name_feature(incident.key.feature) or incident.key.model or "The condition"
    since, end = (format_time(format_instant(moment)) for moment in (incident.opened_at, until))
    return f"{name}: open {format_span((until - incident.opened_at).total_seconds())} ({since} to {end})"


def _name_feature(feature: str) -> str:
    return "prediction" if feature == PREDICTION else feature
