"""``logging-lib watch run``: run the watches once, or as a daemon."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from logging_lib._util.formatting import format_count
from logging_lib._util.suggestions import suggest
from logging_lib._util.times import format_duration
from logging_lib.cli import options as store_options
from logging_lib.cli import output
from logging_lib.cli.options import UsageError, duration, instant
from logging_lib.cli.output import console, safe
from logging_lib.cli.watch import watch_options
from logging_lib.cli.watch.watch_options import (
    JsonOption,
    format_skipped,
    load_accepted,
    pick,
    print_json,
)
from logging_lib.profile.words import OUTDATED
from logging_lib.schema import DEFAULT_NAMESPACE
from logging_lib.store.port import Store, StoreError
from logging_lib.store.profiles import index_profiles, list_careful, list_outdated, overlay_profiles
from logging_lib.watch.backtest.catch_up import prepare_missed_runs
from logging_lib.watch.daemon import Daemon, Heartbeat, Pace
from logging_lib.watch.errors import StateError, WatchProblem, json_path
from logging_lib.watch.incidents import ResolvePolicy
from logging_lib.watch.lease import LEASE, LeaderElector, LeaderState, LeaseLost
from logging_lib.watch.loading import find_unset_recipients, with_sample_recipients
from logging_lib.watch.model import Watch
from logging_lib.watch.notify.base import Channel, Notification
from logging_lib.watch.notify.queue import DeliveryPolicy
from logging_lib.watch.notify.registry import CHANNELS, channel_of, configure_channels, preview_channels
from logging_lib.watch.results import Alert, RunReport
from logging_lib.watch.runner import Options, Runner, append
from logging_lib.watch.state.base import MemoryState, StateStore
from logging_lib.watch.templating import Medium
from logging_lib.watch.validation.metadata import needs_profiles

_log = logging.getLogger("logging_lib.watch")
MAX_NAMED = 5


def run(
    store: store_options.StoreOption = None,
    elasticsearch: store_options.ElasticsearchOption = None,
    once: Annotated[
        bool,
        typer.Option("--once", help="Run every watch once and exit. Default: run as a daemon."),
    ] = False,
    watches: store_options.WatchesOption = None,
    only: Annotated[
        list[str] | None, typer.Option("--watch", metavar="WATCH", help="Run only this watch; repeatable.")
    ] = None,
    profiles: store_options.ProfilesOption = None,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="With --once: print what would be sent; send and save nothing."),
    ] = False,
    now: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="With --once: act as of this ISO 8601 time. Default: the present."),
    ] = None,
    state: store_options.StateOption = None,
    alerts: Annotated[
        Path | None, typer.Option(metavar="PATH", help="Append each alert to this JSON lines file.")
    ] = None,
    smtp_url: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="Mail server: smtp://, smtp+starttls:// or smtps://HOST:PORT. Default: $LOGGING_LIB_SMTP_URL.",
        ),
    ] = None,
    mail_from: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="Sender of mails. Default: $LOGGING_LIB_MAIL_FROM."),
    ] = None,
    catch_up: Annotated[
        bool,
        typer.Option("--catch-up", help="Run every missed scheduled run. Default: only the most recent."),
    ] = False,
    resolve_after: Annotated[
        int,
        typer.Option(
            metavar="N",
            min=1,
            help="Consecutive clean runs before an incident is resolved, for watches without a window.",
        ),
    ] = ResolvePolicy().runs,
    digest_over: Annotated[
        int,
        typer.Option(
            metavar="N",
            min=0,
            help="Send a digest when a recipient would get more than N notifications at once; 0: never.",
        ),
    ] = DeliveryPolicy().digest_over,
    fallback: Annotated[
        list[str] | None,
        typer.Option(
            metavar="CHANNEL=RECIPIENT",
            help="Where to send notifications that their own channel does not deliver, such as "
            "email=oncall@example.org; repeatable.",
        ),
    ] = None,
    fallback_after: Annotated[
        int, typer.Option(metavar="N", min=1, help="Failed attempts before the fallback is used.")
    ] = DeliveryPolicy().fallback_after,
    workers: Annotated[
        int, typer.Option(metavar="N", min=1, max=64, help="Watches to run at the same time.")
    ] = Pace().workers,
    lease: Annotated[
        str,
        typer.Option(metavar="DURATION", help="How long after its last sign another runner takes over."),
    ] = format_duration(LEASE),
    namespace: store_options.NamespaceOption = DEFAULT_NAMESPACE,
    heartbeat: Annotated[
        bool,
        typer.Option("--heartbeat/--no-heartbeat", help="Write the runner's own health events to the store."),
    ] = True,
    grace: Annotated[
        str, typer.Option(metavar="DURATION", help="How long to continue after SIGTERM or Ctrl-C.")
    ] = "10s",
    as_json: JsonOption = False,
) -> None:
    """Evaluate the watches over a store and send notifications: as a daemon, or once with --once.

    Several runners may share one state: one works, the others stand by. Channels are configured by environment
    variables such as LOGGING_LIB_SMTP_URL and LOGGING_LIB_SLACK_WEBHOOK, see docs/notifications.md. A watch file
    that is refused does not stop the other watches. Exit code 1, with --once: a watch or a delivery failed, a file
    was refused, or nothing could be evaluated; 2: wrong input.

    Example: logging-lib watch run --elasticsearch https://localhost:9200
    """
    with output.handle_errors(), contextlib.ExitStack() as stack:
        if not once and (dry_run or now or as_json):
            raise UsageError("--dry-run, --now and --json need --once")
        chosen, refused = load_accepted(watches)
        if only:
            chosen = pick(chosen, only)
        for line in _name_what_is_not_run(chosen, refused):
            output.warn(line)
        lease_duration = duration(lease, "--lease")
        grace_seconds = duration(grace, "--grace", least=timedelta(0)).total_seconds()
        beats = heartbeat and not once
        if not once:
            output.log_to_stderr()
        indexes = any(channel_of(action).needs_store for watch in chosen for action in watch.actions.values())
        if store is None and not once:
            opened = store_options.open_elasticsearch(
                elasticsearch
            )  # the first event may not have arrived yet
        else:
            opened = store_options.choose(
                store, elasticsearch, read_only=dry_run or not (profiles or beats or indexes)
            )
        stack.callback(opened.close)
        if dry_run and profiles:
            opened = overlay_profiles(opened, profiles)
            stack.callback(opened.close)
        else:
            index_profiles(opened, profiles or ())
        options = Options(
            delivery=DeliveryPolicy(digest_over=digest_over, fallback_after=fallback_after),
            resolve=ResolvePolicy(runs=resolve_after),
            fallback=dict(map(_fallback, fallback or ())),
            catch_up=catch_up,
        )
        opened_state = watch_options.open_state(store, elasticsearch, state)
        if dry_run:
            moment = datetime.now(UTC) if now is None else instant(now, "--now")
            with output.progress("Evaluating"):
                report, previews = _dry_run(opened, chosen, opened_state, options, moment)
        else:
            channels = _channels(chosen, opened, smtp_url, mail_from)
            if alerts:
                _writable(alerts)
            _note_profiles(opened, chosen)
            elector = LeaderElector(opened_state, lease_duration)
            runner = Runner(
                opened,
                chosen,
                channels=channels,
                state=LeaderState(opened_state, elector),
                alerts=alerts,
                options=options,
                check_leader=lambda: elector.check(datetime.now(UTC)),
                prepare=prepare_missed_runs(opened),
            )
            if not once:
                where = store or elasticsearch or os.environ.get("LOGGING_LIB_ELASTICSEARCH_URL", "")
                output.note(f"connected to {where}; {format_count(len(chosen), 'watch')}")
                _run_daemon(
                    runner,
                    elector,
                    opened,
                    namespace if beats else None,
                    Pace(workers=workers),
                    grace_seconds,
                )
                return
            moment = datetime.now(UTC) if now is None else instant(now, "--now")
            previews = []
            with _leading(elector), output.progress("Evaluating"):
                report = runner.run_once(moment)
    if as_json:
        print_json(
            {
                **report.document(),
                **({"refused": [str(problem) for problem in refused]} if refused else {}),
                **({"messages": previews} if dry_run else {}),
            }
        )
    else:
        for preview in previews:
            typer.echo(preview)
            typer.echo("-" * 72)
        _print_report(report)
    raise typer.Exit(0 if report.ok and not refused else 1)


def _name_what_is_not_run(watches: list[Watch], refused: list[WatchProblem]) -> Iterator[str]:
    """Yield the refused files, which do not stop the others, and the keys that have no effect here."""
    for problem in refused:
        yield f"refused and skipped: {problem}"
    for watch in watches:
        for path, message in watch.ignored:
            yield f"{watch.file}: {json_path(*path)}: warning: {message}"


def _dry_run(
    opened: Store, watches: list[Watch], state: StateStore, options: Options, now: datetime
) -> tuple[RunReport, list[str]]:
    """Return what would be sent, using a copy of the state."""
    previews: list[str] = []
    # Alerts that wait for delivery must not be shown as new ones.
    states = {i: state.load(i).model_copy(update={"queue": ()}) for i in state.watch_ids()}
    _note_profiles(opened, watches)
    copy = MemoryState(states, mutes=state.mutes())
    channels = preview_channels(previews.append)
    shown = with_sample_recipients(watches)
    runner = Runner(opened, shown, channels=channels, state=copy, dry_run=True, options=options)
    return runner.run_once(now), previews


@contextlib.contextmanager
def _leading(elector: LeaderElector) -> Iterator[None]:
    """Hold the lease while the block runs, however long that takes."""
    if not elector.acquire(datetime.now(UTC)):
        leader = elector.leader
        assert leader is not None
        raise StateError(
            f"another runner has this state: {leader.holder}, until {leader.until:%Y-%m-%d %H:%M:%S} UTC unless it "
            "renews its lease; stop it, or give another --state"
        )
    ended = threading.Event()

    def renew() -> None:
        while not ended.wait(0.2):
            with contextlib.suppress(StateError, StoreError):
                if elector.is_due(datetime.now(UTC)):
                    elector.acquire(datetime.now(UTC))

    thread = threading.Thread(target=renew, name="watch-lease", daemon=True)
    thread.start()
    try:
        yield
    except LeaseLost as error:
        raise StateError(str(error)) from None
    finally:
        ended.set()
        thread.join()
        elector.release(datetime.now(UTC))


def _run_daemon(
    runner: Runner, elector: LeaderElector, opened: Store, namespace: str | None, pace: Pace, grace: float
) -> None:
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    beat = Heartbeat(opened, datetime.now(UTC), namespace=namespace) if namespace else None
    daemon = Daemon(runner, elector, heartbeat=beat, pace=pace, on_report=_log_report, refresh=opened.refresh)
    worker = threading.Thread(target=daemon.run, args=(stop, grace), name="watch-daemon", daemon=True)
    worker.start()
    while worker.is_alive() and not stop.wait(1.0):
        pass
    worker.join(grace + 5.0)


def _log_report(report: RunReport) -> None:
    """Write the noteworthy parts of a report to the daemon's log."""
    for watch_run in report.runs:
        if watch_run.error:
            _log.warning("%s failed: %s", watch_run.watch, Medium.HEADER.escape(watch_run.error))
        for alert in watch_run.alerts:
            level = logging.INFO if alert.is_performed else logging.DEBUG
            line = f"{alert.watch}: {alert.subject} ({_statuses(alert)})"
            _log.log(level, "%s", Medium.HEADER.escape(line))
        for resolved in watch_run.resolved:
            _log.info("%s", Medium.HEADER.escape(f"{resolved.watch}: {resolved.subject}"))
    for line in _notes(report):
        _log.log(logging.DEBUG if "not evaluated" in line else logging.INFO, "%s", Medium.HEADER.escape(line))


