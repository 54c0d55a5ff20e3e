"""``logging-lib ship``: send a spool to a receiver, as a daemon beside the service."""

from __future__ import annotations

import json
import signal
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import typer

from logging_lib._util.formatting import format_count, format_seconds
from logging_lib._util.suggestions import suggest_file
from logging_lib.cli import options, output
from logging_lib.logger.segments import DEAD_LETTERS, list_unnamed_files
from logging_lib.logger.spool import Spool
from logging_lib.ship.receivers import RetryError, create_receiver
from logging_lib.ship.replay import replay_dead_letters
from logging_lib.ship.shipper import GRACE, Shipper
from logging_lib.ship.spool_reader import SpoolReader
from logging_lib.ship.target import parse_target


def ship(
    spool: Annotated[Path, typer.Argument(metavar="SPOOL", help="Folder that the services log to.")],
    to: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="Receiver: beats://HOST:PORT, beats+tls://, es+http://, es+https://, tcp://, tcp+tls://, http://, "
            "https:// or stdout:",
        ),
    ] = None,
    once: Annotated[
        bool,
        typer.Option("--once", help="Ship what is in the spool, then exit; with code 1 if some is left."),
    ] = False,
    status: Annotated[
        bool, typer.Option("--status", help="Print how many events were shipped and are waiting, and exit.")
    ] = False,
    as_json: Annotated[bool, output.json_option("With --status: print the result as JSON.")] = False,
    replay_dead_letters: Annotated[
        bool,
        typer.Option(
            "--replay-dead-letters",
            help="Put the events that the receiver refused back into the spool, then ship it if --to is given.",
        ),
    ] = False,
    ca: Annotated[
        Path | None, typer.Option(metavar="PATH", help="PEM file of the certificates to trust.")
    ] = None,
    cert: Annotated[
        Path | None, typer.Option(metavar="PATH", help="PEM file of the client's certificate.")
    ] = None,
    key: Annotated[
        Path | None, typer.Option(metavar="PATH", help="PEM file of the client certificate's private key.")
    ] = None,
    timeout: Annotated[
        str, typer.Option(metavar="DURATION", help="How long to wait for an answer of the receiver.")
    ] = "30s",
    grace: Annotated[
        str, typer.Option(metavar="DURATION", help="How long to continue after SIGTERM or Ctrl-C.")
    ] = f"{GRACE:g}s",
) -> None:
    """Ship a spool to a receiver: each event at least once; acknowledged events are deleted from the spool.

    Without --once it runs as a daemon. Exit code 1: the receiver did not take everything; 2: wrong input.

    Example: logging-lib ship /var/spool/ml --to beats+tls://logstash:5044 --ca ca.pem
    """
    if status:
        _status(spool, as_json)
        return
    if to is None and not replay_dead_letters:
        raise output.fail("--to is missing: give the receiver, such as beats://HOST:5044")
    if once or to is None:
        _check_spool(spool)  # a daemon may start before the service does
    with output.handle_errors():
        timeout_seconds = options.duration(
            timeout, "--timeout", least=timedelta(milliseconds=100)
        ).total_seconds()
        grace_seconds = options.duration(grace, "--grace", least=timedelta(0)).total_seconds()
    if to is None:
        _replay(spool)
        return
    try:
        files = {
            name: str(path) if path else None for name, path in (("ca", ca), ("cert", cert), ("key", key))
        }
        destination = parse_target(to, **files)
        receiver = create_receiver(destination, timeout=timeout_seconds)
    except ValueError as error:
        raise output.fail(f"--to {error}") from None
    except OSError as error:
        raise output.fail(f"--ca, --cert or --key: {error}") from None
    if replay_dead_letters:
        _replay(spool)
    _warn_of_unnamed_files(spool)
    if once:
        _once(Shipper(spool, receiver, name=str(destination)), spool)
    else:
        output.log_to_stderr()
        _daemon(
            Shipper(spool, receiver, name=str(destination), health=Spool(spool)),
            str(destination),
            grace_seconds,
        )


def _warn_of_unnamed_files(spool: Path) -> None:
    if names := [path.name for path in list_unnamed_files(spool)]:
        listed = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
        output.warn(
            f"{spool}: {listed}: not shipped, because the name is not <host>-<pid>-<start>-<number>.jsonl; "
            "`logging-lib index` reads such files"
        )


