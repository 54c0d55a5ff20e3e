"""How commands print: tables, JSON, texts that came from logs."""

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

from logging_lib.watch.templating import Medium


def safe(text: object) -> str:
    """Names come from logs: neither terminal codes nor rich's markup may act."""
    return escape(plain(text))


def plain(text: object) -> str:
    """The same for what goes out without rich."""
    return Medium.HEADER.escape(str(text))


def console() -> Console:
    """A pipe is not 80 columns wide; what is cut there cannot be searched."""
    made = Console()
    return made if made.is_terminal else Console(width=200)


@contextmanager
def progress(what: str) -> Iterator[Callable[[int, int], None]]:
    """A bar on a terminal's standard error for as long as the block runs; it is told bytes done and in all."""
    columns = (TextColumn(what), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as shown:
        bar = shown.add_task(what, visible=False, total=None)
        yield lambda done, total: shown.update(bar, completed=done, total=total, visible=total > _WORTH_A_BAR)


_WORTH_A_BAR = 50_000_000  # bytes: they take half a second


def print_json(document: Any) -> None:
    typer.echo(json.dumps(document, indent=2, allow_nan=False))


_wants_json: ContextVar[bool] = ContextVar("wants_json", default=False)


def remember_json(wanted: bool) -> bool:
    """What ``fail`` does depends on it. A callback of the option, called for every command that has it."""
    _wants_json.set(wanted)
    return wanted


def json_option(about: str) -> Any:
    """``--json``, with what its help says."""
    return typer.Option("--json", help=about, callback=remember_json, is_eager=True)


JsonOption = Annotated[bool, json_option("Print JSON.")]


def note(text: object) -> None:
    """A line on standard error, beside the result."""
    print(plain(text), file=sys.stderr)


def fail(message: object, code: int = 2) -> typer.Exit:
    """The message on standard error; with ``--json`` also ``{"error": {"message", "exit_code"}}`` as the result.

    Args:
        code: 2, wrong input; 1, what was asked for is not there.
    """
    lines = str(message).splitlines() or [type(message).__name__]
    for line in lines:
        note(line)
    if _wants_json.get():
        print_json({"error": {"message": "\n".join(map(plain, lines)), "exit_code": code}})
    return typer.Exit(code)


def not_installed(missing: ModuleNotFoundError, extra: str) -> typer.Exit:
    return fail(f"{missing.name} is not installed; pip install 'logging-lib[{extra}]'")