def _writable(alerts: Path) -> None:
    """Check that the file of alerts is writable before anything is sent."""
    try:
        append(alerts, "")
    except OSError as error:
        raise UsageError(f"--alerts {alerts}: cannot be written: {error.strerror or error}") from None


def _note_profiles(store: Store, watches: list[Watch]) -> None:
    for watch in watches:
        if not needs_profiles(watch.definition):
            continue
        pattern = watch.metadata["model"]
        body = {"size": 1, "_source": False, "query": {"wildcard": {"ml.model.name": {"value": pattern}}}}
        if not store.search("ml-profiles", body)["hits"]["hits"]:
            output.note(f"{watch.id}: no published profile matches the model {pattern!r}; give --profile")
    careful = list_careful(store)
    if careful:
        names = ", ".join(careful[:MAX_NAMED]) + (" and others" if len(careful) > MAX_NAMED else "")
        output.note(
            f"only large changes are found, by a default variation, until `logging-lib profile learn` runs: {names}"
        )
    for name in list_outdated(store)[:MAX_NAMED]:
        output.note(f"{name}: {OUTDATED}")


def _fallback(option: str) -> tuple[str, str]:
    name, _, recipient = option.partition("=")
    names = [channel.name for channel in CHANNELS.values() if channel.takes_text]
    if name not in names or not recipient:
        hint = suggest(name, names) if name not in names else ""
        raise UsageError(
            f"--fallback {option}: not CHANNEL=RECIPIENT with a CHANNEL of {', '.join(names)}{hint}"
        )
    return name, recipient


