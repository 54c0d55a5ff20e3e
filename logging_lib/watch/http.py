"""Render the HTTP requests of a watch from its templates, which is pure, and send them.

Certificates and host names are always verified, redirects are never followed, responses are read up to a maximum
size, and no request exceeds its timeouts. A URL or a header may contain secrets, so errors name only the host.

Secrets do not have to be in a watch: the ``Authorization`` of a host comes from
``LOGGING_LIB_AUTHORIZATION_<HOST>``, the host in capitals with ``_`` for each other character than a letter or
digit (``LOGGING_LIB_AUTHORIZATION_SMS_EXAMPLE_ORG="Bearer ..."``). A login may also come from a ``.netrc``.
"""

from __future__ import annotations

import contextlib
import logging
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode, urlsplit

import requests
import urllib3
from pydantic import BaseModel, ConfigDict

from logging_lib._util.network_errors import describe_network_error
from logging_lib.watch.model import HttpRequest
from logging_lib.watch.templating import Medium, TemplateError, render

CONNECT_TIMEOUT = READ_TIMEOUT = 10.0  # Watcher's own defaults
LONGEST = 60.0
MAX_BYTES = 10 * 1024 * 1024
BRIEF_BYTES = 16 * 1024
AUTHORIZATION_PREFIX = "LOGGING_LIB_AUTHORIZATION_"
_HEADER_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")


class CallError(Exception):
    """Raised if a request got no complete response. The message names the host, never the rest of the address."""


class Call(BaseModel):
    """One completely rendered request. Times are in seconds."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    method: str
    url: str
    headers: dict[str, str] = {}
    body: str | None = None
    username: str | None = None
    password: str | None = None
    connect_timeout: float = CONNECT_TIMEOUT
    read_timeout: float = READ_TIMEOUT

    @property
    def place(self) -> str:
        """Return scheme, host and port."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc}"


@dataclass(frozen=True)
class HttpResponse:
    """A response. ``headers`` are by lower-case name."""

    status: int
    headers: Mapping[str, list[str]]
    content: bytes

    @property
    def text(self) -> str:
        return self.content.decode("utf-8", "replace")


def render_call(
    request: HttpRequest,
    context: Mapping[str, Any],
    missing: set[str] | None = None,
    *,
    json_medium: Medium = Medium.JSON,
) -> Call:
    """Render a request. An inserted value stays within one part of the path, one parameter, one line of a header
    or, in a JSON body, one string.

    Args:
        missing: as for ``templating.render``.
        json_medium: the medium that a JSON body is rendered for.

    Raises:
        TemplateError: a template cannot be rendered, or a header's name is invalid.
    """

    def render_part(template: str, medium: Medium) -> str:
        return render(template, context, medium, missing)

    host = f"[{request.host}]" if ":" in request.host else request.host
    path = render_part(request.path, Medium.URL)
    url = f"{request.scheme}://{host}:{request.port}/{path.removeprefix('/')}"
    if request.params:
        parameters = {name: render_part(template, Medium.TEXT) for name, template in request.params.items()}
        url += ("&" if "?" in url else "?") + urlencode(parameters)
    headers = {}
    for name, template in request.headers.items():
        if not _HEADER_NAME.fullmatch(name):
            raise TemplateError(f"{name!r:.80} is not a header name")
        text = Medium.HEADER.escape(render_part(template, Medium.HEADER)).strip()
        headers[name] = text.encode("latin-1", "replace").decode("latin-1")
    body = request.body
    if body is not None:
        medium = json_medium if request.is_json else Medium.URL if request.is_form else Medium.TEXT
        body = render_part(body, medium)
        if request.is_json and not any(name.lower() == "content-type" for name in headers):
            headers["Content-Type"] = "application/json"
    basic = request.auth.basic if request.auth else None
    connect, read = request.connection_timeout, request.read_timeout
    return Call(
        method=request.method.upper(),
        url=url,
        headers=headers,
        body=body,
        username=basic.username if basic else None,
        password=basic.password if basic else None,
        connect_timeout=connect.total_seconds() if connect else CONNECT_TIMEOUT,
        read_timeout=read.total_seconds() if read else READ_TIMEOUT,
    )


