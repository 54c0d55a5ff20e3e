"""``logging-lib report``: one page about a model and a period."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from logging_lib._util import resources
from logging_lib.cli import _print, _store
from logging_lib.cli._given import UsageError, duration, instant
from logging_lib.jobs.overlay import with_profiles
from logging_lib.profile import ProfileError
from logging_lib.store.port import StoreError
from logging_lib.watch.checking.loading import load_watches
from logging_lib.watch.errors import WatchError
from logging_lib.watch.templating import Medium
from logging_lib.watch.times import parse_instant


class Format(StrEnum):
    html = "html"
    json = "json"
    md = "md"


def report(
    store: _store.StoreOption = None,
    elasticsearch: _store.ElasticsearchOption = None,
    profiles: Annotated[
        list[Path] | None,
        typer.Option("--profile", help="profile.json to compare with; may be given several times."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="The file to write; without it standard output.")
    ] = None,
    form: Annotated[Format, typer.Option("--format", help="html, json or md.")] = Format.html,
    model: Annotated[
        str | None, typer.Option(help="Default: the profile's, or the store's only one.")
    ] = None,
    version: Annotated[
        str | None, typer.Option(help="Default: the profile's, or that which predicted most.")
    ] = None,
    role: Annotated[
        str | None, typer.Option(help="live or shadow. Default: live where there is any.")
    ] = None,
    start: Annotated[
        str | None,
        typer.Option("--since", "--start", help="From this ISO time on. Default: the first prediction."),
    ] = None,
    end: Annotated[
        str | None,
        typer.Option("--until", "--end", help="Until this ISO time. Default: the last prediction."),
    ] = None,
    alerts: Annotated[
        list[Path] | None,
        typer.Option(help="Alerts that `watch run --alerts` wrote; without it the watches are replayed."),
    ] = None,
    every: Annotated[
        str | None,
        typer.Option(help="The time between ticks of the replay. Default: 5m, longer over a long period."),
    ] = None,
    replay: Annotated[
        bool, typer.Option(help="Replay the watches over the period to find its alerts.")
    ] = True,
    watches: Annotated[
        Path | None,
        typer.Option("--watches", help="Folder of watch files, or one file. Default: the shipped ones."),
    ] = None,
) -> None:
    """One self-contained page about a model and a period: verdict, alerts, inputs, predictions, latency, quality.

    Exit code 2: wrong input, or nothing to report of.

    Example: logging-lib report --store build/store --profile profile.json -o report.html
    """
    _print.remember_json(form is Format.json)
    with _explained(), contextlib.ExitStack() as stack:
        from logging_lib.report import alerts as alerting
        from logging_lib.report import collect, document, markdown
        from logging_lib.report.page import render_page

        beginning = None if start is None else instant(start, "--since")
        ending = None if end is None else instant(end, "--until")
        if beginning is not None and ending is not None and beginning > ending:
            raise UsageError("--since is after --until: there is no time between them")
        chosen = load_watches(resources.path("watchers") if watches is None else watches)
        opened = _store.choose(store, elasticsearch, read_only=True)
        stack.callback(opened.close)
        if profiles:
            opened = with_profiles(opened, profiles)
            stack.callback(opened.close)
            model, version = _of_profile(profiles, model, version)
        subject = collect.subject_of(
            opened, model=model, version=version, role=role, start=beginning, end=ending
        )
        if alerts:
            # An alert comes after its events: without an end, the last one may have come after the last event.
            documents = alerting.select(
                (each for file in alerts for each in _read(file)), subject.model, beginning, ending
            )
            found = alerting.FoundAlerts(
                documents, alerting.name_files(alerts), "the alerts that the runner wrote"
            )
        elif replay:
            found = alerting.replay(
                opened, chosen, subject, None if every is None else duration(every, "--every")
            )
        else:
            found = alerting.FoundAlerts()
        made = collect.collect(
            opened,
            subject,
            now=datetime.now(UTC),
            found=found,
            watches=chosen,
            runbooks=alerting.read_runbooks(chosen, watches),
        )
        if form is Format.html:
            text = render_page(made)
        elif form is Format.md:
            text = markdown.render(made)
        else:
            text = json.dumps(document.document(made), indent=2, ensure_ascii=True, allow_nan=False) + "\n"
        if out is None:
            sys.stdout.write(text)
            return
        _write(out, text)
    print(Medium.HEADER.escape(made.verdict.sentence))
    print(Medium.HEADER.escape(made.verdict.seen))
    print(f"written to {out}")


@contextlib.contextmanager
def _explained() -> Iterator[None]:
    """Wrong input ends with its reason on standard error and exit code 2, never with a traceback."""
    try:
        yield
    except ModuleNotFoundError as missing:
        raise _print.not_installed(missing, "report") from None
    except (WatchError, ProfileError, StoreError, FileNotFoundError, UsageError) as error:
        raise _print.fail(error) from None


def _of_profile(files: list[Path], model: str | None, version: str | None) -> tuple[str | None, str | None]:
    """What the report is about where the profiles leave no choice."""
    from logging_lib import profile

    known = {(one.model, one.version) for one in map(profile.load, files)}
    fitting = {pair for pair in known if model in (None, pair[0]) and version in (None, pair[1])}
    if len(fitting) == 1:
        return next(iter(fitting))
    return model, version


def _read(file: Path) -> Iterator[Mapping[str, Any]]:
    """The alerts of a file that the runner wrote."""
    for number, line in enumerate(file.read_text("utf-8").splitlines(), 1):
        if not line.strip():
            continue
        try:
            alert = json.loads(line)
            parse_instant(str(alert["time"]))
            str(alert["watch"])
        except (ValueError, KeyError, TypeError):
            raise UsageError(
                f"{file}:{number}: is no alert; give the file that `watch run --alerts` wrote"
            ) from None
        yield alert


def _write(out: Path, text: str) -> None:
    """The whole file or nothing."""
    beside = out.with_name(f".{out.name}.{os.getpid()}")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        beside.write_text(text, "utf-8")
        beside.replace(out)
    except OSError as error:
        with contextlib.suppress(OSError):
            beside.unlink()
        raise UsageError(f"--out: {out} cannot be written: {error.strerror or error}") from None
