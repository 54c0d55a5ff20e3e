"""Connect to an Elasticsearch cluster: the official client, its settings, its errors, and the bulk API.

This is the only module that imports the client. Server versions 8.15 to 9.x are addressed alike: the client
asks for the wire format of its own major version, which an older server refuses, so this module asks for plain
JSON instead.
"""

from __future__ import annotations

import os
import random
import ssl
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

import elasticsearch
import orjson
from elastic_transport import ConnectionTimeout, Transport, TransportError

from logging_lib._util.elasticsearch_node import BoundedNode
from logging_lib._util.network_errors import describe_network_error
from logging_lib._util.text import printable
from logging_lib.store.port import StoreError

PREFIX = "LOGGING_LIB_ELASTICSEARCH_"
TIMEOUT = 60.0
_RETRIES, _FIRST_WAIT = 4, 0.25
_TRANSIENT_STATUSES = (429, 502, 503, 504)


class ElasticsearchError(StoreError):
    """Raised for an error response or a missing response.

    Attributes:
        status: the HTTP status, or 0 if there was no response.
        kind: Elasticsearch's name for the error, such as ``index_not_found_exception``.
        reason: Elasticsearch's text.
        details: the whole error object.
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
    def is_transient(self) -> bool:
        """Return whether the same request may succeed later: no response, too busy, or starting up."""
        return self.status == 0 or self.status in _TRANSIENT_STATUSES

    @property
    def is_unknown_api(self) -> bool:
        """Return whether the server lacks this API: it has another version, or a module is not installed."""
        return self.status in (400, 405) and "no handler found" in self.reason


@dataclass(frozen=True, slots=True)
class ConnectionSettings:
    """The address of a cluster and the credentials for it.

    Attributes:
        url: the address, such as ``https://localhost:9200``.
        api_key: in the encoded form that Elasticsearch returns.
        user: the user's name, instead of an API key.
        password: the user's password.
        ca: a file with the certificate authority that signed the server's certificate; default: the authorities
            that the system trusts.
    """

    url: str
    api_key: str | None = None
    user: str | None = None
    password: str | None = None
    ca: str | None = None


def read_settings(
    environment: Mapping[str, str] = os.environ,
    *,
    url: str | None = None,
    url_name: str = "",
    prefix: str = PREFIX,
    example: str = "https://localhost:9200",
) -> ConnectionSettings:
    """Read ``LOGGING_LIB_ELASTICSEARCH_URL``, ``_API_KEY``, ``_USER``, ``_PASSWORD`` and ``_CA``.

    Args:
        environment: the environment variables.
        url: overrides the variable ``_URL``.
        url_name: the name of the URL in error messages, such as ``--elasticsearch``. Default: the variable
            ``_URL``.
        prefix: the prefix of the variables' names; Kibana has a different one.
        example: a URL for error messages.

    Raises:
        StoreError: a variable is wrong or missing; the message names it and says what to set.
    """

    def get(name: str) -> str | None:
        return environment.get(prefix + name) or None

    url = url or get("URL")
    if url is None:
        raise StoreError(f"no server is named: set {prefix}URL, such as {example}")
    shown = (
        f"{url_name} {_without_credentials(url)}" if url_name else f"{prefix}URL={_without_credentials(url)}"
    )
    if not _is_url(url):
        scheme = example.partition("://")[0]
        hint = (
            f"; did you mean {scheme}://{url}, or http://{url} without TLS?"
            if _is_url(f"http://{url}")
            else ""
        )
        raise StoreError(f"{shown:.300}: not a URL such as {example}{hint if '@' not in url else ''}")
    parts = urlsplit(url)
    if parts.username or parts.password:
        raise StoreError(
            f"{shown:.300}: leave user and password out of the URL; set {prefix}API_KEY, or {prefix}USER and "
            f"{prefix}PASSWORD"
        )
    settings = ConnectionSettings(url.rstrip("/"), get("API_KEY"), get("USER"), get("PASSWORD"), get("CA"))
    if (settings.user is None) != (settings.password is None):
        raise StoreError(f"{prefix}USER and {prefix}PASSWORD go together; one of them is not set")
    if settings.api_key and settings.user:
        raise StoreError(f"set either {prefix}API_KEY or {prefix}USER, not both")
    return settings


def _is_url(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        return False


class _PlainTransport(Transport):
    """A transport that requests plain JSON, which servers of every major version support."""

    def perform_request(self, method: str, target: str, **options: Any) -> Any:
        headers = options.get("headers")
        if headers is not None:
            options["headers"] = {name: _plain_media_type(value) for name, value in headers.items()}
        return super().perform_request(method, target, **options)


def _plain_media_type(header: str) -> str:
    media_type, _, parameters = header.partition(";")
    if "compatible-with" in parameters:
        return media_type.replace("vnd.elasticsearch+", "")
    return header


class Connection:
    """A connection to the APIs of one cluster. Safe to share between threads.

    Args:
        settings: the address and the credentials.
        timeout: seconds to wait for one response.
        sleep: waits between attempts.

    Attributes:
        url: the cluster's address.

    Raises:
        StoreError: the file of the certificate authority cannot be read.
    """

    def __init__(
        self,
        settings: ConnectionSettings,
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
            node_class=BoundedNode,
            request_timeout=timeout,
            max_retries=0,  # not every version of the client waits between retries; see ``call``
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
        """Send one request and return the parsed response.

        Args:
            method: the HTTP method.
            path: the quoted path, beginning with ``/``.
            body: an object, or bytes of newline-delimited JSON.
            params: the query parameters.
            retries: how often to retry if there is no response or the server is too busy.

        Raises:
            ElasticsearchError: the server returned an error, or did not respond.
        """
        kind = "application/x-ndjson" if isinstance(body, bytes) else "application/json"
        headers = {"accept": "application/json", **({"content-type": kind} if body is not None else {})}
        for wait in (*(_FIRST_WAIT * 2**attempt for attempt in range(retries)), None):
            try:
                return self._request(method, path, params, headers, body)
            except ElasticsearchError as error:
                # A request that took the whole timeout is not repeated: it would block the caller for minutes.
                if wait is None or not error.is_transient or isinstance(error.__cause__, ConnectionTimeout):
                    raise
            self._sleep(wait * random.uniform(0.5, 1.0))
        raise AssertionError("unreachable")

    def _request(
        self, method: str, path: str, params: Mapping[str, Any] | None, headers: dict[str, str], body: Any
    ) -> Any:
        try:
            return self._client.perform_request(
                method, path, params=dict(params or {}), headers=headers, body=body
            ).body
        except elasticsearch.ApiError as error:
            raise self._api_error(error, f"{method} {path}") from error
        except TransportError as error:
            raise self._transport_error(error) from error

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def _api_error(self, error: elasticsearch.ApiError, asked: str) -> ElasticsearchError:
        status, kind, reason = error.meta.status, "", ""
        body = error.body.get("error", error.body) if isinstance(error.body, dict) else error.body
        if isinstance(body, dict):
            kind, reason = str(body.get("type", "")), _deepest_reason(body)
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

    def _transport_error(self, error: TransportError) -> ElasticsearchError:
        return ElasticsearchError(
            describe_network_error(self.url, error, server="an Elasticsearch", ca_setting=f"{PREFIX}CA")
        )


def _deepest_reason(error: Mapping[str, Any]) -> str:
    """Return the reasons down to the root cause: the outermost one often says only that all shards failed."""
    causes = [error, *(error.get("root_cause") or ())[:1]]
    failed = (error.get("failed_shards") or ())[:1]
    causes += [shard.get("reason") or {} for shard in failed]
    while isinstance(causes[-1].get("caused_by"), dict):
        causes.append(causes[-1]["caused_by"])
    reasons = dict.fromkeys(str(cause["reason"]) for cause in causes if cause.get("reason"))
    return printable(": ".join(reasons) or str(error.get("type", "no reason was given")))


def _without_credentials(url: str) -> str:
    """Return the URL without user and password."""
    scheme, separator, rest = url.rpartition("://")
    return f"{scheme}{separator}{rest.rpartition('@')[2]}"


MAX_DOCUMENTS: Final = 1000
MAX_BYTES: Final = 5 * 1024 * 1024
_FIRST_BULK_WAIT, _LONGEST_BULK_WAIT = 0.5, 15.0
_TRANSIENT_STATUS: Final = frozenset({429, 502, 503, 504})


class BulkConnection(Protocol):
    """The part of ``Connection`` that bulk requests need."""

    def call(
        self, method: str, path: str, body: Any = None, *, params: Any = None, retries: int = 0
    ) -> Any: ...


@dataclass(frozen=True, slots=True)
class BulkOperation:
    """One operation of a bulk request: the action (``{"create": {"_id": "a"}}``) and the document's JSON."""

    document_id: str
    action: dict[str, Any]
    source: bytes


