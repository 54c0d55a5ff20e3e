"""``logging-lib stack`` and ``logging-lib doctor``: manage and diagnose our resources in an Elasticsearch."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

import logging_lib
from logging_lib._util import content, ownership
from logging_lib._util.formatting import format_count
from logging_lib._util.ownership import UNCHANGED, UPDATED, Change
from logging_lib.cli import options, output
from logging_lib.cli.command_line import App
from logging_lib.cli.dashboards import KibanaOption, SpaceOption
from logging_lib.cli.options import UsageError
from logging_lib.dashboards.kibana.client import PREFIX as KIBANA
from logging_lib.dashboards.kibana.client import settings_from as kibana_settings
from logging_lib.profile.io import load as load_profile
from logging_lib.stack import deploy as deployment
from logging_lib.stack import doctor as diagnosis
from logging_lib.stack import keys, resources, saved_objects
from logging_lib.stack.capabilities import ServerCapabilities, inspect_server
from logging_lib.stack.logstash import PREFIX as LOGSTASH
from logging_lib.stack.logstash import diagnose_logstash, logstash_settings
from logging_lib.store.connection import PREFIX as ELASTICSEARCH
from logging_lib.store.connection import Connection
from logging_lib.store.elasticsearch import ElasticsearchStore
from logging_lib.store.port import StoreError
from logging_lib.store.profiles import is_published, list_published_models, publish
from logging_lib.watch.loading import read_settings

app = App(help="Install or remove templates, pipelines and watches in Elasticsearch.", no_args_is_help=True)

DryRunOption = Annotated[
    bool, typer.Option("--dry-run", help="Print what would be changed, and change nothing.")
]
RetentionOption = Annotated[
    list[str] | None,
    typer.Option(
        "--retention",
        metavar="DATASET=DURATION",
        help="How long events of a dataset are kept, such as ml.prediction=30d; repeatable.",
    ),
]
RolesOption = Annotated[
    bool, typer.Option("--roles", help="Include the roles; this needs the privilege manage_security.")
]


@app.command()
def deploy(
    elasticsearch: options.ClusterOption = None,
    kibana: KibanaOption = None,
    space: SpaceOption = "default",
    retention: RetentionOption = None,
    roles: RolesOption = False,
    profiles: Annotated[
        list[Path] | None,
        typer.Option("--profile", metavar="PATH", help="A profile.json to publish as deployed; repeatable."),
    ] = None,
    api_keys: Annotated[
        list[str] | None,
        typer.Option("--api-key", metavar="ROLE", help="Create an API key with this role; repeatable."),
    ] = None,
    keys_in: Annotated[
        Path, typer.Option("--keys", metavar="PATH", help="Folder to write the API keys to.")
    ] = Path("keys"),
    expiration: Annotated[
        str | None,
        typer.Option(
            metavar="DURATION", help="How long the API keys are valid, such as 365d. Default: for ever."
        ),
    ] = None,
    show_diff: Annotated[bool, typer.Option("--diff", help="Print each change line by line.")] = False,
    dry_run: DryRunOption = False,
    force: Annotated[bool, typer.Option("--force", help="Overwrite what somebody edited.")] = False,
    as_json: output.JsonOption = False,
) -> None:
    """Install templates, retention, pipelines, scripts and, where Watcher is licensed, watches.

    With --kibana, also its dashboards; they stay as they are if Elasticsearch refuses something. Run it again after
    each upgrade. It refuses to overwrite what somebody edited, and then changes nothing. Exit code 1: something was
    refused; 2: wrong input.

    Example: logging-lib stack deploy --elasticsearch https://localhost:9200 --api-key writer
    """
    with (
        output.handle_errors(),
        output.progress("Installing"),
        options.connect(elasticsearch) as connection,
        _kibana(kibana, space) as saved,
    ):
        server = inspect_server(connection)
        loaded_profiles = [(path, load_profile(path)) for path in profiles or ()]
        settings = read_settings(os.environ)
        if server.watcher and not dry_run and "email_to" not in settings:
            published = list_published_models(ElasticsearchStore(connection))
            if loaded_profiles or any(published.values()):
                raise UsageError(
                    "Watcher would send its mails to nobody: set LOGGING_LIB_EMAIL_TO, such as team@example.org"
                )
        wanted = _base(server, retention, roles=roles)
        changes = _put(connection, wanted, force=force, dry_run=dry_run)
        if not _refused(changes):
            changes += deployment.roll_over(connection, changes, dry_run=dry_run)
            if server.lifecycle:
                changes += deployment.set_retention(connection, wanted, dry_run=dry_run)
            store = ElasticsearchStore(connection)
            for path, profile in loaded_profiles:
                is_current = is_published(store, profile)
                if not dry_run and not is_current:
                    publish(store, profile, now=datetime.now(UTC))
                about = f"profile {profile.model} {profile.version}"
                changes.append(Change(about, UNCHANGED if is_current else UPDATED, str(path)))
            if server.watcher:
                models = list_published_models(store) | {
                    profile.model: True for _, profile in loaded_profiles
                }
                folder = content.path("watchers")
                retired = resources.render_watches(
                    folder, [name for name, serves in models.items() if not serves]
                )
                changes += deployment.destroy(connection, retired, force=force, dry_run=dry_run)
                serving = [name for name, serves in models.items() if serves]
                watches = resources.render_watches(folder, serving, settings)
                changes += _put(connection, watches, force=force, dry_run=dry_run)
            changes += keys.create_keys(
                connection, api_keys or (), folder=_roles_folder(), into=keys_in, expiration=expiration,
                dry_run=dry_run,
            )  # fmt: skip
            if saved is not None:
                changes += saved.deploy(force=force, dry_run=dry_run)
    _print_changes(changes, server, show_diff=show_diff, dry_run=dry_run, as_json=as_json)
    raise typer.Exit(1 if _refused(changes) else 0)


@app.command()
def status(
    elasticsearch: options.ClusterOption = None,
    kibana: KibanaOption = None,
    space: SpaceOption = "default",
    retention: RetentionOption = None,
    roles: RolesOption = False,
    as_json: output.JsonOption = False,
) -> None:
    """Print the state of each part: missing, current, outdated, edited or foreign.

    Exit code 1: a part is not current; 2: wrong input.

    Example: logging-lib stack status --elasticsearch https://localhost:9200
    """
    with (
        output.handle_errors(),
        output.progress("Comparing"),
        options.connect(elasticsearch) as connection,
        _kibana(kibana, space) as saved,
    ):
        server = inspect_server(connection)
        wanted = _base(server, retention, roles=roles)
        if server.watcher:
            models_published = list_published_models(ElasticsearchStore(connection))
            models = [name for name, serves in models_published.items() if serves]
            settings = read_settings(os.environ)
            wanted += resources.render_watches(content.path("watchers"), models, settings)
        states = deployment.status(connection, wanted)
        saved_states = saved.status() if saved is not None else []
    if as_json:
        rows = [{"kind": part.kind.title, "name": part.name, "state": str(state)} for part, state in states]
        rows += [{"kind": "saved object", "name": name, "state": str(state)} for name, state in saved_states]
        typer.echo(json.dumps({"version": server.version_text, "license": server.license, "parts": rows}))
    else:
        table = Table("part", "state", box=None, pad_edge=False)
        for about, state in [*((str(part), str(state)) for part, state in states), *saved_states]:
            table.add_row(escape(about), state)
        output.console().print(table)
        _print_lacks(server)
    raise typer.Exit(0 if all(state == "current" for _, state in [*states, *saved_states]) else 1)


@app.command()
def destroy(
    elasticsearch: options.ClusterOption = None,
    kibana: KibanaOption = None,
    space: SpaceOption = "default",
    yes: Annotated[
        bool, typer.Option("--yes", help="Remove. Default: a dry run that prints what would be removed.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Also remove what somebody edited.")] = False,
    as_json: output.JsonOption = False,
) -> None:
    """Remove what deploy installed. Events and profiles are kept, and the templates that they need.

    Example: logging-lib stack destroy --elasticsearch https://localhost:9200 --yes
    """
    with (
        output.handle_errors(),
        options.connect(elasticsearch) as connection,
        _kibana(kibana, space) as saved,
    ):
        server = inspect_server(connection)
        wanted = _base(server, None, roles=server.security)
        if server.watcher:
            models = list(list_published_models(ElasticsearchStore(connection)))
            wanted += resources.render_watches(content.path("watchers"), models)
        changes = deployment.destroy(connection, wanted, force=force, dry_run=not yes)
        if saved is not None:  # before our keys, because one of them may be in use
            changes += saved.destroy(force=force, dry_run=not yes)
        if server.security:
            changes += keys.invalidate_keys(connection, dry_run=not yes)
    _print_changes(changes, server, show_diff=False, dry_run=not yes, as_json=as_json)
    if not yes and not as_json:
        typer.echo("this was a dry run, nothing was removed; give --yes to remove")


def doctor(
    elasticsearch: options.ClusterOption = None,
    kibana: KibanaOption = None,
    space: SpaceOption = "default",
    logstash: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="API of a Logstash, such as http://localhost:9600. Credentials are read from "
            "LOGGING_LIB_LOGSTASH_USER and _PASSWORD, and the CA file from _CA. "
            "Default: $LOGGING_LIB_LOGSTASH_URL.",
        ),
    ] = None,
    as_json: output.JsonOption = False,
) -> None:
    """Check an Elasticsearch: connection, versions, license, templates, clock, last event, dead letters.

    With --kibana, also its connection, version and dashboards. With --logstash, also its health, queues, dead
    letter queues, and what Elasticsearch refused; without an Elasticsearch, Logstash alone is checked.

    Each finding names its remedy. A finding about several parts is one line, and with --json one object for each
    part. Exit code 1: there is an error; 2: wrong input.

    Example: logging-lib doctor --elasticsearch https://localhost:9200 --logstash http://localhost:9600
    """
    findings = []
    with_logstash = bool(logstash or os.environ.get(f"{LOGSTASH}URL"))
    if elasticsearch or os.environ.get(f"{ELASTICSEARCH}URL") or not with_logstash:
        with output.handle_errors(), options.connect(elasticsearch) as connection:
            findings += diagnosis.diagnose(connection, lambda server: _base(server, None, roles=False))
    if with_logstash:
        with output.handle_errors():
            findings += diagnose_logstash(logstash_settings(url=logstash))
    if kibana is not None or os.environ.get(f"{KIBANA}URL"):
        findings += saved_objects.diagnose_kibana(
            kibana_settings(url=kibana), space, content.path("kibana_dashboards")
        )
    if as_json:
        rows = [
            {
                "level": finding.level,
                "check": finding.check,
                "message": finding.text,
                "remedy": finding.remedy,
            }
            for finding in findings
        ]
        typer.echo(json.dumps(rows, indent=1))
    else:
        table = Table("level", "check", "finding", box=None, pad_edge=False)
        for finding in diagnosis.group_findings(findings):
            remedy = f"\n→ {finding.remedy}" if finding.remedy else ""
            table.add_row(finding.level, finding.check, _safe(finding.text) + _safe(remedy, lines=True))
        output.console().print(table)
    raise typer.Exit(1 if any(finding.level is diagnosis.FindingLevel.ERROR for finding in findings) else 0)


# --- helpers


@contextlib.contextmanager
def _kibana(url: str | None, space: str) -> Iterator[saved_objects.SavedObjects | None]:
    """Open the saved objects of the named Kibana; yield None if none is named."""
    if url is None and not os.environ.get(f"{KIBANA}URL"):
        yield None
        return
    folder = content.path("kibana_dashboards")
    with saved_objects.open_saved_objects(kibana_settings(url=url), space, folder) as saved:
        yield saved


def _base(
    server: ServerCapabilities, retention: list[str] | None, *, roles: bool
) -> list[resources.Resource]:
    """Return the resources that every cluster of this kind gets."""
    periods = {}
    for entry in retention or ():
        dataset, separator, period = entry.partition("=")
        if not separator or not period:
            raise StoreError(f"--retention {entry}: not DATASET=DURATION, such as ml.prediction=30d")
        periods[dataset] = period
    folder = content.path("pipelines") / "elasticsearch"
    parts = resources.load_templates(folder, retention=periods)
    if not server.match_only_text:
        parts = resources.replace_match_only_text(parts)
    parts += resources.load_scripts(content.path("watchers") / "scripts")
    return parts + (resources.load_roles(_roles_folder()) if roles else [])


def _roles_folder() -> Path:
    return content.path("pipelines") / "elasticsearch" / "roles"


def _put(
    connection: Connection, wanted: Iterable[resources.Resource], *, force: bool, dry_run: bool
) -> list[Change]:
    return deployment.deploy(
        connection, wanted, version=logging_lib.__version__, force=force, dry_run=dry_run
    )


def _refused(changes: Iterable[Change]) -> bool:
    return any(change.action == ownership.REFUSED for change in changes)


def _print_changes(
    changes: list[Change], server: ServerCapabilities, *, show_diff: bool, dry_run: bool, as_json: bool
) -> None:
    if as_json:
        rows = [
            {"about": change.name, "did": change.action, "note": change.note, "diff": change.diff}
            for change in changes
        ]
        typer.echo(json.dumps({"dry_run": dry_run, "changes": rows, "left_out": server.missing}, indent=1))
        return
    prefix = "would be " if dry_run else ""
    for change in changes:
        if change.action == ownership.UNCHANGED and not change.note:
            continue
        did = (
            change.action
            if change.action in (ownership.UNCHANGED, ownership.LEFT)
            else prefix + change.action
        )
        print(output.plain(f"{change.name}: {did}" + (f" ({change.note})" if change.note else "")))
        if show_diff and change.diff:
            typer.echo(change.diff)
    unchanged = sum(change.action == ownership.UNCHANGED for change in changes)
    changed = sum(change.is_change for change in changes)
    parts = format_count(changed, "part")
    typer.echo(f"{parts} {'would be changed' if dry_run else 'changed'}, {unchanged:,} unchanged")
    if _refused(changes):
        output.warn("something was refused, so nothing was changed")
    _print_lacks(server)


def _print_lacks(server: ServerCapabilities) -> None:
    typer.echo(f"Elasticsearch {server.version_text}, license {server.license}")
    for capability in server.missing:
        typer.echo(f"skipped: {capability}")


def _safe(text: str, *, lines: bool = False) -> str:
    """Escape names from logs, so that neither terminal codes nor rich's markup take effect."""
    if lines:
        return "\n".join(_safe(line) for line in text.split("\n"))
    return output.safe(text)
