"""What a receiver is to the shipper: what it is given, what it answers, and the errors it may raise."""

from __future__ import annotations

import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from logging_lib.ship.target import Target


class RetryError(Exception):
    """Not delivered, for a reason that may pass: no connection, no answer in time, 429, 5xx."""


class HungUpError(RetryError):
    """The receiver took a batch and closed the connection without an answer."""


class RefusedError(Exception):
    """The receiver answered that it will not take these events, and not which; the text is its answer."""


@dataclass(frozen=True)
class Answer:
    """What the receiver said about single lines of a batch; it has all others.

    ``refused``: by the line's index, why it will never be taken. ``duplicates``: how many it had already.
    """

    refused: Mapping[int, str] = field(default_factory=dict)
    duplicates: int = 0


TAKEN = Answer()
"""It has them all."""


class Receiver(Protocol):
    """A port that events leave by."""

    def send(self, lines: Sequence[bytes]) -> Answer:
        """Deliver lines of JSON without newlines.

        Raises:
            RetryError: not all are delivered; later they may be.
            RefusedError: refused for good, as a whole or because of one of them.
        """

    def close(self) -> None:
        """Give up the connection, if there is one."""


def tls_context(target: Target) -> ssl.SSLContext:
    """Verifies the certificate and the host name.

    Raises:
        OSError: one of the files cannot be read or is no certificate (``ssl.SSLError``).
    """
    context = ssl.create_default_context(cafile=target.ca)
    if target.cert:
        context.load_cert_chain(target.cert, target.key)
    return context
