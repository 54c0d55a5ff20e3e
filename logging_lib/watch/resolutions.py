"""Of which ends of incidents somebody is still to be notified, and what that notification says. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import datetime, timedelta

from logging_lib._util.times import format_instant
from logging_lib.watch.incidents import Incident, Incidents, Mute, is_muted
from logging_lib.watch.notify.base import Notification


def awaiting_resolution(
    incidents: Incidents, now: datetime, *, watch: str, mutes: Collection[Mute] = ()
) -> list[Incident]:
    """The closed incidents whose recipients were not notified of that; muted ones wait."""
    return [
        incident
        for key, incident in incidents.items()
        if incident.closed_at is not None
        and any(receipt.kind == "alert" for receipts in incident.notified.values() for receipt in receipts)
        and not is_muted(mutes, now, watch=watch, model=key.model, version=key.version, feature=key.feature)
    ]


def by_address(incidents: Iterable[Incident]) -> list[tuple[Notification, list[Incident]]]:
    """What one notification of a resolution is about: the incidents of one model version that one action sent to
    one address; with what it sent."""
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
    """Whether another incident at the same address is still open."""
    return any(
        sibling.channel == receipt.channel and sibling.address == receipt.address
        for incident in incidents
        if incident.closed_at is None
        for sibling in incident.notified.get(receipt.action, ())
        if sibling.kind == "alert"
    )


def resolution_subject(title: str, incidents: Iterable[Incident]) -> str:
    """``[Resolved] <the watch's title>: <model> <version>: <features>``."""
    keys = [incident.key for incident in incidents]
    about = title + (f": {keys[0].model} {keys[0].version}".rstrip() if keys[0].model else "")
    names = [key.feature for key in keys if key.feature]
    subject = f"[Resolved] {about}" + (f": {', '.join(names[:5])}" if names else "")
    return subject + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def resolution_line(incident: Incident) -> str:
    until = incident.absent_since or incident.closed_at or incident.opened_at
    name = incident.key.feature or incident.key.model or "the condition"
    span = f"since {format_instant(incident.opened_at)} until {format_instant(until)}"
    return f"{name}: {span}, for {format_span(until - incident.opened_at)}"


def format_span(span: timedelta) -> str:
    """For people: ``3 d 4 h``, ``2 h 5 min``, ``40 s``."""
    seconds = max(0, round(span.total_seconds()))
    days, hours, minutes = seconds // 86400, seconds // 3600 % 24, seconds % 3600 // 60
    if days:
        return f"{days} d {hours} h"
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min" if minutes else f"{seconds} s"
