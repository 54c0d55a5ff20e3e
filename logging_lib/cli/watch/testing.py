"""``logging-lib watch test``."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from logging_lib.cli import options
from logging_lib.cli.watch._common import JsonOption, WatchesOption, explained, lines_safe, load, print_json
from logging_lib.watch.testing import cases, run

if TYPE_CHECKING:
    from logging_lib.watch.testing.run import NewStore


def unit_test(
    paths: Annotated[list[Path], typer.Argument(help="Files of cases, or folders of *.yml.")],
    watches: WatchesOption = None,
    elasticsearch: Annotated[
        str | None,
        typer.Option(
            "--elasticsearch",
            metavar="URL",
            help="Run them on this Elasticsearch, in indices watch-test-* that are deleted at once. "
            "Default: on the embedded store.",
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Run unit tests of watches: what each finds at given times of described events.

    Exit code 1: a watch found something else than the cases say; 2: wrong input.

    Example: logging-lib watch test watchers/cases
    """
    failed = passed = 0
    failure_texts: list[str] = []
    with explained(), contextlib.ExitStack() as stack:
        new_store = _new_store(elasticsearch, stack)
        watches_by_id = {watch.id: watch for watch in load(watches)}
        for loaded in [cases.load_case_file(file) for file in cases.find_case_files(paths)]:
            for _, failures in run.run_file(loaded, watches_by_id, new_store):
                failed, passed = failed + bool(failures), passed + (not failures)
                failure_texts += map(str, failures)
    if as_json:
        print_json({"passed": passed, "failed": failed, "failures": failure_texts})
    else:
        for failure in failure_texts:
            typer.echo(lines_safe(failure))
        typer.echo(f"{passed} cases passed, {failed} failed")
    raise typer.Exit(1 if failed else 0)


def _new_store(url: str | None, stack: contextlib.ExitStack) -> NewStore:
    if url is None:
        return lambda: options.open_store(None)
    from logging_lib.store.sandbox import Sandbox

    connection = stack.enter_context(options.connect(url))
    return lambda: Sandbox(connection)
