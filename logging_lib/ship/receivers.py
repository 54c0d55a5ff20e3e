"""The interface of receivers, its errors, and the receivers for Logstash (Beats, TCP, HTTP) and for stdout."""

from __future__ import annotations

import os
import socket
import ssl
import struct
import sys
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, BinaryIO, Protocol

import pylogbeat
import requests
from logstash_async.transport import TcpTransport

from logging_lib._util.answers import read_beginning
from logging_lib._util.network_errors import explain_network_error
from logging_lib._util.text import one_line
from logging_lib.ship.target import API_KEY, Target, require_client


class RetryError(Exception):
    """The error for a temporary failure to deliver: no connection, no answer in time, 429, 5xx."""


class ConnectionClosedError(RetryError):
    """The error for a connection that the receiver closed after a batch without an answer."""


class ReceiverRefusedError(Exception):
    """The error for a batch that the receiver refused without naming the event; the text is its answer."""


@dataclass(frozen=True)
class ReceiverAnswer:
    """The receiver's answer about single lines of a batch; it accepted all others.

    ``refused`` maps a line's index to the reason; ``duplicates`` is the number of lines that it already had.
    """

    refused: Mapping[int, str] = field(default_factory=dict)
    duplicates: int = 0


ALL_ACCEPTED = ReceiverAnswer()
"""The answer of a receiver that accepted all lines."""


class Receiver(Protocol):
    """The interface of the receivers of events."""

    def send(self, lines: Sequence[bytes]) -> ReceiverAnswer:
        """Deliver lines of JSON without newlines.

        Raises:
            RetryError: not all lines were delivered; a later attempt may succeed.
            ReceiverRefusedError: the lines were permanently refused, as a whole or because of one of them.
        """

    def close(self) -> None:
        """Close the connection, if there is one."""


def tls_context(target: Target) -> ssl.SSLContext:
    """Create a TLS context that verifies the certificate and the host name.

    Raises:
        OSError: a file cannot be read or is not a certificate (``ssl.SSLError``).
    """
    context = ssl.create_default_context(cafile=target.ca)
    if target.cert:
        context.load_cert_chain(target.cert, target.key)
    return context


_MAX_ANSWER = 2000
_REPLACEMENT = "\ufffd".encode()
_REFUSED_STATUSES = frozenset((400, 413, 422))


def _connect(target: Target, timeout: float) -> socket.socket:
    sock = socket.create_connection((target.host, target.port), timeout)
    try:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return tls_context(target).wrap_socket(sock, server_hostname=target.host) if target.tls else sock
    except BaseException:
        sock.close()
        raise


def _read_pending(sock: socket.socket, timeout: float) -> bytes | None:
    """Read up to one byte from an idle connection; return None if there is none, b"" if it was closed."""
    sock.settimeout(0)
    try:
        return sock.recv(
            1, *(() if isinstance(sock, ssl.SSLSocket) else (socket.MSG_PEEK,))
        )  # TLS cannot peek
    except (ssl.SSLWantReadError, BlockingIOError):
        return None
    except OSError:
        return b""
    finally:
        sock.settimeout(timeout)


class _BeatsClient(pylogbeat.PyLogBeatClient):  # type: ignore[misc]
    """A client of Lumberjack v2, based on pylogbeat, which provides frames, windows and sequence numbers."""

    def __init__(self, target: Target, timeout: float, level: int) -> None:
        super().__init__(target.host, target.port, timeout=timeout, use_logging=True)
        self._target, self._level = target, level
        self._socket: socket.socket | None

    def _create_and_connect_socket(self) -> None:
        self._socket = _connect(self._target, self._timeout)

    def _compress_payload(self, payload: bytes) -> bytes:
        compressed = zlib.compress(payload, self._level)
        frame = struct.pack(
            ">BBI", pylogbeat.PROTOCOL_VERSION, pylogbeat.FRAME_TYPE_COMPRESSED_FRAME, len(compressed)
        )
        return frame + compressed

    def _send_payload(self, payload: bytes) -> None:
        assert self._socket is not None
        self._socket.sendall(payload)

    def _read_ack(self) -> None:
        # While Logstash works on a batch, it acknowledges 0 every few seconds, which restarts the timeout.
        frame, sock = b"", self._socket
        assert sock is not None
        while len(frame) < 6:
            received = sock.recv(6 - len(frame))
            if not received:
                raise ConnectionClosedError("the receiver closed the connection without acknowledging")
            frame += received
        if frame[:2] != b"2A":
            raise RetryError(f"expected an acknowledgement, the receiver sent {frame!r}")
        self._last_ack = struct.unpack(">I", frame[2:])[0]

    def is_usable(self) -> bool:
        """Return whether the connection is open: Logstash closes idle ones, and sends nothing unless asked."""
        return self._socket is not None and _read_pending(self._socket, self._timeout) is None

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None


class BeatsReceiver:
    """A receiver for Logstash's beats input, with acknowledgements; ``level`` is zlib's, 0 to 9."""

    def __init__(self, target: Target, *, timeout: float = 30.0, level: int = 1) -> None:
        self._make: Callable[[], _BeatsClient] = lambda: _BeatsClient(target, timeout, level)
        self._client: _BeatsClient | None = None
        self._target = target

    def send(self, lines: Sequence[bytes]) -> ReceiverAnswer:
        client = self._client
        try:
            if client is None or not client.is_usable():
                self.close()
                client = self._make()
                client.connect()
                self._client = client
            client.send(lines)
            return ALL_ACCEPTED
        except RetryError:
            self.close()
            raise
        except (ConnectionResetError, BrokenPipeError) as error:
            self.close()
            raise ConnectionClosedError(f"{self._target}: {explain_network_error(error)}") from error
        except OSError as error:
            self.close()
            raise RetryError(f"{self._target}: {explain_network_error(error)}") from error

    def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            client.close()


