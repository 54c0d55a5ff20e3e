"""``logging-lib erase``: remove a person's events, and mentions of them, from every place."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from logging_lib._util.formatting import format_count
from logging_lib.cli import options, output
from logging_lib.logger.privacy import KEY_VARIABLE, PrivacyFilter
from logging_lib.privacy import redact_files
from logging_lib.privacy.erase import ErasureRecord, find_matches
from logging_lib.privacy.erase import erase as erase_everywhere
from logging_lib.privacy.erase_elasticsearch import ElasticsearchEraser
from logging_lib.privacy.redact_files import PlaceMatches
from logging_lib.privacy.subject_search import SubjectTraces
from logging_lib.store.connection import PREFIX
from logging_lib.store.port import StoreError


def erase(
    paths: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="PATH",
            help="Spools, alerts, watch state, reports, profiles and exports: files or folders.",
            show_default=False,
        ),
    ] = None,
    subject: Annotated[
        str | None,
        typer.Option(
            metavar="ID",
            help="The person, by the id that the service gave as `subject=`; - reads it from standard input.",
        ),
    ] = None,
    hashes: Annotated[
        list[str] | None,
        typer.Option(
            "--hash",
            metavar="HASH",
            help="A value of ml.subject.hash, such as one made with an older key; repeatable.",
        ),
    ] = None,
    fields: Annotated[
        list[str] | None,
        typer.Option(
            "--field",
            metavar="FIELD",
            help="Also erase events in which this field is the subject, such as labels.customer; repeatable.",
        ),
    ] = None,
    values: Annotated[
        list[str] | None,
        typer.Option(
            "--value",
            metavar="TEXT",
            help="Also mask this text wherever it occurs, such as the person's address; repeatable.",
        ),
    ] = None,
    store: options.StoreOption = None,
    elasticsearch: options.ElasticsearchOption = None,
    record: Annotated[
        Path | None,
        typer.Option(metavar="PATH", help="File to record the erasure in. Default: erasures/HASH.json."),
    ] = None,
    yes: Annotated[
        bool, typer.Option("--yes", help="Erase. Default: a dry run that prints what would be erased.")
    ] = False,
    expunge: Annotated[
        bool,
        typer.Option(
            "--expunge", help="Also rewrite Elasticsearch's segments, so that the disk has no copy left."
        ),
    ] = False,
    as_json: output.JsonOption = False,
) -> None:
    """Erase a person: delete their events, and mask what mentions them. A dry run unless --yes is given.

    The events are found by ml.subject.hash; their labels and shadow predictions follow by event and request id. Run
    it again with the same record after a crash, when late labels arrive, and after a backup is restored. Exit code
    1: something could not be erased; 2: wrong input.

    Example: logging-lib erase spool alerts.jsonl --subject customer-7 --store build/store
    """
    with output.handle_errors(OSError), output.progress("Searching all places"):
        if subject == "-":
            subject = sys.stdin.read().strip()
        if not subject and not hashes:
            raise StoreError("say whom to erase: --subject ID, as the service gave it, or --hash HASH")
        places = [*(paths or ()), *([store] if store else ())]
        elasticsearch_url = elasticsearch or os.environ.get(f"{PREFIX}URL")
        if not places and not elasticsearch_url:
            raise StoreError(
                "say where to erase: spools and other files, --store PATH or --elasticsearch URL"
            )
        traces = SubjectTraces(
            frozenset((*(hashes or ()), *(_hashes(subject) if subject else ()))),
            frozenset((*([subject] if subject else ()), *(values or ()))),
            tuple(fields or ()),
        )
        erasure = ErasureRecord.open(record or Path("erasures") / f"{min(traces.hashes)}.json", traces.hashes)
        own_paths = (erasure.path.absolute(), erasure.path.parent.absolute() if record is None else None)
        files = [
            file
            for file in redact_files.list_files(places)
            if file not in own_paths and file.parent not in own_paths
        ]
        with contextlib.ExitStack() as stack:
            cluster = (
                ElasticsearchEraser(stack.enter_context(options.connect(elasticsearch)))
                if elasticsearch_url
                else None
            )
            places_found = find_matches(traces, files, cluster, erasure)
            if yes:
                places_found = erase_everywhere(
                    traces, files, cluster, erasure, now=lambda: datetime.now(UTC), ids_known=True
                )
                if cluster is not None and expunge:
                    cluster.expunge()
    _report(places_found, traces, erasure, done=yes, as_json=as_json)
    raise typer.Exit(1 if yes and any(place.note for place in places_found) else 0)


def _hashes(subject: str) -> set[str]:
    """Return the hashes as the logger computes them: with the key, if there is one, and without."""
    return {
        PrivacyFilter({}, key).hash_subject(subject)
        for key in (os.environb.get(KEY_VARIABLE.encode(), b""), b"")
    }


def _report(
    places: list[PlaceMatches], traces: SubjectTraces, record: ErasureRecord, *, done: bool, as_json: bool
) -> None:
    if as_json:
        rows = [
            {"place": place.place, "erase": place.erase, "redact": place.redact, "left": place.note or None}
            for place in places
        ]
        events, path = len(traces.events), str(record.path) if done else None
        typer.echo(
            json.dumps({"dry_run": not done, "events": events, "record": path, "places": rows}, indent=1)
        )
        return
    prefix = "" if done else "would be "
    for place in places:
        parts = [
            *([f"{format_count(place.erase, 'event')} {prefix}erased"] if place.erase else ()),
            *([f"{format_count(place.redact, 'text')} {prefix}masked"] if place.redact else ()),
            *([place.note] if place.note else ()),
        ]
        print(output.plain(f"{place.place}: {', '.join(parts)}"))
    if not places:
        typer.echo("nothing of this person was found")
    if done:
        typer.echo(f"record: {record.path}")
    elif places:
        typer.echo("this was a dry run, nothing was changed; give --yes to erase")
