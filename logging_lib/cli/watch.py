"""``logging-lib watch``: list, show, run and backtest the watches."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from logging_lib import content, profile
from logging_lib.cli import _store
from logging_lib.profile import ProfileError
from logging_lib.store.port import Store, StoreError
from logging_lib.watch import cases, testing
from logging_lib.watch.actions import Outlet, PrintOutlet, SettingsError, outlets_from
from logging_lib.watch.backtest import Backtest, backtest
from logging_lib.watch.cases import CaseError
from logging_lib.watch.errors import WatchError
from logging_lib.watch.loading import load_watches
from logging_lib.watch.messages import recipients
from logging_lib.watch.metadata import needs_profiles
from logging_lib.watch.model import ACTION_KINDS, Watch
from logging_lib.watch.results import ActionResult, Report
from logging_lib.watch.runner import Runner, append
from logging_lib.watch.state import FileState, MemoryState, StateError, StateStore
from logging_lib.watch.templating import Medium
from logging_lib.watch.times import format_duration, format_instant, parse_duration, parse_instant

app = typer.Typer(help="Evaluate watches and alert, without a licence.", no_args_is_help=True)

WatchesOption = Annotated[
    Path | None,
    typer.Option("--watches", help="Folder of watch files, or one file. Default: the shipped ones."),
]
ProfilesOption = Annotated[
    list[Path] | None,
    typer.Option("--profile", help="profile.json to compare with; may be given several times."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


class _UsageError(Exception):
    pass


@contextlib.contextmanager
def _explained() -> Iterator[None]:
    """Wrong input ends with its reason on standard error and exit code 2, never with a traceback."""
    try:
        yield
    except (
        CaseError,
        WatchError,
        ProfileError,
        SettingsError,
        StateError,
        StoreError,
        FileNotFoundError,
    ) as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(2) from None
    except _UsageError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(2) from None


@app.command("list")
def list_(watches: WatchesOption = None, as_json: JsonOption = False) -> None:
    """List the watches: what each looks for, how often, and whom it tells."""
    with _explained():
        found = _load(watches)
    rows = [_summary(watch) for watch in found]
    if as_json:
        _print_json(rows)
        return
    table = Table("id", "title", "every", "windows", "tells", box=None, pad_edge=False)
    for row in rows:
        cells = (row["id"], row["title"], row["every"], ", ".join(row["windows"]), ", ".join(row["tells"]))
        table.add_row(*map(escape, cells))
    _console().print(table)


@app.command()
def show(
    watch_id: Annotated[str, typer.Argument(metavar="ID", help="The file's name without .json.")],
    watches: WatchesOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show one watch: its concern, settings and actions; with --json the whole file."""
    with _explained():
        watch = _pick(_load(watches), [watch_id])[0]
    if as_json:
        _print_json(json.loads(Path(watch.file).read_text("utf-8")))
        return
    console = _console()
    console.print(f"[bold]{escape(watch.title)}[/bold] ({escape(watch.id)}), {escape(watch.file)}")
    if "concern" in watch.metadata:
        console.print(escape(str(watch.metadata["concern"])))
    table = Table("setting", "value", box=None, pad_edge=False)
    table.add_row("every", format_duration(watch.interval))
    for name, value in watch.metadata.items():
        if name not in ("title", "concern"):
            table.add_row(escape(name), escape(value if isinstance(value, str) else json.dumps(value)))
    for name, action in watch.actions.items():
        period = format_duration(watch.throttle_period(name))
        table.add_row(f"action {escape(name)}", f"{action.kind}, at most once in {period} an incident")
    console.print(table)