class TcpReceiver(TcpTransport):  # type: ignore[misc]
    """A receiver of lines over TCP without acknowledgements: a line is delivered once the other kernel has it."""

    _sock: Any

    def __init__(self, target: Target, *, timeout: float = 30.0) -> None:
        super().__init__(
            target.host, target.port, target.tls, True, None, target.key, target.cert, target.ca, timeout
        )
        self._target = target

    def send(self, lines: Sequence[bytes], use_logging: bool = False) -> ReceiverAnswer:
        try:
            if self._sock is None or self._gone():
                self.close()
                self._sock = _connect(self._target, self._timeout)
            self._sock.sendall(b"\n".join(lines) + b"\n")
            deadline = time.monotonic() + self._timeout
            while not self._is_sock_write_buff_empty():
                if time.monotonic() > deadline:
                    raise TimeoutError("the receiver reads nothing")
                time.sleep(0.001)
            if self._gone():
                raise ConnectionResetError("the receiver closed the connection")
            return ALL_ACCEPTED
        except OSError as error:
            self.close()
            raise RetryError(f"{self._target}: {explain_network_error(error)}") from error

    def _gone(self) -> bool:
        return _read_pending(self._sock, self._timeout) == b""  # the content of an answer does not matter

    def close(self) -> None:
        sock, self._sock = self._sock, None
        if sock is not None:
            sock.close()


class HttpReceiver:
    """A receiver for Logstash's http input: a batch is one POST of a JSON array.

    U+FFFD is sent as an escape, because the pipelines take the character itself for the one by which that input
    replaces bytes that are not UTF-8.
    """

    def __init__(self, target: Target, *, timeout: float = 30.0) -> None:
        self._session = session = requests.Session()
        session.trust_env = False  # use no proxy and no ~/.netrc, which the URL does not name
        session.verify = target.ca or True
        session.cert = (target.cert, target.key) if target.cert and target.key else target.cert
        session.headers["Content-Type"] = "application/json"
        session.headers["Accept-Encoding"] = "identity"  # only the beginning of an answer is read
        if target.user is not None:
            session.auth = (target.user, target.password or "")
        self._target, self._timeout = target, timeout

    def send(self, lines: Sequence[bytes]) -> ReceiverAnswer:
        try:
            with self._session.post(
                str(self._target),
                data=(b"[" + b",".join(lines) + b"]").replace(_REPLACEMENT, b"\\ufffd"),
                timeout=self._timeout,
                allow_redirects=False,
                stream=True,
            ) as answer:
                text = read_beginning(answer.raw, _MAX_ANSWER).decode("utf-8", "replace")
        except (OSError, requests.RequestException) as error:
            raise RetryError(f"{self._target}: {explain_network_error(error)}") from error
        if 200 <= answer.status_code < 300:
            return ALL_ACCEPTED
        description = one_line(f"{answer.status_code} {answer.reason}: {text}".rstrip(": \r\n"))
        if answer.status_code in _REFUSED_STATUSES:
            raise ReceiverRefusedError(description)
        raise RetryError(f"{self._target}: {description}")

    def close(self) -> None:
        self._session.close()


class StdoutReceiver:
    """A receiver that writes lines to the standard output, for containers whose logs are collected."""

    def __init__(self, stream: BinaryIO | None = None) -> None:
        self._stream = stream or sys.stdout.buffer

    def send(self, lines: Sequence[bytes]) -> ReceiverAnswer:
        try:
            self._stream.write(b"\n".join(lines) + b"\n")
            self._stream.flush()
            return ALL_ACCEPTED
        except OSError as error:
            raise RetryError(f"stdout: {explain_network_error(error)}") from error

    def close(self) -> None:
        """Do nothing: the standard output stays open."""


def create_receiver(target: Target, *, timeout: float = 30.0) -> Receiver:
    """Create the receiver of a target; it connects with the first batch.

    Args:
        target: the receiver's address.
        timeout: how long a connection or an answer may take, in seconds.

    Raises:
        OSError: a file for TLS cannot be read.
        ValueError: Elasticsearch's client is not installed, or the API key in the environment is malformed.
    """
    if target.tls:
        tls_context(target)
    require_client(target)
    factories: dict[str, Callable[[], Any]] = {
        "beats": lambda: BeatsReceiver(target, timeout=timeout),
        "tcp": lambda: TcpReceiver(target, timeout=timeout),
        "http": lambda: HttpReceiver(target, timeout=timeout),
        "es": lambda: _create_elasticsearch(target, timeout),
        "stdout": StdoutReceiver,
    }
    receiver: Receiver = factories[target.kind]()
    return receiver


def _create_elasticsearch(target: Target, timeout: float) -> Receiver:
    from logging_lib.ship.elasticsearch import ElasticsearchReceiver

    return ElasticsearchReceiver(target, api_key=os.environ.get(API_KEY), timeout=timeout)
