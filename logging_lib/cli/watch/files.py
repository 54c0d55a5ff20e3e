"""``logging-lib watch list | show | lint | test``: look at watch files and check them."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from logging_lib._util import content
from logging_lib._util.formatting import format_count
from logging_lib._util.times import format_duration, format_instant
from logging_lib.cli import options, output
from logging_lib.cli.output import console
from logging_lib.cli.watch import watch_options
from logging_lib.cli.watch.watch_options import (
    JsonOption,
    lines_safe,
    load,
    load_accepted,
    pick,
    print_json,
)
from logging_lib.watch import lint
from logging_lib.watch.backtest.history import explain_direct_searches
from logging_lib.watch.errors import WatchError, WatchProblem
from logging_lib.watch.incidents import Mute, is_muted
from logging_lib.watch.loading import load_watch, load_watches
from logging_lib.watch.model import Watch
from logging_lib.watch.notify.registry import channel_of, recipients
from logging_lib.watch.state.base import WatchState
from logging_lib.watch.templating import Medium
from logging_lib.watch.testing import cases, run

if TYPE_CHECKING:
    from logging_lib.watch.testing.run import NewStore


def list_(
    watches: options.WatchesOption = None,
    as_json: JsonOption = False,
    store: options.StoreOption = None,
    elasticsearch: options.ElasticsearchOption = None,
    state: options.StateOption = None,
) -> None:
    """List the watches: what each looks for, how often, whom it notifies, and its budget of false alarms.

    All shipped watches together raise one false alarm per model and month. A watch without a budget has a limit,
    and alerts whenever it is passed. With --store, --elasticsearch or --state, also the runner's state of each:
    open incidents, how many are acknowledged or muted, and notifications that wait. Exit code 1: a file is refused;
    the other watches are listed.

    Example: logging-lib watch list
    """
    with output.handle_errors():
        listed, refused = load_accepted(watches)
        rows = [_summarize(watch) for watch in listed]
        has_state = watch_options.is_named(store, elasticsearch, state)
        if has_state:
            state_store = watch_options.open_state(store, elasticsearch, state)
            now, mutes = datetime.now(UTC), state_store.mutes()
            for row in rows:
                row |= _describe_state(row["id"], state_store.load(row["id"]), mutes, now)
    if as_json:
        print_json([*rows, *_list_refused(refused)])
        raise typer.Exit(1 if refused else 0)
    state_columns = ("last run", "open", "acked", "muted", "waiting") if has_state else ()
    columns = ("id", "title", "every", "windows", "false alarms", "notifies")
    table = Table(*columns, *state_columns, box=None, pad_edge=False)
    for row in rows:
        cells = [row["id"], row["title"], row["every"], ", ".join(row["windows"])]
        cells += [_format_budget(row["false_alarms"]), ", ".join(row["notifies"])]
        if has_state:
            cells += [
                (row["last_run"] or "")[:16].replace("T", " "),
                str(row["open"]),
                str(row["acknowledged"]),
            ]
            cells += ["all" if row["all_muted"] else str(row["muted"]), str(row["undelivered"])]
        table.add_row(*map(escape, cells))
    console().print(table)
    for line in _sum_budgets(rows):
        console().print(escape(line))
    for problem in refused:
        output.warn(f"refused: {problem}")
    raise typer.Exit(1 if refused else 0)


def _list_refused(problems: list[WatchProblem]) -> list[dict[str, Any]]:
    """Return a row for each refused file."""
    files = dict.fromkeys(problem.file for problem in problems)
    return [
        {"id": Path(file).stem, "refused": [f"{p.path}: {p.message}" for p in problems if p.file == file]}
        for file in files
    ]


def _describe_state(
    watch_id: str, watch_state: WatchState, mutes: tuple[Mute, ...], now: datetime
) -> dict[str, Any]:
    """Describe the runner's state of a watch."""
    open_incidents = [incident for incident in watch_state.incidents if incident.closed_at is None]

    def muted(model: str, version: str, feature: str) -> bool:
        return is_muted(mutes, now, watch=watch_id, model=model, version=version, feature=feature)

    watch_mutes = (mute for mute in mutes if not (mute.model or mute.version or mute.feature))
    return {
        "last_run": format_instant(watch_state.last_scheduled) if watch_state.last_scheduled else None,
        "open": len(open_incidents),
        "acknowledged": sum(incident.acked_at is not None for incident in open_incidents),
        "muted": sum(muted(*incident.key) for incident in open_incidents),
        "all_muted": is_muted(watch_mutes, now, watch=watch_id, model="", version="", feature=""),
        "undelivered": len(watch_state.queue),
        "incidents": [
            {
                **incident.key._asdict(),
                "opened_at": format_instant(incident.opened_at),
                "acknowledged_by": incident.acked_by or None,
                "muted": muted(*incident.key),
            }
            for incident in open_incidents
        ],
    }


