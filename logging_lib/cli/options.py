"""Parse the options that commands share, and open the store that they name."""

from __future__ import annotations

import logging
import os
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from logging_lib._util.errors import LoggingLibError
from logging_lib._util.formatting import join_names
from logging_lib._util.suggestions import suggest, suggest_file
from logging_lib._util.times import format_duration, parse_duration, parse_instant
from logging_lib.store.duckdb.file_table import Progress
from logging_lib.store.duckdb.store import EmbeddedStore
from logging_lib.store.port import Store, StoreError

if TYPE_CHECKING:
    from logging_lib.store.connection import Connection


ROLES: Final = ("live", "shadow")


class UsageError(LoggingLibError):
    """An option has a wrong value."""


def reject(option: str, value: object, problem: str) -> UsageError:
    """Return an error that quotes an option as it was typed: ``--since soon: not a time ...``."""
    return UsageError(f"{option} {str(value) or chr(39) * 2:.200}: {problem}")


def instant(text: str, option: str) -> datetime:
    """Parse an option's ISO 8601 time. Raise UsageError."""
    try:
        return parse_instant(text)
    except ValueError:
        raise reject(option, text, "not an ISO 8601 time such as 2018-02-01T09:00:00Z") from None


def past(text: str, option: str, now: datetime) -> datetime:
    """Parse an option's ISO 8601 time, or a duration ago such as ``7d``. Raise UsageError."""
    try:
        return now - parse_duration(text)
    except OverflowError:
        raise reject(option, text, "longer ago than there are dates") from None
    except ValueError:
        pass
    try:
        return parse_instant(text)
    except ValueError:
        problem = "neither a time such as 2018-02-01T09:00:00Z nor a duration such as 7d"
        raise reject(option, text, problem) from None


def since(text: str, now: datetime) -> datetime:
    """Parse ``--since``. Raise UsageError if it is in the future, where nothing can be found."""
    moment = past(text, "--since", now)
    if moment > now:
        raise reject("--since", text, f"in the future; it is now {_format_second(now)}")
    return moment


@dataclass(frozen=True, slots=True)
class SelectedPeriod:
    """The period that ``--since`` and ``--until`` name, each None if it is not given."""

    since: datetime | None
    until: datetime | None
    start: str | None
    """``--since`` as it was typed."""
    end: str | None
    now: datetime

    @classmethod
    def parse(cls, start: str | None, end: str | None, now: datetime) -> SelectedPeriod:
        """Parse both options. Raise UsageError if one is not a time, or the start is after the end."""
        begin = None if start is None else past(start, "--since", now)
        until = None if end is None else past(end, "--until", now)
        if begin is not None and until is not None and begin > until:
            raise UsageError(f"--since {start:.200} is after --until {end:.200}")
        return cls(begin, until, start, end, now)

    def check(self, first: datetime, last: datetime) -> None:
        """Refuse a period without any event, whose empty result would look as if all were well.

        A silence between or after events can be asked for, by an end.

        Args:
            first, last: the times of the first and the last event.

        Raises:
            UsageError: the period ends before the first event, begins in the future, or begins after the last event
                without an end.
        """
        if self.until is not None and self.until < first:
            raise reject("--until", self.end, f"before the first event, which is of {_format_second(first)}")
        if self.since is None or self.since <= last + timedelta(milliseconds=1):
            return
        if self.since > self.now or self.until is None:
            where = "in the future, and after" if self.since > self.now else "after"
            raise reject("--since", self.start, f"{where} the last event, which is of {_format_second(last)}")


