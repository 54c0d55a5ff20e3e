"""The only place that finds the content folders, which are packaged with the library or in the checkout."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

_PACKAGE = Path(__file__).parents[1]


def path(name: Literal["watchers", "pipelines", "kibana_dashboards", "docs/runbooks"]) -> Path:
    """Return the path of the content folder ``name``.

    Raises:
        FileNotFoundError: neither the installed package nor a checkout has it.
    """
    for candidate in (_PACKAGE / "_content" / name, _PACKAGE.parent / name):
        if candidate.is_dir():
            return candidate
    raise FileNotFoundError(f"the folder {name}/ is not part of this installation; install logging-lib again")
