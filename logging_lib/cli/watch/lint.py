"""``logging-lib watch lint``."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from logging_lib._util import content
from logging_lib.cli.watch._common import JsonOption, explained, print_json
from logging_lib.watch import lint
from logging_lib.watch.templating import Medium


def lint_(
    paths: Annotated[
        list[Path] | None,
        typer.Argument(help="Watch files, or folders of *.json. Default: the shipped ones."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Find what is wrong with watches before they run: what is refused, and what Watcher would take without a word.

    Exit code 1: there are errors; 2: a path holds no watch. Warnings alone end with 0.

    Example: logging-lib watch lint watchers
    """
    with explained():
        findings = lint.lint_files(paths or [content.path("watchers")], now=datetime.now(UTC))
    errors = sum(finding.severity == "error" for finding in findings)
    if as_json:
        print_json([finding.document() for finding in findings])
    else:
        for finding in findings:
            typer.echo(Medium.HEADER.escape(str(finding)))
        typer.echo(f"{errors} errors, {len(findings) - errors} warnings")
    raise typer.Exit(1 if errors else 0)
