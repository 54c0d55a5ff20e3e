"""``logging-lib watch backtest``: replay watches over past events."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from logging_lib import profile
from logging_lib._util.formatting import format_count
from logging_lib._util.times import format_instant
from logging_lib.cli import options, output
from logging_lib.cli.options import UsageError, duration
from logging_lib.cli.output import console, safe
from logging_lib.cli.watch.watch_options import (
    JsonOption,
    format_skipped,
    load,
    pick,
    print_json,
)
from logging_lib.store import loading
from logging_lib.store.duckdb.store import EmbeddedStore
from logging_lib.store.port import Store
from logging_lib.store.profiles import explain_versions, index_profiles, overlay_profiles
from logging_lib.watch.backtest.arrivals import Arrivals, search_arrivals
from logging_lib.watch.backtest.backtest import Backtest, backtest
from logging_lib.watch.backtest.event_time import EventTimeStore
from logging_lib.watch.backtest.history import EventHistory, list_event_indices
from logging_lib.watch.backtest.page import Changes, render_page
from logging_lib.watch.model import Watch
from logging_lib.watch.overrides import apply_overrides, compare_metadata


def backtest_(
    events: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="EVENTS",
            help="Spools, or other files and folders of JSON lines. Default: the events of the store.",
            show_default=False,
        ),
    ] = None,
    store: options.StoreOption = None,
    elasticsearch: options.ElasticsearchOption = None,
    watches: options.WatchesOption = None,
    profiles: options.ProfilesOption = None,
    every: Annotated[
        str, typer.Option(metavar="DURATION", help="Time between two replayed runs of the watches.")
    ] = "5m",
    only: Annotated[
        list[str] | None, typer.Option("--watch", metavar="WATCH", help="Replay only this watch; repeatable.")
    ] = None,
    start: options.SinceOption = None,
    end: options.UntilOption = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="WATCH.KEY=VALUE",
            help="Also replay with this setting, such as na-spike.min_effect=0.05; repeatable.",
        ),
    ] = None,
    html: options.HtmlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Replay history on the events' own clock, and print the alerts that the watches would have raised.

    With --set, the watches that it changes are replayed a second time, and both results are printed. Exit code 1: a
    watch failed, or nothing could be evaluated; 2: wrong input.

    Example: logging-lib watch backtest spool --profile profile.json --every 5m
    """
    with output.handle_errors(), output.progress("Replaying"):
        selected_watches = load(watches)
        if only:
            selected_watches = pick(selected_watches, only)
        step = duration(every, "--every")
        period = options.SelectedPeriod.parse(start, end, datetime.now(UTC))
        overridden_watches = apply_overrides(selected_watches, settings or [])
        with contextlib.ExitStack() as stack:
            opened, load_summary = _open_history(events or [], store, elasticsearch, profiles or [], stack)
            all_watches = [*selected_watches, *overridden_watches]
            indices = list_event_indices(all_watches)
            arrivals = search_arrivals(opened, indices)
            replay_store = opened
            if arrivals.loaded_later:
                replay_store = EventTimeStore(opened)
                arrivals = search_arrivals(replay_store, indices)
            history = EventHistory(replay_store)
            if load_summary is None:
                load_summary = loading.LoadSummary(events=arrivals.events)
            if arrivals.first is None or arrivals.last is None:
                where = ", ".join(map(str, events)) if events else "the store"
                raise UsageError(f"no event was read from {where}{_list_refused(load_summary)}")
            period.check(arrivals.first, arrivals.last)
            begin, until = period.since or arrivals.first, period.until or arrivals.last

            def run(watches: list[Watch]) -> Backtest:
                return backtest(
                    replay_store,
                    watches,
                    start=begin,
                    end=until,
                    every=step,
                    arrivals=arrivals.hours,
                    traffic=arrivals.traffic or None,
                    history=history,
                )

            notes = [output.plain(note) for note in explain_versions(opened)]
            result = run(selected_watches)
            what_if = run(overridden_watches) if overridden_watches else None
        metadata_changes = compare_metadata(selected_watches, overridden_watches)
        notes += _explain_period(arrivals, loaded_later=replay_store is not opened, until=until)
        if html is not None:
            _write_page(
                html,
                render_page(
                    result,
                    events=load_summary.events,
                    now=datetime.now(UTC),
                    what_if=what_if,
                    changes=metadata_changes,
                    notes=notes,
                ),
            )
    if as_json:
        document = {
            "events": load_summary.events,
            "refused": dict(load_summary.refused),
            "clock": "event" if replay_store is not opened else "arrival",
            "notes": notes,
            **result.document(),
        }
        if what_if is not None:
            document["what_if"] = {"set": metadata_changes, **what_if.document()}
        print_json(document)
    else:
        _print_timeline(result, load_summary)
        for note in notes:
            output.note(note)
        if what_if is not None:
            _print_what_if(result, what_if, metadata_changes)
    raise typer.Exit(0 if result.ok and (what_if is None or what_if.ok) else 1)


