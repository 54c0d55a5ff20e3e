"""Which events are kept: every one that matters, and of the rest a share that a hash chooses."""

from __future__ import annotations

from hashlib import blake2b
from typing import Any


class Sampling:
    """Keeps a share of the ordinary events; live and shadow models agree, since the request's id decides.

    Args:
        rate: the share that is kept, above 0 to 1.

    Raises:
        ValueError: the rate is not within that.
    """

    def __init__(self, rate: float) -> None:
        if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 < rate <= 1:
            raise ValueError(f"sample: expected a share above 0 and up to 1, found {rate!r}")
        self.everything = rate == 1
        self._limit = int(rate * 2**64)
        self.weight: dict[str, Any] = {"weight": 1 / rate}

    def keeps(self, request_id: str) -> bool:
        """Whether an ordinary event is among those kept; the same for the same id."""
        return (
            int.from_bytes(blake2b(request_id.encode("utf-8", "replace"), digest_size=8).digest())
            < self._limit
        )
