"""``logging-lib watch mute`` and ``unmute``."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.table import Table

from logging_lib._util.times import format_instant, parse_duration
from logging_lib.cli import options
from logging_lib.cli.options import UsageError, instant
from logging_lib.cli.output import console, safe
from logging_lib.cli.watch import _state
from logging_lib.cli.watch._common import JsonOption, explained, lines_safe, print_json, user
from logging_lib.cli.watch.ack import FeatureOption, ModelOption, NowOption, VersionOption
from logging_lib.watch.incidents import Mute, active_mutes
from logging_lib.watch.state.base import manual_record

WatchOption = Annotated[str | None, typer.Option("--watch", help="Only of this watch; * is a wildcard.")]


def mute(
    watch: WatchOption = None,
    model: ModelOption = None,
    version: VersionOption = None,
    feature: FeatureOption = None,
    lasts: Annotated[str | None, typer.Option("--for", help="How long: 30m, 4h, 2d.")] = None,
    until: Annotated[str | None, typer.Option(help="Or until this ISO time.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="All of all watches.")] = False,
    comment: Annotated[str, typer.Option(help="Why; shown beside it.")] = "",
    by: Annotated[str | None, typer.Option(help="Who mutes. Default: you.")] = None,
    store: options.StoreOption = None,
    elasticsearch: options.ElasticsearchOption = None,
    state: _state.StateOption = None,
    now: NowOption = None,
    as_json: JsonOption = False,
) -> None:
    """Mute a watch, model, version or feature for a while; without options show what is muted.

    What is still wrong afterwards notifies then.

    Example: logging-lib watch mute --model loans --for 2h --store build/store
    """
    with explained():
        moment = datetime.now(UTC) if now is None else instant(now, "--now")
        opened = _state.open_state(store, elasticsearch, state)
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
            by=by or user(),
            comment=comment,
        )
        opened.update_mutes(
            lambda mutes: (*(each for each in active_mutes(mutes, moment) if each.id != identity), new)
        )
        what = {"version": version, "feature": feature, "until": format_instant(end), "comment": comment}
        opened.record([manual_record("mute", moment, watch, model, id=identity, by=new.by, **what)])
    if as_json:
        print_json(new.model_dump(mode="json"))
    else:
        typer.echo(
            lines_safe(f"{identity}: {new.where or 'everything'} is muted until {format_instant(end)}")
        )


def unmute(
    mute_id: Annotated[str | None, typer.Argument(metavar="[ID]", help="As `mute` shows it.")] = None,
    watch: WatchOption = None,
    model: ModelOption = None,
    version: VersionOption = None,
    feature: FeatureOption = None,
    everything: Annotated[bool, typer.Option("--all", help="End all mutes.")] = False,
    store: options.StoreOption = None,
    elasticsearch: options.ElasticsearchOption = None,
    state: _state.StateOption = None,
    now: NowOption = None,
    as_json: JsonOption = False,
) -> None:
    """End mutes: one by its id, or those that were made with exactly these options.

    Exit code 1: there is no such mute; 2: wrong input.

    Example: logging-lib watch unmute --model loans --store build/store
    """
    with explained():
        moment = datetime.now(UTC) if now is None else instant(now, "--now")
        parts = (watch, model, version, feature)
        if not (mute_id or any(parts) or everything):
            raise UsageError("say which: an ID, --watch, --model, --version, --feature or --all")
        opened = _state.open_state(store, elasticsearch, state)
        ended: list[Mute] = []

        def is_meant(each: Mute) -> bool:
            return (
                everything
                or each.id == mute_id
                or (any(parts) and parts == (each.watch, each.model, each.version, each.feature))
            )

        def change(mutes: tuple[Mute, ...]) -> tuple[Mute, ...]:
            ended[:] = [each for each in active_mutes(mutes, moment) if is_meant(each)]
            return tuple(each for each in mutes if each not in ended)

        opened.update_mutes(change)
        opened.record(
            manual_record("unmute", moment, each.watch, each.model, id=each.id, by=user()) for each in ended
        )
    if as_json:
        print_json([each.model_dump(mode="json") for each in ended])
    for each in () if as_json else ended:
        typer.echo(lines_safe(f"{each.id}: {each.where or 'everything'} is no longer muted"))
    if not ended:
        typer.echo("no such mute", err=True)
        raise typer.Exit(1)


def _end(lasts: str | None, until: str | None, now: datetime) -> datetime:
    if (lasts is None) == (until is None):
        raise UsageError("say how long: --for 2h, or --until 2026-01-31T08:00:00Z")
    try:
        end = now + parse_duration(lasts) if lasts is not None else instant(until or "", "--until")
    except (ValueError, OverflowError) as error:
        raise UsageError(f"--for: {error}") from None
    if end <= now:
        raise UsageError("that is over already: give a time to come")
    return end


def _show(mutes: tuple[Mute, ...], as_json: bool) -> None:
    if as_json:
        print_json([each.model_dump(mode="json") for each in mutes])
        return
    table = Table("id", "muted", "until", "by", "comment", box=None, pad_edge=False)
    for each in mutes:
        cells = (each.id, each.where or "everything", format_instant(each.until), each.by, each.comment)
        table.add_row(*map(safe, cells))
    if mutes:
        console().print(table)
    else:
        typer.echo("nothing is muted")
