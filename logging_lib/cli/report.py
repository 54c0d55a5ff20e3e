"""``logging-lib report``: one page about a model and a period."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from logging_lib._util import content
from logging_lib._util.times import parse_instant
from logging_lib.analysis import samples
from logging_lib.cli import options, output
from logging_lib.cli.options import UsageError, duration
from logging_lib.store.profiles import overlay_profiles
from logging_lib.watch.loading import load_watches

FORMATS: Final = ("html", "json", "md")


def report(
    store: options.StoreOption = None,
    elasticsearch: options.ElasticsearchOption = None,
    profiles: options.ProfilesOption = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="PATH", help="File to write. Default: standard output."),
    ] = None,
    form: Annotated[
        str, typer.Option("--format", metavar="FORMAT", help=f"Format of the report: {', '.join(FORMATS)}.")
    ] = "html",
    model: Annotated[
        str | None,
        typer.Option(metavar="MODEL", help="Name of the model. Default: the profile's, or the only one."),
    ] = None,
    version: Annotated[
        str | None,
        typer.Option(
            metavar="VERSION",
            help="Version of the model. Default: the profile's, or the one that predicted most.",
        ),
    ] = None,
    role: Annotated[
        str | None,
        typer.Option(metavar="ROLE", help="live or shadow. Default: live, if anything was served live."),
    ] = None,
    start: options.SinceOption = None,
    end: options.UntilOption = None,
    alerts: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="PATH",
            help="File of alerts that `watch run --alerts` wrote; repeatable. Default: replay the watches.",
        ),
    ] = None,
    every: Annotated[
        str | None,
        typer.Option(
            metavar="DURATION",
            help="Time between two replayed runs of the watches. Default: 5m, longer over a long period.",
        ),
    ] = None,
    replay: Annotated[
        bool, typer.Option(help="Replay the watches over the period to find its alerts.")
    ] = True,
    by: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Slice a classifier's quality by this feature, or labels.KEY."),
    ] = None,
    watches: options.WatchesOption = None,
) -> None:
    """Write a self-contained page about a model and a period: verdict, alerts, inputs, predictions, quality.

    Exit code 2: wrong input, or nothing to report.

    Example: logging-lib report --store build/store --profile profile.json --out report.html
    """
    output.remember_json(form == "json")
    with output.handle_errors(extra="report"), contextlib.ExitStack() as stack:
        from logging_lib.report import alerts as alerting
        from logging_lib.report import collect, document, markdown
        from logging_lib.report.page import render_page

        options.choice(form, "--format", FORMATS)
        if role is not None:
            options.choice(role, "--role", options.ROLES)
        stack.enter_context(output.progress("Making the report"))
        now = datetime.now(UTC)
        period = options.SelectedPeriod.parse(start, end, now)
        watch_list = load_watches(content.path("watchers") if watches is None else watches)
        opened = options.choose(store, elasticsearch, read_only=True)
        stack.callback(opened.close)
        if profiles:
            opened = overlay_profiles(opened, profiles)
            stack.callback(opened.close)
            model, version = _of_profile(profiles, model, version)
        if model is not None:
            options.choose_model(model, samples.models(opened))
        if (start or end) and (times := collect.find_times(opened, model)) is not None:
            period.check(*times)
        subject = collect.subject_of(
            opened, model=model, version=version, role=role, start=period.since, end=period.until
        )
        if alerts:
            # An alert follows its events: without an end, the last alert may be later than the last event.
            alerts_of_model = alerting.select(
                (alert for file in alerts for alert in _read(file)), subject.model, period.since, period.until
            )
            reported_alerts = alerting.FoundAlerts(
                alerts_of_model, alerting.name_files(alerts), "the alerts that the runner wrote"
            )

        elif replay:
            reported_alerts = alerting.replay(
                opened, watch_list, subject, None if every is None else duration(every, "--every")
            )
        else:
            reported_alerts = alerting.FoundAlerts()
        page = collect.collect(
            opened,
            subject,
            now=datetime.now(UTC),
            found=reported_alerts,
            watches=watch_list,
            runbooks=alerting.read_runbooks(watch_list, watches),
            by=by,
        )
        if form == "html":
            text = render_page(page)
        elif form == "md":
            text = markdown.render(page)
        else:
            text = json.dumps(document.document(page), indent=2, ensure_ascii=True, allow_nan=False) + "\n"
        if out is None:
            sys.stdout.write(text)
            return
        _write(out, text)
    print(output.plain(page.verdict.sentence))
    print(output.plain(page.verdict.seen))
    print(f"{out}: report written")


def _of_profile(files: list[Path], model: str | None, version: str | None) -> tuple[str | None, str | None]:
    """Return the subject of the report if the profiles leave no choice."""
    from logging_lib import profile

    candidates = {(profile_file.model, profile_file.version) for profile_file in map(profile.load, files)}
    matching = {pair for pair in candidates if model in (None, pair[0]) and version in (None, pair[1])}
    if len(matching) == 1:
        return next(iter(matching))
    return model, version


def _read(file: Path) -> Iterator[Mapping[str, Any]]:
    """Yield the alerts of a file that the runner wrote."""
    for number, line in enumerate(file.read_text("utf-8").splitlines(), 1):
        if not line.strip():
            continue
        try:
            alert = json.loads(line)
            parse_instant(str(alert["time"]))
            str(alert["watch"])
        except (ValueError, KeyError, TypeError):
            raise UsageError(
                f"{file}:{number}: not an alert; give the file that `watch run --alerts` wrote"
            ) from None
        yield alert


def _write(out: Path, text: str) -> None:
    """Write the whole file or nothing."""
    temporary = out.with_name(f".{out.name}.{os.getpid()}")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(text, "utf-8")
        temporary.replace(out)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise UsageError(f"--out {out}: cannot be written: {error.strerror or error}") from None
