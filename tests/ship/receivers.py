"""Receivers on 127.0.0.1 that behave as a test configures them: Lumberjack v2, HTTP, TCP; with or without TLS."""

from __future__ import annotations

import json
import socket
import ssl
import struct
import threading
import zlib
from collections.abc import Callable, Iterable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


def is_letter(event: dict[str, Any]) -> bool:
    return bool(event["event"].get("dataset") == "ml.deadletter")


class Sink:
    """Listens on a port of 127.0.0.1 and keeps the lines of every connection; a context manager.

    ``behaviour`` is asked at each batch, with its lines: ``ack`` it, ``hang_up`` without an answer, stay
    ``silent``, ``half_close`` (end its own direction), or ``late``: keepalives before the acknowledgement.
    """

    def __init__(self, port: int = 0, tls: ssl.SSLContext | None = None) -> None:
        self.lines: list[bytes] = []
        self.batches: list[int] = []
        self.behaviour: Callable[[list[bytes]], str] = lambda lines: "ack"
        self.arrived = threading.Condition()
        self._tls = tls
        self._connections: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._server = socket.create_server(("127.0.0.1", port))
        self._closed = False
        self.port = self._server.getsockname()[1]
        self._accepting = threading.Thread(target=self._accept, daemon=True)

    def __enter__(self) -> Sink:
        self._accepting.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._closed:
            return
        self._closed = True
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self.hang_up()
        self._accepting.join(60)
        for thread in self._threads:
            thread.join(60)

    def hang_up(self) -> None:
        for connection in self._connections:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue

    @property
    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.lines]

    def ids(self) -> list[str]:
        """Of what arrived, dead letters left out."""
        return [event["event"]["id"] for event in self.events if not is_letter(event)]

    def letters(self) -> list[dict[str, Any]]:
        return [event for event in self.events if is_letter(event)]

    def wait_for(self, lines: int, timeout: float = 300.0) -> None:
        with self.arrived:
            assert self.arrived.wait_for(lambda: len(self.lines) >= lines, timeout), len(self.lines)

    def _keep(self, lines: Iterable[bytes]) -> None:
        with self.arrived:
            received = list(lines)
            self.lines += received
            self.batches.append(len(received))
            self.arrived.notify_all()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._server.accept()
            except OSError:
                return
            self._connections.append(connection)
            thread = threading.Thread(target=self._guarded, args=(connection,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _guarded(self, connection: socket.socket) -> None:
        try:
            if self._tls is not None:
                connection = self._tls.wrap_socket(connection, server_side=True)
                self._connections.append(connection)
            self.serve(connection)
        except (OSError, EOFError):
            pass
        finally:
            connection.close()

    def serve(self, connection: socket.socket) -> None:
        raise NotImplementedError


class BeatsSink(Sink):
    """A server of Lumberjack v2: windows, JSON frames, compressed frames, acknowledgements."""

    def serve(self, connection: socket.socket) -> None:
        file = connection.makefile("rb")
        while True:
            lines: list[bytes] = []
            window = last = 0
            while not window or len(lines) < window:
                kind, value, inner_frames = _frame(file.read)
                if kind == b"W":
                    window = value
                else:
                    lines += [line for _, line in inner_frames]
                    last = inner_frames[-1][0]
            answer = self.behaviour(lines)
            if answer == "hang_up":
                return
            if answer == "silent":
                connection.recv(1)
                return
            if answer == "half_close":
                connection.shutdown(socket.SHUT_WR)
                connection.recv(1)
                return
            self._keep(lines)
            if answer == "late":
                for _ in range(3):
                    connection.sendall(b"2A" + struct.pack(">I", 0))
            if answer != "kept_but_not_acknowledged":
                connection.sendall(b"2A" + struct.pack(">I", last))
            else:
                return


def _frame(read: Callable[[int], bytes]) -> tuple[bytes, int, list[tuple[int, bytes]]]:
    head = read(2)
    if len(head) < 2:
        raise EOFError
    kind = head[1:]
    (value,) = struct.unpack(">I", _exactly(read, 4))
    if kind == b"W":
        return kind, value, []
    if kind == b"J":
        (size,) = struct.unpack(">I", _exactly(read, 4))
        return kind, value, [(value, _exactly(read, size))]
    inner, position, events = zlib.decompress(_exactly(read, value)), 0, []
    while position < len(inner):
        sequence, size = struct.unpack(">II", inner[position + 2 : position + 10])
        events.append((sequence, inner[position + 10 : position + 10 + size]))
        position += 10 + size
    return kind, value, events


def _exactly(read: Callable[[int], bytes], size: int) -> bytes:
    data = read(size)
    if len(data) < size:
        raise EOFError
    return data


class TcpSink(Sink):
    """Keeps lines as they come; ``behaviour`` is not asked."""

    def serve(self, connection: socket.socket) -> None:
        for line in connection.makefile("rb"):
            self._keep([line.rstrip(b"\n")])


class HttpSink:
    """Answers each POST with what ``answer`` says of its events: a status and a text, or bytes."""

    read: Callable[[bytes], list[dict[str, Any]]] = staticmethod(json.loads)

    def __init__(self, port: int = 0, tls: ssl.SSLContext | None = None) -> None:
        sink = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                events = sink.read(body)
                named = {name.lower(): value for name, value in self.headers.items()}
                sink.requests.append({**named, "path": self.path})
                status, text = sink.answer(events)
                if 200 <= status < 300:
                    sink.events += events
                sink.batches.append(len(events))
                self.send_response(status)
                for name, value in sink.headers.items():
                    self.send_header(name, value)
                data = text if isinstance(text, bytes) else text.encode()
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: Any) -> None:
                pass

        self.events: list[dict[str, Any]] = []
        self.batches: list[int] = []
        self.requests: list[dict[str, str]] = []
        self.headers: dict[str, str] = {}
        self.answer: Callable[[list[dict[str, Any]]], tuple[int, str | bytes]] = lambda events: (200, "ok")
        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._server.handle_error = lambda *_: None  # type: ignore[method-assign]
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)

    def __enter__(self) -> HttpSink:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(60)


class BulkSink(HttpSink):
    """Speaks as Elasticsearch's bulk API; ``verdict`` says of each event its status and its error."""

    def __init__(self, port: int = 0, tls: ssl.SSLContext | None = None) -> None:
        super().__init__(port, tls)
        self.actions: list[dict[str, Any]] = []
        self.verdict: Callable[[dict[str, Any]], tuple[int, dict[str, Any] | None]] = lambda event: (
            201,
            None,
        )
        self.headers = {"X-Elastic-Product": "Elasticsearch", "Content-Type": "application/json"}
        self.answer = self.answer_bulk

    def read(self, body: bytes) -> list[dict[str, Any]]:
        documents = [json.loads(line) for line in body.splitlines()]
        self.actions += documents[::2]
        return documents[1::2]

    def answer_bulk(self, events: list[dict[str, Any]]) -> tuple[int, str]:
        items = []
        for status, error in map(self.verdict, events):
            items.append({"create": {"status": status, **({"error": error} if error else {})}})
        return 200, json.dumps(
            {"errors": any(item["create"]["status"] > 299 for item in items), "items": items}
        )
