"""``logging-lib watch run``."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

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
from logging_lib.watch.actions import Outlet, PrintOutlet, outlets_from
from logging_lib.watch.metadata import needs_profiles
from logging_lib.watch.model import ACTION_KINDS, Watch
from logging_lib.watch.results import ActionResult, Report
from logging_lib.watch.runner import Runner, append
from logging_lib.watch.state import FileState, MemoryState, StateStore
from logging_lib.watch.templating import Medium


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
    with explained(), contextlib.ExitStack() as stack:
        if not once:
            raise UsageError("say --once: evaluate all watches now, then end (cron or a timer repeats it)")
        chosen = load(watches)
        if only:
            chosen = pick(chosen, only)
        moment = datetime.now(UTC) if now is None else instant(now, "--now")
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
        print_json({**report.document(), **({"messages": messages} if dry_run else {})})
    else:
        for message in messages:
            typer.echo(message)
            typer.echo("-" * 72)
        _print_report(report)
    raise typer.Exit(0 if report.ok else 1)


def _writable(alerts: Path) -> None:
    """Found out before anything is sent."""
    try:
        append(alerts, "")
    except OSError as error:
        raise UsageError(f"--alerts: {alerts} cannot be written: {error.strerror or error}") from None


def _note_unmatched(store: Store, watches: list[Watch]) -> None:
    for watch in watches:
        if not needs_profiles(watch.definition):
            continue
        pattern = watch.metadata["model"]
        body = {"size": 1, "_source": False, "query": {"wildcard": {"ml.model.name": {"value": pattern}}}}
        if not store.search("ml-profiles", body)["hits"]["hits"]:
            note = f"{watch.id}: no published profile matches the model {pattern!r}; give --profile"
            print(Medium.HEADER.escape(note), file=sys.stderr)


def _outlets(watches: list[Watch], smtp_url: str | None, mail_from: str | None) -> dict[str, Outlet]:
    outlets = outlets_from(os.environ, smtp_url=smtp_url, mail_from=mail_from)
    needed = {action.kind for watch in watches for action in watch.actions.values()}
    if needed and needed.isdisjoint(outlets):
        raise UsageError(
            "nobody could be told: set LOGGING_LIB_SMTP_URL or LOGGING_LIB_SLACK_WEBHOOK, or use --dry-run"
        )
    return outlets


def _status(result: ActionResult) -> str:
    return result.status.replace("_", " ")


def _print_report(report: Report) -> None:
    out = console()
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
            "\n".join(map(safe, told)),
        )
    out.print(table)
    for line in _notes(report):
        print(Medium.HEADER.escape(line), file=sys.stderr)


def _notes(report: Report) -> Iterator[str]:
    for watch_run in report.runs:
        for alert in watch_run.alerts:
            for name, result in alert.actions.items():
                if result.status in ("failed", "not_configured"):
                    yield f"{alert.watch}: {name}: {result.reason}"
        for skipped in watch_run.skipped:
            yield f"{watch_run.watch}: {not_judged(**skipped)}"
        if watch_run.unwritten:
            yield f"{watch_run.watch}: {watch_run.unwritten}"
    for retry in report.retries:
        outcome = "delivered now" if retry.delivered else f"still not delivered: {retry.reason}"
        yield f"{retry.watch}: {retry.action}: {retry.subject!r}: {outcome} (attempt {retry.attempts})"
