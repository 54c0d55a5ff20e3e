"""``logging-lib index``: index events from files into a store."""

from __future__ import annotations

import contextlib
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from logging_lib import profile
from logging_lib._util.formatting import format_count
from logging_lib.cli import options, output
from logging_lib.normalize import read_aliases
from logging_lib.schema import DEFAULT_NAMESPACE, data_stream
from logging_lib.schema.templates import PROFILE_FILES
from logging_lib.store import loading
from logging_lib.store.duckdb.store import EmbeddedStore
from logging_lib.store.profiles import file_document, index_profiles


def index(
    events: Annotated[
        list[Path],
        typer.Argument(metavar="EVENTS", help="Spools, or other files and folders of JSON lines."),
    ],
    store: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH",
            help="Folder of the embedded store; created if it does not exist.",
            envvar="LOGGING_LIB_STORE",
        ),
    ] = None,
    elasticsearch: options.ElasticsearchOption = None,
    namespace: options.NamespaceOption = DEFAULT_NAMESPACE,
    profiles: Annotated[
        list[Path] | None,
        typer.Option(
            "--profile",
            metavar="PATH",
            help="A profile.json to publish, and to check events of other loggers with; repeatable.",
        ),
    ] = None,
    aliases: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH",
            help="YAML that says where events of other loggers hold what the built-in names do not find.",
            envvar="LOGGING_LIB_ALIASES",
        ),
    ] = None,
    as_json: output.JsonOption = False,
) -> None:
    """Normalize events and index them into a store; events that are already indexed are skipped.

    Exit code 1: every event was refused; 2: wrong input, such as files of something else.

    Example: logging-lib index spool --store build/store --profile profile.json
    """
    with output.handle_errors(OSError, ValueError), output.progress("Indexing events") as report_progress:
        loaded_profiles = [profile.load(path) for path in profiles or []]
        loaded_aliases = None if aliases is None else read_aliases(aliases)
        store = options.choose_place(store, elasticsearch)
        target = EmbeddedStore(store) if store is not None else options.open_elasticsearch(elasticsearch)
        with contextlib.closing(target):
            loading.reject_other_files(events, loaded_aliases)
            index_profiles(target, profiles or [])
            if loaded_profiles:
                target.index(
                    PROFILE_FILES, [file_document(loaded_profile) for loaded_profile in loaded_profiles]
                )
            loaded = loading.load(
                target,
                events,
                now=datetime.now(UTC),
                profiles=loaded_profiles,
                aliases=loaded_aliases,
                keep_refused=True,
                namespace=namespace,
                progress=report_progress,
            )
    refused = {reason: count for reason, count in loaded.refused.items() if reason != "duplicate"}
    already_indexed = loaded.refused["duplicate"]
    if as_json:
        typer.echo(json.dumps({"indexed": loaded.events, "known": already_indexed, "refused": refused}))
    else:
        typer.echo(
            f"{store or 'Elasticsearch'}: {format_count(loaded.events, 'event')} indexed, "
            f"{already_indexed:,} already indexed"
        )
        for reason, count in refused.items():
            letters = data_stream("ml.deadletter", namespace)
            typer.echo(f"{format_count(count, 'event')} refused ({reason}); see {letters}")
    if refused and not loaded.events and not already_indexed:
        raise typer.Exit(1)
