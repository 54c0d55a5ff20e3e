"""``logging-lib annotate``: checks for stored events that came without."""

from __future__ import annotations

import json
import sys
import time
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from logging_lib._util.times import parse_duration
from logging_lib.cli import options, output
from logging_lib.store.annotate import AnnotateResult as Result
from logging_lib.store.annotate import annotate as annotate_stored
from logging_lib.store.annotate import count_unchecked
from logging_lib.store.connection import ElasticsearchError
from logging_lib.store.elasticsearch import ElasticsearchStore
from logging_lib.store.port import StoreError
from logging_lib.store.profiles import load_published


def annotate(
    elasticsearch: options.ElasticsearchOption = None,
    follow: Annotated[bool, typer.Option("--follow", help="Go on with what arrives, until stopped.")] = False,
    every: Annotated[str, typer.Option(help="With --follow, the time between two looks.")] = "10s",
    as_json: output.JsonOption = False,
) -> None:
    """Add checks and bins to stored events that lack them, from the published profiles.

    For services that do not use our logger, or logged without a profile. What is done is not done again, so
    it may be stopped at any time. Events of models without a profile stay as they are and are listed. Exit
    code 1: some could not be changed; 2: wrong input.

    Example: logging-lib annotate --elasticsearch https://localhost:9200 --follow
    """
    try:
        pause = parse_duration(every).total_seconds()
        with ElasticsearchStore(options.connect(elasticsearch)) as store:
            result = _run(store, quiet=as_json)
            _report(store, result, as_json=as_json)
            while follow:
                time.sleep(pause)
                try:
                    next_result = _run(store, quiet=True)
                    if next_result.annotated or next_result.failed:
                        _report(store, next_result, as_json=as_json)
                except ElasticsearchError as error:
                    if not error.is_transient:
                        raise
                    typer.echo(str(error), err=True)  # it may be back at the next look
    except KeyboardInterrupt:
        raise typer.Exit(0) from None
    except (StoreError, ValueError) as error:
        raise output.fail(error) from None
    raise typer.Exit(1 if result.failed else 0)


def _run(store: ElasticsearchStore, *, quiet: bool) -> Result:
    unchecked_events = count_unchecked(store)
    profiles = list(load_published(store, unchecked_events))
    if quiet:
        return annotate_stored(store, profiles)
    bar = Progress(
        TextColumn("checking"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
        console=Console(stderr=True), transient=True,
    )  # fmt: skip
    with bar:
        total = sum(unchecked_events.get((profile.model, profile.version), 0) for profile in profiles)
        task = bar.add_task("checking", total=total)
        return annotate_stored(store, profiles, advance=lambda number: bar.advance(task, number))


def _report(store: ElasticsearchStore, result: Result, *, as_json: bool) -> None:
    still_unchecked = count_unchecked(store)
    if as_json:
        rows = [
            {"model": model, "version": version, "events": count}
            for (model, version), count in still_unchecked.items()
        ]
        failed = [{"id": identity, "reason": reason} for identity, reason in result.failed]
        typer.echo(
            json.dumps(
                {"done": result.annotated, "changed": result.conflicts, "failed": failed, "unchecked": rows}
            )
        )
        return
    typer.echo(f"{result.annotated} events have their checks now")
    if result.conflicts:
        typer.echo(f"{result.conflicts} were changed by others meanwhile; the next run takes them")
    for identity, reason in result.failed[:10]:
        print(output.plain(f"{identity}: {reason}"), file=sys.stderr)
    if len(result.failed) > 10:
        typer.echo(f"and {len(result.failed) - 10} more could not be changed", err=True)
    for (model, version), events in still_unchecked.items():
        print(output.plain(f"without checks: {events} events of {model} {version}: no profile is published"))
