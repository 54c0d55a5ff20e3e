"""``logging-lib watch``: list, show, run, ack, mute, unmute, history, test, backtest, lint; a module each."""

from __future__ import annotations

import typer

from logging_lib.cli.watch import ack, backtest, history, lint, mute, run, show, testing

app = typer.Typer(help="Evaluate watches and alert, without a licence.", no_args_is_help=True)
app.command("list")(show.list_)
app.command()(show.show)
app.command()(run.run)
app.command()(ack.ack)
app.command()(mute.mute)
app.command()(mute.unmute)
app.command()(history.history)
app.command("backtest")(backtest.backtest_)
app.command("test")(testing.unit_test)
app.command("lint")(lint.lint_)
