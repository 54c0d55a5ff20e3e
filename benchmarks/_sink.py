"""A Beats receiver in its own process that acknowledges everything: ``python -m benchmarks._sink``.

It prints its port, counts the received events, and prints their number when its standard input ends.
"""

from __future__ import annotations

import socket
import struct
import subprocess
import sys
import threading
import zlib

counted = [0]


def serve(connection: socket.socket) -> None:
    file = connection.makefile("rb")
    window = taken = 0
    while head := file.read(6):
        kind, value = head[1:2], struct.unpack(">I", head[2:])[0]
        if kind == b"W":
            window, taken = value, 0
            continue
        payload = head + file.read(struct.unpack(">I", file.peek(4)[:4])[0] + 4) if kind == b"J" else b""
        inner = payload or zlib.decompress(file.read(value))
        at = 0
        while at < len(inner):
            sequence, size = struct.unpack_from(">II", inner, at + 2)
            at += 10 + size
            taken += 1
        if taken >= window:
            counted[0] += taken
            connection.sendall(b"2A" + struct.pack(">I", sequence))


def main() -> None:
    server = socket.create_server(("127.0.0.1", 0))
    print(server.getsockname()[1], flush=True)

    def accept() -> None:
        while True:
            connection, _ = server.accept()
            threading.Thread(target=serve, args=(connection,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    sys.stdin.read()
    print(counted[0], flush=True)


class Sink:
    """The process, for a benchmark; ``taken`` after the block is the number of events it acknowledged."""

    def __enter__(self) -> Sink:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks._sink"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())
        self.taken = 0
        return self

    def __exit__(self, *_: object) -> None:
        self.taken = int(self._process.communicate()[0])


if __name__ == "__main__":
    main()