def _replay(spool: Path) -> None:
    spool_reader = SpoolReader(spool)
    try:
        if not spool_reader.lock():
            raise output.fail(f"{spool}: another shipper is running on this spool; stop it, and try again", 1)
        replayed = replay_dead_letters(spool_reader)
    except OSError as error:
        raise output.fail(f"{spool}: {error}", 1) from None
    finally:
        spool_reader.unlock()
    output.note(f"{format_count(replayed.events, 'event')} put back into the spool")
    for path in replayed.files:
        output.note(f"their dead letters were moved to {path}")
    if replayed.remaining:
        letters = format_count(replayed.remaining, "dead letter")
        output.warn(f"{letters} not put back: cut, torn, or never an event")


def _once(shipper: Shipper, spool: Path) -> None:
    try:
        if not shipper.reader.lock():
            raise output.fail(f"{spool}: another shipper is running on this spool", 1)
        state = shipper.reader.state
        shipped, dead = state.shipped, state.dead_lettered
        total = shipper.reader.measure_backlog()[0]
        with output.progress("Shipping") as report_progress:
            while shipper.ship_batch():
                report_progress(state.shipped - shipped, max(total, state.shipped - shipped))
    except (RetryError, OSError) as error:
        raise output.fail(f"{error}; what was not shipped stays in the spool", 1) from None
    finally:
        shipper.close()
    dead = state.dead_lettered - dead
    refused = f", {dead:,} refused: see {spool / DEAD_LETTERS}" if dead else ""
    output.note(f"{format_count(state.shipped - shipped, 'event')} shipped{refused}")


def _daemon(shipper: Shipper, name: str, grace: float) -> None:
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    output.note(f"shipping {shipper.reader.directory} to {name}")
    worker = threading.Thread(target=shipper.run, name="ship", daemon=True)
    worker.start()
    while worker.is_alive() and not stopped.wait(1.0):
        pass
    if not stopped.is_set():
        raise output.fail(
            "the shipper stopped unexpectedly; events that were not shipped stay in the spool", 1
        )
    shipper.stop(grace)
    worker.join(grace)


def _check_spool(spool: Path) -> None:
    if not spool.is_dir():
        hint = suggest_file(spool) or "; give the folder that the service logs to"
        raise output.fail(f"{spool}: no such folder{hint}")


def _status(spool: Path, as_json: bool) -> None:
    _check_spool(spool)
    spool_reader = SpoolReader(spool)
    try:
        running = not spool_reader.lock()
        spool_reader.unlock()
    except OSError as error:
        raise output.fail(f"{spool}: {error}") from None
    events, size, oldest = spool_reader.measure_backlog()
    state = spool_reader.state
    document: dict[str, Any] = {
        "running": running,
        "receiver": state.receiver or None,
        "backlog": {
            "events": events,
            "bytes": size,
            "age": max(0.0, round(time.time() - oldest, 3)) if oldest is not None else None,
        },
        "shipped": state.shipped,
        "dead_lettered": state.dead_lettered,
        "duplicates": state.duplicates,
        "retries": state.retries,
        "rate": round(state.rate, 1) if running else 0.0,
        "last_error": {"message": state.last_error, "time": state.last_error_at}
        if state.last_error
        else None,
    }
    _warn_of_unnamed_files(spool)
    if as_json:
        typer.echo(json.dumps(document, indent=1))
        return
    age = document["backlog"]["age"]
    oldest_text = f", the oldest {format_seconds(age)} old" if age else ""
    if not state.receiver:
        shipper = "running; nothing to ship yet" if running else "has never run on this spool"
    else:
        shipper = f"{'running, ships' if running else 'not running, shipped'} to {state.receiver}"
    rate = f"; {document['rate']:,.0f} per second in the last minute" if running else ""
    typer.echo(output.plain(f"shipper    {shipper}"))
    typer.echo(f"waiting    {format_count(events, 'event')}, {size / 1e6:.1f} MB{oldest_text}")
    typer.echo(f"shipped    {format_count(state.shipped, 'event')}{rate}")
    typer.echo(f"refused    {format_count(state.dead_lettered, 'event')}")
    typer.echo(f"duplicate  {format_count(state.duplicates, 'event')} that the receiver already had")
    typer.echo(f"retries    {state.retries:,}")
    if state.last_error:
        when = datetime.fromtimestamp(state.last_error_at, UTC)
        typer.echo(output.plain(f"last error {when:%Y-%m-%d %H:%M:%S} UTC: {state.last_error}"))
