"""``logging-lib ship``: from a spool to a receiver, as a daemon beside the service."""

from __future__ import annotations

import json
import logging
import signal
import threading
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from logging_lib.cli import output
from logging_lib.logger.segments import DEAD_LETTERS, list_unnamed_files
from logging_lib.logger.spool import Spool
from logging_lib.ship.receivers import RetryError, create_receiver
from logging_lib.ship.replay import replay_dead_letters
from logging_lib.ship.shipper import GRACE, Shipper
from logging_lib.ship.spool_reader import SpoolReader
from logging_lib.ship.target import parse_target


def ship(
    spool: Annotated[Path, typer.Argument(help="The folder that the services log to.")],
    to: Annotated[
        str | None,
        typer.Option(
            help="beats://HOST:PORT, beats+tls://, es+http://, es+https://, tcp://, tcp+tls://, http://, "
            "https:// or stdout:",
        ),
    ] = None,
    once: Annotated[bool, typer.Option("--once", help="Ship what is there, then end; 1 if not all.")] = False,
    status: Annotated[bool, typer.Option("--status", help="Say what is waiting, and end.")] = False,
    as_json: Annotated[bool, output.json_option("With --status: the same as JSON.")] = False,
    replay_dead_letters: Annotated[
        bool,
        typer.Option(
            "--replay-dead-letters",
            help="Put what the receiver refused back into the spool, to be sent again; end, unless --to is given.",
        ),
    ] = False,
    ca: Annotated[Path | None, typer.Option(help="Certificates to trust, PEM.")] = None,
    cert: Annotated[Path | None, typer.Option(help="The client's certificate, PEM.")] = None,
    key: Annotated[Path | None, typer.Option(help="Its key, PEM.")] = None,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds to wait for an answer.")] = 30.0,
    grace: Annotated[float, typer.Option(min=0, help="Seconds to go on for after SIGTERM.")] = GRACE,
) -> None:
    """Ship a spool: at least once, deleting what was acknowledged.

    Example: logging-lib ship /var/spool/ml --to beats+tls://logstash:5044 --ca ca.pem
    """
    if status:
        _status(spool, as_json)
        return
    if to is None and not replay_dead_letters:
        raise output.fail("--to is missing: where to ship to, as beats://HOST:PORT")
    if to is None:
        _replay(spool)
        return
    try:
        files = {
            name: str(path) if path else None for name, path in (("ca", ca), ("cert", cert), ("key", key))
        }
        destination = parse_target(to, **files)
        receiver = create_receiver(destination, timeout=timeout)
    except ValueError as error:
        raise output.fail(f"--to: {error}") from None
    except OSError as error:
        raise output.fail(f"--ca, --cert or --key: {error}") from None
    if replay_dead_letters:
        _replay(spool)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    logging.getLogger("elastic_transport").setLevel(logging.WARNING)  # it says each request
    _warn_of_unnamed_files(spool)
    if once:
        _once(Shipper(spool, receiver, name=str(destination)), spool)
    else:
        _daemon(Shipper(spool, receiver, name=str(destination), health=Spool(spool)), grace)


def _warn_of_unnamed_files(spool: Path) -> None:
    if names := [path.name for path in list_unnamed_files(spool)]:
        typer.echo(
            f"{spool}: {output.plain(', '.join(names[:5]))}{', ...' if len(names) > 5 else ''}: not shipped, since "
            "the name is not <host>-<pid>-<start>-<number>.jsonl; `logging-lib index` reads such files",
            err=True,
        )


def _replay(spool: Path) -> None:
    if not spool.is_dir():
        raise output.fail(f"{spool}: no such folder")
    spool_reader = SpoolReader(spool)
    try:
        if not spool_reader.lock():
            raise output.fail(f"{spool}: another shipper is at work; stop it, and try again", 1)
        replayed = replay_dead_letters(spool_reader)
    except OSError as error:
        raise output.fail(f"{spool}: {error}", 1) from None
    finally:
        spool_reader.unlock()
    typer.echo(f"{replayed.events} events are back in the spool", err=True)
    for path in replayed.files:
        typer.echo(f"their dead letters are now in {path}", err=True)
    if replayed.remaining:
        typer.echo(
            f"{replayed.remaining} dead letters stay there alone: cut, torn, or never an event", err=True
        )


def _once(shipper: Shipper, spool: Path) -> None:
    if not spool.is_dir():
        raise output.fail(f"{spool}: no such folder")
    try:
        if not shipper.reader.lock():
            raise output.fail(f"{spool}: another shipper is at work", 1)
        state = shipper.reader.state
        shipped, dead = state.shipped, state.dead_lettered
        while shipper.ship_batch():
            pass
    except (RetryError, OSError) as error:
        raise output.fail(str(error), 1) from None
    finally:
        shipper.close()
    dead = state.dead_lettered - dead
    refused = f", {dead} refused: see {spool / DEAD_LETTERS}" if dead else ""
    typer.echo(f"{state.shipped - shipped} events shipped{refused}", err=True)


def _daemon(shipper: Shipper, grace: float) -> None:
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    worker = threading.Thread(target=shipper.run, name="ship", daemon=True)
    worker.start()
    while worker.is_alive() and not stopped.wait(1.0):
        pass
    if not stopped.is_set():
        raise output.fail("the shipper ended by itself; what is in the spool stays there", 1)
    shipper.stop(grace)
    worker.join(grace)


def _status(spool: Path, as_json: bool) -> None:
    if not spool.is_dir():
        raise output.fail(f"{spool}: no such folder")
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
    waiting = f"{events} events, {size / 1e6:.1f} MB" + (f", the oldest {age:.0f} s old" if age else "")
    receiver = output.plain(state.receiver or "nowhere yet")
    typer.echo(f"shipper   {'running' if running else 'not running'}, to {receiver}")
    typer.echo(f"waiting   {waiting}")
    typer.echo(f"shipped   {state.shipped} events, {document['rate']:.0f} a second in the last minute")
    typer.echo(f"refused   {state.dead_lettered} events; {state.retries} attempts were repeated")
    typer.echo(f"known     {state.duplicates} events, which the receiver had already")
    if state.last_error:
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(state.last_error_at))
        typer.echo(f"last error {when}: {output.plain(state.last_error)}")
