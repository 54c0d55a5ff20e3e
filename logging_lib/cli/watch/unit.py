"""``logging-lib watch test``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from logging_lib.cli import _store
from logging_lib.cli.watch._common import JsonOption, WatchesOption, explained, lines_safe, load, print_json
from logging_lib.watch import cases, testing


def unit_test(
    paths: Annotated[list[Path], typer.Argument(help="Files of cases, or folders of *.yml.")],
    watches: WatchesOption = None,
    as_json: JsonOption = False,
) -> None:
    """Run unit tests of watches: what each finds at given times of described events.

    Exit code 1: a watch found something else than the cases say; 2: wrong input.

    Example: logging-lib watch test watchers/cases
    """
    failed = passed = 0
    said: list[str] = []
    with explained():
        known = {watch.id: watch for watch in load(watches)}
        for loaded in [cases.load(file) for file in cases.files(paths)]:
            for _, failures in testing.run_file(loaded, known, lambda: _store.open_store(None)):
                failed, passed = failed + bool(failures), passed + (not failures)
                said += map(str, failures)
    if as_json:
        print_json({"passed": passed, "failed": failed, "failures": said})
    else:
        for failure in said:
            typer.echo(lines_safe(failure))
        typer.echo(f"{passed} cases passed, {failed} failed")
    raise typer.Exit(1 if failed else 0)