@dataclass(frozen=True)
class HttpClient:
    """A client that sends requests. ``authorizations`` are headers by host, written as in the variables' names.

    ``is_brief``: only the status and the first ``max_bytes`` of a response are needed. The rest is neither read nor
    decompressed, and a response that is cut off is used as far as it was read, since the request was received.
    ``ca`` is the file of the authority that signed the servers' certificates, and ``ca_setting`` the variable that
    names it; default: those that the system trusts.
    """

    authorizations: Mapping[str, str] = field(default_factory=dict, repr=False)
    max_bytes: int = MAX_BYTES
    longest: float = LONGEST
    is_brief: bool = False
    uses_netrc: bool = True
    ca: str | None = None
    ca_setting: str = "REQUESTS_CA_BUNDLE"

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> HttpClient:
        authorizations = {
            name.removeprefix(AUTHORIZATION_PREFIX): v
            for name, v in environ.items()
            if name.startswith(AUTHORIZATION_PREFIX) and v
        }
        return cls(authorizations)

    @classmethod
    def brief(cls) -> HttpClient:
        """Create a client for services that need no login; it reads at most 16 kB of a response."""
        return cls(max_bytes=BRIEF_BYTES, is_brief=True, uses_netrc=False)

    def __call__(self, call: Call) -> HttpResponse:
        """Send a request and return its response. Raises CallError."""
        headers = dict(call.headers)
        if self.is_brief:
            headers.setdefault("Accept-Encoding", "identity")
        auth = None if call.username is None else (call.username, call.password or "")
        host = re.sub(r"[^A-Z0-9]", "_", (urlsplit(call.url).hostname or "").upper())
        if auth is None and host in self.authorizations:
            headers["Authorization"] = self.authorizations[host]
        deadline = time.monotonic() + self.longest
        try:
            with (
                quiet_urllib3(),
                requests.Session() as session,
                session.request(
                    call.method,
                    call.url,
                    headers=headers,
                    data=None if call.body is None else call.body.encode("utf-8", "replace"),
                    auth=auth
                    or (_KeepAuthorization() if "Authorization" in headers or not self.uses_netrc else None),
                    timeout=(call.connect_timeout, call.read_timeout),
                    allow_redirects=False,
                    stream=True,
                    verify=self.ca or True,
                ) as response,
            ):
                content = (
                    self._begin(response, deadline) if self.is_brief else self._all(call, response, deadline)
                )
                response_headers: dict[str, list[str]] = {}
                for name, value in response.headers.items():
                    response_headers.setdefault(name.lower(), []).append(value)
                return HttpResponse(response.status_code, response_headers, content)
        except ValueError as error:  # also those of requests about an address, a header or a proxy
            name = type(error).__name__
            raise CallError(
                f"{call.place}: the request cannot be sent ({name}); check its address and headers"
            ) from None
        except requests.RequestException as error:
            described = describe_network_error(
                call.place, error, server="the right service", ca_setting=self.ca_setting
            )
            raise CallError(described) from None

    def _all(self, call: Call, response: requests.Response, deadline: float) -> bytes:
        content = bytearray()
        for block in response.iter_content(65536):
            content += block
            if len(content) > self.max_bytes:
                raise CallError(f"{call.place}: the answer is longer than {self.max_bytes} bytes")
            if time.monotonic() > deadline:
                raise CallError(f"{call.place}: the answer took longer than {self.longest:.0f} s")
        return bytes(content)

    def _begin(self, response: requests.Response, deadline: float) -> bytes:
        content = bytearray()
        with contextlib.suppress(
            requests.RequestException, urllib3.exceptions.HTTPError, OSError, ValueError
        ):
            for block in response.raw.stream(4096, decode_content=False):
                content += block
                if len(content) >= self.max_bytes or time.monotonic() > deadline:
                    break
        return bytes(content[: self.max_bytes])


class _KeepAuthorization(requests.auth.AuthBase):
    """An authentication that keeps requests from replacing a request's own header by a login of .netrc."""

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        return request


@contextlib.contextmanager
def quiet_urllib3() -> Iterator[None]:
    """Silence urllib3, which logs the path of each request (retries as warnings), and a path may be a secret."""
    logger = logging.getLogger("urllib3.connectionpool")

    def errors_only(record: logging.LogRecord) -> bool:
        return record.levelno >= logging.ERROR

    logger.addFilter(errors_only)
    try:
        yield
    finally:
        logger.removeFilter(errors_only)
