"""Settings from the environment, old servers, errors that name their remedy."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import trustme

from logging_lib.store import StoreError
from logging_lib.store.connection import Connection, ConnectionSettings, ElasticsearchError, read_settings
from logging_lib.store.elasticsearch import ElasticsearchStore

URL = "https://es.example.org:9200"


def environment(**values: str) -> dict[str, str]:
    return {f"LOGGING_LIB_ELASTICSEARCH_{name}": value for name, value in values.items()}


def test_settings_come_from_the_environment() -> None:
    settings = read_settings(environment(URL=URL + "/", API_KEY="k", CA="ca.pem"))
    assert settings == ConnectionSettings(URL, api_key="k", ca="ca.pem")
    assert read_settings(environment(USER="u", PASSWORD="p"), url=URL) == ConnectionSettings(
        URL, user="u", password="p"
    )


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "set LOGGING_LIB_ELASTICSEARCH_URL"),
        (
            {"URL": "localhost:9200"},
            "URL=localhost:9200: not a URL such as https.*; did you mean https://localhost",
        ),
        ({"URL": "https://"}, "not a URL"),
        ({"URL": "https://h:port"}, "not a URL"),
        ({"URL": "https://me:secret@h:9200"}, "leave user and password out"),
        ({"URL": "ftp://me:secret@h"}, "not a URL"),
        ({"URL": URL, "USER": "u"}, "go together"),
        ({"URL": URL, "USER": "u", "PASSWORD": "p", "API_KEY": "k"}, "not both"),
    ],
)
def test_wrong_settings_name_the_variable_and_no_secret(values: dict[str, str], message: str) -> None:
    with pytest.raises(StoreError, match=message) as caught:
        read_settings(environment(**values))
    assert "LOGGING_LIB_ELASTICSEARCH_" in str(caught.value)
    assert "secret" not in str(caught.value)


def test_an_unreadable_certificate_authority_is_refused() -> None:
    with pytest.raises(StoreError, match=r"CA: nowhere\.pem"):
        Connection(ConnectionSettings(URL, ca="nowhere.pem"))


class Old(BaseHTTPRequestHandler):
    """Answers as a server of version 8 does: it refuses the wire format of 9, and knows its own errors."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.seen.append((self.path, headers, content))  # type: ignore[attr-defined]
        accepted = f"{self.headers.get('Accept')} {self.headers.get('Content-Type')}"
        if "compatible-with=9" in accepted:
            return self._answer(400, {"error": {"type": "media_type_header_exception", "reason": accepted}})
        code, body = self.server.answers.get(self.path, (200, {"ok": True}))  # type: ignore[attr-defined]
        return self._answer(code, body)

    do_GET = do_PUT = do_POST  # noqa: N815

    def _answer(self, code: int, body: Any) -> None:
        data = json.dumps(body).encode()
        self.send_response(code)
        self.send_header("X-Elastic-Product", "Elasticsearch")
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args: Any) -> None: ...


@pytest.fixture
def server() -> Iterator[ThreadingHTTPServer]:
    old_server = ThreadingHTTPServer(("127.0.0.1", 0), Old)
    old_server.seen, old_server.answers = [], {}  # type: ignore[attr-defined]
    old_server.daemon_threads = True
    thread = threading.Thread(target=old_server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield old_server
    old_server.shutdown()
    old_server.server_close()
    thread.join()


def url(server: ThreadingHTTPServer) -> str:
    return f"http://127.0.0.1:{server.server_port}"


def test_a_server_of_an_older_major_version_is_supported(server: Any) -> None:
    """The client's own format carries its major version; a test server that refuses it stands for 8.15."""
    with Connection(ConnectionSettings(url(server), api_key="a2V5")) as connection:
        assert connection.call("POST", "/x/_search", {"size": 0}) == {"ok": True}
        assert connection.call("POST", "/_bulk", b"{}\n{}\n") == {"ok": True}
    (_, first, body), (_, second, lines) = server.seen
    assert (first["content-type"], second["content-type"]) == ("application/json", "application/x-ndjson")
    assert (json.loads(body), lines) == ({"size": 0}, b"{}\n{}\n")
    assert first["authorization"] == "ApiKey a2V5"


def test_errors_hold_the_cause_and_the_remedy(server: Any) -> None:
    nested = {
        "type": "search_phase_execution_exception",
        "reason": "all shards failed",
        "root_cause": [{"type": "parse", "reason": "no [x]", "caused_by": {"reason": "because"}}],
    }
    server.answers = {
        "/a": (400, {"error": nested}),
        "/b": (401, {"error": {"type": "security_exception", "reason": "unable to authenticate"}}),
        "/c": (403, {"error": {"type": "security_exception", "reason": "action is unauthorized"}}),
        "/d": (405, {"error": "no handler found for uri [/d]"}),
    }
    with Connection(ConnectionSettings(url(server), user="u", password="p")) as connection:

        def refused(path: str) -> ElasticsearchError:
            with pytest.raises(ElasticsearchError) as caught:
                connection.call("GET", path)
            return caught.value

        assert refused("/a").reason == "all shards failed: no [x]: because"
        assert (refused("/a").kind, refused("/a").is_transient) == ("search_phase_execution_exception", False)
        assert "set LOGGING_LIB_ELASTICSEARCH_API_KEY" in str(refused("/b"))
        assert "lacks that privilege, see docs/elasticsearch.md" in str(refused("/c"))
        assert refused("/d").is_unknown_api


def test_a_server_that_is_busy_is_asked_again(server: Any) -> None:
    server.answers = {"/busy": (429, {"error": {"type": "busy", "reason": "busy"}})}
    waits: list[float] = []
    with Connection(ConnectionSettings(url(server)), sleep=waits.append) as connection:
        with pytest.raises(ElasticsearchError) as caught:
            connection.call("GET", "/busy", retries=2)
        assert caught.value.is_transient
    assert len(server.seen) == 3
    assert len(waits) == 2
    assert waits[0] <= 0.25 < waits[1] * 2 <= 1


def test_an_error_says_that_no_server_runs() -> None:
    with (
        Connection(ConnectionSettings("http://127.0.0.1:9"), timeout=120) as connection,
        pytest.raises(ElasticsearchError, match=r"no answer: .*is it running") as caught,
    ):
        connection.call("GET", "/", retries=0)
    assert caught.value.is_transient


def test_a_certificate_of_an_unknown_authority_names_the_remedy(server: Any, tmp_path: Any) -> None:
    import ssl

    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    secure = url(server).replace("http:", "https:")
    with (
        Connection(ConnectionSettings(secure), timeout=120) as connection,
        pytest.raises(ElasticsearchError, match="set LOGGING_LIB_ELASTICSEARCH_CA"),
    ):
        connection.call("GET", "/", retries=0)
    trusted = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(trusted)
    with Connection(ConnectionSettings(secure, ca=str(trusted)), timeout=120) as connection:
        assert connection.call("GET", "/") == {"ok": True}


def test_a_server_that_never_answers_is_waited_for_once() -> None:
    """A watch's search ends, though the connection stays open."""
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        Connection(
            ConnectionSettings(f"http://127.0.0.1:{silent.getsockname()[1]}"), timeout=0.2
        ) as connection,
    ):
        silent.settimeout(0.05)
        with pytest.raises(ElasticsearchError, match="no answer"):
            ElasticsearchStore(connection).search("logs-ml.prediction-*", {})
        first, _ = silent.accept()
        first.close()
        with pytest.raises(TimeoutError):
            silent.accept()
