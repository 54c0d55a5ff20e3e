"""``logging-lib watch``: evaluate watches, and manage incidents."""

from __future__ import annotations

from logging_lib.cli.command_line import App
from logging_lib.cli.watch import accept, backtest, files, incidents, notify_test, run

app = App(help="Evaluate watches and alert, without a license.", no_args_is_help=True)
app.command("list")(files.list_)
app.command()(files.show)
app.command()(run.run)
app.command("notify-test")(notify_test.notify_test)
app.command("incidents")(accept.list_incidents)
app.command()(accept.accept)
app.command()(incidents.ack)
app.command()(incidents.mute)
app.command()(incidents.unmute)
app.command()(incidents.history)
app.command("backtest")(backtest.backtest_)
app.command("test")(files.unit_test)
app.command("lint")(files.lint_)
