"""Receive the demo's notifications: a real SMTP server and a real HTTP server on 127.0.0.1 that save them."""

from __future__ import annotations

import socket
import threading
from email import message_from_bytes
from email.policy import default
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any

import orjson
from aiosmtpd.controller import Controller


class SmtpServer(Controller):
    """An SMTP server on 127.0.0.1, on a free port unless one is given.

    aiosmtpd itself needs a port number, and a port that was free when it was looked up may be taken by then.
    """

    def __init__(self, handler: object, port: int = 0, **options: Any) -> None:
        self._socket = socket.create_server(("127.0.0.1", port))
        number = self._socket.getsockname()[1]
        super().__init__(handler, hostname="127.0.0.1", port=number, ready_timeout=60, **options)

    def _create_server(self) -> Any:
        return self.loop.create_server(self._factory_invoker, sock=self._socket, ssl=self.ssl_context)


class Receivers:
    """A context manager that saves mails to ``<folder>/mail/*.eml``, Slack posts to ``<folder>/slack.jsonl``."""

    def __init__(self, folder: Path) -> None:
        self.subjects: list[str] = []
        self._mail, self._slack = folder / "mail", folder / "slack.jsonl"
        self._mail.mkdir(parents=True, exist_ok=True)
        self._slack.touch()
        self._smtp = SmtpServer(self)
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), _make_handler(self._slack))

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802 - aiosmtpd's name
        message = message_from_bytes(envelope.content, policy=default)
        self.subjects.append(str(message["subject"]))
        (self._mail / f"{len(self.subjects):03d}.eml").write_bytes(envelope.content)
        return "250 OK"

    @property
    def smtp_url(self) -> str:
        return f"smtp://127.0.0.1:{self._smtp.port}"

    @property
    def slack_url(self) -> str:
        return f"http://127.0.0.1:{self._http.server_port}/services/demo"

    @property
    def settings(self) -> dict[str, str]:
        """Return the environment of a runner that notifies these receivers."""
        return {
            "LOGGING_LIB_SMTP_URL": self.smtp_url,
            "LOGGING_LIB_MAIL_FROM": "logging-lib <ml-watch@example.org>",
            "LOGGING_LIB_EMAIL_TO": "ml-alerts@example.org",
            "LOGGING_LIB_SLACK_WEBHOOK": self.slack_url,
        }

    def __enter__(self) -> Receivers:
        self._smtp.start()
        self._thread = threading.Thread(target=self._http.serve_forever, daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._smtp.stop()
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()


def _make_handler(target: Path) -> type[BaseHTTPRequestHandler]:
    class SlackHandler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            with target.open("ab") as file:
                file.write(orjson.dumps(orjson.loads(body), option=orjson.OPT_APPEND_NEWLINE))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"ok")

        def log_message(self, *_: Any) -> None:
            pass

    return SlackHandler
