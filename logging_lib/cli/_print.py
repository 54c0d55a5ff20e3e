"""How commands print: tables, JSON, texts that came from logs."""

from __future__ import annotations

import json
import sys
from contextvars import ContextVar
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from logging_lib.watch.templating import Medium


def safe(text: object) -> str:
    """Names come from logs: neither terminal codes nor rich's markup may act."""
    return escape(Medium.HEADER.escape(str(text)))


def plain(text: object) -> str:
    """The same for what goes out without rich."""
    return Medium.HEADER.escape(str(text))


def console() -> Console:
    """A pipe is not 80 columns wide; what is cut there cannot be searched."""
    made = Console()
    return made if made.is_terminal else Console(width=200)


def print_json(document: Any) -> None:
    typer.echo(json.dumps(document, indent=2, allow_nan=False))


_wants_json: ContextVar[bool] = ContextVar("wants_json", default=False)


def remember_json(wanted: bool) -> bool:
    """What ``fail`` does depends on it. A callback of the option, called for every command that has it."""
    _wants_json.set(wanted)
    return wanted


JsonOption = Annotated[
    bool, typer.Option("--json", help="Print JSON.", callback=remember_json, is_eager=True)
]


def note(text: object) -> None:
    """A line on standard error, beside the result."""
    print(Medium.HEADER.escape(str(text)), file=sys.stderr)


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
