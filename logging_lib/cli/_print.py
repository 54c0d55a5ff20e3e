"""How commands print: tables, JSON, texts that came from logs."""

from __future__ import annotations

import json
import sys
from typing import Any

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


def note(text: object) -> None:
    """A line on standard error, beside the result."""
    print(Medium.HEADER.escape(str(text)), file=sys.stderr)


def fail(message: object) -> typer.Exit:
    """Wrong input: the message, and exit code 2."""
    note(message)
    return typer.Exit(2)
