"""``logging-lib watch backtest``."""

from __future__ import annotations

import contextlib
import sys
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from logging_lib import profile
from logging_lib.cli import _store
from logging_lib.cli.watch._common import (
    JsonOption,
    ProfilesOption,
    UsageError,
    WatchesOption,
    console,
    explained,
    instant,
    load,
    not_judged,
    pick,
    print_json,
    safe,
)
from logging_lib.store.port import Store
from logging_lib.watch.backtest import Backtest, backtest
from logging_lib.watch.templating import Medium
from logging_lib.watch.times import format_instant, parse_duration


def backtest_(
    events: Annotated[
        list[Path] | None,
        typer.Argument(help="Files or folders of JSON lines (spools); or none, with a store."),
    ] = None,
    store: Annotated[Path | None, typer.Option(help="Replay the events of this embedded store.")] = None,
    elasticsearch: _store.ElasticsearchOption = None,
    watches: WatchesOption = None,
    profiles: ProfilesOption = None,
    every: Annotated[str, typer.Option(help="The time between ticks.")] = "5m",
    only: Annotated[list[str] | None, typer.Option("--watch", help="Only this watch id; repeatable.")] = None,
    start: Annotated[str | None, typer.Option(help="Begin here (ISO). Default: the first arrival.")] = None,
    end: Annotated[str | None, typer.Option(help="End here (ISO). Default: the last arrival.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Replay history on the events' own clock and print what would have fired.

    Exit code 1: a watch failed, or nothing could be judged; 2: wrong input.

    Example: logging-lib watch backtest spool --profile profile.json --every 5m
    """
    with explained():
        chosen = load(watches)
        if only:
            chosen = pick(chosen, only)
        step = _step(every)
        with contextlib.ExitStack() as stack:
            opened, loaded = _history(events or [], store, elasticsearch, profiles or [])
            stack.callback(opened.close)
            if loaded.first is None or loaded.last is None:
                where = ", ".join(map(str, events)) if events else "the store"
                raise UsageError(f"no event was read from {where}{_refused(loaded)}")
            begin = instant(start, "--start") if start else loaded.first
            until = instant(end, "--end") if end else loaded.last
            if begin > until:
                raise UsageError(
                    f"nothing to replay: the start {format_instant(begin)} is after the end "
                    f"{format_instant(until)}; see --start and --end"
                )
            result = backtest(opened, chosen, start=begin, end=until, every=step, arrivals=loaded.hours)
    if as_json:
        document = {"events": loaded.events, "refused": dict(loaded.refused), **result.document()}
        print_json(document)
    else:
        _print_timeline(result, loaded)
    raise typer.Exit(0 if result.ok else 1)


def _history(
    events: list[Path], directory: Path | None, url: str | None, profiles: list[Path]
) -> tuple[Store, _store.Loaded]:
    """What a backtest replays: files, loaded into a store in memory, or a store as it is."""
    if events and (directory is not None or url is not None):
        raise UsageError("give either files or a store, not both")
    if not events:
        stored = _store.choose(directory, url, read_only=True)
        opened = _store.with_profiles(stored, profiles) if profiles else stored
        return opened, _store.arrivals(opened)
    opened = _store.open_store(None)
    _store.publish(opened, profiles)
    return opened, _store.load(opened, events, profiles=[profile.load(file) for file in profiles])


def _step(text: str) -> timedelta:
    try:
        step = parse_duration(text)
    except ValueError as error:
        raise UsageError(f"--every: {error}") from None
    if step < timedelta(seconds=1):
        raise UsageError("--every: is at least 1s")
    return step


def _print_timeline(result: Backtest, loaded: _store.Loaded) -> None:
    out = console()
    table = Table("time", "watch", "model", "version", "features", "subject", box=None, pad_edge=False)
    for alert in result.alerts:
        cells = (alert.watch, alert.model, alert.version, ", ".join(alert.features), alert.subject)
        table.add_row(format_instant(alert.time)[:16].replace("T", " "), *map(safe, cells))
    if result.alerts:
        out.print(table)
    span = f"{format_instant(result.start)} to {format_instant(result.end)}"
    print(f"{len(result.alerts)} alerts in {result.ticks} ticks over {loaded.events} events, {span}")
    if loaded.refused:
        print(f"not used{_refused(loaded)}", file=sys.stderr)
    for about in result.skipped:
        print(Medium.HEADER.escape(not_judged(*about)), file=sys.stderr)
    for (watch, error), runs in result.failures.items():
        print(Medium.HEADER.escape(f"{watch}: {runs} runs failed: {error}"), file=sys.stderr)


def _refused(loaded: _store.Loaded) -> str:
    reasons = ", ".join(f"{count} {reason}" for reason, count in loaded.refused.most_common())
    return f": {reasons}" if reasons else ""
