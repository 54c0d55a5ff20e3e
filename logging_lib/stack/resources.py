"""The parts of the stack: each one object of the cluster, with its body as we want it."""

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
from logging_lib.store.port import StoreError

Body = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of object: where its API is, and how a body is found in the API's answer.

    ``answer`` holds the keys to go down; ``{name}`` stands for the object's name, ``0`` for the first of a
    list. ``mark`` is the body's key under which we may note that the object is ours.
    """

    title: str
    api: str
    answer: tuple[str, ...]
    mark: str = "_meta"


PIPELINE: Final = Kind("ingest pipeline", "/_ingest/pipeline/", ("{name}",))
COMPONENT: Final = Kind(
    "component template", "/_component_template/", ("component_templates", "0", "component_template")
)
TEMPLATE: Final = Kind("index template", "/_index_template/", ("index_templates", "0", "index_template"))
SCRIPT: Final = Kind("stored script", "/_scripts/", ("script",), mark="")
ROLE: Final = Kind("role", "/_security/role/", ("{name}",), mark="metadata")
WATCH: Final = Kind("watch", "/_watcher/watch/", ("watch",), mark="metadata")


@dataclass(frozen=True, slots=True)
class Part:
    """One object as it should be."""

    kind: Kind
    name: str
    body: Body

    @property
    def path(self) -> str:
        return self.kind.api + quote(self.name, safe="*@._-")

    def __str__(self) -> str:
        return f"{self.kind.title} {self.name}"


def templates(folder: Path, *, retention: Mapping[str, str] | None = None) -> list[Part]:
    """Pipelines and templates, in the order in which one needs the other.

    Args:
        folder: ``pipelines/elasticsearch``.
        retention: dataset → how long its events are kept (``30d``), where not as the file says.

    Raises:
        StoreError: the retention names no dataset of ours.
    """
    found = [
        *_read(folder / "ingest_pipelines", PIPELINE),
        *_read(folder / "component_templates", COMPONENT),
        *_read(folder / "index_templates", TEMPLATE),
    ]
    given = dict(retention or {})
    if unknown := given.keys() - set(DATASETS):
        raise StoreError(f"retention: {min(unknown)!r} is no dataset; there are {', '.join(DATASETS)}")
    return [_retained(part, given) for part in found]


def scripts(folder: Path) -> list[Part]:
    """The stored scripts of ``watchers/scripts``."""
    return [
        Part(SCRIPT, file.stem, {"lang": "painless", "source": file.read_text("utf-8")})
        for file in sorted(folder.glob("*.painless"))
    ]


def roles(folder: Path) -> list[Part]:
    """The roles of ``pipelines/elasticsearch/roles``."""
    return _read(folder, ROLE)


def without_match_only_text(parts: Iterable[Part]) -> list[Part]:
    """For a server that lacks the field type: ``text`` answers the same queries and needs more room."""

    def plain(node: Any) -> Any:
        if isinstance(node, dict):
            if node.get("type") == "match_only_text":
                return {"type": "text", "norms": False}
            return {key: plain(value) for key, value in node.items()}
        return [plain(value) for value in node] if isinstance(node, list) else node

    return [replace(part, body=plain(part.body)) if part.kind is COMPONENT else part for part in parts]


def _retained(part: Part, retention: Mapping[str, str]) -> Part:
    for dataset, period in retention.items():
        if part.kind is COMPONENT and part.name == f"logs-{dataset}@lifecycle":
            template = {"lifecycle": {"enabled": True, "data_retention": period}}
            return replace(part, body={**part.body, "template": template})
    return part


def _read(folder: Path, kind: Kind) -> list[Part]:
    return [
        Part(kind, file.stem, json.loads(file.read_text("utf-8"))) for file in sorted(folder.glob("*.json"))
    ]


_PLAIN = re.compile(r"[a-z0-9_-]{1,100}")


def rendered(folder: Path, models: Iterable[str]) -> list[Part]:
    """Each ``*.json`` of the folder for each model.

    Args:
        folder: ``watchers``.
        models: the names of the models.
    """
    names = list(models)
    made = []
    for file in sorted(folder.glob("*.json")):
        definition = json.loads(file.read_text("utf-8"))
        made += [
            Part(WATCH, f"logging-lib-{file.stem}--{_id(name)}", _for(definition, name)) for name in names
        ]
    return made


def _for(definition: dict[str, Any], model: str) -> dict[str, Any]:
    return {**definition, "metadata": {**definition["metadata"], "model": _literal(model)}}


def _literal(model: str) -> str:
    """The model's name as a wildcard query that matches it alone."""
    return re.sub(r"([\\*?])", r"\\\1", model)


def _id(model: str) -> str:
    """A name's own part of the watch's id; what an id cannot hold is told apart by a hash."""
    if _PLAIN.fullmatch(model):
        return model
    shown = re.sub(r"[^a-z0-9_-]+", "_", model.lower())[:60]
    return f"{shown}-{sha256(model.encode('utf-8', 'surrogatepass')).hexdigest()[:8]}"
