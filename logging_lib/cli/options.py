"""Parse the options that commands share, and open the store that they name."""

from __future__ import annotations

import logging
import os
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from logging_lib._util.times import parse_duration, parse_instant
from logging_lib.store.duckdb.file_table import Progress
from logging_lib.store.duckdb.store import EmbeddedStore
from logging_lib.store.port import Store, StoreError

if TYPE_CHECKING:
    from logging_lib.store.connection import Connection


class UsageError(Exception):
    """The words of a command are off: what and why."""


def instant(text: str, option: str) -> datetime:
    """An ISO time. Raises UsageError."""
    try:
        return parse_instant(text)
    except ValueError:
        raise UsageError(f"{option}: {text!r} is no ISO time such as 2018-02-01T09:00:00Z") from None


def duration(text: str, option: str) -> timedelta:
    """A length of time, a second at the least. Raises UsageError."""
    try:
        found = parse_duration(text)
    except ValueError as error:
        raise UsageError(f"{option}: {error}") from None
    if found < timedelta(seconds=1):
        raise UsageError(f"{option}: is at least 1s")
    return found


StoreOption = Annotated[
    Path | None,
    typer.Option(
        "--store", help="Folder of the embedded store.", envvar="LOGGING_LIB_STORE", show_envvar=True
    ),
]
ElasticsearchOption = Annotated[
    str | None,
    typer.Option(
        "--elasticsearch",
        metavar="URL",
        help="Elasticsearch instead of --store. Credentials come from LOGGING_LIB_ELASTICSEARCH_API_KEY, "
        "or _USER and _PASSWORD; the authority's file from _CA. [LOGGING_LIB_ELASTICSEARCH_URL]",
    ),
]


def connect(url: str | None = None, *, timeout: float | None = None) -> Connection:
    """A connection to the Elasticsearch that the URL or the environment names.

    Args:
        timeout: seconds to wait for one answer.

    Raises:
        StoreError: none is named, or a setting is wrong.
    """
    from logging_lib.store.connection import TIMEOUT, Connection, read_settings

    # Its remarks on each try would stand between ours; what went wrong is in the error that is raised.
    logging.getLogger("elastic_transport").addHandler(logging.NullHandler())
    return Connection(read_settings(url=url), timeout=TIMEOUT if timeout is None else timeout)


def choose(
    directory: Path | None, url: str | None, *, read_only: bool = False, progress: Progress | None = None
) -> Store:
    """The store that the options name, to read from.

    Args:
        progress: of reading the files of an embedded store.

    Raises:
        StoreError: none is named or both are, a setting is wrong, or it holds no events: it would answer that
            all is well.
    """
    if directory is not None and url is not None:
        raise StoreError("give either --store or --elasticsearch, not both")
    if directory is not None:
        return open_store(directory, read_only=read_only, progress=progress)
    store = open_elasticsearch(url)
    if store.search("logs-ml.prediction-*", {"size": 0, "track_total_hits": False})["_shards"]["total"] == 0:
        store.close()
        raise StoreError(
            "this Elasticsearch has no data stream logs-ml.prediction-* that we may read; index events with: "
            "logging-lib index SPOOL --elasticsearch URL"
        )
    return store


def open_elasticsearch(url: str | None) -> Store:
    """The store over the Elasticsearch that the URL or the environment names. Raises StoreError."""
    from logging_lib.store.connection import PREFIX
    from logging_lib.store.elasticsearch import ElasticsearchStore

    if url is None and not os.environ.get(f"{PREFIX}URL"):
        raise StoreError("say where the events are: --store FOLDER, or --elasticsearch URL")
    return ElasticsearchStore(connect(url))


def open_store(directory: Path | None, *, read_only: bool = False, progress: Progress | None = None) -> Store:
    """The embedded store over a folder, or in memory.

    Raises:
        StoreError: when the folder does not exist or has no events: it would answer that all is well.
    """
    if directory is not None and not directory.is_dir():
        raise StoreError(f"{directory}: no such folder; give the folder that the events were stored in")
    if directory is not None and not any(found.is_dir() for found in directory.glob("logs-*")):
        raise StoreError(
            f"{directory}: holds no events; index some with: logging-lib index SPOOL --store {directory}"
        )
    return EmbeddedStore(directory, read_only=read_only, progress=progress)