@app.command()
def run(
    store: _store.StoreOption = None,
    elasticsearch: _store.ElasticsearchOption = None,
    once: Annotated[bool, typer.Option("--once", help="Evaluate all watches now, then end.")] = False,
    watches: WatchesOption = None,
    only: Annotated[list[str] | None, typer.Option("--watch", help="Only this watch id; repeatable.")] = None,
    profiles: ProfilesOption = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what would be sent; send and remember nothing.")
    ] = False,
    now: Annotated[str | None, typer.Option(help="Evaluate as of this ISO time. Default: now.")] = None,
    state: Annotated[
        Path | None,
        typer.Option(
            help="What is remembered between runs. Default: watch-state.json in the store or, with "
            "--elasticsearch, in this folder."
        ),
    ] = None,
    alerts: Annotated[Path | None, typer.Option(help="Append each alert to this JSON-lines file.")] = None,
    smtp_url: Annotated[
        str | None,
        typer.Option(help="smtp://, smtp+starttls:// or smtps://host:port. [LOGGING_LIB_SMTP_URL]"),
    ] = None,
    mail_from: Annotated[str | None, typer.Option(help="The mails' sender. [LOGGING_LIB_MAIL_FROM]")] = None,
    as_json: JsonOption = False,
) -> None:
    """Evaluate the watches over a store and perform their actions.

    Secrets come from the environment only: LOGGING_LIB_SMTP_USER, LOGGING_LIB_SMTP_PASSWORD,
    LOGGING_LIB_SLACK_WEBHOOK. Exit code 1: a watch or a delivery failed, or nothing could be judged;
    2: wrong input.
    """
    with _explained(), contextlib.ExitStack() as stack:
        if not once:
            raise _UsageError("say --once: evaluate all watches now, then end (cron or a timer repeats it)")
        chosen = _load(watches)
        if only:
            chosen = _pick(chosen, only)
        moment = datetime.now(UTC) if now is None else _instant(now, "--now")
        opened = _store.choose(store, elasticsearch, read_only=dry_run or not profiles)
        stack.callback(opened.close)
        if dry_run and profiles:
            opened = _store.with_profiles(opened, profiles)
            stack.callback(opened.close)
        else:
            _store.publish(opened, profiles or ())
        path = state or (store or Path()) / "watch-state.json"
        messages: list[str] = []
        outlets: dict[str, Outlet]
        remembered: StateStore
        if dry_run:
            known = FileState(path)
            # Only the incidents: what waits for delivery is not shown as if it were new.
            remembered = MemoryState(
                {i: known.load(i).model_copy(update={"undelivered": ()}) for i in known.watch_ids()}
            )
            outlets = dict.fromkeys(ACTION_KINDS, PrintOutlet(messages.append))
        else:
            outlets = _outlets(chosen, smtp_url, mail_from)
            if alerts:
                _writable(alerts)
            remembered = stack.enter_context(FileState.locked(path))
        _note_unmatched(opened, chosen)
        runner = Runner(
            opened,
            chosen,
            outlets=outlets,
            state=remembered,
            alerts=None if dry_run else alerts,
            dry_run=dry_run,
        )
        report = runner.run_once(moment)
    if as_json:
        _print_json({**report.document(), **({"messages": messages} if dry_run else {})})
    else:
        for message in messages:
            typer.echo(message)
            typer.echo("-" * 72)
        _print_report(report)
    raise typer.Exit(0 if report.ok else 1)


