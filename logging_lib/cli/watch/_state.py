"""Opening the runner's state, for the commands that read or change it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from logging_lib.cli import options
from logging_lib.cli.options import UsageError
from logging_lib.watch.state.base import StateStore
from logging_lib.watch.state.file import FOLDER, FileState

TIMEOUT = 10.0

StateOption = Annotated[
    Path | None,
    typer.Option(
        "--state",
        help="Folder of what is remembered between runs. Default: .watch-state in the store or, with "
        "--elasticsearch, the index ml-watch-state there.",
        envvar="LOGGING_LIB_WATCH_STATE",
        show_envvar=True,
    ),
]


def is_named(store: Path | None, elasticsearch: str | None, state: Path | None) -> bool:
    from logging_lib.store.connection import PREFIX

    return bool(store or elasticsearch or state or os.environ.get(f"{PREFIX}URL"))


def open_state(store: Path | None, elasticsearch: str | None, state: Path | None) -> StateStore:
    """The state that the options name.

    Raises:
        UsageError: none is named.
        StateError, StoreError: it is no state, or a setting is wrong.
    """
    if state is not None:
        return FileState(state)
    if store is not None and elasticsearch is not None:
        raise UsageError("give either --store or --elasticsearch, not both")
    if store is not None:
        if not store.is_dir():
            raise UsageError(f"{store}: no such folder; give the folder that the events were stored in")
        return FileState(store / FOLDER)
    if not is_named(store, elasticsearch, state):
        raise UsageError(
            "say where the runner's state is: --store FOLDER, --elasticsearch URL or --state FOLDER"
        )
    from logging_lib.store.elasticsearch import ElasticsearchStore
    from logging_lib.watch.state.elasticsearch import ElasticsearchState

    # A short wait: a runner that cannot renew its lease has to know soon.
    connection = options.connect(elasticsearch, timeout=TIMEOUT)
    return ElasticsearchState(ElasticsearchStore(connection, retry_seconds=TIMEOUT))
