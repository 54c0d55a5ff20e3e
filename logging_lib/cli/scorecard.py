"""``logging-lib scorecard``: which of Breck et al.'s seven monitoring tests a model has."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from logging_lib._util.times import parse_duration, parse_instant
from logging_lib.analysis import samples
from logging_lib.cli import options, output
from logging_lib.store.port import Store

if TYPE_CHECKING:
    from logging_lib.analysis.scorecard import Scorecard
    from logging_lib.analysis.scorecard_data import Watches


def scorecard(
    store: options.StoreOption = None,
    elasticsearch: options.ElasticsearchOption = None,
    model: Annotated[str | None, typer.Option(help="The model. Default: the only one there is.")] = None,
    recent: Annotated[str, typer.Option(help="What is longer ago does not count.")] = "7d",
    state: Annotated[
        Path | None,
        typer.Option(
            help="Where the watch runner keeps its state. Default: in the store, or ml-watch-state."
        ),
    ] = None,
    now: Annotated[str | None, typer.Option(help="Score as of this ISO time. Default: now.")] = None,
    least: Annotated[float, typer.Option(min=0, max=7, help="Exit code 1 below this score.")] = 0.0,
    as_json: output.JsonOption = False,
) -> None:
    """Say which of the ML Test Score's seven monitoring tests are covered, by what is deployed and recently seen,
    and what to do for the rest.

    Exit code 0: printed; 1: the score is below --least; 2: wrong input.

    Example: logging-lib scorecard --model loans --store build/store
    """
    from logging_lib.analysis import scorecard_data
    from logging_lib.analysis.scorecard import score

    with output.handle_errors(ValueError, OSError):
        instant = datetime.now(UTC) if now is None else parse_instant(now)
        recent_span = parse_duration(recent)
        opened = options.choose(store, elasticsearch, read_only=True)
        try:
            model_name = model or options.only_model(samples.models(opened))
            watches = _watches(opened, store, elasticsearch, state, model_name)
            evidence = scorecard_data.gather(
                opened, model_name, now=instant, recent=recent_span, watches=watches
            )
        finally:
            opened.close()
    card = score(evidence, now=instant, recent=recent_span)
    if as_json:
        output.print_json(card.document())
    else:
        _show(card)
    raise typer.Exit(1 if card.score < least else 0)


def _watches(opened: Store, store: Path | None, url: str | None, state: Path | None, model: str) -> Watches:
    """What our runner ran, and real Watcher where there is one."""
    from logging_lib.analysis import scorecard_data

    if state is not None:
        if not state.is_dir():
            raise ValueError(f"{state}: no such folder; give what `watch run --state` was given")
        return scorecard_data.of_folder(state)
    if store is not None:
        return scorecard_data.of_folder(store / ".watch-state")
    return {**_of_watcher(url, model), **scorecard_data.of_index(opened)}


def _of_watcher(url: str | None, model: str) -> Watches:
    """Return nothing where the license does not include Watcher, or access is denied."""
    from logging_lib.analysis import scorecard_data
    from logging_lib.store.connection import ElasticsearchError

    connection = options.connect(url)
    try:
        answer = connection.call("POST", "/_watcher/_query/watches", {"size": 1000})
    except ElasticsearchError as error:
        if error.is_transient:
            raise
        return {}
    finally:
        connection.close()
    return scorecard_data.of_watcher(answer, model)


def _show(card: Scorecard) -> None:
    colors = {"covered": "green", "partly": "yellow", "missing": "red"}
    console = output.console()
    for monitor in card.monitors:
        color = colors[monitor.status]
        console.print(f"[bold]{monitor.number}. {monitor.title}[/bold]: [{color}]{monitor.status}[/{color}]")
        for line in monitor.evidence:
            console.print(f"   {output.safe(line)}", highlight=False)
        for line in monitor.todo:
            console.print(f"   → {output.safe(line)}", highlight=False)
    console.print(
        f"{output.safe(card.model)}: {card.score:g} of {len(card.monitors)}, {card.meaning}", highlight=False
    )
