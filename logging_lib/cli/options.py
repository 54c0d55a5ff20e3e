"""Parse the options that commands share, and open the store that they name."""

from __future__ import annotations

import logging
import os
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from logging_lib._util.errors import LoggingLibError
from logging_lib._util.times import parse_duration, parse_instant
from logging_lib.store.duckdb.file_table import Progress
from logging_lib.store.duckdb.store import EmbeddedStore
from logging_lib.store.port import Store, StoreError

if TYPE_CHECKING:
    from logging_lib.store.connection import Connection


class UsageError(LoggingLibError):
    """Reject a command line: an option has a wrong value."""


def instant(text: str, option: str) -> datetime:
    """Read an ISO 8601 time given to an option. Raises UsageError."""
    try:
        return parse_instant(text)
    except ValueError:
        raise UsageError(f"{option}: {text!r} is not an ISO 8601 time such as 2018-02-01T09:00:00Z") from None


def duration(text: str, option: str) -> timedelta:
    """Read a duration of at least one second given to an option. Raises UsageError."""
    try:
        length = parse_duration(text)
    except ValueError as error:
        raise UsageError(f"{option}: {error}") from None
    if length < timedelta(seconds=1):
        raise UsageError(f"{option}: must be at least 1s")
    return length


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
    """Connect to the Elasticsearch that the URL or the environment names.

    Args:
        timeout: seconds to wait for one answer.

    Raises:
        StoreError: none is named, or a setting is wrong.
    """
    from logging_lib.store.connection import TIMEOUT, Connection, read_settings

    # The client logs every attempt; what went wrong is in the error that is raised.
    logging.getLogger("elastic_transport").addHandler(logging.NullHandler())
    return Connection(read_settings(url=url), timeout=TIMEOUT if timeout is None else timeout)


def choose(
    directory: Path | None, url: str | None, *, read_only: bool = False, progress: Progress | None = None
) -> Store:
    """Open the store that the options name, to read from.

    Args:
        progress: is called while the files of an embedded store are read.

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


def only_model(models: list[str]) -> str:
    """Return the one model of a store. Raises UsageError where there are several or none."""
    if len(models) != 1:
        raise UsageError(f"choose a model with --model: there are {', '.join(models) or 'none'}")
    return models[0]


def existing_folder(path: Path) -> Path:
    """Return the path of an embedded store that exists. Raises StoreError."""
    if not path.is_dir():
        raise StoreError(f"{path}: no such folder; give the folder that the events were stored in")
    return path


def open_elasticsearch(url: str | None) -> Store:
    """Open the store over the Elasticsearch that the URL or the environment names. Raises StoreError."""
    from logging_lib.store.connection import PREFIX
    from logging_lib.store.elasticsearch import ElasticsearchStore

    if url is None and not os.environ.get(f"{PREFIX}URL"):
        raise StoreError("say where the events are: --store FOLDER, or --elasticsearch URL")
    return ElasticsearchStore(connect(url))


def open_store(directory: Path | None, *, read_only: bool = False, progress: Progress | None = None) -> Store:
    """Open the embedded store over a folder, or in memory.

    Raises:
        StoreError: when the folder does not exist or has no events: it would answer that all is well.
    """
    if directory is not None and not any(
        stream.is_dir() for stream in existing_folder(directory).glob("logs-*")
    ):
        raise StoreError(
            f"{directory}: holds no events; index some with: logging-lib index SPOOL --store {directory}"
        )
    return EmbeddedStore(directory, read_only=read_only, progress=progress)
