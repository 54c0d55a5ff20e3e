"""What people read if a server gives no answer: which one, why, and what to do. All servers are real sockets."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from logging_lib.watch.http import Call, CallError, HttpClient

SECRET = "/services/T000/topsecret"


@contextmanager
def server(answer: Callable[[socket.socket], object]) -> Iterator[str]:
    """The host and port of a server that does this with its one connection."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            connection, _ = listening.accept()
            with connection:
                answer(connection)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"127.0.0.1:{listening.getsockname()[1]}"
        thread.join()


def explain(url: str, timeout: float = 10, **headers: str) -> str:
    """The error of a request without its place."""
    with pytest.raises(CallError) as caught:
        HttpClient(uses_netrc=False)(
            Call(method="POST", url=url + SECRET, headers=headers, read_timeout=timeout)
        )
    message = str(caught.value)
    assert "topsecret" not in message
    place, _, rest = message.partition(": ")
    assert place == url
    return rest


def test_a_server_that_does_not_run() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    expected = "no answer: Connection refused; is it running, and does it speak http or https?"
    assert explain(f"http://127.0.0.1:{port}") == expected


def test_a_host_that_does_not_exist() -> None:
    assert explain("https://nowhere.invalid:443").endswith("; check the host name")


def test_a_server_that_stays_silent() -> None:
    with server(lambda connection: connection.recv(65536) and connection.recv(65536)) as place:
        expected = "no answer: timed out; it is overloaded, or something between drops packets"
        assert explain(f"http://{place}", timeout=0.2) == expected


def test_a_server_that_closes_the_connection() -> None:
    with server(lambda connection: connection.recv(65536)) as place:
        reason = explain(f"http://{place}")
    assert reason.startswith("no answer: Remote end closed connection without response; is it running")


def test_a_server_that_speaks_no_tls() -> None:
    with server(lambda connection: connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")) as place:
        reason = explain(f"https://{place}")
    assert reason.endswith("; is it running, and does it speak http or https?")
    assert "_ssl.c" not in reason


def test_a_header_that_cannot_be_sent() -> None:
    """Its text is not shown, for it may be a secret."""
    reason = explain("http://127.0.0.1:9", Authorization="Bearer topsecret\nx")
    assert reason == "the request cannot be sent (InvalidHeader); check its address and headers"
