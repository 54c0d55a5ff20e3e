"""``logging-lib watch ack``."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer

from logging_lib.cli import options
from logging_lib.cli.options import instant
from logging_lib.cli.watch import _state
from logging_lib.cli.watch._common import JsonOption, explained, lines_safe, print_json, user
from logging_lib.watch import incidents as inc
from logging_lib.watch.incidents import Key, matches
from logging_lib.watch.state.base import WatchState, manual_record

ModelOption = Annotated[str | None, typer.Option("--model", help="Only of this model; * is a wildcard.")]
VersionOption = Annotated[str | None, typer.Option("--version", help="Only of this version.")]
FeatureOption = Annotated[str | None, typer.Option("--feature", help="Only of this feature.")]
NowOption = Annotated[str | None, typer.Option(help="As of this ISO time. Default: now.")]


def ack(
    watch_id: Annotated[str, typer.Argument(metavar="WATCH", help="The watch's id.")],
    model: ModelOption = None,
    version: VersionOption = None,
    feature: FeatureOption = None,
    by: Annotated[str | None, typer.Option(help="Who is working on it. Default: you.")] = None,
    store: options.StoreOption = None,
    elasticsearch: options.ElasticsearchOption = None,
    state: _state.StateOption = None,
    now: NowOption = None,
    as_json: JsonOption = False,
) -> None:
    """Acknowledge open incidents: no more notifications of them until they are resolved.

    Other models, versions and features notify as before, and so does this incident when it returns. Works while a
    runner runs. Exit code 1: no such incident is open; 2: wrong input.

    Example: logging-lib watch ack na-spike --model loans --store build/store
    """
    with explained():
        moment = datetime.now(UTC) if now is None else instant(now, "--now")
        opened = _state.open_state(store, elasticsearch, state)
        who = by or user()
        chosen: list[Key] = []

        def is_chosen(key: Key) -> bool:
            return (
                matches(model, key.model) and matches(version, key.version) and matches(feature, key.feature)
            )

        def change(stored: WatchState) -> WatchState:
            acked, chosen[:] = inc.acknowledge(stored.by_key(), is_chosen, moment, who)
            return stored.with_incidents(acked) if chosen else stored

        if watch_id in opened.watch_ids():
            opened.update(watch_id, change)
        opened.record(
            manual_record(
                "ack", moment, watch_id, key.model, version=key.version, feature=key.feature, by=who
            )
            for key in chosen
        )
    if as_json:
        print_json([{"watch": watch_id, **key._asdict(), "by": who} for key in chosen])
    for key in () if as_json else chosen:
        typer.echo(lines_safe("acknowledged: " + " ".join([watch_id, *(part for part in key if part)])))
    if not chosen:
        typer.echo(lines_safe(f"{watch_id}: no such incident is open"), err=True)
        raise typer.Exit(1)
