"""``logging-lib scorecard``: show which of Breck et al.'s seven monitoring tests a model has."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from logging_lib._util import content
from logging_lib.analysis import samples
from logging_lib.cli import options, output
from logging_lib.store.port import Store

if TYPE_CHECKING:
    from logging_lib.analysis.scorecard import Scorecard, WatchGroups
    from logging_lib.analysis.scorecard_data import Watches


def scorecard(
    store: options.StoreOption = None,
    elasticsearch: options.ElasticsearchOption = None,
    model: options.ModelOption = None,
    since: Annotated[
        str,
        typer.Option(
            metavar="TIME",
            help="Only what happened since then counts: an ISO 8601 time, or a duration ago such as 30d.",
        ),
    ] = "7d",
    state: options.StateOption = None,
    now: options.NowOption = None,
    min_score: Annotated[
        float, typer.Option(metavar="N", min=0, max=7, help="Exit with code 1 if the score is below N.")
    ] = 0.0,
    as_json: output.JsonOption = False,
) -> None:
    """Print which of the ML Test Score's seven monitoring tests are covered, and what to do for the others.

    A test counts as covered by what is deployed and was recently seen. Exit code 1: the score is below --min-score;
    2: wrong input.

    Example: logging-lib scorecard --model loans --store build/store
    """
    from logging_lib.analysis import scorecard_data
    from logging_lib.analysis.scorecard import score

    with output.handle_errors(ValueError, OSError), output.progress("Searching"):
        moment = datetime.now(UTC) if now is None else options.instant(now, "--now")
        recent_span = moment - options.since(since, moment)
        if not recent_span:
            raise options.reject("--since", since, "must be in the past")
        opened = options.choose(store, elasticsearch, read_only=True)
        try:
            model_name = options.choose_model(model, samples.models(opened))
            watches = _watches(opened, store, elasticsearch, state, model_name)
            evidence = scorecard_data.gather(
                opened, model_name, now=moment, recent=recent_span, watches=watches
            )
        finally:
            opened.close()
    card = score(evidence, group_watches(), now=moment, recent=recent_span)
    if as_json:
        output.print_json(card.document())
    else:
        _show(card)
    raise typer.Exit(1 if card.score < min_score else 0)


def group_watches() -> WatchGroups:
    """Group the shipped watches by the tests that their specs name."""
    from logging_lib.analysis.scorecard import WatchGroups
    from logging_lib.watch.spec import load_specs

    needed: dict[str, list[str]] = {}
    proxies: dict[str, list[str]] = {}
    for spec in load_specs(content.path("watchers")):
        (proxies if spec.proxy else needed).setdefault(spec.monitor, []).append(spec.id)
    return WatchGroups(needed, proxies)


def _watches(opened: Store, store: Path | None, url: str | None, state: Path | None, model: str) -> Watches:
    """Return the watches that our runner ran, and those of real Watcher if it is available."""
    from logging_lib.analysis import scorecard_data

    if state is not None:
        if not state.is_dir():
            raise ValueError(
                f"--state {state}: no such folder; give the one that `watch run --state` was given"
            )
        return scorecard_data.of_folder(state)
    if store is not None:
        return scorecard_data.of_folder(store / ".watch-state")
    return {**_of_watcher(url, model), **scorecard_data.of_index(opened)}


def _of_watcher(url: str | None, model: str) -> Watches:
    """Return Watcher's watches; none if the license does not include Watcher, or access is denied."""
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