@app.command("backtest")
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
    """
    with _explained():
        chosen = _load(watches)
        if only:
            chosen = _pick(chosen, only)
        step = _step(every)
        with contextlib.ExitStack() as stack:
            opened, loaded = _history(events or [], store, elasticsearch, profiles or [])
            stack.callback(opened.close)
            if loaded.first is None or loaded.last is None:
                where = ", ".join(map(str, events)) if events else "the store"
                raise _UsageError(f"no event was read from {where}{_refused(loaded)}")
            begin = _instant(start, "--start") if start else loaded.first
            until = _instant(end, "--end") if end else loaded.last
            if begin > until:
                raise _UsageError(
                    f"nothing to replay: the start {format_instant(begin)} is after the end "
                    f"{format_instant(until)}; see --start and --end"
                )
            result = backtest(opened, chosen, start=begin, end=until, every=step, arrivals=loaded.hours)
    if as_json:
        document = {"events": loaded.events, "refused": dict(loaded.refused), **result.document()}
        _print_json(document)
    else:
        _print_timeline(result, loaded)
    raise typer.Exit(0 if result.ok else 1)


@app.command("test")
def unit_test(
    paths: Annotated[list[Path], typer.Argument(help="Files of cases, or folders of *.yml.")],
    watches: WatchesOption = None,
) -> None:
    """Run unit tests of watches: what each finds at given times of described events.

    Exit code 1: a watch found something else than the cases say; 2: wrong input.
    """
    failed = passed = 0
    with _explained():
        known = {watch.id: watch for watch in _load(watches)}
        for loaded in [cases.load(file) for file in cases.files(paths)]:
            for _, failures in testing.run_file(loaded, known, lambda: _store.open_store(None)):
                failed, passed = failed + bool(failures), passed + (not failures)
                for failure in failures:
                    typer.echo(_lines_safe(str(failure)))
    typer.echo(f"{passed} cases passed, {failed} failed")
    raise typer.Exit(1 if failed else 0)


# --- helpers


def _history(
    events: list[Path], directory: Path | None, url: str | None, profiles: list[Path]
) -> tuple[Store, _store.Loaded]:
    """What a backtest replays: files, loaded into a store in memory, or a store as it is."""
    if events and (directory is not None or url is not None):
        raise _UsageError("give either files or a store, not both")
    if not events:
        stored = _store.choose(directory, url, read_only=True)
        opened = _store.with_profiles(stored, profiles) if profiles else stored
        return opened, _store.arrivals(opened)
    opened = _store.open_store(None)
    _store.publish(opened, profiles)
    return opened, _store.load(opened, events, profiles=[profile.load(file) for file in profiles])


def _load(path: Path | None) -> list[Watch]:
    return load_watches(content.path("watchers") if path is None else path)


def _pick(watches: list[Watch], ids: list[str]) -> list[Watch]:
    known = {watch.id: watch for watch in watches}
    unknown = [watch_id for watch_id in ids if watch_id not in known]
    if unknown:
        raise _UsageError(f"no watch {unknown[0]!r}; there are {', '.join(known)}")
    return [known[watch_id] for watch_id in ids]


def _instant(text: str, option: str) -> datetime:
    try:
        return parse_instant(text)
    except ValueError:
        raise _UsageError(f"{option}: {text!r} is no ISO time such as 2018-02-01T09:00:00Z") from None


def _writable(alerts: Path) -> None:
    """Found out before anything is sent."""
    try:
        append(alerts, "")
    except OSError as error:
        raise _UsageError(f"--alerts: {alerts} cannot be written: {error.strerror or error}") from None


def _note_unmatched(store: Store, watches: list[Watch]) -> None:
    for watch in watches:
        if not needs_profiles(watch.definition):
            continue
        pattern = watch.metadata["model"]
        body = {"size": 1, "_source": False, "query": {"wildcard": {"ml.model.name": {"value": pattern}}}}
        if not store.search("ml-profiles", body)["hits"]["hits"]:
            note = f"{watch.id}: no published profile matches the model {pattern!r}; give --profile"
            print(Medium.HEADER.escape(note), file=sys.stderr)


def _step(text: str) -> timedelta:
    try:
        step = parse_duration(text)
    except ValueError as error:
        raise _UsageError(f"--every: {error}") from None
    if step < timedelta(seconds=1):
        raise _UsageError("--every: is at least 1s")
    return step


def _outlets(watches: list[Watch], smtp_url: str | None, mail_from: str | None) -> dict[str, Outlet]:
    outlets = outlets_from(os.environ, smtp_url=smtp_url, mail_from=mail_from)
    needed = {action.kind for watch in watches for action in watch.actions.values()}
    if needed and needed.isdisjoint(outlets):
        raise _UsageError(
            "nobody could be told: set LOGGING_LIB_SMTP_URL or LOGGING_LIB_SLACK_WEBHOOK, or use --dry-run"
        )
    return outlets


def _summary(watch: Watch) -> dict[str, Any]:
    windows = watch.metadata.get("windows", [])
    return {
        "id": watch.id,
        "title": watch.title,
        "every": format_duration(watch.interval),
        "windows": [str(window) for window in windows] if isinstance(windows, list) else [str(windows)],
        "tells": recipients(watch),
    }


def _status(result: ActionResult) -> str:
    return result.status.replace("_", " ")


def _safe(text: str) -> str:
    """Names come from logs: neither terminal codes nor rich's markup may act."""
    return escape(Medium.HEADER.escape(text))


