"""Parse the options that the watch commands share, and open the watches and the state that they name."""

from __future__ import annotations

import getpass
import json
import os
from pathlib import Path
from typing import Any

import typer

from logging_lib._util import content
from logging_lib._util.suggestions import suggest
from logging_lib.cli import options, output
from logging_lib.cli.options import UsageError
from logging_lib.watch import loading
from logging_lib.watch.errors import WatchProblem
from logging_lib.watch.loading import load_watches, with_settings
from logging_lib.watch.model import Watch
from logging_lib.watch.state.base import StateStore
from logging_lib.watch.state.file import FOLDER, FileState
from logging_lib.watch.templating import Medium

JsonOption = output.JsonOption


def load(path: Path | None) -> list[Watch]:
    watches = load_watches(content.path("watchers") if path is None else path)
    return with_settings(watches, os.environ)


def load_accepted(path: Path | None) -> tuple[list[Watch], list[WatchProblem]]:
    """Load the watches of a folder, and the problems of the files that are refused."""
    watches, problems = loading.load_accepted(content.path("watchers") if path is None else path)
    return with_settings(watches, os.environ), problems


def pick(watches: list[Watch], ids: list[str]) -> list[Watch]:
    by_id = {watch.id: watch for watch in watches}
    unknown = [watch_id for watch_id in ids if watch_id not in by_id]
    if unknown:
        known = suggest(unknown[0], by_id) or f"; there are {', '.join(by_id)}"
        raise UsageError(f"{unknown[0]}: there is no watch with this id{known}")
    return [by_id[watch_id] for watch_id in ids]


def lines_safe(text: str) -> str:
    return "\n".join(Medium.HEADER.escape(line) for line in text.splitlines())


def user() -> str:
    """Return who runs the command, as far as the system knows."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return ""


def print_json(document: Any) -> None:
    typer.echo(json.dumps(document, indent=2, default=str))


def format_skipped(model: str = "", version: str = "", reason: str = "", **_: Any) -> str:
    remedy = "; give --profile" if reason == "no profile" else ""
    return f"not evaluated: {model} {version}: {reason}{remedy}"


TIMEOUT = 10.0


def is_named(store: Path | None, elasticsearch: str | None, state: Path | None) -> bool:
    from logging_lib.store.connection import PREFIX

    return bool(store or elasticsearch or state or os.environ.get(f"{PREFIX}URL"))


def open_state(store: Path | None, elasticsearch: str | None, state: Path | None) -> StateStore:
    """Open the state that the options name.

    Raises:
        UsageError: none is named.
        StateError, StoreError: it is not a state, or a setting is wrong.
    """
    if state is not None:
        return FileState(state)
    store = options.choose_place(store, elasticsearch)
    if store is not None:
        return FileState(options.existing_folder(store) / FOLDER)
    if not is_named(store, elasticsearch, state):
        raise UsageError("say where the runner's state is: --store PATH, --elasticsearch URL or --state PATH")
    from logging_lib.store.elasticsearch import ElasticsearchStore
    from logging_lib.watch.state.elasticsearch import ElasticsearchState

    # A short timeout: a runner that cannot renew its lease must notice it soon.
    connection = options.connect(elasticsearch, timeout=TIMEOUT)
    return ElasticsearchState(ElasticsearchStore(connection, retry_seconds=TIMEOUT))
