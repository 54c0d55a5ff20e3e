"""One way to an Elasticsearch cluster: the official client, our settings, and errors that name their remedy.

The only module that imports the client. Versions 8.15 to 9.x of the server are spoken to alike: the client asks
for the wire format of its own major version, which an older server refuses, so plain JSON is asked for instead.
"""

from __future__ import annotations

import os
import random
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import elasticsearch
from elastic_transport import ConnectionError as TransportConnectionError
from elastic_transport import ConnectionTimeout, TlsError, Transport, TransportError

from logging_lib.plain import printable
from logging_lib.store.port import StoreError

PREFIX = "LOGGING_LIB_ELASTICSEARCH_"
TIMEOUT = 60.0
_RETRIES, _FIRST_WAIT = 4, 0.25
_RETRIED = (429, 502, 503, 504)


class ElasticsearchError(StoreError):
    """Raised if the cluster refuses a request or does not answer.

    Attributes:
        status: the HTTP status, or 0 without an answer.
        kind: Elasticsearch's name for the error, such as ``index_not_found_exception``.
        reason: Elasticsearch's text.
        details: the whole answer.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int = 0,
        kind: str = "",
        reason: str = "",
        details: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.kind = kind
        self.reason = reason
        self.details = details or {}

    @property
    def passing(self) -> bool:
        """Whether the same request may succeed later: no answer, too busy, or starting up."""
        return self.status == 0 or self.status in _RETRIED

    @property
    def unknown_api(self) -> bool:
        """Whether this server does not have the API: another version, or a missing part."""
        return self.status in (400, 405) and "no handler found" in self.reason


@dataclass(frozen=True, slots=True)
class Settings:
    """The address of a cluster and the credentials for it.

    Attributes:
        url: such as ``https://localhost:9200``.
        api_key: in the encoded form that Elasticsearch returns.
        user: the user's name, instead of an API key.
        password: the user's password.
        ca: a file with the authority that signed the server's certificate; default: those that the system trusts.
    """

    url: str
    api_key: str | None = None
    user: str | None = None
    password: str | None = None
    ca: str | None = None


def settings_from(
    environment: Mapping[str, str] = os.environ,
    *,
    url: str | None = None,
    prefix: str = PREFIX,
    example: str = "https://localhost:9200",
) -> Settings:
    """Read ``LOGGING_LIB_ELASTICSEARCH_URL``, ``_API_KEY``, ``_USER``, ``_PASSWORD`` and ``_CA``.

    Args:
        environment: the variables.
        url: the address, instead of the variable.
        prefix: of other variables of the same kind.
        example: a URL, for messages.

    Raises:
        StoreError: a variable is missing or wrong; the message names it and says what to set.
    """

    def get(name: str) -> str | None:
        return environment.get(prefix + name) or None

    url = url or get("URL")
    if url is None:
        raise StoreError(f"no server is named: set {prefix}URL, such as {example}")
    try:
        parts = urlsplit(url)
        known = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        known = False
    if not known:
        raise StoreError(f"{prefix}URL: {_shown(url)!r} is no URL such as {example}")
    if parts.username or parts.password:
        raise StoreError(
            f"{prefix}URL: leave user and password out of it; set {prefix}API_KEY, or {prefix}USER and "
            f"{prefix}PASSWORD"
        )
    given = Settings(url.rstrip("/"), get("API_KEY"), get("USER"), get("PASSWORD"), get("CA"))
    if (given.user is None) != (given.password is None):
        raise StoreError(f"{prefix}USER and {prefix}PASSWORD go together; one of them is not set")
    if given.api_key and given.user:
        raise StoreError(f"set either {prefix}API_KEY or {prefix}USER, not both")
    return given


class _PlainTransport(Transport):
    """Asks for plain JSON, which servers of every major version speak."""

    def perform_request(self, method: str, target: str, **options: Any) -> Any:
        headers = options.get("headers")
        if headers is not None:
            options["headers"] = {name: _plain(value) for name, value in headers.items()}
        return super().perform_request(method, target, **options)


def _plain(header: str) -> str:
    media_type, _, parameters = header.partition(";")
    if "compatible-with" in parameters:
        return media_type.replace("vnd.elasticsearch+", "")
    return header


class Connection:
    """Call one cluster by the official client. Safe to share between threads.

    Args:
        settings: the address and the credentials.
        timeout: seconds to wait for one answer.
        sleep: waits between tries.

    Attributes:
        url: the cluster's address.

    Raises:
        StoreError: the authority's file cannot be read.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        timeout: float = TIMEOUT,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.url = settings.url
        self._sleep = sleep
        options: dict[str, Any] = {}
        if settings.api_key:
            options["api_key"] = settings.api_key
        elif settings.user and settings.password:
            options["basic_auth"] = (settings.user, settings.password)
        if settings.url.startswith("https:"):
            try:
                options["ssl_context"] = ssl.create_default_context(cafile=settings.ca)
            except (OSError, ssl.SSLError) as error:
                raise StoreError(f"{PREFIX}CA: {settings.ca}: cannot be used: {error}") from error
        parts = urlsplit(settings.url)
        port = parts.port or (443 if parts.scheme == "https" else 9200)
        host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
        self._client = elasticsearch.Elasticsearch(
            f"{parts.scheme}://{host}:{port}{parts.path}",
            transport_class=_PlainTransport,
            request_timeout=timeout,
            max_retries=0,  # its retries don't wait in all versions; see call
            **options,
        )

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        params: Mapping[str, Any] | None = None,
        retries: int = _RETRIES,
    ) -> Any:
        """Send one request and return the parsed answer.

        Args:
            method: of HTTP.
            path: already quoted, from the ``/`` on.
            body: an object; or bytes of newline-delimited JSON.
            params: the query's parameters.
            retries: how often to try again if there is no answer or the server is too busy.

        Raises:
            ElasticsearchError: the server refuses the request or does not answer.
        """
        kind = "application/x-ndjson" if isinstance(body, bytes) else "application/json"
        headers = {"accept": "application/json", **({"content-type": kind} if body is not None else {})}
        for wait in (*(_FIRST_WAIT * 2**attempt for attempt in range(retries)), None):
            try:
                return self._ask(method, path, params, headers, body)
            except ElasticsearchError as error:
                # What took the whole timeout is not repeated: it would hold up its caller for minutes.
                if wait is None or not error.passing or isinstance(error.__cause__, ConnectionTimeout):
                    raise
            self._sleep(wait * random.uniform(0.5, 1.0))
        raise AssertionError("unreachable")

    def _ask(
        self, method: str, path: str, params: Mapping[str, Any] | None, headers: dict[str, str], body: Any
    ) -> Any:
        try:
            return self._client.perform_request(
                method, path, params=dict(params or {}), headers=headers, body=body
            ).body
        except elasticsearch.ApiError as error:
            raise self._refused(error, f"{method} {path}") from error
        except TransportError as error:
            raise self._unanswered(error) from error

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def _refused(self, error: elasticsearch.ApiError, asked: str) -> ElasticsearchError:
        status, kind, reason = error.meta.status, "", ""
        body = error.body.get("error", error.body) if isinstance(error.body, dict) else error.body
        if isinstance(body, dict):
            kind, reason = str(body.get("type", "")), _reason(body)
        else:
            reason = str(body or error)
        remedy = ""
        if status == 401:
            remedy = f"; set {PREFIX}API_KEY, or {PREFIX}USER and {PREFIX}PASSWORD, to valid ones"
        elif status == 403:
            remedy = "; the user or API key lacks that privilege, see docs/elasticsearch.md"
        message = f"{self.url}: {asked.partition('?')[0]}: {status} {reason:.1000}{remedy}"
        details = body if isinstance(body, dict) else None
        return ElasticsearchError(message, status=status, kind=kind, reason=reason, details=details)

    def _unanswered(self, error: TransportError) -> ElasticsearchError:
        cause = str(error)
        if isinstance(error, TlsError) or "CERTIFICATE" in cause.upper():
            remedy = f"set {PREFIX}CA to the file of the authority that signed the server's certificate"
        elif isinstance(error, ConnectionTimeout):
            remedy = "it is overloaded, or something between drops packets"
        elif isinstance(error, TransportConnectionError):
            remedy = "is it running, and does it speak http or https?"
        else:
            remedy = "is that an Elasticsearch?"
        return ElasticsearchError(f"{self.url}: no answer: {cause:.300}; {remedy}")


def _reason(error: Mapping[str, Any]) -> str:
    """The reason nearest to the cause: what stands on top often says only that all shards failed."""
    causes = [error, *(error.get("root_cause") or ())[:1]]
    failed = (error.get("failed_shards") or ())[:1]
    causes += [shard.get("reason") or {} for shard in failed]
    while isinstance(causes[-1].get("caused_by"), dict):
        causes.append(causes[-1]["caused_by"])
    reasons = dict.fromkeys(str(cause["reason"]) for cause in causes if cause.get("reason"))
    return printable(": ".join(reasons) or str(error.get("type", "no reason was given")))


def _shown(url: str) -> str:
    """Without what may be a password."""
    scheme, separator, rest = url.rpartition("://")
    return f"{scheme}{separator}{rest.rpartition('@')[2]}"
