"""Puts the command groups together."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import logging_lib
from logging_lib.cli import index, profile, stack, watch
from logging_lib.cli.annotate import annotate
from logging_lib.cli.ship import ship

app = typer.Typer(
    name="logging-lib",
    help="Watch machine-learning models on the Elastic stack: prediction logs, dashboards, alerts.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.add_typer(profile.app, name="profile")
app.add_typer(watch.app, name="watch")
app.add_typer(stack.app, name="stack")
app.command()(stack.doctor)
app.command()(index.index)
app.command()(annotate)
app.command()(ship)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"logging-lib {logging_lib.__version__}")
        raise typer.Exit


@app.callback()
def common(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Options of every command."""


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Where to leave what the demo makes.")] = Path("build/demo"),
    seed: Annotated[int, typer.Option(help="Which events the incidents hit.")] = 1,
) -> None:
    """A real model on real loans, three incidents, alerts by mail and Slack; no server needed."""
    try:
        from logging_lib.demo import run
    except ModuleNotFoundError as missing:
        typer.echo(f"{missing.name} is not installed; pip install 'logging-lib[demo]'", err=True)
        raise typer.Exit(2) from None
    raise typer.Exit(run(out, seed=seed))
