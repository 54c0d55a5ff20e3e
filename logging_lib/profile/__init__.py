"""Fit, save and load training profiles: the distribution of a model's inputs and outputs in training."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from logging_lib.profile.config import Config, FeatureConfig
from logging_lib.profile.document import build_document
from logging_lib.profile.io import ProfileError, dumps, load, loads, save
from logging_lib.profile.model import Expectation, Feature, HeldOut, Moments, Profile, Quality

if TYPE_CHECKING:
    from logging_lib.profile.fitting import fit

__all__ = [
    "Config",
    "Expectation",
    "Feature",
    "FeatureConfig",
    "HeldOut",
    "Moments",
    "Profile",
    "ProfileError",
    "Quality",
    "build_document",
    "dumps",
    "fit",
    "load",
    "loads",
    "save",
]


def __getattr__(name: str) -> Any:
    if name == "fit":  # imported only to fit, because it needs pandas
        from logging_lib.profile.fitting import fit

        return fit
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
