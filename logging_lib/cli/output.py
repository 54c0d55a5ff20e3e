"""Print what commands answer: tables, JSON, texts that came from logs, and errors."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from logging_lib._util.errors import LoggingLibError
from logging_lib.watch.templating import Medium


def safe(text: object) -> str:
    """Escape a text of the logs for rich: neither terminal codes nor rich's markup may act."""
    return escape(plain(text))


def plain(text: object) -> str:
    """Escape a text of the logs for what is printed without rich."""
    return Medium.HEADER.escape(str(text))


def console() -> Console:
    """Return the console of standard output. A pipe gets 200 columns: what is cut there cannot be searched."""
    terminal = Console()
    return terminal if terminal.is_terminal else Console(width=200)


@contextmanager
def progress(title: str) -> Iterator[Callable[[int, int], None]]:
    """Show a progress bar on a terminal while the block runs; call it with the bytes done and in total."""
    columns = (TextColumn(title), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as display:
        bar = display.add_task(title, visible=False, total=None)
        yield lambda done, total: display.update(
            bar, completed=done, total=total, visible=total > _WORTH_A_BAR
        )


_WORTH_A_BAR = 50_000_000  # bytes: they take half a second


def print_json(document: Any) -> None:
    """Print the one JSON document of a command."""
    typer.echo(json.dumps(document, indent=2, allow_nan=False))


_wants_json: ContextVar[bool] = ContextVar("wants_json", default=False)


def remember_json(wanted: bool) -> bool:
    """Remember for ``fail`` whether the command prints JSON: a callback of the option."""
    _wants_json.set(wanted)
    return wanted


def json_option(about: str) -> Any:
    """Return the ``--json`` option with this help text."""
    return typer.Option("--json", help=about, callback=remember_json, is_eager=True)


JsonOption = Annotated[bool, json_option("Print JSON.")]


def note(text: object) -> None:
    """Print a line on standard error, beside the result."""
    print(plain(text), file=sys.stderr)


def fail(message: object, code: int = 2) -> typer.Exit:
    """Print a message on standard error, and with ``--json`` an ``error`` document as the result.

    Args:
        message: what is wrong, and the remedy.
        code: 2 for wrong input; 1 where what was asked for does not exist.
    """
    lines = str(message).splitlines() or [type(message).__name__]
    for line in lines:
        note(line)
    if _wants_json.get():
        print_json({"error": {"message": "\n".join(map(plain, lines)), "exit_code": code}})
    return typer.Exit(code)


@contextmanager
def handle_errors(*also: type[Exception], extra: str = "ops") -> Iterator[None]:
    """End the command with the reason on standard error and exit code 2, never with a traceback.

    Args:
        also: exceptions besides ``LoggingLibError`` and ``FileNotFoundError`` whose message is meant for the user.
        extra: the extra to install where a library is missing.
    """
    shown: tuple[type[Exception], ...] = (LoggingLibError, FileNotFoundError, *also)
    try:
        yield
    except ModuleNotFoundError as missing:
        raise fail(f"{missing.name} is not installed; pip install 'logging-lib[{extra}]'") from None
    except shown as error:
        raise fail(error) from None
