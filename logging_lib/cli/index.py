"""``logging-lib index``: events from files into a store."""

from __future__ import annotations

import contextlib
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from logging_lib import profile
from logging_lib.cli import options, output
from logging_lib.schema import DEFAULT_NAMESPACE, data_stream
from logging_lib.schema.templates import PROFILE_FILES
from logging_lib.store import loading
from logging_lib.store.duckdb.store import EmbeddedStore
from logging_lib.store.port import StoreError
from logging_lib.store.profiles import file_document, index_profiles


def index(
    events: Annotated[list[Path], typer.Argument(help="Spools, or other files of JSON lines.")],
    store: Annotated[
        Path | None,
        typer.Option(help="Folder of the embedded store; made if need be.", envvar="LOGGING_LIB_STORE"),
    ] = None,
    elasticsearch: options.ElasticsearchOption = None,
    namespace: Annotated[str, typer.Option(help="Namespace of the data streams.")] = DEFAULT_NAMESPACE,
    profiles: Annotated[
        list[Path] | None,
        typer.Option(
            "--profile", help="profile.json to publish, and to check foreign events with; repeatable."
        ),
    ] = None,
    as_json: output.JsonOption = False,
) -> None:
    """Normalize events and put them into a store; an event that is already indexed is skipped.

    Exit code 1: every event was refused; 2: wrong input, such as files of something else.

    Example: logging-lib index spool --store build/store --profile profile.json
    """
    with output.handle_errors(OSError, ValueError):
        loaded_profiles = [profile.load(path) for path in profiles or []]
        loading.reject_other_files(events)
        if store is not None and elasticsearch is not None:
            raise StoreError("give either --store or --elasticsearch, not both")
        target = EmbeddedStore(store) if store is not None else options.open_elasticsearch(elasticsearch)
        with contextlib.closing(target):
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
                keep_refused=True,
                namespace=namespace,
            )
    refused = {reason: count for reason, count in loaded.refused.items() if reason != "duplicate"}
    already_indexed = loaded.refused["duplicate"]
    if as_json:
        typer.echo(json.dumps({"indexed": loaded.events, "known": already_indexed, "refused": refused}))
    else:
        typer.echo(
            f"{store or 'Elasticsearch'}: {loaded.events} events indexed, {already_indexed} were there already"
        )
        for reason, count in refused.items():
            typer.echo(f"refused: {count} ({reason}); see {data_stream('ml.deadletter', namespace)}")
    if refused and not loaded.events and not already_indexed:
        raise typer.Exit(1)
