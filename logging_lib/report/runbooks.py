"""Finds the runbooks that watches name."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Final

from logging_lib._util import content
from logging_lib.watch.model import Watch

SHIPPED: Final = "docs/runbooks"


def texts(watches: Iterable[Watch], folder: Path | None = None) -> dict[str, str]:
    """Runbook's name as ``metadata.runbook`` has it → its Markdown; without those that are no files here.

    Args:
        folder: of the watches, where they are not the shipped ones: a team's runbooks lie relative to it or to
            the folder above it.
    """
    found: dict[str, str] = {}
    for name in {str(watch.metadata.get("runbook", "")) for watch in watches}:
        path = PurePosixPath(name)
        if path.suffix != ".md" or path.is_absolute() or ".." in path.parts or "://" in name:
            continue
        places = [folder.parent / path, folder / path] if folder is not None else []
        if str(path.parent) == SHIPPED:
            places.append(content.path(SHIPPED) / path.name)
        file = next((place for place in places if place.is_file()), None)
        if file is not None:
            found[name] = file.read_text("utf-8")
    return found
