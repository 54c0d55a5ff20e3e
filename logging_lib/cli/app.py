"""Assemble the command groups."""

from __future__ import annotations

import signal
import threading
from pathlib import Path
from typing import Annotated

import typer

import logging_lib
from logging_lib._util.formatting import format_count
from logging_lib.cli import dashboards, index, labels, output, profile, stack, watch
from logging_lib.cli.annotate import annotate
from logging_lib.cli.audit import audit
from logging_lib.cli.command_line import App, QuietOption, VerboseOption
from logging_lib.cli.compare import compare
from logging_lib.cli.erase import erase
from logging_lib.cli.export import export
from logging_lib.cli.init import init
from logging_lib.cli.report import report
from logging_lib.cli.scorecard import scorecard
from logging_lib.cli.ship import ship
from logging_lib.cli.skew import skew

app = App(
    name="logging-lib",
    help="Watch machine-learning models on the Elastic stack: prediction logs, dashboards, alerts.",
    no_args_is_help=True,
)
app.command()(init)
app.add_typer(profile.app, name="profile")
app.add_typer(watch.app, name="watch")
app.add_typer(stack.app, name="stack")
app.add_typer(dashboards.app, name="dashboards")
app.add_typer(labels.app, name="labels")
app.command()(stack.doctor)
app.command()(index.index)
app.command()(annotate)
app.command()(compare)
app.command()(skew)
app.command()(export)
app.command()(audit)
app.command()(erase)
app.command()(scorecard)
app.command()(ship)
app.command()(report)


def _version(requested: bool) -> None:
    if requested:
        typer.echo(f"logging-lib {logging_lib.__version__}")
        raise typer.Exit


@app.callback()
def common(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Take the options of every command."""
    output.set_verbosity(quiet=quiet, verbose=verbose, reset=True)


@app.command()
def demo(
    out: Annotated[
        Path,
        typer.Option("--out", "-o", metavar="PATH", help="Write all that the demo makes to this folder."),
    ] = Path("build/demo"),
    seed: Annotated[
        int, typer.Option(metavar="N", help="Random seed: it decides which events the incidents hit.")
    ] = 1,
) -> None:
    """Run a real model on real loans, with three incidents and alerts by mail and Slack; no server needed.

    Example: logging-lib demo --out build/demo
    """
    with output.handle_errors(extra="demo"):
        from logging_lib.demo import run
    raise typer.Exit(run(out, seed=seed))


@app.command("demo-service")
def demo_service(
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="Folder to write profile.json and the spool to.")
    ],
    to: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Also ship the events to this receiver, as `ship --to` takes it."),
    ] = None,
    rate: Annotated[
        float, typer.Option(metavar="N", min=0.01, max=1000, help="Predictions per second.")
    ] = 2.0,
    seed: Annotated[
        int,
        typer.Option(
            metavar="N", help="Random seed: it decides the order of the loans, and which the incidents hit."
        ),
    ] = 1,
    limit: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="Stop after N predictions. Default: run until stopped."),
    ] = None,
) -> None:
    """Log predictions of real loans until stopped, for trying out a stack; an incident begins every hour.

    Example: logging-lib demo-service build/service --to beats://localhost:5044
    """
    with output.handle_errors(extra="demo"):
        from logging_lib.demo.serve import serve
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    with output.handle_errors(ValueError, OSError):
        served = serve(folder, ship_to=to, rate=rate, seed=seed, most=limit, say=typer.echo, stop=stop)
    typer.echo(f"{format_count(served, 'prediction')} logged")
