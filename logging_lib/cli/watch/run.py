"""``logging-lib watch run``."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from logging_lib._util.times import format_duration, format_instant
from logging_lib.cli import options as _store
from logging_lib.cli.options import UsageError, duration, instant
from logging_lib.cli.output import console, safe
from logging_lib.cli.watch import _state
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
from logging_lib.schema.streams import DEFAULT_NAMESPACE
from logging_lib.store.port import Store, StoreError
from logging_lib.store.profiles import index_profiles, overlay_profiles
from logging_lib.watch.actions import Outlet, PrintOutlet, outlets_from
from logging_lib.watch.checking.metadata import needs_profiles
from logging_lib.watch.model import ACTION_KINDS, Watch
from logging_lib.watch.runner.daemon import Daemon, Pace
from logging_lib.watch.runner.heartbeat import Heartbeat
from logging_lib.watch.runner.incidents import Patience
from logging_lib.watch.runner.leases import LEASE, Elector, FencedState, LeaseLost
from logging_lib.watch.runner.outbox import Policy
from logging_lib.watch.runner.results import ActionResult, Report
from logging_lib.watch.runner.runner import Options, Runner, append
from logging_lib.watch.runner.state import MemoryState, StateError, StateStore
from logging_lib.watch.templating import Medium

_log = logging.getLogger("logging_lib.watch")


def run(
    store: _store.StoreOption = None,
    elasticsearch: _store.ElasticsearchOption = None,
    once: Annotated[
        bool,
        typer.Option("--once", help="Evaluate all watches now, then end. Default: go on by their schedules."),
    ] = False,
    watches: WatchesOption = None,
    only: Annotated[list[str] | None, typer.Option("--watch", help="Only this watch id; repeatable.")] = None,
    profiles: ProfilesOption = None,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="With --once: print what would be sent; send and remember nothing."),
    ] = False,
    now: Annotated[str | None, typer.Option(help="With --once: as of this ISO time. Default: now.")] = None,
    state: _state.StateOption = None,
    alerts: Annotated[Path | None, typer.Option(help="Append each alert to this JSON-lines file.")] = None,
    smtp_url: Annotated[
        str | None,
        typer.Option(help="smtp://, smtp+starttls:// or smtps://host:port. [LOGGING_LIB_SMTP_URL]"),
    ] = None,
    mail_from: Annotated[str | None, typer.Option(help="The mails' sender. [LOGGING_LIB_MAIL_FROM]")] = None,
    catch_up: Annotated[
        bool, typer.Option("--catch-up", help="Run all slots that were missed. Default: the latest alone.")
    ] = False,
    recover_after: Annotated[
        int, typer.Option(min=1, help="Runs without a finding until its incident is over, and said to be.")
    ] = Patience().runs,
    digest_over: Annotated[
        int,
        typer.Option(min=0, help="More messages than this at once for one recipient become one; 0: never."),
    ] = Policy().digest_over,
    fallback_email: Annotated[str | None, typer.Option(help="Gets what Slack does not take.")] = None,
    fallback_slack: Annotated[
        str | None, typer.Option(help="The channel that gets what the mail server does not take.")
    ] = None,
    fallback_after: Annotated[
        int, typer.Option(min=1, help="Failed attempts until a message goes to its fallback.")
    ] = Policy().fallback_after,
    workers: Annotated[int, typer.Option(min=1, max=64, help="Watches run at once.")] = Pace().workers,
    lease: Annotated[
        str, typer.Option(help="Another runner takes over after so long without a sign of this one.")
    ] = format_duration(LEASE),
    heartbeat: Annotated[
        str | None,
        typer.Option(help="Namespace of the health stream for the runner's own events; '' for none."),
    ] = DEFAULT_NAMESPACE,
    grace: Annotated[float, typer.Option(min=0, help="Seconds to go on for after SIGTERM.")] = 10.0,
    as_json: JsonOption = False,
) -> None:
    """Evaluate the watches over a store and perform their actions: for good, or with --once one time.

    Several may run over one state: one works, the others stand by. Secrets come from the environment only:
    LOGGING_LIB_SMTP_USER, LOGGING_LIB_SMTP_PASSWORD, LOGGING_LIB_SLACK_WEBHOOK. Exit code with --once, 1: a watch
    or a delivery failed, or nothing could be judged; always, 2: wrong input.

    Example: logging-lib watch run --elasticsearch https://localhost:9200
    """
    with explained(), contextlib.ExitStack() as stack:
        if not once and (dry_run or now or as_json):
            raise UsageError("--dry-run, --now and --json are for --once")
        chosen = load(watches)
        if only:
            chosen = pick(chosen, only)
        lasts = duration(lease, "--lease")
        beats = bool(heartbeat) and not once
        indexes = any(action.kind == "index" for watch in chosen for action in watch.actions.values())
        if store is None and not once:
            opened = _store.open_elasticsearch(elasticsearch)  # the first event may be still to come
        else:
            opened = _store.choose(
                store, elasticsearch, read_only=dry_run or not (profiles or beats or indexes)
            )
        stack.callback(opened.close)
        if dry_run and profiles:
            opened = overlay_profiles(opened, profiles)
            stack.callback(opened.close)
        else:
            index_profiles(opened, profiles or ())
        fallback = {k: to for k, to in (("email", fallback_email), ("slack", fallback_slack)) if to}
        options = Options(
            policy=Policy(digest_over=digest_over, fallback_after=fallback_after),
            patience=Patience(runs=recover_after),
            fallback=fallback,
            catch_up=catch_up,
        )
        kept = _state.open_state(store, elasticsearch, state)
        if dry_run:
            moment = datetime.now(UTC) if now is None else instant(now, "--now")
            report, messages = _dry(opened, chosen, kept, options, moment)
        else:
            outlets = _outlets(chosen, opened, smtp_url, mail_from)
            if alerts:
                _writable(alerts)
            _note_unmatched(opened, chosen)
            elector = Elector(kept, lasts)
            runner = Runner(
                opened,
                chosen,
                outlets=outlets,
                state=FencedState(kept, elector),
                alerts=alerts,
                options=options,
                guard=lambda: elector.check(datetime.now(UTC)),
            )
            if not once:
                _go_on(runner, elector, opened, heartbeat if beats else None, Pace(workers=workers), grace)
                return
            moment = datetime.now(UTC) if now is None else instant(now, "--now")
            messages = []
            with _elected(elector):
                report = runner.run_once(moment)
    if as_json:
        print_json({**report.document(), **({"messages": messages} if dry_run else {})})
    else:
        for message in messages:
            typer.echo(message)
            typer.echo("-" * 72)
        _print_report(report)
    raise typer.Exit(0 if report.ok else 1)


def _dry(
    opened: Store, watches: list[Watch], kept: StateStore, options: Options, now: datetime
) -> tuple[Report, list[str]]:
    """What would be sent, over a copy of the state."""
    messages: list[str] = []
    # What waits for delivery is not shown as if it were new.
    states = {i: kept.load(i).model_copy(update={"undelivered": ()}) for i in kept.watch_ids()}
    outlets: dict[str, Outlet] = dict.fromkeys(ACTION_KINDS, PrintOutlet(messages.append))
    _note_unmatched(opened, watches)
    copied = MemoryState(states, mutes=kept.mutes())
    runner = Runner(opened, watches, outlets=outlets, state=copied, dry_run=True, options=options)
    return runner.run_once(now), messages


@contextlib.contextmanager
def _elected(elector: Elector) -> Iterator[None]:
    """Leads while the block runs, however long that takes."""
    if not elector.campaign(datetime.now(UTC)):
        other = elector.leader
        assert other is not None
        raise StateError(
            f"another run holds this state: {other.holder}, until {format_instant(other.until)} unless it renews "
            "that; let it end, or give another --state"
        )
    ended = threading.Event()

    def renew() -> None:
        while not ended.wait(0.2):
            with contextlib.suppress(StateError, StoreError):
                if elector.is_due(datetime.now(UTC)):
                    elector.campaign(datetime.now(UTC))

    thread = threading.Thread(target=renew, name="watch-lease", daemon=True)
    thread.start()
    try:
        yield
    except LeaseLost as error:
        raise StateError(str(error)) from None
    finally:
        ended.set()
        thread.join()
        elector.resign(datetime.now(UTC))


def _go_on(
    runner: Runner, elector: Elector, opened: Store, namespace: str | None, pace: Pace, grace: float
) -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    logging.getLogger("elastic_transport").setLevel(logging.ERROR)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    beat = Heartbeat(opened, datetime.now(UTC), namespace=namespace) if namespace else None
    daemon = Daemon(runner, elector, heartbeat=beat, pace=pace, tell=_say, refresh=opened.refresh)
    worker = threading.Thread(target=daemon.run, args=(stop, grace), name="watch-daemon", daemon=True)
    worker.start()
    while worker.is_alive() and not stop.wait(1.0):
        pass
    worker.join(grace + 5.0)


def _say(report: Report) -> None:
    """What is worth a line of the daemon's log."""
    for watch_run in report.runs:
        if watch_run.error:
            _log.warning("%s failed: %s", watch_run.watch, Medium.HEADER.escape(watch_run.error))
        for alert in watch_run.alerts:
            told = ", ".join(f"{name} {_status(result)}" for name, result in alert.actions.items())
            level = logging.INFO if alert.performed else logging.DEBUG
            _log.log(level, "%s", Medium.HEADER.escape(f"{alert.watch}: {alert.subject} ({told})"))
        for over in watch_run.resolved:
            _log.info("%s", Medium.HEADER.escape(f"{over.watch}: {over.subject}"))
    for line in _notes(report):
        _log.log(logging.DEBUG if "not judged" in line else logging.INFO, "%s", Medium.HEADER.escape(line))


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


def _outlets(
    watches: list[Watch], store: Store, smtp_url: str | None, mail_from: str | None
) -> dict[str, Outlet]:
    outlets = outlets_from(os.environ, smtp_url=smtp_url, mail_from=mail_from, store=store)
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
        for over in watch_run.resolved:
            yield f"{over.watch}: {over.subject} ({over.action} {'told' if over.delivered else 'not delivered'})"
        for skipped in watch_run.skipped:
            yield f"{watch_run.watch}: {not_judged(**skipped)}"
        if watch_run.unwritten:
            yield f"{watch_run.watch}: {watch_run.unwritten}"
    for retry in report.retries:
        outcome = "delivered now" if retry.delivered else f"still not delivered: {retry.reason}"
        yield f"{retry.watch}: {retry.action}: {retry.subject!r}: {outcome} (attempt {retry.attempts})"
