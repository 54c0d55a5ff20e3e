"""``logging-lib watch backtest``."""

from __future__ import annotations

import contextlib
import sys
import tempfile
from datetime import UTC
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from logging_lib import profile
from logging_lib._util.datemath import from_millis
from logging_lib._util.times import format_instant
from logging_lib.cli import options
from logging_lib.cli.options import UsageError, duration, instant
from logging_lib.cli.output import console, safe
from logging_lib.cli.watch._common import (
    JsonOption,
    ProfilesOption,
    WatchesOption,
    explained,
    load,
    not_judged,
    pick,
    print_json,
)
from logging_lib.store import loading
from logging_lib.store.duckdb.store import EmbeddedStore
from logging_lib.store.port import Store, StoreError
from logging_lib.store.profiles import index_profiles, overlay_profiles
from logging_lib.watch.checking.whatif import changes, overridden
from logging_lib.watch.model import Watch
from logging_lib.watch.replay.backtest import Backtest, backtest
from logging_lib.watch.replay.history import History
from logging_lib.watch.replay.page import Changes, page
from logging_lib.watch.replay.windows import NotPlannedError
from logging_lib.watch.templating import Medium


def backtest_(
    events: Annotated[
        list[Path] | None,
        typer.Argument(help="Files or folders of JSON lines (spools); or none, with a store."),
    ] = None,
    store: Annotated[Path | None, typer.Option(help="Replay the events of this embedded store.")] = None,
    elasticsearch: options.ElasticsearchOption = None,
    watches: WatchesOption = None,
    profiles: ProfilesOption = None,
    every: Annotated[str, typer.Option(help="The time between ticks.")] = "5m",
    only: Annotated[list[str] | None, typer.Option("--watch", help="Only this watch id; repeatable.")] = None,
    start: Annotated[
        str | None,
        typer.Option("--since", "--start", help="From this ISO time on. Default: the first arrival."),
    ] = None,
    end: Annotated[
        str | None,
        typer.Option("--until", "--end", help="Until this ISO time. Default: the last arrival."),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="What if: WATCH.KEY=VALUE, such as na-spike.min_effect=0.05; repeatable."),
    ] = None,
    html: Annotated[Path | None, typer.Option(help="Write a page with the timeline to this file.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Replay history on the events' own clock and print what would have fired.

    With --set the watches that it changes run a second time, and both are shown.
    Exit code 1: a watch failed, or nothing could be judged; 2: wrong input.

    Example: logging-lib watch backtest spool --profile profile.json --every 5m
    """
    with explained():
        chosen = load(watches)
        if only:
            chosen = pick(chosen, only)
        step = duration(every, "--every")
        changed = overridden(chosen, settings or [])
        with contextlib.ExitStack() as stack:
            opened, loaded = _history(events or [], store, elasticsearch, profiles or [], stack)
            history = History(opened, [*chosen, *changed])
            loaded = _arrivals(opened, history) if loaded is None else loaded
            if loaded.first is None or loaded.last is None:
                where = ", ".join(map(str, events)) if events else "the store"
                raise UsageError(f"no event was read from {where}{_refused(loaded)}")
            begin = instant(start, "--since") if start else loaded.first
            until = instant(end, "--until") if end else loaded.last
            if begin > until:
                raise UsageError(
                    f"nothing to replay: the start {format_instant(begin)} is after the end "
                    f"{format_instant(until)}; see --since and --until"
                )

            def run(watches: list[Watch]) -> Backtest:
                return backtest(
                    opened,
                    watches,
                    start=begin,
                    end=until,
                    every=step,
                    arrivals=loaded.hours,
                    history=history,
                )

            result = run(chosen)
            what_if = run(changed) if changed else None
        altered = changes(chosen, changed)
        if html is not None:
            _write(html, page(result, events=loaded.events, what_if=what_if, changes=altered))
    if as_json:
        document = {"events": loaded.events, "refused": dict(loaded.refused), **result.document()}
        if what_if is not None:
            document["what_if"] = {"set": altered, **what_if.document()}
        print_json(document)
    else:
        _print_timeline(result, loaded)
        if what_if is not None:
            _print_what_if(result, what_if, altered)
    raise typer.Exit(0 if result.ok and (what_if is None or what_if.ok) else 1)


def _history(
    events: list[Path],
    directory: Path | None,
    url: str | None,
    profiles: list[Path],
    stack: contextlib.ExitStack,
) -> tuple[Store, loading.LoadSummary | None]:
    """What a backtest replays: files, normalized into a store of its own, or a store as it is."""
    if events and (directory is not None or url is not None):
        raise UsageError("give either files or a store, not both")
    if not events:
        opened = options.choose(directory, url, read_only=True)
        stack.callback(opened.close)
        return overlay_profiles(opened, profiles) if profiles else opened, None
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="logging-lib-backtest-")))
    with EmbeddedStore(folder) as writable:
        index_profiles(writable, profiles)
    with loading.JsonLinesWriter(folder) as lines:
        loaded = loading.load(lines, events, profiles=[profile.load(file) for file in profiles])
    return stack.enter_context(EmbeddedStore(folder, read_only=True)), loaded


def _arrivals(store: Store, history: History) -> loading.LoadSummary:
    try:
        times = history.arrivals()
    except (NotPlannedError, StoreError):
        return loading.summarize_arrivals(store)
    loaded = loading.LoadSummary(events=len(times))
    if len(times):
        loaded.first, loaded.last = (from_millis(int(times[end]), UTC) for end in (0, -1))
        hours = set((times // _HOUR * _HOUR).tolist())
        loaded.hours = {from_millis(hour, UTC) for hour in hours}
    return loaded


_HOUR = 3_600_000


def _write(file: Path, text: str) -> None:
    try:
        file.write_text(text, "utf-8")
    except OSError as error:
        raise UsageError(f"--html: {file}: cannot be written: {error.strerror or error}") from None


def _print_timeline(result: Backtest, loaded: loading.LoadSummary) -> None:
    out = console()
    table = Table("time", "watch", "model", "version", "features", "subject", box=None, pad_edge=False)
    for alert in result.alerts:
        cells = (alert.watch, alert.model, alert.version, ", ".join(alert.features), alert.subject)
        table.add_row(format_instant(alert.time)[:16].replace("T", " "), *map(safe, cells))
    if result.alerts:
        out.print(table)
        out.print(_a_day(result))
    span = f"{format_instant(result.start)} to {format_instant(result.end)}"
    print(f"{len(result.alerts)} alerts in {result.ticks} ticks over {loaded.events} events, {span}")
    if loaded.refused:
        print(f"not used{_refused(loaded)}", file=sys.stderr)
    for about in result.skipped:
        print(Medium.HEADER.escape(not_judged(*about)), file=sys.stderr)
    for (watch, error), runs in result.failures.items():
        print(Medium.HEADER.escape(f"{watch}: {runs} runs failed: {error}"), file=sys.stderr)


def _a_day(result: Backtest) -> Table:
    table = Table("watch", "alerts", "a day", "busiest day", box=None, pad_edge=False)
    for watch in result.watches:
        days = result.alerts_a_day(watch)
        if any(days):
            table.add_row(watch, str(sum(days)), f"{result.mean_a_day(watch):.2f}", str(max(days)))
    return table


def _print_what_if(result: Backtest, what_if: Backtest, altered: Changes) -> None:
    table = Table("watch", "setting", "as it is", "what if", box=None, pad_edge=False)
    for watch, keys in altered.items():
        for key, (before, after) in keys.items():
            table.add_row(watch, key, safe(str(before)), safe(str(after)))
        counts = [sum(one.alerts_a_day(watch)) for one in (result, what_if)]
        table.add_row(watch, "alerts", *map(str, counts))
        table.add_row(watch, "alerts a day", *(f"{one.mean_a_day(watch):.2f}" for one in (result, what_if)))
    out = console()
    out.print("\nWhat if:")
    out.print(table)
    for (watch, error), runs in what_if.failures.items():
        print(Medium.HEADER.escape(f"{watch}, what if: {runs} runs failed: {error}"), file=sys.stderr)


def _refused(loaded: loading.LoadSummary) -> str:
    reasons = ", ".join(f"{count} {reason}" for reason, count in loaded.refused.most_common())
    return f": {reasons}" if reasons else ""