def _format_second(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def duration(text: str, option: str, *, least: timedelta = timedelta(seconds=1)) -> timedelta:
    """Parse an option's duration. Raise UsageError if it is shorter than ``least``."""
    try:
        length = parse_duration(text)
    except ValueError:
        raise reject(
            option, text, "not a duration: a whole number and a unit (ms, s, m, h, d or w), such as 15m"
        ) from None
    if length < least:
        raise reject(option, text, f"must be at least {format_duration(least)}")
    return length


def choice(value: str, option: str, known: Collection[str]) -> str:
    """Return a value that must be one of several names. Raise UsageError with a suggestion."""
    if value not in known:
        raise reject(option, value, f"not one of {', '.join(known)}{suggest(value, known)}")
    return value


EVERY_ELASTICSEARCH = (
    "Credentials are read from LOGGING_LIB_ELASTICSEARCH_API_KEY, or from _USER and _PASSWORD, and the CA file "
    "from _CA. Default: $LOGGING_LIB_ELASTICSEARCH_URL."
)
StoreOption = Annotated[
    Path | None,
    typer.Option(
        "--store",
        metavar="PATH",
        help="Folder of the embedded store.",
        envvar="LOGGING_LIB_STORE",
        show_envvar=True,
    ),
]
ElasticsearchOption = Annotated[
    str | None,
    typer.Option(
        "--elasticsearch",
        metavar="URL",
        help=f"Elasticsearch to use instead of --store. {EVERY_ELASTICSEARCH}",
    ),
]
ClusterOption = Annotated[
    str | None, typer.Option("--elasticsearch", metavar="URL", help=f"Elasticsearch. {EVERY_ELASTICSEARCH}")
]
ModelOption = Annotated[
    str | None,
    typer.Option("--model", metavar="MODEL", help="Name of the model. Default: the only one in the store."),
]
ProfilesOption = Annotated[
    list[Path] | None,
    typer.Option("--profile", metavar="PATH", help="A profile.json to compare with; repeatable."),
]
WatchesOption = Annotated[
    Path | None,
    typer.Option(
        "--watches", metavar="PATH", help="Watch file, or folder of them. Default: the shipped watches."
    ),
]
SinceOption = Annotated[
    str | None,
    typer.Option(
        "--since",
        metavar="TIME",
        help="Start of the period: an ISO 8601 time, or a duration ago such as 7d. Default: the first prediction.",
    ),
]
UntilOption = Annotated[
    str | None,
    typer.Option(
        "--until",
        metavar="TIME",
        help="End of the period: an ISO 8601 time, or a duration ago such as 1h. Default: the last prediction.",
    ),
]
NowOption = Annotated[
    str | None,
    typer.Option("--now", metavar="TIME", help="Act as of this ISO 8601 time. Default: the present."),
]
NamespaceOption = Annotated[
    str, typer.Option("--namespace", metavar="NAME", help="Namespace of the data streams to write to.")
]
SeedOption = Annotated[int, typer.Option("--seed", metavar="N", help="Random seed.")]
HtmlOption = Annotated[
    Path | None, typer.Option("--html", metavar="PATH", help="Also write a page with plots to this file.")
]
UserOption = Annotated[
    str | None,
    typer.Option("--user", metavar="NAME", help="Who does it, for the history. Default: the system's user."),
]
StateOption = Annotated[
    Path | None,
    typer.Option(
        "--state",
        metavar="PATH",
        help="Folder of the watch runner's state. Default: .watch-state in the store or, with --elasticsearch, the "
        "index ml-watch-state.",
        envvar="LOGGING_LIB_WATCH_STATE",
        show_envvar=True,
    ),
]


def connect(url: str | None = None, *, timeout: float | None = None) -> Connection:
    """Connect to the Elasticsearch that the URL or the environment names.

    Args:
        timeout: seconds to wait for one response.

    Raises:
        StoreError: no Elasticsearch is named, or a setting is wrong.
    """
    from logging_lib.store.connection import TIMEOUT, Connection, read_settings

    # The client logs every attempt, but the raised error already says what went wrong.
    logging.getLogger("elastic_transport").addHandler(logging.NullHandler())
    settings = read_settings(url=url, url_name="--elasticsearch" if url else "")
    return Connection(settings, timeout=TIMEOUT if timeout is None else timeout)


def choose_place(directory: Path | None, url: str | None) -> Path | None:
    """Return the folder of the embedded store, or None if ``--elasticsearch`` replaces it.

    Raises:
        UsageError: both options were given. A folder from the environment does not count.
    """
    if directory is None or url is None:
        return directory
    if str(directory) == os.environ.get("LOGGING_LIB_STORE"):
        return None
    raise UsageError("give either --store or --elasticsearch, not both")


def choose(
    directory: Path | None, url: str | None, *, read_only: bool = False, progress: Progress | None = None
) -> Store:
    """Open the store that the options name, for reading.

    Args:
        progress: called while the files of an embedded store are read.

    Raises:
        StoreError: none is named or both are, a setting is wrong, or the store holds no events: it would answer
            that all is well.
    """
    directory = choose_place(directory, url)
    if directory is not None:
        return open_store(directory, read_only=read_only, progress=progress)
    store = open_elasticsearch(url)
    if store.search("logs-ml.prediction-*", {"size": 0, "track_total_hits": False})["_shards"]["total"] == 0:
        store.close()
        raise StoreError(
            "this Elasticsearch has no data stream logs-ml.prediction-* that we may read; index events: "
            "logging-lib index SPOOL --elasticsearch URL"
        )
    return store


def choose_model(model: str | None, models: list[str]) -> str:
    """Return the model that ``--model`` names, or the only one of a store.

    Raises:
        UsageError: the store does not have the model, or without the option has several or none.
    """
    if model is not None and model not in models:
        known = suggest(model, models) or f"; the store has {join_names(models, 10) or 'none'}"
        raise reject("--model", model, f"no predictions of this model{known}")
    if model is None and len(models) != 1:
        raise UsageError(f"choose a model with --model: the store has {join_names(models, 10) or 'none'}")
    return models[0] if model is None else model


def existing_folder(path: Path) -> Path:
    """Return the path of an embedded store that exists. Raise StoreError."""
    if not path.is_dir():
        raise StoreError(
            f"{path}: no such folder{suggest_file(path) or '; give the folder that the events were indexed into'}"
        )
    return path


def open_elasticsearch(url: str | None) -> Store:
    """Open the store over the Elasticsearch that the URL or the environment names. Raise StoreError."""
    from logging_lib.store.connection import PREFIX
    from logging_lib.store.elasticsearch import ElasticsearchStore

    if url is None and not os.environ.get(f"{PREFIX}URL"):
        raise StoreError("say where the events are: --store PATH, or --elasticsearch URL")
    return ElasticsearchStore(connect(url))


def open_store(directory: Path | None, *, read_only: bool = False, progress: Progress | None = None) -> Store:
    """Open the embedded store over a folder, or in memory.

    Raises:
        StoreError: the folder does not exist or has no events: it would answer that all is well.
    """
    if directory is not None and not any(
        stream.is_dir() for stream in existing_folder(directory).glob("logs-*")
    ):
        raise StoreError(
            f"{directory}: this folder has no events; index some: logging-lib index SPOOL --store {directory}"
        )
    return EmbeddedStore(directory, read_only=read_only, progress=progress)
