"""The public names: what the Python API's page, the docstrings and the typing test have to cover."""

from __future__ import annotations

from importlib import import_module

MODULES = (
    "logging_lib",
    "logging_lib.profile",
    "logging_lib.analysis",
    "logging_lib.normalize",
    "logging_lib.store",
    "logging_lib.testing",
)


def names() -> list[str]:
    """The names in each module's ``__all__``, with the module in front."""
    return [f"{module}.{name}" for module in MODULES for name in import_module(module).__all__]
