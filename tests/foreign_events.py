"""Events of a service that does not use our logger, as the pipelines store them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from typer.testing import Result

from logging_lib import profile as profiles
from logging_lib.normalize import Event, normalize

NOW = datetime(2018, 3, 1, 12, 0, tzinfo=UTC)
Call = Callable[..., Result]


def foreign(profile: profiles.Profile, inputs: dict[str, Any], number: int, **more: Any) -> dict[str, Any]:
    """Normalize one foreign event of the profile's model."""
    raw = {
        "model": profile.model,
        "version": profile.version,
        "timestamp": f"2018-03-01T09:{number // 60 % 60:02}:{number % 60:02}Z",
        "id": f"{profile.model}-{number}",
        "inputs": inputs,
        "prediction": 12.0,
        **more,
    }
    event = normalize(raw)
    assert isinstance(event, Event)
    return event.document
