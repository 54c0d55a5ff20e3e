"""Mutes: what shall not be told for a while, by watch, model, version and feature. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from fnmatch import fnmatchcase

from pydantic import BaseModel, ConfigDict


class Mute(BaseModel):
    """Says nothing of what it matches before ``until``. A part that is None matches all; ``*`` is a wildcard."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str
    until: datetime
    since: datetime
    watch: str | None = None
    model: str | None = None
    version: str | None = None
    feature: str | None = None
    by: str = ""
    comment: str = ""

    def covers(self, *, watch: str, model: str, version: str, feature: str) -> bool:
        return (
            matches(self.watch, watch)
            and matches(self.model, model)
            and matches(self.version, version)
            and matches(self.feature, feature)
        )

    @property
    def where(self) -> str:
        """What it matches, for people."""
        parts = (("watch", self.watch), ("model", self.model), ("version", self.version))
        return ", ".join(f"{name} {value}" for name, value in (*parts, ("feature", self.feature)) if value)


def matches(wanted: str | None, value: str) -> bool:
    """Whether a name is the wanted one; ``*`` in the wanted one stands for any characters."""
    if wanted is None or wanted == value:
        return True
    # A feature may be called `a[1]`: only the star is a wildcard.
    return "*" in wanted and fnmatchcase(value, wanted.replace("[", "[[]").replace("?", "[?]"))


def is_muted(
    mutes: Iterable[Mute], now: datetime, *, watch: str, model: str, version: str, feature: str
) -> bool:
    return any(
        now < mute.until and mute.covers(watch=watch, model=model, version=version, feature=feature)
        for mute in mutes
    )


def still(mutes: Iterable[Mute], now: datetime) -> tuple[Mute, ...]:
    """Those that are not over."""
    return tuple(mute for mute in mutes if now < mute.until)
