"""The versions of the libraries that a model depends on, in training and in the service."""

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
"""The distributions that a model most often depends on."""


def installed_versions(names: Iterable[str] = DEFAULT_LIBRARIES) -> dict[str, str]:
    """Find the installed versions, name → version, sorted; ``python`` is always among them."""
    versions = {"python": platform.python_version()}
    for name in names:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return dict(sorted(versions.items()))
