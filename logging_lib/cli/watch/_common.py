"""What the commands of ``logging-lib watch`` share: options, errors, and how text of a log is shown."""

from __future__ import annotations

import contextlib
import getpass
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from logging_lib._util import content
from logging_lib.cli import output
from logging_lib.cli.options import UsageError
from logging_lib.profile import ProfileError
from logging_lib.store.port import StoreError
from logging_lib.watch.errors import StateError, WatchError
from logging_lib.watch.loading import load_watches, with_kibana_url
from logging_lib.watch.model import Watch
from logging_lib.watch.notify.base import SettingsError
from logging_lib.watch.overrides import OverrideError
from logging_lib.watch.templating import Medium
from logging_lib.watch.testing.cases import CaseError

WatchesOption = Annotated[
    Path | None,
    typer.Option("--watches", help="Folder of watch files, or one file. Default: the shipped ones."),
]
ProfilesOption = Annotated[
    list[Path] | None,
    typer.Option("--profile", help="profile.json to compare with; may be given several times."),
]
JsonOption = output.JsonOption


@contextlib.contextmanager
def explained() -> Iterator[None]:
    """Wrong input ends with its reason on standard error and exit code 2, never with a traceback."""
    try:
        yield
    except (
        CaseError,
        WatchError,
        ProfileError,
        OverrideError,
        SettingsError,
        StateError,
        StoreError,
        FileNotFoundError,
        UsageError,
    ) as error:
        raise output.fail(error) from None


def load(path: Path | None) -> list[Watch]:
    watches = load_watches(content.path("watchers") if path is None else path)
    return with_kibana_url(watches, os.environ)


def pick(watches: list[Watch], ids: list[str]) -> list[Watch]:
    known = {watch.id: watch for watch in watches}
    unknown = [watch_id for watch_id in ids if watch_id not in known]
    if unknown:
        raise UsageError(f"no watch {unknown[0]!r}; there are {', '.join(known)}")
    return [known[watch_id] for watch_id in ids]


def lines_safe(text: str) -> str:
    return "\n".join(Medium.HEADER.escape(line) for line in text.splitlines())


def user() -> str:
    """Who runs the command, as far as the system says it."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return ""


def print_json(document: Any) -> None:
    typer.echo(json.dumps(document, indent=2, default=str))


def not_judged(model: str = "", version: str = "", reason: str = "", **_: Any) -> str:
    remedy = "; give --profile" if reason == "no profile" else ""
    return f"not judged: {model} {version}: {reason}{remedy}"
