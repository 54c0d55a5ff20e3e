"""``logging-lib watch notify-test``."""

from __future__ import annotations

import contextlib
import os
import socket
from datetime import UTC, datetime
from typing import Annotated

import typer

from logging_lib._util.times import format_instant
from logging_lib.cli import options, output
from logging_lib.cli.options import UsageError
from logging_lib.cli.watch.watch_options import JsonOption, lines_safe, print_json
from logging_lib.watch.notify.base import DeliveryError, Notification, RenderError, hash_id
from logging_lib.watch.notify.registry import CHANNELS, configure_channels

SUBJECT = "[Test] logging-lib: a test notification, nothing is wrong"


def notify_test(
    name: Annotated[
        str, typer.Option("--channel", metavar="CHANNEL", help=f"Channel: {', '.join(CHANNELS)}.")
    ],
    recipient: Annotated[
        str,
        typer.Option(
            metavar="RECIPIENT",
            help="Mail address, Slack channel, PagerDuty account, webhook URL or index to send to. Default: the "
            "channel's own.",
        ),
    ] = "",
    store: options.StoreOption = None,
    elasticsearch: options.ElasticsearchOption = None,
    as_json: JsonOption = False,
) -> None:
    """Send one test notification through a channel, and print what its server answered.

    The channel is configured by environment variables, as for `watch run`. Exit code 1: it was not delivered; 2:
    wrong input, or the channel is not configured.

    Example: logging-lib watch notify-test --channel email --recipient team@example.org
    """
    with output.handle_errors(), contextlib.ExitStack() as stack:
        options.choice(name, "--channel", tuple(CHANNELS))
        opened = None
        if CHANNELS[name].needs_store and (store is not None or elasticsearch is not None):
            opened = options.choose(store, elasticsearch, read_only=False)
            stack.callback(opened.close)
        channel = configure_channels(os.environ, store=opened).get(name)
        if channel is None:
            needed = CHANNELS[name].setting or "--store or --elasticsearch"
            raise UsageError(f"the channel {name} is not configured: set {needed}")
        now = datetime.now(UTC)
        draft = Notification(
            id=hash_id("notify-test", now.isoformat()), watch="notify-test", action=name, created_at=now
        )
        text = f"Sent by `logging-lib watch notify-test` on {socket.gethostname()} at {format_instant(now)}."
        try:
            notification = CHANNELS[name].test(draft, recipient, SUBJECT, text)
        except RenderError as error:
            raise UsageError(str(error)) from None
        try:
            answer, is_delivered = channel.deliver(notification), True
        except DeliveryError as error:
            answer, is_delivered = str(error), False
    if as_json:
        print_json({"channel": name, "delivered": is_delivered, "answer": answer})
    elif is_delivered:
        typer.echo(lines_safe(f"{name}: delivered; the server answered: {answer}"))
    else:
        typer.echo(lines_safe(f"{name}: not delivered: {answer}"), err=True)
    raise typer.Exit(0 if is_delivered else 1)
