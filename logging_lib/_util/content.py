"""Find the content folders, packaged with the library or in the checkout. The only place that does."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

_PACKAGE = Path(__file__).parents[1]


def path(name: Literal["watchers", "pipelines", "kibana_dashboards", "docs/runbooks"]) -> Path:
    """Return the folder ``name``, wherever this copy of the library has it.

    Raises:
        FileNotFoundError: neither the installed package nor a checkout holds it.
    """
    for candidate in (_PACKAGE / "_content" / name, _PACKAGE.parent / name):
        if candidate.is_dir():
            return candidate
    raise FileNotFoundError(f"the folder {name}/ is not part of this installation; install logging-lib again")