def show(
    watch_id: Annotated[
        str, typer.Argument(metavar="WATCH", help="Id of the watch, as `watch list` prints it.")
    ],
    watches: options.WatchesOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print one watch: its concern, settings and actions; with --json the whole file.

    Example: logging-lib watch show na-spike
    """
    with output.handle_errors():
        watch = pick(load(watches), [watch_id])[0]
    if as_json:
        print_json(json.loads(Path(watch.file).read_text("utf-8")))
        return
    out = console()
    out.print(f"[bold]{escape(watch.title)}[/bold] ({escape(watch.id)}), {escape(watch.file)}")
    if "concern" in watch.metadata:
        out.print(escape(str(watch.metadata["concern"])))
    table = Table("setting", "value", box=None, pad_edge=False)
    table.add_row("every", escape(watch.schedule_text))
    for name, value in watch.metadata.items():
        if name not in ("title", "concern"):
            table.add_row(escape(name), escape(value if isinstance(value, str) else json.dumps(value)))
    for name, action in watch.actions.items():
        period = format_duration(watch.throttle_period(name))
        table.add_row(
            f"action {escape(name)}", f"{channel_of(action).name}, at most once per {period} per incident"
        )
    out.print(table)


def _summarize(watch: Watch) -> dict[str, Any]:
    windows = watch.metadata.get("windows", [])
    return {
        "id": watch.id,
        "title": watch.title,
        "every": watch.schedule_text,
        "windows": [str(window) for window in windows] if isinstance(windows, list) else [str(windows)],
        "false_alarms": watch.metadata.get("false_alarms_per_model_month"),
        "notifies": recipients(watch),
    }


def _format_budget(false_alarms: Any) -> str:
    return "no budget" if false_alarms is None else f"{false_alarms:g}"


def _sum_budgets(rows: list[dict[str, Any]]) -> list[str]:
    """Say how many false alarms the shipped watches may raise together, and how many the other ones add."""
    shipped = {file.stem for file in content.path("watchers").glob("*.json")}
    budgets = {row["id"]: row["false_alarms"] for row in rows if isinstance(row["false_alarms"], int | float)}
    together = sum(budget for watch_id, budget in budgets.items() if watch_id in shipped)
    lines = [f"False alarms per model and month, all shipped watches together: {together:.3g}"]
    added = [f"{watch_id} {budget:g}" for watch_id, budget in budgets.items() if watch_id not in shipped]
    if added:
        lines.append(f"Your own watches add: {', '.join(added)}")
    limits = [row["id"] for row in rows if row["id"] not in budgets]
    if limits:
        lines.append(f"No budget, because they alert whenever a limit is passed: {', '.join(limits)}")
    return lines


def lint_(
    paths: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="PATH",
            help="Watch files, or folders of *.json. Default: the shipped watches.",
            show_default=False,
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Check watches before they run: for what the runner refuses, and for what Watcher accepts but ignores.

    Exit code 1: there are errors; 2: a path has no watch. Warnings alone give 0.

    Example: logging-lib watch lint watchers
    """
    paths = paths or [content.path("watchers")]
    with output.handle_errors(), output.progress("Checking"):
        findings = lint.lint_files(paths, now=datetime.now(UTC))
    errors = sum(finding.severity == "error" for finding in findings)
    if as_json:
        print_json([finding.document() for finding in findings])
    else:
        for finding in findings:
            typer.echo(Medium.HEADER.escape(str(finding)))
        for text in _list_direct_searches(paths):
            typer.echo(Medium.HEADER.escape(text))
        warnings = len(findings) - errors
        typer.echo(f"{format_count(errors, 'error')}, {format_count(warnings, 'warning')}")
    raise typer.Exit(1 if errors else 0)


def _list_direct_searches(paths: list[Path]) -> Iterator[str]:
    """Yield what makes a backtest slow, for the watches that can be loaded."""
    for path in paths:
        with contextlib.suppress(WatchError):
            for watch in load_watches(path) if path.is_dir() else [load_watch(path)]:
                for name, reason in explain_direct_searches(watch):
                    yield f"{watch.id}: {name}: a backtest asks the store, and does not count: {reason}"


def unit_test(
    paths: Annotated[list[Path], typer.Argument(metavar="PATH", help="Files of cases, or folders of *.yml.")],
    watches: options.WatchesOption = None,
    elasticsearch: Annotated[
        str | None,
        typer.Option(
            "--elasticsearch",
            metavar="URL",
            help="Run the cases on this Elasticsearch, in temporary indices watch-test-*. Default: on the embedded "
            "store.",
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Run unit tests of watches: what each finds at given times in described events.

    Exit code 1: a watch found something other than the cases say; 2: wrong input.

    Example: logging-lib watch test watchers/cases
    """
    failed = passed = 0
    failure_texts: list[str] = []
    with output.handle_errors(), output.progress("Testing"), contextlib.ExitStack() as stack:
        new_store = _new_store(elasticsearch, stack)
        watches_by_id = {watch.id: watch for watch in load(watches)}
        for loaded in [cases.load_case_file(file) for file in cases.find_case_files(paths)]:
            for _, failures in run.run_file(loaded, watches_by_id, new_store):
                failed, passed = failed + bool(failures), passed + (not failures)
                failure_texts += map(str, failures)
    if as_json:
        print_json({"passed": passed, "failed": failed, "failures": failure_texts})
    else:
        for failure in failure_texts:
            typer.echo(lines_safe(failure))
        typer.echo(f"{format_count(passed, 'case')} passed, {failed:,} failed")
    raise typer.Exit(1 if failed else 0)


def _new_store(url: str | None, stack: contextlib.ExitStack) -> NewStore:
    if url is None:
        return lambda: options.open_store(None)
    from logging_lib.store.sandbox import Sandbox

    connection = stack.enter_context(options.connect(url))
    return lambda: Sandbox(connection)
