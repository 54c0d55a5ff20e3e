"""``logging-lib dashboards``: build Kibana's saved objects, and import, export, compare and list them."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from logging_lib._util import content
from logging_lib._util.formatting import format_count
from logging_lib._util.ownership import OwnershipState
from logging_lib.analysis import samples
from logging_lib.cli import options, output
from logging_lib.cli.command_line import App
from logging_lib.cli.output import progress
from logging_lib.dashboards.build import for_profile
from logging_lib.dashboards.kibana import objects, reconcile
from logging_lib.dashboards.kibana.client import Kibana, dashboard_url, explain_newer, settings_from
from logging_lib.dashboards.kibana.validate import check_ndjson
from logging_lib.dashboards.loading import load_dashboards
from logging_lib.dashboards.spec import Dashboard
from logging_lib.profile.io import load as load_profile
from logging_lib.store.port import StoreError
from logging_lib.store.profiles import overlay_profiles

app = App(help="Build, import and preview the dashboards.", no_args_is_help=True)

Json = dict[str, Any]

ProfilesOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--profile", metavar="PATH", help="A profile.json, to also make a dashboard of its model; repeatable."
    ),
]
SpecsOption = Annotated[
    Path | None,
    typer.Option(
        "--specs", metavar="PATH", help="Folder of dashboard specs (*.yml). Default: the shipped dashboards."
    ),
]
KibanaOption = Annotated[
    str | None,
    typer.Option(
        "--kibana",
        metavar="URL",
        help="Kibana, with its base path. Credentials are read from LOGGING_LIB_KIBANA_API_KEY, or from _USER and "
        "_PASSWORD, or else from LOGGING_LIB_ELASTICSEARCH_*. Default: $LOGGING_LIB_KIBANA_URL.",
    ),
]
SpaceOption = Annotated[str, typer.Option("--space", metavar="ID", help="Id of Kibana's space.")]
FileOption = Annotated[
    Path | None,
    typer.Argument(metavar="FILE", help="NDJSON file of Kibana. Default: made from the specs."),
]


@app.command()
def build(
    profiles: ProfilesOption = None,
    specs: SpecsOption = None,
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="PATH", help="Folder to write the files to.")
    ] = Path("build/dashboards"),
    as_json: output.JsonOption = False,
) -> None:
    """Write the NDJSON files that Kibana imports: one of all dashboards, and one for each profile given.

    Exit code 2: wrong input.

    Example: logging-lib dashboards build --profile profile.json --out build/dashboards
    """
    with output.handle_errors(OSError, ValueError, extra="report"):
        shipped = load_dashboards(specs or content.path("kibana_dashboards"))
        files = {"logging-lib.ndjson": shipped}
        for path in profiles or ():
            dashboard = for_profile(load_profile(path))
            files[f"logging-lib-{dashboard.id}.ndjson"] = [dashboard]
        out.mkdir(parents=True, exist_ok=True)
        written: list[dict[str, Any]] = []
        for name, dashboards in files.items():
            text = objects.ndjson(objects.saved_objects(dashboards))
            if problems := check_ndjson(text, elsewhere=_ids(shipped)):
                raise StoreError("\n".join(map(str, problems)))
            (out / name).write_text(text, "utf-8")
            panels = sum(len(dashboard.panels) for dashboard in dashboards)
            written.append({"file": str(out / name), "dashboards": len(dashboards), "panels": panels})
    if as_json:
        typer.echo(json.dumps(written, indent=1))
        return
    for file in written:
        counts = f"{format_count(file['dashboards'], 'dashboard')}, {format_count(file['panels'], 'panel')}"
        typer.echo(f"{file['file']}: {counts}")


@app.command("import")
def import_(
    file: FileOption = None,
    profiles: ProfilesOption = None,
    specs: SpecsOption = None,
    kibana: KibanaOption = None,
    space: SpaceOption = "default",
    force: Annotated[bool, typer.Option("--force", help="Overwrite what somebody edited.")] = False,
    new_copies: Annotated[
        bool,
        typer.Option("--new-copies", help="Import as new objects under new ids, and overwrite nothing."),
    ] = False,
    as_json: output.JsonOption = False,
) -> None:
    """Import the dashboards, with their data views and saved searches, into a Kibana.

    Run it again after each upgrade. It refuses to overwrite what somebody edited unless --force is given. Exit code
    1: not everything was imported; 2: wrong input, or Kibana rejected the request.

    Example: logging-lib dashboards import --kibana https://localhost:5601
    """
    with output.handle_errors(OSError, ValueError, extra="report"), _connect(kibana, space) as connection:
        if force and new_copies:
            raise StoreError("give either --force or --new-copies, not both")
        wanted = _read(file) if file is not None else _wanted(specs, profiles)
        version = connection.version()
        if (reason := explain_newer(wanted, version)) is not None:
            raise StoreError(
                f"{file}: {reason}, this Kibana is {version}: upgrade it, or export from an older one"
            )
        if file is not None or new_copies:
            imported = connection.import_objects(wanted, overwrite=force, new_copies=new_copies)
        else:
            comparison = reconcile.inspect_objects(connection, wanted, version=version)
            if comparison.current:
                _print_import(len(wanted), 0, [], [], as_json=as_json)
                return
            if comparison.protected and not force:
                for kind, identity in comparison.protected:
                    output.warn(f"refused: {kind} {identity}: {comparison.note((kind, identity))}")
                output.warn(
                    "nothing was changed; logging-lib dashboards diff shows how, --force overwrites them, "
                    "--new-copies keeps them"
                )
                raise typer.Exit(1)
            imported = reconcile.import_objects(connection, wanted, version=version)
    dashboard_ids = (
        [] if new_copies else [document["id"] for document in wanted if document["type"] == "dashboard"]
    )
    urls = [dashboard_url(settings_from(url=kibana), space, identity) for identity in dashboard_ids]
    _print_import(len(wanted), imported.taken, list(imported.refused), urls, as_json=as_json)
    raise typer.Exit(1 if imported.refused else 0)


@app.command()
def export(
    out: Annotated[Path, typer.Option("--out", "-o", metavar="PATH", help="NDJSON file to write.")],
    ids: Annotated[
        list[str] | None,
        typer.Option(
            "--id", metavar="ID", help="Id of a dashboard; repeatable. Default: all of logging_lib."
        ),
    ] = None,
    kibana: KibanaOption = None,
    space: SpaceOption = "default",
    as_json: output.JsonOption = False,
) -> None:
    """Write Kibana's dashboards, with all that they refer to, to a file.

    Exit code 2: wrong input, or Kibana rejected the request.

    Example: logging-lib dashboards export --out mine.ndjson --id logging-lib-fleet
    """
    with output.handle_errors(OSError, ValueError, extra="report"), _connect(kibana, space) as connection:
        exported = (
            connection.export([("dashboard", dashboard) for dashboard in ids])
            if ids
            else connection.export_ours()
        )
        if not exported:
            raise StoreError(
                "this space has no dashboards of logging_lib; import them: logging-lib dashboards import"
            )
        out.write_text(objects.ndjson(exported), "utf-8")
    typer.echo(
        json.dumps({"file": str(out), "objects": len(exported)})
        if as_json
        else f"{out}: {format_count(len(exported), 'object')} written"
    )


@app.command()
def diff(
    file: FileOption = None,
    profiles: ProfilesOption = None,
    specs: SpecsOption = None,
    kibana: KibanaOption = None,
    space: SpaceOption = "default",
    every: Annotated[
        bool,
        typer.Option("--all", help="Include objects that differ only in the form that Kibana gave them."),
    ] = False,
    as_json: output.JsonOption = False,
) -> None:
    """Print line by line how the objects in Kibana differ from those that would be imported.

    Exit code 1: they differ; 2: wrong input, or Kibana rejected the request.

    Example: logging-lib dashboards diff --kibana https://localhost:5601
    """
    with output.handle_errors(OSError, ValueError, extra="report"), _connect(kibana, space) as connection:
        wanted = _read(file) if file is not None else _wanted(specs, profiles)
        comparison = reconcile.inspect_objects(connection, wanted, version=connection.version())
    differ = reconcile.diff_objects(comparison, wanted)
    if not every:
        differ = {
            key: text for key, text in differ.items() if comparison.states[key] is not OwnershipState.CURRENT
        }
    if as_json:
        rows = [
            {"type": key[0], "id": key[1], "state": comparison.states[key], "diff": text}
            for key, text in differ.items()
        ]
        typer.echo(json.dumps({"objects": len(wanted), "differ": rows}, indent=1))
        raise typer.Exit(0 if comparison.current else 1)
    for key, text in differ.items():
        typer.echo(f"{' '.join(key)}: {comparison.states[key]}")
        for line in text.splitlines():
            typer.echo(output.plain(line))
    typer.echo(f"{len(differ):,} of {format_count(len(wanted), 'object')} differ")
    raise typer.Exit(0 if comparison.current else 1)


@app.command("list")
def list_(
    kibana: KibanaOption = None,
    space: SpaceOption = "default",
    as_json: output.JsonOption = False,
) -> None:
    """List the objects of logging_lib in a Kibana.

    Exit code 2: wrong input, or Kibana rejected the request.

    Example: logging-lib dashboards list --kibana https://localhost:5601
    """
    with output.handle_errors(OSError, ValueError, extra="report"), _connect(kibana, space) as connection:
        own_objects = connection.export_ours()
        settings = settings_from(url=kibana)
    rows = [
        {
            "type": document["type"],
            "id": document["id"],
            "title": document["attributes"].get("title") or document["attributes"].get("name", ""),
            "url": dashboard_url(settings, space, document["id"])
            if document["type"] == "dashboard"
            else None,
        }
        for document in sorted(own_objects, key=lambda document: (document["type"], document["id"]))
    ]
    if as_json:
        typer.echo(json.dumps(rows, indent=1))
        return
    table = Table("type", "id", "title", box=None, pad_edge=False)
    for row in rows:
        table.add_row(*(output.plain(str(row[name])).replace("[", "\\[") for name in ("type", "id", "title")))
    output.console().print(table)
    typer.echo(f"{format_count(len(rows), 'object')} in the space {space}")


@app.command()
def preview(
    store: options.StoreOption = None,
    elasticsearch: options.ElasticsearchOption = None,
    profiles: ProfilesOption = None,
    specs: SpecsOption = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            metavar="PATH",
            help="Folder to write the page to. Default: serve it on this machine.",
        ),
    ] = None,
    models: Annotated[
        list[str] | None,
        typer.Option("--model", metavar="MODEL", help="With --out: only this model; repeatable."),
    ] = None,
    port: Annotated[
        int, typer.Option(metavar="N", min=0, max=65535, help="Port on 127.0.0.1; 0 takes a free one.")
    ] = 8601,
) -> None:
    """Show the dashboards in a browser without Kibana: served on this machine, or written as one page.

    Exit code 2: wrong input.

    Example: logging-lib dashboards preview --store build/store --out build/preview
    """
    with output.handle_errors(OSError, ValueError, extra="report"), contextlib.ExitStack() as stack:
        from logging_lib.dashboards import preview as previewing
        from logging_lib.dashboards.page import render_preview
        from logging_lib.dashboards.serve import server
        from logging_lib.report.attention import list_attention

        dashboards = sorted(
            load_dashboards(specs or content.path("kibana_dashboards")), key=lambda dashboard: dashboard.title
        )
        progress_display = stack.enter_context(contextlib.ExitStack())
        report_progress = progress_display.enter_context(progress("Reading the store"))
        opened = options.choose(store, elasticsearch, read_only=True, progress=report_progress)
        stack.callback(opened.close)
        if profiles:
            dashboards += [for_profile(load_profile(path)) for path in profiles]
            opened = overlay_profiles(opened, profiles)
            stack.callback(opened.close)
        previewing.prepare(opened, dashboards)
        progress_display.close()
        if out is not None:
            stack.enter_context(progress("Drawing"))
            for model in models or ():
                options.choose_model(model, samples.models(opened))
            now = datetime.now(UTC)
            cached = previewing.CachingStore(opened)
            available = previewing.choices(cached, now=now)
            selections = list(previewing.combinations(available, models or ()))
            views = previewing.static_views(cached, dashboards, available, selections, now=now)
            periods = list(dict.fromkeys(dashboard["period"] for dashboard in selections))
            out.mkdir(parents=True, exist_ok=True)
            (out / "index.html").write_text(
                render_preview(
                    dashboards,
                    available,
                    views=views,
                    periods=periods,
                    attention=list_attention(cached, models or available["models"]),
                ),
                "utf-8",
            )
            counts = (
                f"{format_count(len(dashboards), 'dashboard')}, {format_count(len(selections), 'selection')}"
            )
            typer.echo(f"{out / 'index.html'}: {counts}")
            return
        preview_server = stack.enter_context(
            server(
                opened,
                dashboards,
                port=port,
                clock=lambda: datetime.now(UTC),
                list_attention=list_attention,
            )
        )
        typer.echo(f"http://127.0.0.1:{preview_server.server_port}/ (stop it with Ctrl-C)")
        with contextlib.suppress(KeyboardInterrupt):
            preview_server.serve_forever()


# --- helpers


def _print_import(wanted: int, taken: int, refused: list[str], urls: list[str], *, as_json: bool) -> None:
    if as_json:
        document = {"objects": wanted, "imported": taken, "refused": refused, "dashboards": urls}
        typer.echo(json.dumps(document, indent=1))
        return
    typer.echo(
        f"{taken:,} of {format_count(wanted, 'object')} imported"
        if taken or refused
        else f"{format_count(wanted, 'object')}, unchanged"
    )
    for reason in refused:
        output.warn(f"not imported: {reason}")
    for url in urls:
        typer.echo(output.plain(url))


@contextlib.contextmanager
def _connect(url: str | None, space: str) -> Iterator[Kibana]:
    with Kibana(settings_from(url=url), space=space) as connection:
        yield connection


def _wanted(specs: Path | None, profiles: list[Path] | None) -> list[Json]:
    dashboards = load_dashboards(specs or content.path("kibana_dashboards"))
    return objects.saved_objects([*dashboards, *(for_profile(load_profile(path)) for path in profiles or ())])


def _ids(dashboards: list[Dashboard]) -> list[str]:
    return [objects.dashboard_id(dashboard.id) for dashboard in dashboards]


def _read(file: Path) -> list[Json]:
    """Return the objects of an NDJSON file, without its summary. Raise StoreError."""
    documents = []
    for number, line in enumerate(file.read_bytes().splitlines(), 1):
        if not line.strip():
            continue
        try:
            document = json.loads(line)
        except ValueError as error:
            raise StoreError(f"{file}:{number}: not JSON: {error}") from error
        if isinstance(document, dict) and "exportedCount" in document:
            continue
        if not isinstance(document, dict) or not {"type", "id", "attributes"} <= document.keys():
            raise StoreError(f"{file}:{number}: not a saved object; export from Kibana as NDJSON")
        documents.append(document)
    if not documents:
        raise StoreError(f"{file}: this file has no saved objects")
    return documents
