"""``logging-lib export``: what was served, as training data."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from logging_lib.analysis import export as exporting
from logging_lib.analysis.samples import Selection
from logging_lib.cli import options, output


def export(
    to: Annotated[Path, typer.Option(help="The file: .parquet or .csv.")],
    which: Annotated[
        str, typer.Argument(help="Which predictions: 'last=30d', 'version=2,role=live'. Default: all.")
    ] = "",
    store: options.StoreOption = None,
    elasticsearch: options.ElasticsearchOption = None,
    model: Annotated[str | None, typer.Option(help="The model.")] = None,
    leave_out: Annotated[
        list[str] | None,
        typer.Option(
            help=f"Do not write these: {', '.join(exporting.MARKS)}; repeatable. Default: mark them."
        ),
    ] = None,
    flag: Annotated[
        list[str] | None,
        typer.Option(help="A check that flags an event; repeatable. Default: all but missing."),
    ] = None,
    influenced: Annotated[
        str,
        typer.Option(
            metavar="KEY[=VALUE]",
            help="The labels.* key of events that a model had a part in bringing about.",
        ),
    ] = exporting.INFLUENCED,
    as_json: output.JsonOption = False,
) -> None:
    """Write served inputs with labels, checks and provenance, and say what share is flagged, shadow or influenced.

    Exit code 1: nothing was left to write; 2: wrong input.

    Example: logging-lib export --to train.parquet last=90d --leave-out shadow --store build/store
    """
    now = datetime.now(UTC)
    with output.handle_errors(ValueError, OSError):
        opened = options.choose(store, elasticsearch, read_only=True)
        try:
            all_of_model = Selection(model=model)
            selection = Selection.parse(which, now=now, base=all_of_model) if which else all_of_model
            result = exporting.export(
                opened,
                selection,
                to,
                now=now,
                kinds=exporting.profile_kinds(opened, selection),
                leave_out=leave_out or (),
                flags=flag or exporting.FLAGS,
                influenced=influenced,
            )
        finally:
            opened.close()
    document = result.document()
    if as_json:
        output.print_json({"file": str(to), **document})
    else:
        typer.echo(f"{to}: {result.rows:,} of {result.events:,} predictions")
        for mark, counts in document["marks"].items():
            left_out_text = f", {counts['left_out']:,} left out" if counts["left_out"] else ""
            typer.echo(f"  {mark}: {counts['events']:,} ({counts['share']:.1%}){left_out_text}")
        if not result.marked["influenced"]:
            output.note(
                f"no event has labels.{influenced}: if decisions that this model took part in bring about what it "
                "will learn from, log them with it"
            )
        for name, count in result.untyped.most_common(10):
            output.note(f"{name}: {count:,} values of another type are in ml.input.other alone")
    raise typer.Exit(0 if result.rows else 1)
