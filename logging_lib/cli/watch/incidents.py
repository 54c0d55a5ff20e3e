"""``logging-lib watch ack | mute | unmute | history``: handle incidents."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.table import Table

from logging_lib._util import content
from logging_lib._util.suggestions import suggest
from logging_lib._util.times import format_instant
from logging_lib.cli import options, output
from logging_lib.cli.options import UsageError, instant
from logging_lib.cli.output import console, safe
from logging_lib.cli.watch import watch_options
from logging_lib.cli.watch.watch_options import JsonOption, lines_safe, print_json
from logging_lib.watch import incidents as inc
from logging_lib.watch.findings import Key
from logging_lib.watch.incidents import Mute, active_mutes, matches
from logging_lib.watch.state.base import HISTORY_LIMIT, KINDS, HistoryQuery, Record, WatchState, manual_record

ModelOption = Annotated[
    str | None, typer.Option("--model", metavar="MODEL", help="Only this model; * is a wildcard.")
]
VersionOption = Annotated[str | None, typer.Option("--version", metavar="VERSION", help="Only this version.")]
FeatureOption = Annotated[str | None, typer.Option("--feature", metavar="FEATURE", help="Only this feature.")]


def ack(
    watch_id: Annotated[str, typer.Argument(metavar="WATCH", help="Id of the watch.")],
    model: ModelOption = None,
    version: VersionOption = None,
    feature: FeatureOption = None,
    action: Annotated[
        list[str] | None,
        typer.Option(
            "--action", metavar="ACTION", help="Only this action of the watch; repeatable. Default: all."
        ),
    ] = None,
    user: options.UserOption = None,
    store: options.StoreOption = None,
    elasticsearch: options.ElasticsearchOption = None,
    state: options.StateOption = None,
    now: options.NowOption = None,
    as_json: JsonOption = False,
) -> None:
    """Acknowledge open incidents: no more notifications about them until they are resolved.

    Other models, versions and features notify as before, and so does this incident when it returns. A runner that
    is running takes it up. Exit code 1: no such incident is open, or none of which the action notified; 2: wrong
    input.

    Example: logging-lib watch ack na-spike --model loans --store build/store
    """
    with output.handle_errors():
        moment = datetime.now(UTC) if now is None else instant(now, "--now")
        opened = watch_options.open_state(store, elasticsearch, state)
        who = user or watch_options.user()
        chosen: list[Key] = []

        def is_chosen(key: Key) -> bool:
            return (
                matches(model, key.model) and matches(version, key.version) and matches(feature, key.feature)
            )

        def change(stored: WatchState) -> WatchState:
            acked, chosen[:] = inc.acknowledge(stored.by_key(), is_chosen, moment, who, action or ())
            return stored.with_incidents(acked) if chosen else stored

        if watch_id in opened.watch_ids():
            opened.update(watch_id, change)
        opened.record(
            manual_record(
                "ack",
                moment,
                watch_id,
                key.model,
                version=key.version,
                feature=key.feature,
                actions=action,
                by=who,
            )
            for key in chosen
        )
    if as_json:
        print_json([{"watch": watch_id, **key._asdict(), "by": who} for key in chosen])
    for key in () if as_json else chosen:
        typer.echo(lines_safe("acknowledged: " + " ".join([watch_id, *(part for part in key if part)])))
    if not chosen:
        ids = {*opened.watch_ids(), *(file.stem for file in content.path("watchers").glob("*.json"))}
        known = "" if watch_id in ids else suggest(watch_id, ids)
        of_action = f" of which {' and '.join(action)} notified" if action else ""
        typer.echo(lines_safe(f"{watch_id}: no such incident is open{of_action}{known}"), err=True)
        raise typer.Exit(1)


WatchOption = Annotated[
    str | None, typer.Option("--watch", metavar="WATCH", help="Only this watch; * is a wildcard.")
]


def mute(
    watch: WatchOption = None,
    model: ModelOption = None,
    version: VersionOption = None,
    feature: FeatureOption = None,
    lasts: Annotated[
        str | None, typer.Option("--for", metavar="DURATION", help="How long, such as 30m, 4h or 2d.")
    ] = None,
    until: Annotated[
        str | None, typer.Option(metavar="TIME", help="Instead of --for: until this ISO 8601 time.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Mute all watches.")] = False,
    comment: Annotated[str, typer.Option(metavar="TEXT", help="Reason, for the list of mutes.")] = "",
    user: options.UserOption = None,
    store: options.StoreOption = None,
    elasticsearch: options.ElasticsearchOption = None,
    state: options.StateOption = None,
    now: options.NowOption = None,
    as_json: JsonOption = False,
) -> None:
    """Mute a watch, model, version or feature for a while; without options list what is muted.

    What is still wrong when the mute ends notifies then.

    Example: logging-lib watch mute --model loans --for 2h --store build/store
    """
    with output.handle_errors():
        moment = datetime.now(UTC) if now is None else instant(now, "--now")
        opened = watch_options.open_state(store, elasticsearch, state)
        parts = (watch, model, version, feature)
        if not any(parts) and not everything:
            if lasts or until:
                raise UsageError("say what to mute: --watch, --model, --version, --feature or --all")
            _show(active_mutes(opened.mutes(), moment), as_json)
            return
        end = _end(lasts, until, moment)
        identity = hashlib.sha256(repr((*parts, moment)).encode("utf-8", "replace")).hexdigest()[:8]
        new = Mute(
            id=identity,
            since=moment,
            until=end,
            watch=watch,
            model=model,
            version=version,
            feature=feature,
            by=user or watch_options.user(),
            comment=comment,
        )
        opened.update_mutes(
            lambda mutes: (*(active for active in active_mutes(mutes, moment) if active.id != identity), new)
        )
        details = {"version": version, "feature": feature, "until": format_instant(end), "comment": comment}
        opened.record([manual_record("mute", moment, watch, model, id=identity, by=new.by, **details)])
    if as_json:
        print_json(new.model_dump(mode="json"))
    else:
        typer.echo(
            lines_safe(f"{identity}: {new.where or 'everything'} is muted until {format_instant(end)}")
        )


def unmute(
    mute_id: Annotated[
        str | None, typer.Argument(metavar="ID", help="Id of the mute, as `watch mute` prints it.")
    ] = None,
    watch: WatchOption = None,
    model: ModelOption = None,
    version: VersionOption = None,
    feature: FeatureOption = None,
    everything: Annotated[bool, typer.Option("--all", help="End all mutes.")] = False,
    store: options.StoreOption = None,
    elasticsearch: options.ElasticsearchOption = None,
    state: options.StateOption = None,
    now: options.NowOption = None,
    as_json: JsonOption = False,
) -> None:
    """End mutes: one by its id, or those that were made with exactly these options.

    Exit code 1: there is no such mute; 2: wrong input.

    Example: logging-lib watch unmute --model loans --store build/store
    """
    with output.handle_errors():
        moment = datetime.now(UTC) if now is None else instant(now, "--now")
        parts = (watch, model, version, feature)
        if not (mute_id or any(parts) or everything):
            raise UsageError("say which mute to end: an ID, --watch, --model, --version, --feature or --all")
        opened = watch_options.open_state(store, elasticsearch, state)
        ended: list[Mute] = []

        def is_meant(ended_mute: Mute) -> bool:
            return (
                everything
                or ended_mute.id == mute_id
                or (
                    any(parts)
                    and parts == (ended_mute.watch, ended_mute.model, ended_mute.version, ended_mute.feature)
                )
            )

        def change(mutes: tuple[Mute, ...]) -> tuple[Mute, ...]:
            ended[:] = [ended_mute for ended_mute in active_mutes(mutes, moment) if is_meant(ended_mute)]
            return tuple(ended_mute for ended_mute in mutes if ended_mute not in ended)

        opened.update_mutes(change)
        opened.record(
            manual_record(
                "unmute",
                moment,
                ended_mute.watch,
                ended_mute.model,
                id=ended_mute.id,
                by=watch_options.user(),
            )
            for ended_mute in ended
        )
    if as_json:
        print_json([ended_mute.model_dump(mode="json") for ended_mute in ended])
    for ended_mute in () if as_json else ended:
        typer.echo(lines_safe(f"{ended_mute.id}: {ended_mute.where or 'everything'} is no longer muted"))
    if not ended:
        output.warn("there is no such mute; `logging-lib watch mute` lists them")
        raise typer.Exit(1)


def _end(lasts: str | None, until: str | None, now: datetime) -> datetime:
    if (lasts is None) == (until is None):
        raise UsageError("say how long to mute: --for 2h, or --until 2026-01-31T08:00:00Z")
    try:
        end = now + options.duration(lasts, "--for") if lasts is not None else instant(until or "", "--until")
    except OverflowError:
        raise options.reject("--for", lasts, "longer than there are dates") from None
    if end <= now:
        raise options.reject("--until", until, "must be in the future")
    return end


def _show(mutes: tuple[Mute, ...], as_json: bool) -> None:
    if as_json:
        print_json([mute_shown.model_dump(mode="json") for mute_shown in mutes])
        return
    table = Table("id", "muted", "until", "by", "comment", box=None, pad_edge=False)
    for mute_shown in mutes:
        cells = (
            mute_shown.id,
            mute_shown.where or "everything",
            format_instant(mute_shown.until),
            mute_shown.by,
            mute_shown.comment,
        )
        table.add_row(*map(safe, cells))
    if mutes:
        console().print(table)
    else:
        typer.echo("nothing is muted")


_SHOWN = ("time", "kind", "watch", "model", "version", "status")


def history(
    watch: WatchOption = None,
    model: ModelOption = None,
    since: Annotated[
        str | None,
        typer.Option(
            metavar="TIME", help="Only since then: an ISO 8601 time, or a duration ago such as 2h or 7d."
        ),
    ] = None,
    kind: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KIND",
            help=f"Only this kind: {', '.join(KINDS)}; repeatable. Default: all but quiet, which are the runs that "
            "found nothing.",
        ),
    ] = None,
    limit: Annotated[
        int, typer.Option(metavar="N", min=1, max=10_000, help="Print at most the N latest records.")
    ] = HISTORY_LIMIT,
    store: options.StoreOption = None,
    elasticsearch: options.ElasticsearchOption = None,
    state: options.StateOption = None,
    now: options.NowOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print what the runner did: runs, alerts and deliveries, and what people acknowledged, muted and accepted.

    Example: logging-lib watch history --store build/store
    """
    with output.handle_errors():
        moment = datetime.now(UTC) if now is None else instant(now, "--now")
        for name in kind or ():
            options.choice(name, "--kind", KINDS)
        begin = None if since is None else options.since(since, moment)
        opened = watch_options.open_state(store, elasticsearch, state)
        kinds = tuple(kind or (name for name in KINDS if name != "quiet"))
        records = opened.history(HistoryQuery(watch, model, begin, kinds, limit))
    if as_json:
        print_json(records)
        return
    table = Table("time", "what", "watch", "model", "version", "outcome", "about", box=None, pad_edge=False)
    for record in records:
        table.add_row(*(safe(str(record.get(name, ""))) for name in _SHOWN), safe(_about(record)))
    if records:
        console().print(table)
    else:
        typer.echo("no matching history records")


def _about(record: Record) -> str:
    """Return what a kind of record has in addition to the columns."""
    if record["kind"] == "alert":
        actions = ", ".join(f"{name} {status}" for name, status in record.get("actions", {}).items())
        return f"{record.get('subject', '')} ({actions})"
    parts = [
        str(record[name]) for name in ("action", "subject", "feature", "until", "reason") if record.get(name)
    ]
    if record.get("attempts", 1) > 1:
        parts.append(f"attempt {record['attempts']}")
    if record.get("sent_by"):
        parts.append(f"by {record['sent_by']} instead")
    if record.get("digest_of"):
        parts.append(f"in a digest of {record['digest_of']}")
    if record.get("by"):
        parts.append(f"by {record['by']}")
    return "; ".join(parts)