def _open_history(
    events: list[Path],
    directory: Path | None,
    url: str | None,
    profiles: list[Path],
    stack: contextlib.ExitStack,
) -> tuple[Store, loading.LoadSummary | None]:
    """Open the data of a backtest: files, normalized into a temporary store, or an existing store."""
    is_typed = directory is not None and str(directory) != os.environ.get("LOGGING_LIB_STORE")
    if events and (is_typed or url is not None):
        raise UsageError("give either files or a store, not both")
    if not events:
        replay_store = options.choose(directory, url, read_only=True)
        stack.callback(replay_store.close)
        return overlay_profiles(replay_store, profiles) if profiles else replay_store, None
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="logging-lib-backtest-")))
    with EmbeddedStore(folder) as writable:
        index_profiles(writable, profiles)
    with loading.JsonLinesWriter(folder) as lines:
        load_summary = loading.load(lines, events, profiles=[profile.load(file) for file in profiles])
    return stack.enter_context(EmbeddedStore(folder, read_only=True)), load_summary


def _explain_period(arrivals: Arrivals, *, loaded_later: bool, until: datetime) -> Iterator[str]:
    if loaded_later:
        yield (
            "The events were loaded after they happened, or have no arrival: "
            "they count from their own time, not from their arrival."
        )
    if arrivals.end is not None and arrivals.end - until > _SILENCE:
        yield (
            f"Other events than predictions arrived until {format_instant(arrivals.end)}; "
            "with --until the watches are evaluated beyond the last prediction."
        )


_SILENCE = timedelta(hours=1)


def _write_page(file: Path, text: str) -> None:
    try:
        file.write_text(text, "utf-8")
    except OSError as error:
        raise UsageError(f"--html {file}: cannot be written: {error.strerror or error}") from None


def _print_timeline(result: Backtest, load_summary: loading.LoadSummary) -> None:
    out = console()
    table = Table("time", "watch", "model", "version", "features", "subject", box=None, pad_edge=False)
    for alert in result.alerts:
        cells = (alert.watch, alert.model, alert.version, ", ".join(alert.features), alert.subject)
        table.add_row(format_instant(alert.time)[:16].replace("T", " "), *map(safe, cells))
    if result.alerts:
        out.print(table)
        out.print(_daily_table(result))
        out.print(f"per day: of {result.days_with_traffic:.1f} days with predictions")
    span = f"{result.start:%Y-%m-%d %H:%M:%S} to {result.end:%Y-%m-%d %H:%M:%S} UTC"
    print(
        f"{format_count(len(result.alerts), 'alert')}, {format_count(result.ticks, 'tick')}, "
        f"{format_count(load_summary.events, 'event')}, {span}"
    )
    if load_summary.refused:
        output.warn(f"not used{_list_refused(load_summary)}")
    for skip in result.skipped:
        output.warn(format_skipped(*skip))
    for (watch, error), runs in result.failures.items():
        output.warn(f"{watch}: {format_count(runs, 'run')} failed: {error}")


def _daily_table(result: Backtest) -> Table:
    table = Table("watch", "alerts", "per day", "busiest day", box=None, pad_edge=False)
    for watch in result.watches:
        days = result.alerts_a_day(watch)
        if any(days):
            table.add_row(watch, str(sum(days)), f"{result.mean_a_day(watch):.2f}", str(max(days)))
    return table


def _print_what_if(result: Backtest, what_if: Backtest, metadata_changes: Changes) -> None:
    table = Table("watch", "setting", "as it is", "what if", box=None, pad_edge=False)
    for watch, keys in metadata_changes.items():
        for key, (before, after) in keys.items():
            table.add_row(watch, key, safe(str(before)), safe(str(after)))
        counts = [sum(backtest_result.alerts_a_day(watch)) for backtest_result in (result, what_if)]
        table.add_row(watch, "alerts", *map(str, counts))
        table.add_row(
            watch,
            "alerts per day",
            *(f"{backtest_result.mean_a_day(watch):.2f}" for backtest_result in (result, what_if)),
        )
    out = console()
    out.print("\nWhat if:")
    out.print(table)
    for (watch, error), runs in what_if.failures.items():
        output.warn(f"{watch}, what if: {format_count(runs, 'run')} failed: {error}")


def _list_refused(load_summary: loading.LoadSummary) -> str:
    reasons = ", ".join(f"{count:,} {reason}" for reason, count in load_summary.refused.most_common())
    return f": {reasons}" if reasons else ""
