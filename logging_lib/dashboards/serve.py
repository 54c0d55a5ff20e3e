"""Serve the preview on this machine only. It is read-only."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import orjson

from logging_lib.dashboards.page import render_preview
from logging_lib.dashboards.preview import CachingStore, PreviewError, choices, panel_view, selection
from logging_lib.dashboards.spec import Dashboard
from logging_lib.store.port import Store

HOST = "127.0.0.1"


def server(
    store: Store,
    dashboards: Sequence[Dashboard],
    *,
    port: int,
    clock: Callable[[], datetime],
    list_attention: Callable[[Store, Iterable[str]], Sequence[Mapping[str, Any]]] = lambda *_: (),
) -> ThreadingHTTPServer:
    """Create a server that is bound, but not serving yet; port 0 takes any free one.

    Requests that name another host are refused, because a web page could otherwise let its own name point here
    (DNS rebinding). There are four addresses, so no file of the file system can be reached.

    Args:
        list_attention: returns the ``attention`` of ``render_preview`` for a store and the names of its models.

    Raises:
        OSError: the port is taken.
    """

    class Handler(BaseHTTPRequestHandler):
        server_version = "logging-lib"
        sys_version = ""

        def do_GET(self) -> None:
            self._answer()

        def do_HEAD(self) -> None:
            self._answer()

        def _answer(self) -> None:
            names = (f"{HOST}:{http_server.server_port}", f"localhost:{http_server.server_port}")
            if self.headers.get("Host") not in names:
                self._send(
                    HTTPStatus.MISDIRECTED_REQUEST, "text/plain", b"this server answers on localhost alone"
                )
                return
            try:
                url = urlsplit(self.path)
                parameters = dict(parse_qsl(url.query))
            except ValueError:  # such as http://[
                self._send(HTTPStatus.BAD_REQUEST, "text/plain", b"this is not an address")
                return
            try:
                kind, body = routes[url.path](parameters)
            except KeyError:
                self._send(HTTPStatus.NOT_FOUND, "text/plain", b"there is no such page")
            except PreviewError as error:
                self._send(HTTPStatus.OK, "application/json", _json({"kind": "error", "note": str(error)}))
            except Exception as error:  # noqa: BLE001 - one panel's trouble is not the server's
                print(f"{url.path}: {error!r}", file=sys.stderr)
                body = _json(
                    {"kind": "error", "note": "this panel could not be computed; the server's log says why"}
                )
                self._send(HTTPStatus.OK, "application/json", body)
            else:
                self._send(HTTPStatus.OK, kind, body)

        def _send(self, status: HTTPStatus, kind: str, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", f"{kind}; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Cache-Control", "no-store")
            self.send_header("X-Content-Type-Options", "nosniff")
            self.send_header("X-Frame-Options", "DENY")
            self.send_header("Cross-Origin-Resource-Policy", "same-origin")
            self.end_headers()
            if self.command != "HEAD":
                # A user who has chosen something else in the meantime does not wait for the answer.
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                    self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    store = CachingStore(store)
    by_id = {dashboard.id: dashboard for dashboard in dashboards}

    def answer_page(_: dict[str, str]) -> tuple[str, bytes]:
        store.refresh()
        available = choices(store, now=clock())
        attention = list_attention(store, available["models"])
        return "text/html", render_preview(dashboards, available, attention=attention).encode()

    def answer_choices(_: dict[str, str]) -> tuple[str, bytes]:
        store.refresh()
        return "application/json", _json(choices(store, now=clock()))

    def answer_panel(parameters: dict[str, str]) -> tuple[str, bytes]:
        try:
            requested_panel = by_id[parameters["dashboard"]].panels[int(parameters["panel"])]
        except (KeyError, ValueError, IndexError):
            raise PreviewError("there is no such panel") from None
        now = clock()
        panel_selection = selection(parameters, choices(store, now=now), now=now)
        return "application/json", _json(panel_view(store, requested_panel, panel_selection))

    routes: dict[str, Callable[[dict[str, str]], tuple[str, bytes]]] = {
        "/": answer_page, "/api/choices": answer_choices, "/api/panel": answer_panel,
    }  # fmt: skip
    http_server = ThreadingHTTPServer((HOST, port), Handler)
    return http_server


def _json(value: Any) -> bytes:
    return orjson.dumps(value)