def _lines_safe(text: str) -> str:
    return "\n".join(Medium.HEADER.escape(line) for line in text.splitlines())


def _console() -> Console:
    console = Console()
    # A pipe is not 80 columns wide; what is cut there cannot be searched.
    return console if console.is_terminal else Console(width=200)


def _print_json(document: Any) -> None:
    typer.echo(json.dumps(document, indent=2, default=str))


def _print_report(report: Report) -> None:
    console = _console()
    table = Table("watch", "result", "alerts", box=None, pad_edge=False)
    for watch_run in report.runs:
        if watch_run.error:
            table.add_row(escape(watch_run.watch), "[red]failed[/red]", escape(watch_run.error))
            continue
        told = [
            f"{alert.subject} ({', '.join(f'{name} {_status(result)}' for name, result in alert.actions.items())})"
            for alert in watch_run.alerts
        ]
        table.add_row(
            escape(watch_run.watch),
            "condition met" if watch_run.met else "quiet",
            "\n".join(map(_safe, told)),
        )
    console.print(table)
    for line in _notes(report):
        print(Medium.HEADER.escape(line), file=sys.stderr)


def _notes(report: Report) -> Iterator[str]:
    for watch_run in report.runs:
        for alert in watch_run.alerts:
            for name, result in alert.actions.items():
                if result.status in ("failed", "not_configured"):
                    yield f"{alert.watch}: {name}: {result.reason}"
        for skipped in watch_run.skipped:
            yield f"{watch_run.watch}: {_not_judged(**skipped)}"
        if watch_run.unwritten:
            yield f"{watch_run.watch}: {watch_run.unwritten}"
    for retry in report.retries:
        outcome = "delivered now" if retry.delivered else f"still not delivered: {retry.reason}"
        yield f"{retry.watch}: {retry.action}: {retry.subject!r}: {outcome} (attempt {retry.attempts})"


def _not_judged(model: str = "", version: str = "", reason: str = "", **_: Any) -> str:
    remedy = "; give --profile" if reason == "no profile" else ""
    return f"not judged: {model} {version}: {reason}{remedy}"


def _print_timeline(result: Backtest, loaded: _store.Loaded) -> None:
    console = _console()
    table = Table("time", "watch", "model", "version", "features", "subject", box=None, pad_edge=False)
    for alert in result.alerts:
        cells = (alert.watch, alert.model, alert.version, ", ".join(alert.features), alert.subject)
        table.add_row(format_instant(alert.time)[:16].replace("T", " "), *map(_safe, cells))
    if result.alerts:
        console.print(table)
    span = f"{format_instant(result.start)} to {format_instant(result.end)}"
    print(f"{len(result.alerts)} alerts in {result.ticks} ticks over {loaded.events} events, {span}")
    if loaded.refused:
        print(f"not used{_refused(loaded)}", file=sys.stderr)
    for about in result.skipped:
        print(Medium.HEADER.escape(_not_judged(*about)), file=sys.stderr)
    for (watch, error), runs in result.failures.items():
        print(Medium.HEADER.escape(f"{watch}: {runs} runs failed: {error}"), file=sys.stderr)


def _refused(loaded: _store.Loaded) -> str:
    reasons = ", ".join(f"{count} {reason}" for reason, count in loaded.refused.most_common())
    return f": {reasons}" if reasons else ""
