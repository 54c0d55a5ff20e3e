"""Ports for servers that tests start as processes of their own."""

from __future__ import annotations

import random
import socket

# Below those that the system gives to outgoing connections: one of these could take the port before a server, which
# needs seconds to start, listens on it.
PORTS = range(20_000, 32_000)


def free_port() -> int:
    """Return a port of 127.0.0.1 on which nothing listens."""
    while True:
        port = random.SystemRandom().choice(PORTS)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
