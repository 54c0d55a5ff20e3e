"""``logging-lib annotate``: add checks to stored events that arrived without any."""

from __future__ import annotations

import contextlib
import json
import logging
import time
from typing import Annotated

import typer

from logging_lib._util.formatting import format_count
from logging_lib.cli import options, output
from logging_lib.store.annotate import AnnotateResult as Result
from logging_lib.store.annotate import annotate as annotate_stored
from logging_lib.store.annotate import count_unchecked
from logging_lib.store.connection import ElasticsearchError
from logging_lib.store.elasticsearch import ElasticsearchStore
from logging_lib.store.profiles import load_published

_log = logging.getLogger("logging_lib.annotate")


def annotate(
    elasticsearch: options.ClusterOption = None,
    follow: Annotated[
        bool, typer.Option("--follow", help="Continue with the events that arrive, until stopped.")
    ] = False,
    every: Annotated[
        str, typer.Option(metavar="DURATION", help="With --follow: how often to look for new events.")
    ] = "10s",
    as_json: output.JsonOption = False,
) -> None:
    """Add checks and bins to stored events that lack them, from the published profiles.

    For services that do not use this logger, or logged without a profile. It may be stopped and started again:
    events that have their checks are skipped. Events of models without a profile stay as they are and are listed.
    Exit code 1: some could not be changed; 2: wrong input.

    Example: logging-lib annotate --elasticsearch https://localhost:9200 --follow
    """
    if follow:
        output.log_to_stderr()
    with output.handle_errors(ValueError):
        pause = options.duration(every, "--every").total_seconds()
        with ElasticsearchStore(options.connect(elasticsearch)) as store:
            result = _run(store)
            _report(store, result, as_json=as_json)
            with contextlib.suppress(KeyboardInterrupt):
                while follow:
                    time.sleep(pause)
                    result = _look_again(store, result, as_json=as_json)
    raise typer.Exit(1 if result.failed else 0)


def _look_again(store: ElasticsearchStore, result: Result, *, as_json: bool) -> Result:
    """Annotate new events; return the previous result if the store does not respond."""
    try:
        next_result = annotate_stored(store, list(load_published(store, count_unchecked(store))))
    except ElasticsearchError as error:
        if not error.is_transient:
            raise
        _log.warning("%s; trying again", error)
        return result
    if next_result.annotated or next_result.failed:
        _report(store, next_result, as_json=as_json)
    return result


def _run(store: ElasticsearchStore) -> Result:
    unchecked_events = count_unchecked(store)
    profiles = list(load_published(store, unchecked_events))
    total = sum(unchecked_events.get((profile.model, profile.version), 0) for profile in profiles)
    done = 0
    with output.progress("Checking events") as report_progress:

        def advance(number: int) -> None:
            nonlocal done
            done += number
            report_progress(done, total)

        return annotate_stored(store, profiles, advance=advance)


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
    typer.echo(f"{format_count(result.annotated, 'event')} checked")
    if result.conflicts:
        typer.echo(f"{format_count(result.conflicts, 'event')} changed by others meanwhile; run again")
    for identity, reason in result.failed[:10]:
        output.warn(f"{identity}: {reason}")
    if len(result.failed) > 10:
        output.warn(f"and {len(result.failed) - 10:,} more could not be changed")
    for (model, version), events in still_unchecked.items():
        count = format_count(events, "event")
        print(output.plain(f"{count} of {model} {version} left unchecked: no profile is published"))
