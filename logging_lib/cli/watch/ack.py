"""``logging-lib watch ack``."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer

from logging_lib.cli import options
from logging_lib.cli.options import instant
from logging_lib.cli.watch import _state
from logging_lib.cli.watch._common import JsonOption, explained, lines_safe, print_json, user
from logging_lib.watch.runner import incidents as inc
from logging_lib.watch.runner import records
from logging_lib.watch.runner.incidents import Key
from logging_lib.watch.runner.mutes import matches
from logging_lib.watch.runner.state import WatchState

ModelOption = Annotated[str | None, typer.Option("--model", help="Only of this model; * is a wildcard.")]
VersionOption = Annotated[str | None, typer.Option("--version", help="Only of this version.")]
FeatureOption = Annotated[str | None, typer.Option("--feature", help="Only of this feature.")]
NowOption = Annotated[str | None, typer.Option(help="As of this ISO time. Default: now.")]


def ack(
    watch_id: Annotated[str, typer.Argument(metavar="WATCH", help="The watch's id.")],
    model: ModelOption = None,
    version: VersionOption = None,
    feature: FeatureOption = None,
    by: Annotated[str | None, typer.Option(help="Who has it in hand. Default: you.")] = None,
    store: options.StoreOption = None,
    elasticsearch: options.ElasticsearchOption = None,
    state: _state.StateOption = None,
    now: NowOption = None,
    as_json: JsonOption = False,
) -> None:
    """Acknowledge open incidents: nothing more is told of them until they are over.

    Another model's, version's or feature's incident is told as ever, and so is this one when it returns. Works
    while a runner runs. Exit code 1: no such incident is open; 2: wrong input.

    Example: logging-lib watch ack na-spike --model loans --store build/store
    """
    with explained():
        moment = datetime.now(UTC) if now is None else instant(now, "--now")
        opened = _state.open_state(store, elasticsearch, state)
        who = by or user()
        chosen: list[Key] = []

        def wanted(key: Key) -> bool:
            return (
                matches(model, key.model) and matches(version, key.version) and matches(feature, key.feature)
            )

        def change(kept: WatchState) -> WatchState:
            acked, chosen[:] = inc.acknowledge(kept.by_key(), wanted, moment, who)
            return kept.with_incidents(acked) if chosen else kept

        if watch_id in opened.watch_ids():
            opened.update(watch_id, change)
        opened.record(
            records.by_hand(
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
