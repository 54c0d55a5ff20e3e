"""Our pipeline against a pass-through one in the same Logstash, if one is on PATH: lines over TCP to a file.

The pass-through parses each line by the ``json_lines`` codec and writes it; ours takes the lines plain, normalizes
them in the filter and writes them. Half of the lines are foreign, half of our own logger.
"""

from __future__ import annotations

import socket
import tempfile
import time
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

from benchmarks import _events
from benchmarks._common import Result, frame
from logging_lib import profile
from tests import logstash_server
from tests.elasticsearch_server import Unavailable
from tests.logstash_server import PIPELINES
from tests.ports import free_port

DISTINCT, WARM_UP, ROUNDS = 10_000, 3, 4
_OUTPUT = 'output { file { id => "out" path => "%s/out.jsonl" flush_interval => 0 codec => json_lines } }'
_PASS_THROUGH = """input { tcp { id => "in" host => "127.0.0.1" port => "${ML_TCP_PORT}"
  codec => json_lines { decode_size_limit_bytes => 20971520 } } }"""


def run() -> Iterator[Result]:
    fitted = profile.fit(frame(20_000), model="m", version="1")
    pairs = zip(_events.foreign(DISTINCT), _events.own(fitted, DISTINCT), strict=True)
    lines = list(chain.from_iterable(pairs))
    try:
        passed = _events_a_second(lines, _PASS_THROUGH)
        ours = _events_a_second(
            lines, *(PIPELINES / name for name in ("inputs/tls-false/11-input-tcp.conf", "30-normalize.conf"))
        )
    except Unavailable as reason:
        print(f"  not measured: {reason}")
        return
    yield Result("logstash_ratio", ours, "events/s", "ratio >= 0.6", "pass-through", passed, ours / passed)


def _events_a_second(lines: list[bytes], *stages: str | Path) -> float:
    with tempfile.TemporaryDirectory() as name:
        folder, port = Path(name), free_port()
        (folder / "stages").mkdir()
        for i, stage in enumerate((*stages, _OUTPUT % folder)):
            text = stage.read_text() if isinstance(stage, Path) else stage
            (folder / "stages" / f"{i}.conf").write_text(text)
        pipeline = {"pipeline.id": "ml", "path.config": f"{folder}/stages/*.conf", "pipeline.ordered": False}
        with logstash_server.running(folder, [pipeline], {"ML_TCP_PORT": str(port)}):
            times = [_round(port, lines, folder / "out.jsonl") for _ in range(WARM_UP + ROUNDS)]
    return len(lines) / min(times[WARM_UP:])


def _round(port: int, lines: list[bytes], out: Path) -> float:
    """Return the seconds until all lines are in the output."""
    size = out.stat().st_size if out.exists() else 0
    seen, start = 0, time.perf_counter()
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(b"".join(lines))
    while seen < len(lines):
        time.sleep(0.005)
        if out.exists():
            with out.open("rb") as file:
                file.seek(size)
                block = file.read()
            size += len(block)
            seen += block.count(b"\n")
    return time.perf_counter() - start
