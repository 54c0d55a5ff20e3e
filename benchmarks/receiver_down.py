"""The cost of a receiver that is down: the service's exit, its memory, its slowest calls; and the peer's."""

from __future__ import annotations

import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks._common import Result
from benchmarks._services import run as service
from logging_lib.logger.segments import list_segments

CALLS, MANY, PEER_CALLS = 20_000, 1_000_000, 20_000
PEER = "python-logstash-async, in memory"


def run() -> Iterator[Result]:
    with socket.create_server(("127.0.0.1", 0)) as server, tempfile.TemporaryDirectory() as folder:
        port = server.getsockname()[1]
        _, their_wait = service("peer", PEER_CALLS, Path("/unused"), port)  # connected, and never answered
        _, our_wait = service("ours", CALLS, Path(folder), port)
    # From here on nobody listens.
    theirs, their_exit = service("peer", PEER_CALLS, Path("/unused"), port)
    with tempfile.TemporaryDirectory() as folder:
        ours, our_exit = service("ours", CALLS, Path(folder), port)
        lost = (
            CALLS
            + 200
            - sum(path.read_bytes().count(b'"ml.prediction"') for path in list_segments(Path(folder)))
        )
    with tempfile.TemporaryDirectory() as folder:
        many, _ = service("ours", MANY, Path(folder), port)
    yield Result("exit_receiver_down", our_exit, "s", "<= 2", PEER, their_exit, our_exit / their_exit)
    yield Result("exit_receiver_silent", our_wait, "s", "<= 2", PEER, their_wait, our_wait / their_wait)
    yield Result("lost_receiver_down", lost, "events", "0")
    yield Result("memory_receiver_down", many["growth"], f"MiB after {MANY:,} events", "<= 5")
    yield Result(
        "memory_receiver_down_peer", theirs["growth"], f"MiB after {PEER_CALLS:,} events", "the peer's"
    )
    p99 = ours["p99"]
    yield Result(
        "log_call_p99_receiver_down",
        p99,
        "µs",
        "<= 50 and below the peer",
        PEER,
        theirs["p99"],
        p99 / theirs["p99"],
    )
