"""Our watches as real Watcher has them: one a watch and model, since Watcher's acks and throttles are per watch."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path
from typing import Any

from logging_lib.stack.parts import WATCH, Part

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
