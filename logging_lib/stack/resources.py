"""Load the stack's resources: each is one object of the cluster, with its desired body."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from logging_lib.schema import DATASETS
from logging_lib.stack.watcher_throttle import throttle_by_finding
from logging_lib.store.port import StoreError

Body = dict[str, Any]


@dataclass(frozen=True, slots=True)
class ResourceKind:
    """A kind of object: its API, and the place of a body in the API's response.

    ``response_path`` holds the keys down to the body; ``{name}`` means the object's name, ``0`` the first of a
    list. ``mark_key`` is the body's key for our mark.
    """

    title: str
    api: str
    response_path: tuple[str, ...]
    mark_key: str = "_meta"


PIPELINE: Final = ResourceKind("ingest pipeline", "/_ingest/pipeline/", ("{name}",))
COMPONENT: Final = ResourceKind(
    "component template", "/_component_template/", ("component_templates", "0", "component_template")
)
TEMPLATE: Final = ResourceKind(
    "index template", "/_index_template/", ("index_templates", "0", "index_template")
)
SCRIPT: Final = ResourceKind("stored script", "/_scripts/", ("script",), mark_key="")
ROLE: Final = ResourceKind("role", "/_security/role/", ("{name}",), mark_key="metadata")
WATCH: Final = ResourceKind("watch", "/_watcher/watch/", ("watch",), mark_key="metadata")


@dataclass(frozen=True, slots=True)
class Resource:
    """One object in its desired state."""

    kind: ResourceKind
    name: str
    body: Body

    @property
    def path(self) -> str:
        return self.kind.api + quote(self.name, safe="*@._-")

    def __str__(self) -> str:
        return f"{self.kind.title} {self.name}"


def load_templates(folder: Path, *, retention: Mapping[str, str] | None = None) -> list[Resource]:
    """Load pipelines and templates, each after those that it depends on.

    Args:
        folder: ``pipelines/elasticsearch``.
        retention: dataset → how long its events are kept (``30d``), instead of the file's value.

    Raises:
        StoreError: the retention names an unknown dataset.
    """
    resources = [
        *_read_folder(folder / "ingest_pipelines", PIPELINE),
        *_read_folder(folder / "component_templates", COMPONENT),
        *_read_folder(folder / "index_templates", TEMPLATE),
    ]
    periods = dict(retention or {})
    if unknown := periods.keys() - set(DATASETS):
        raise StoreError(f"retention: {min(unknown)!r} is not a dataset; there are {', '.join(DATASETS)}")
    return [_with_retention(part, periods) for part in resources]


def load_scripts(folder: Path) -> list[Resource]:
    """Load the stored scripts of ``watchers/scripts``."""
    return [
        Resource(SCRIPT, file.stem, {"lang": "painless", "source": file.read_text("utf-8")})
        for file in sorted(folder.glob("*.painless"))
    ]


def load_roles(folder: Path) -> list[Resource]:
    """Load the roles of ``pipelines/elasticsearch/roles``."""
    return _read_folder(folder, ROLE)


def replace_match_only_text(parts: Iterable[Resource]) -> list[Resource]:
    """Use ``text`` for a server without ``match_only_text``: it answers the same queries and needs more space."""

    def plain(node: Any) -> Any:
        if isinstance(node, dict):
            if node.get("type") == "match_only_text":
                return {"type": "text", "norms": False}
            return {key: plain(value) for key, value in node.items()}
        return [plain(value) for value in node] if isinstance(node, list) else node

    return [replace(part, body=plain(part.body)) if part.kind is COMPONENT else part for part in parts]


def _with_retention(part: Resource, retention: Mapping[str, str]) -> Resource:
    for dataset, period in retention.items():
        if part.kind is COMPONENT and part.name == f"logs-{dataset}@lifecycle":
            template = {"lifecycle": {"enabled": True, "data_retention": period}}
            return replace(part, body={**part.body, "template": template})
    return part


def _read_folder(folder: Path, kind: ResourceKind) -> list[Resource]:
    return [
        Resource(kind, file.stem, json.loads(file.read_text("utf-8")))
        for file in sorted(folder.glob("*.json"))
    ]


_ID_SAFE = re.compile(r"[a-z0-9_-]{1,100}")


def render_watches(
    folder: Path, models: Iterable[str], settings: Mapping[str, str] | None = None
) -> list[Resource]:
    """Render each ``*.json`` of the folder as a watch of each model.

    Args:
        folder: ``watchers``.
        models: the names of the models.
        settings: metadata for watches that leave it empty, see ``loading.read_settings``.
    """
    names = list(models)
    watches = []
    for file in sorted(folder.glob("*.json")):
        definition = json.loads(file.read_text("utf-8"))
        watches += [
            Resource(
                WATCH,
                f"logging-lib-{file.stem}--{_model_id(name)}",
                _for_model(definition, watch=file.stem, model=name, settings=settings or {}),
            )
            for name in names
        ]
    return watches


def _for_model(
    definition: dict[str, Any], watch: str, model: str, settings: Mapping[str, str]
) -> dict[str, Any]:
    """Return the watch of one model; profiles override its settings by the name that it had before."""
    metadata = {**definition["metadata"], "model": _escape_wildcards(model), "watch": watch}
    metadata |= {key: value for key, value in settings.items() if metadata.get(key) == ""}
    return throttle_by_finding({**definition, "metadata": metadata})


def _escape_wildcards(model: str) -> str:
    """Return the model's name as a wildcard query that matches only this name."""
    return re.sub(r"([\\*?])", r"\\\1", model)


def _model_id(model: str) -> str:
    """Return a model's part of the watch's id; names that differ only in other characters get a hash."""
    if _ID_SAFE.fullmatch(model):
        return model
    shown = re.sub(r"[^a-z0-9_-]+", "_", model.lower())[:60]
    return f"{shown}-{sha256(model.encode('utf-8', 'surrogatepass')).hexdigest()[:8]}"
