"""Which versions of the usual machine-learning libraries are installed, in training and in the service."""

from __future__ import annotations

import platform
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version

DEFAULT_LIBRARIES = (
    "catboost",
    "lightgbm",
    "numpy",
    "onnxruntime",
    "pandas",
    "scikit-learn",
    "scipy",
    "tensorflow",
    "torch",
    "transformers",
    "xgboost",
)
"""Distributions that a model most often depends on."""


def installed_versions(names: Iterable[str] = DEFAULT_LIBRARIES) -> dict[str, str]:
    """Name → version of those that are installed, sorted; ``python`` is always among them."""
    found = {"python": platform.python_version()}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return dict(sorted(found.items()))
