"""The command line: a thin layer, with one module per command group."""

from __future__ import annotations

import sys

_REMEDY = "the command line needs more than the logger: pip install 'logging-lib[ops]'"


def main() -> None:
    """Run ``logging-lib``."""
    try:
        from logging_lib.cli.app import app
    except ModuleNotFoundError as missing:
        if (missing.name or "").startswith("logging_lib"):
            raise
        sys.exit(f"logging-lib: {missing.name} is not installed; {_REMEDY}")
    app()