def _channels(
    watches: list[Watch], store: Store, smtp_url: str | None, mail_from: str | None
) -> dict[str, Channel]:
    overrides = {"LOGGING_LIB_SMTP_URL": smtp_url, "LOGGING_LIB_MAIL_FROM": mail_from}
    environ = {**os.environ, **{name: value for name, value in overrides.items() if value}}
    channels = configure_channels(environ, store=store)
    needed = {channel_of(action) for watch in watches for action in watch.actions.values()}
    if needed and not any(channel.name in channels for channel in needed):
        settings = sorted(channel.setting for channel in needed if channel.setting)
        raise UsageError(
            f"no notification channel is configured: set {' or '.join(settings)}, or use --dry-run"
        )
    if unset := find_unset_recipients(watches, channels):
        raise UsageError(f"{unset}; or use --dry-run")
    return channels


def _statuses(alert: Alert) -> str:
    return ", ".join(f"{name} {_status(result)}" for name, result in alert.actions.items())


def _status(result: Notification) -> str:
    return result.status.replace("_", " ")


def _print_report(report: RunReport) -> None:
    out = console()
    table = Table("watch", "result", "alerts", box=None, pad_edge=False)
    for watch_run in report.runs:
        if watch_run.error:
            table.add_row(escape(watch_run.watch), "[red]failed[/red]", escape(watch_run.error))
            continue
        alerts = [f"{alert.subject} ({_statuses(alert)})" for alert in watch_run.alerts]
        table.add_row(
            escape(watch_run.watch),
            "condition met" if watch_run.met else "quiet",
            "\n".join(map(safe, alerts)),
        )
    out.print(table)
    for line in _notes(report):
        output.warn(line)


def _notes(report: RunReport) -> Iterator[str]:
    for watch_run in report.runs:
        for alert in watch_run.alerts:
            for name, result in alert.actions.items():
                if result.status in ("failed", "not_configured"):
                    yield f"{alert.watch}: {name}: {result.reason}"
        for resolved in watch_run.resolved:
            outcome = "delivered" if resolved.status in ("executed", "would_send") else "not delivered"
            yield f"{resolved.watch}: {resolved.subject} ({resolved.action} {outcome})"
        for skipped in watch_run.skipped:
            yield f"{watch_run.watch}: {format_skipped(**skipped)}"
        for warning in watch_run.warnings:
            yield f"{watch_run.watch}: warning: {warning}"
        if watch_run.unwritten:
            yield f"{watch_run.watch}: {watch_run.unwritten}"
    for retry in report.retries:
        outcome = "delivered now" if retry.is_delivered else f"still not delivered: {retry.reason}"
        yield f"{retry.watch}: {retry.action}: {retry.subject!r}: {outcome} (attempt {retry.attempts})"
