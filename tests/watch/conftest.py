"""What the tests of the engine share: a fake store, scripts, a watch, a mail server and a webhook."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from logging_lib.demo.receivers import SmtpServer
from logging_lib.store.counting import CountPlan, Grid
from logging_lib.store.port import IndexResult, SearchError, StoreError
from logging_lib.watch.loading import parse_watch
from logging_lib.watch.model import Watch
from logging_lib.watch.notify.base import Delivers, Notification
from logging_lib.watch.notify.log import LogChannel
from logging_lib.watch.notify.registry import CHANNELS, parse_action, render_settings
from logging_lib.watch.runner import Runner

NOW = datetime(2018, 2, 1, 12, 0, tzinfo=UTC)
Document = dict[str, Any]


def minutes(number: float) -> timedelta:
    return timedelta(minutes=number)


def build_result(findings: list[Document]) -> Document:
    return {"count": len(findings), "more": len(findings) - 1 or None, "findings": findings}


def finding(feature: str = "income", model: str = "loans", version: str = "1", **more: Any) -> Document:
    return {"model": model, "version": version, "feature": feature, **more}


def pass_through(ctx: Mapping[str, Any], params: Mapping[str, Any]) -> Document:
    """Evaluates nothing: what the search 'found' are the findings."""
    found: list[Document] = ctx["payload"]["window"].get("findings", [])
    return {**build_result(found), "skipped": [{"reason": "no profile"}]}


SCRIPTS = {"pass-through": pass_through}


def document(**actions: Any) -> Document:
    """A watch in the shape of the shipped ones."""
    search = {
        "request": {
            "indices": ["logs-ml.prediction-*"],
            "body": {
                "size": 0,
                "query": {"range": {"event.ingested": {"gt": "{{ctx.trigger.scheduled_time}}||-15m"}}},
                "aggs": {"models": {"terms": {"field": "ml.model.name", "size": 10}}},
            },
        }
    }
    return {
        "metadata": {"title": "Test", "to": "ml@example.org", "windows": ["15m", "1h"]},
        "trigger": {"schedule": {"interval": "5m"}},
        "input": {
            "chain": {
                "inputs": [
                    {"window": {"search": search}},
                    {"result": {"transform": {"script": {"id": "pass-through"}}}},
                ]
            }
        },
        "condition": {"compare": {"ctx.payload.result.count": {"gt": 0}}},
        "actions": actions or {"email": email_action(), "slack": slack_action()},
    }


TEXT = "{{#ctx.payload.result.findings}}{{model}} {{version}} {{feature}}\n{{/ctx.payload.result.findings}}"


def email_action(**more: Any) -> Document:
    return {
        "throttle_period": "1h",
        "email": {
            "to": ["{{ctx.metadata.to}}"],
            "subject": "{{ctx.payload.result.findings.0.model}}: "
            "{{#join}}ctx.payload.result.count{{/join}} {{ctx.payload.result.findings.0.feature}}",
            "body": {"text": TEXT, "html": f"<p>{TEXT}</p>"},
        },
        **more,
    }


def slack_action(**more: Any) -> Document:
    return {"throttle_period": "1h", "slack": {"message": {"to": ["#ml"], "text": TEXT}}, **more}


def watch(watch_id: str = "test", **actions: Any) -> Watch:
    return parse_watch(document(**actions), id=watch_id, scripts=SCRIPTS)


class FakeStore:
    """Answers each search with what ``found`` says at that time, as if it were findings."""

    def __init__(self, found: Callable[[datetime], Iterable[Document]] = lambda now: ()) -> None:
        self.found = found
        self.searches: list[tuple[list[str], Document, datetime]] = []
        self.broken_at: str | None = None
        self.extra: Document = {}

    is_live = True
    execute_painless = None

    def search(
        self,
        indices: str | list[str],
        body: Mapping[str, Any],
        *,
        now: datetime | None = None,
        rest_total_hits_as_int: bool = False,
    ) -> Document:
        assert isinstance(indices, list)
        assert now is not None
        self.searches.append((indices, dict(body), now))
        if self.broken_at and self.broken_at in json.dumps(body):
            raise SearchError("the shard is gone", "$.query")
        return {"hits": {"total": 0, "hits": []}, "findings": list(self.found(now)), **self.extra}

    def index(self, target: str, documents: Any, *, now: datetime | None = None) -> IndexResult:
        raise NotImplementedError

    def streams(self, indices: str | list[str]) -> list[str]:
        raise StoreError("it answers searches, and has no events")

    def counts(self, plan: CountPlan, grid: Grid, start: int | None, end: int) -> Any:
        raise StoreError("it answers searches, and has no events")

    def refresh(self) -> None: ...

    def close(self) -> None: ...


def draft(action: str = "mail", **more: Any) -> Notification:
    """A notification before it is rendered."""
    return Notification(**{"id": "d", "watch": "w", "action": action, "created_at": NOW, **more})


def render(action: Document, context: Document, name: str = "mail") -> list[Notification]:
    """What an action, as a watch has it, sends of a context."""
    return render_settings(parse_action(action), context, draft(name))


def notification(channel: str, *, id: str = "i", **more: Any) -> Notification:  # noqa: A002
    """One as its channel renders it; for a text channel from ``to``, ``subject`` and ``text``."""
    to, subject, text = more.pop("to", ()), more.pop("subject", "s"), more.pop("text", "t")
    base = draft(channel, id=id, **more)
    if not CHANNELS[channel].takes_text:
        return LogChannel.line(base, text, "info")
    return CHANNELS[channel].compose(base, CHANNELS[channel].address_of(to), subject, text)


def runner_of(store: FakeStore, *watches: Watch, channels: dict[str, Delivers], **more: Any) -> Runner:
    """A runner of these watches, or of one that mails and posts, over what the store says."""
    options = {"scripts": SCRIPTS, "summarize": build_result, **more}
    return Runner(store, watches or [watch()], channels=channels, **options)


class MailServer:
    """A real SMTP server; ``refuse`` makes it refuse a recipient."""

    def __init__(self, **options: Any) -> None:
        self._options = options
        self.port = 0
        self.mails: list[EmailMessage] = []
        self.envelopes: list[list[str]] = []
        self.refuse: set[str] = set()
        self._controller: SmtpServer | None = None
        self.start()

    @property
    def url(self) -> str:
        return f"smtp://127.0.0.1:{self.port}"

    def start(self) -> None:
        self._controller = SmtpServer(self, self.port, **self._options)
        self._controller.start()
        self.port = self._controller.port  # the same after each stop

    def stop(self) -> None:
        if self._controller:
            self._controller.stop()
            self._controller = None

    async def handle_RCPT(  # noqa: N802 - aiosmtpd's name
        self, server: Any, session: Any, envelope: Any, address: str, options: Any
    ) -> str:
        if address in self.refuse:
            return "550 no such user"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802
        mail = message_from_bytes(envelope.content, policy=policy.default)
        assert isinstance(mail, EmailMessage)
        self.mails.append(mail)
        self.envelopes.append(list(envelope.rcpt_tos))
        return "250 OK"

    def bodies(self) -> list[str]:
        found = []
        for mail in self.mails:
            part = mail.get_body(("plain",))
            assert part is not None
            found.append(part.get_content().replace("\r\n", "\n"))
        return found


class Webhook:
    """A real HTTP receiver; ``answers`` are used up first, then all is well."""

    def __init__(self) -> None:
        self.posts: list[Document] = []
        self.answers: list[tuple[int, dict[str, str], bytes]] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                content = self.rfile.read(int(self.headers["Content-Length"]))
                code, headers, body = receiver.answers.pop(0) if receiver.answers else (200, {}, b"ok")
                if code == 200:
                    receiver.posts.append(json.loads(content))
                self.send_response(code)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args: Any) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/services/T0/B0/topsecret"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    headers: dict[str, str]
    body: str


class Receiver:
    """A real HTTP server that takes any request; ``answers`` are by path, (status, headers, body)."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.answers: dict[str, tuple[int, dict[str, str], bytes]] = {}
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def _any(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
                receiver.requests.append(Request(self.command, self.path, dict(self.headers), body))
                path = self.path.partition("?")[0]
                code, headers, content = receiver.answers.get(path, (200, {}, b"ok"))
                self.send_response(code)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = _any  # noqa: N815

            def log_message(self, *args: Any) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    def json(self, path: str, document: Any) -> None:
        self.answers[path] = (200, {"Content-Type": "application/json"}, json.dumps(document).encode())

    def stop(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    found = Receiver()
    yield found
    found.stop()


@pytest.fixture
def mail_server() -> Iterator[MailServer]:
    server = MailServer()
    yield server
    server.stop()


@pytest.fixture
def webhook() -> Iterator[Webhook]:
    receiver = Webhook()
    yield receiver
    receiver.stop()