@dataclass(frozen=True, slots=True)
class BulkOutcome:
    """The result of one operation; ``reason`` says why it was permanently refused."""

    document_id: str
    status: int
    reason: str = ""

    @property
    def is_conflict(self) -> bool:
        """Return whether a document with this id already exists, or was changed in between."""
        return self.status == 409


def send_bulk(
    connection: BulkConnection,
    target: str | None,
    operations: Iterable[BulkOperation],
    *,
    retry_seconds: float,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[BulkOutcome]:
    """Send operations in batches and yield one outcome for each, in their order.

    Args:
        target: a data stream or an index, quoted; None if each action names its ``_index``.
        retry_seconds: how long to keep retrying while there is no response or the server is too busy; the time
            starts again with each batch.

    Raises:
        ElasticsearchError: the whole request was refused, or there was no response for too long. The operations
            without an outcome may or may not have been carried out. All of them have ids, so sending them again
            is safe.
    """
    for batch in _batches(operations):
        outcomes: dict[int, BulkOutcome] = {}
        waiting = list(range(len(batch)))
        until, wait = clock() + retry_seconds, _FIRST_BULK_WAIT
        while waiting:
            path = "/_bulk" if target is None else f"/{target}/_bulk"
            body = b"".join(_operation_lines(batch[index]) for index in waiting)
            try:
                answer = connection.call("POST", path, body, params={"filter_path": _ANSWER}, retries=0)
            except ElasticsearchError as error:
                if not error.is_transient or clock() + wait > until:
                    raise
            else:
                for index, item in zip(waiting, answer["items"], strict=True):
                    outcomes[index] = _parse_outcome(batch[index].document_id, item)
                late = clock() + wait > until
                waiting = [i for i in waiting if outcomes[i].status in _TRANSIENT_STATUS and not late]
            if waiting:
                sleep(wait * random.uniform(0.5, 1.0))
                wait = min(wait * 2, _LONGEST_BULK_WAIT)
        yield from (outcomes[index] for index in range(len(batch)))


_ANSWER = "items.*.status,items.*.error.type,items.*.error.reason,items.*.error.caused_by.reason"


def _batches(operations: Iterable[BulkOperation]) -> Iterator[list[BulkOperation]]:
    batch: list[BulkOperation] = []
    size = 0
    for operation in operations:
        if batch and (len(batch) >= MAX_DOCUMENTS or size + len(operation.source) > MAX_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(operation)
        size += len(operation.source)
    if batch:
        yield batch


def _operation_lines(operation: BulkOperation) -> bytes:
    return orjson.dumps(operation.action) + b"\n" + operation.source + b"\n"


def _parse_outcome(identity: str, item: dict[str, Any]) -> BulkOutcome:
    (answer,) = item.values()
    error = answer.get("error") or {}
    caused = (error.get("caused_by") or {}).get("reason")
    reason = printable(": ".join(dict.fromkeys(filter(None, (error.get("reason"), caused)))))
    return BulkOutcome(
        identity, answer["status"], f"{reason or error.get('type', 'refused'):.1000}" if error else ""
    )
