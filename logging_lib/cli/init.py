"""``logging-lib init``: write the first files of a new project."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Annotated, Any

import typer

from logging_lib.cli import output, scaffold
from logging_lib.cli.options import UsageError
from logging_lib.cli.scaffold import ENVIRONMENT, FRAMEWORKS, NO_FRAMEWORK, PROFILE, SERVICE


def init(
    data: Annotated[
        Path | None,
        typer.Argument(
            metavar="FILE",
            help="Training data, CSV, Parquet or JSON lines: profile.yml then says what is odd about its columns.",
            show_default=False,
        ),
    ] = None,
    model: Annotated[
        str | None, typer.Option(metavar="MODEL", help="Name of the model; default: the folder's.")
    ] = None,
    version: Annotated[str, typer.Option(metavar="VERSION", help="Version of the model.")] = "1",
    target: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="Column with the actual values.")
    ] = None,
    framework: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help=f"{', '.join(FRAMEWORKS)} or {NO_FRAMEWORK}. "
            "Default: what the folder's requirements or imports name.",
        ),
    ] = None,
    folder: Annotated[Path, typer.Option(metavar="PATH", help="Folder of the project.")] = Path(),
    force: Annotated[bool, typer.Option("--force", help="Replace existing files.")] = False,
    as_json: output.JsonOption = False,
) -> None:
    """Write what a new project begins with: profile.yml, a service that logs its predictions, and .env for alerts.

    Existing files are kept.

    Example: logging-lib init train.csv --model loans --version 3 --target interest_rate
    """
    with output.handle_errors():
        if framework is not None and framework not in (*FRAMEWORKS, NO_FRAMEWORK):
            raise UsageError(
                f"--framework: {framework!r}: write one of {', '.join((*FRAMEWORKS, NO_FRAMEWORK))}"
            )
        if not folder.is_dir():
            raise UsageError(f"--folder: {folder}: no such folder")
        if target is not None and data is None:
            raise UsageError(
                "--target needs the training data, as in: logging-lib init train.csv --target price"
            )
        name = model or _name_model(folder)
        found = {} if framework is not None else scaffold.find_frameworks(folder)
        chosen = framework or next(iter(found), NO_FRAMEWORK)
        texts = {
            PROFILE: scaffold.render_config(_draft(data, name, version, target)),
            SERVICE: scaffold.render_service(chosen, model=name, version=version),
            ENVIRONMENT: scaffold.render_environment(),
        }
        left = [file for file in texts if not force and (folder / file).exists()]
        written = [file for file in texts if file not in left]
        for file in written:
            _write(folder / file, texts[file])
    about = {
        PROFILE: f"how to read the columns of {data or 'the training data'}",
        SERVICE: _describe_service(chosen, found),
        ENVIRONMENT: "mail server, Slack and recipients; nothing is set yet",
    }
    next_command = _next_command(data, name, version, target, folder)
    if as_json:
        document: dict[str, Any] = {"written": written, "left": left, "model": name, "version": version}
        output.print_json({**document, "framework": chosen, "next": next_command})
        return
    for file in texts:
        said = (
            about[file] if file in written else "is there already, and is left as it is; --force replaces it"
        )
        typer.echo(output.plain(f"{folder / file}: {said}"))
    typer.echo(output.plain(f"next: {next_command}"))
    if SERVICE in written:
        typer.echo(output.plain(f"then: call your model in predict() of {folder / SERVICE}"))


def _draft(data: Path | None, model: str, version: str, target: str | None) -> str:
    """Draft ``profile.yml`` from training data, like ``profile fit --suggest-config``."""
    if data is None:
        return ""
    from logging_lib.profile.config import Config
    from logging_lib.profile.fitting import fit_with_notes
    from logging_lib.profile.notes import draft_config
    from logging_lib.profile.readers import read_table

    config = Config()
    table = read_table(data, na_values=config.na_values)
    fitted, notes = fit_with_notes(
        table.frame,
        model=model,
        version=version,
        target=target,
        prediction=None,
        config=config,
        trained_at=None,
        training_seconds=None,
        absent=table.absent,
    )
    return draft_config(notes, fitted.na_values, source=str(data), has_time=False)


def _name_model(folder: Path) -> str:
    """Name the model after the folder."""
    return re.sub(r"[^\w.-]+", "-", folder.resolve().name).strip("-") or "model"


def _write(path: Path, text: str) -> None:
    """Write a file; a file for secrets is readable only by its owner."""
    try:
        if path.name == ENVIRONMENT:
            path.touch(mode=0o600)
            path.chmod(0o600)
        path.write_text(text, "utf-8")
    except OSError as error:
        raise UsageError(f"{path}: cannot be written: {error.strerror}") from None


def _describe_service(framework: str, found: dict[str, str]) -> str:
    title = FRAMEWORKS.get(framework)
    if title is None:
        return f"a function that logs each prediction; with --framework ({', '.join(FRAMEWORKS)}), a service"
    text = f"logs each prediction of a {title} service"
    if framework in found:
        text += f" ({found[framework]} names {title})"
    if others := [other for other in found if other != framework]:
        text += f"; for {' or '.join(FRAMEWORKS[other] for other in others)} give --framework"
    return text


def _next_command(data: Path | None, model: str, version: str, target: str | None, folder: Path) -> str:
    words = [
        "logging-lib",
        "profile",
        "fit",
        str(data or "train.csv"),
        "--model",
        model,
        "--version",
        version,
    ]
    if target is not None:
        words += ["--target", target]
    output_file = [] if folder == Path() else ["-o", str(folder / "profile.json")]
    return shlex.join([*words, "--config", str(folder / PROFILE), *output_file])
