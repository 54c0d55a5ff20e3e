"""The training profile: what a model's inputs and outputs looked like when it was trained."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from logging_lib.profile.document import build_document
from logging_lib.profile.io import ProfileError, dumps, load, loads, save
from logging_lib.profile.model import Expectation, Feature, Moments, Profile

if TYPE_CHECKING:
    from logging_lib.profile.fitting import fit

__all__ = [
    "Expectation",
    "Feature",
    "Moments",
    "Profile",
    "ProfileError",
    "build_document",
    "dumps",
    "fit",
    "load",
    "loads",
    "save",
]


def __getattr__(name: str) -> Any:
    if name == "fit":  # needs pandas: imported when somebody fits
        from logging_lib.profile.fitting import fit

        return fit
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
