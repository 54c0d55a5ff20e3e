"""``logging-lib export``: write served data as training data."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from logging_lib._util.formatting import format_count, format_percent, list_values
from logging_lib.analysis import export as exporting
from logging_lib.analysis.samples import Selection
from logging_lib.cli import options, output


def export(
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="PATH", help="File to write, .parquet or .csv.")
    ],
    which: Annotated[
        str,
        typer.Argument(
            metavar="SELECTION", help="Which predictions: 'last=30d', 'version=2,role=live'. Default: all."
        ),
    ] = "",
    store: options.StoreOption = None,
    elasticsearch: options.ElasticsearchOption = None,
    model: Annotated[
        str | None, typer.Option(metavar="MODEL", help="Name of the model. Default: all models.")
    ] = None,
    exclude: Annotated[
        list[str] | None,
        typer.Option(
            metavar="MARK",
            help=f"Exclude events marked {', '.join(exporting.MARKS)}; repeatable. Default: only mark them.",
        ),
    ] = None,
    flag: Annotated[
        list[str] | None,
        typer.Option(
            metavar="CHECK", help="Failed check that flags an event; repeatable. Default: all but missing."
        ),
    ] = None,
    influenced: Annotated[
        str,
        typer.Option(
            metavar="KEY[=VALUE]",
            help="Key below labels.* of events that the model's own decisions helped to bring about.",
        ),
    ] = exporting.INFLUENCED,
    new_classes: Annotated[
        bool,
        typer.Option("--new-classes", help="Also export if no label is one of the model's classes."),
    ] = False,
    as_json: output.JsonOption = False,
) -> None:
    """Write served inputs with their labels, checks and provenance to a file, as training data.

    It also prints what share is flagged, shadow or influenced. Exit code 1: no event was left to write; 2: wrong
    input.

    Example: logging-lib export --out train.parquet last=90d --exclude shadow --store build/store
    """
    now = datetime.now(UTC)
    with output.handle_errors(ValueError, OSError), output.progress("Reading events"):
        for mark in exclude or ():
            options.choice(mark, "--exclude", exporting.MARKS)
        opened = options.choose(store, elasticsearch, read_only=True)
        try:
            all_of_model = Selection(model=model)
            selection = Selection.parse(which, now=now, base=all_of_model) if which else all_of_model
            result = exporting.export(
                opened,
                selection,
                out,
                now=now,
                kinds=exporting.profile_kinds(opened, selection),
                leave_out=exclude or (),
                flags=flag or exporting.FLAGS,
                influenced=influenced,
                new_classes=new_classes,
            )
        finally:
            opened.close()
    document = result.document()
    if as_json:
        output.print_json({"file": str(out), **document})
    else:
        typer.echo(f"{out}: {result.rows:,} of {format_count(result.events, 'prediction')}")
        for mark, counts in document["marks"].items():
            excluded = f", {counts['left_out']:,} excluded" if counts["left_out"] else ""
            typer.echo(f"  {mark}: {counts['events']:,} ({format_percent(counts['share'])}){excluded}")
        if not result.marked["influenced"]:
            output.note(
                f"no event has labels.{influenced}: log this key with decisions of the model that bring about the "
                "data of its next training"
            )
        if result.unknown:
            output.note(
                f"{format_count(result.unknown.total(), 'label')} of classes that the model does not have: "
                f"{list_values(map(repr, result.unknown), 10)}"
            )
        for name, count in result.untyped.most_common(10):
            output.note(
                f"{name}: {format_count(count, 'value')} of another type, kept in ml.input.other only"
            )
    raise typer.Exit(0 if result.rows else 1)
