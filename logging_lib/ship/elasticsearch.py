"""The receiver that ships directly to Elasticsearch, by bulk requests that create events by ``event.id``.

Each event goes to the data stream of its dataset, and Elasticsearch answers for each event. The official client
sends the requests, but neither repeats nor distributes them, so that the shipper's backoff is the only one.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import elasticsearch
import orjson
from elastic_transport import BaseNode, NodePool

from logging_lib._util.elasticsearch_node import BoundedNode
from logging_lib._util.network_errors import explain_network_error
from logging_lib.logger.event import format_timestamp
from logging_lib.schema import DATASETS, data_stream
from logging_lib.ship.receivers import ReceiverAnswer, ReceiverRefusedError, RetryError, tls_context
from logging_lib.ship.target import API_KEY, Target

MAX_ID = 512
"""The maximum length of an ``_id`` in bytes; Elasticsearch refuses a whole request with a longer one."""

_MAX_TEXT = 2000
_PARAMETERS = {"require_data_stream": "true", "filter_path": "items.*.status,items.*.error"}
_HEADERS = {"accept": "application/json", "content-type": "application/x-ndjson"}
_PRINTABLE_ASCII = re.compile(r"[!-~]+\Z")
# Errors with a status of 4xx about one event that are caused by the store, not by the event.
_STORE_ERRORS = frozenset(("cluster_block_exception", "index_closed_exception", "validation_exception"))
_REMEDIES = {
    "security_exception": "the user or API key needs the privileges create_doc and auto_configure on logs-ml.*",
    "index_not_found_exception": "no index template makes this data stream: deploy the templates "
    "(logging-lib stack deploy) before shipping",
    "resource_not_found_exception": "a plain index stands where the data stream should be: delete it, or ship "
    "to another namespace",
    "media_type_header_exception": "the client must not be of a newer major version than the server: "
    "pip install 'elasticsearch<9' for a server of version 8",
}


class _BulkNode(BoundedNode):
    max_bytes = 16 << 20  # 2,000 events with 8 kB of reasons each


class _InvalidEventError(Exception):
    """The error for an event that cannot be sent."""


class _SingleNodePool(NodePool):
    """A pool of one node, which stays in use after an error, because the shipper handles the errors."""

    def mark_dead(self, node: BaseNode, _now: float | None = None) -> None:
        pass


class ElasticsearchReceiver:
    """A receiver that sends events by Elasticsearch's bulk API, with the time of sending as ``event.ingested``.

    Args:
        target: the address; its user takes precedence over the API key.
        api_key: the API key, encoded as Elasticsearch returns it, or ``id:key``.
        timeout: how long an answer may take, in seconds.
        clock: returns nanoseconds since 1970.

    Raises:
        ValueError: the API key is malformed.
    """

    def __init__(
        self,
        target: Target,
        *,
        api_key: str | None = None,
        timeout: float = 30.0,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        self._target, self._timeout, self._clock = target, timeout, clock
        self._credentials = _credentials(target, api_key)
        self._client: elasticsearch.Elasticsearch | None = None

    def send(self, lines: Sequence[bytes]) -> ReceiverAnswer:
        """Send lines; see ``Receiver``. Refused events are reported one by one, with Elasticsearch's reason."""
        ingested = format_timestamp(self._clock())
        operations: list[bytes] = []
        sent: list[int] = []
        refused: dict[int, str] = {}
        for number, line in enumerate(lines):
            try:
                operations += _build_operation(line, ingested, self._target.namespace)
            except _InvalidEventError as error:
                refused[number] = f"not sent to Elasticsearch: {error}"
            else:
                sent.append(number)
        duplicates = 0
        retry_reason = ""
        if sent:
            for number, (status, bulk_error) in zip(sent, self._bulk(operations, len(sent)), strict=True):
                if status == 409:
                    duplicates += 1
                elif not 200 <= status < 300:
                    description = f"{status} {_describe_error(bulk_error)}"
                    if _is_final(status, bulk_error):
                        refused[number] = f"the receiver answered: {description}"
                    else:
                        retry_reason = retry_reason or f"{description}{_find_remedy(bulk_error)}"
        if retry_reason:
            raise RetryError(f"{self._target}: {retry_reason}")
        return ReceiverAnswer(refused, duplicates)

    def close(self) -> None:
        """Close the connection; a later batch opens a new one."""
        client, self._client = self._client, None
        if client is not None:
            client.close()

    def _bulk(self, operations: list[bytes], events: int) -> list[tuple[int, Any]]:
        """Send a bulk request; return the status and the error of each event."""
        try:
            if self._client is None:
                self._client = self._connect()
            # The client's bulk() is not used, because only later versions of it have require_data_stream.
            answer = self._client.perform_request(
                "POST", "/_bulk", params=_PARAMETERS, headers=_HEADERS, body=operations, endpoint_id="bulk"
            )
        except elasticsearch.UnsupportedProductError:
            raise RetryError(f"{self._target}: what answers there is not Elasticsearch") from None
        except elasticsearch.ApiError as error:
            raise self._failed(error.meta.status, error.body) from None
        except (
            elasticsearch.TransportError,
            ValueError,
        ) as error:  # such as a host name that urllib3 refuses
            raise RetryError(f"{self._target}: {explain_network_error(error)}") from error
        try:
            items = list(_read_items(answer.body))
        except (AttributeError, LookupError, OverflowError, TypeError, ValueError):
            items = []
        if len(items) != events:
            raise RetryError(f"{self._target}: the answer is not one of Elasticsearch's bulk API")
        return items

    def _connect(self) -> elasticsearch.Elasticsearch:
        target = self._target
        node = {
            "scheme": "https" if target.tls else "http",
            "host": target.host,
            "port": target.port,
            "path_prefix": target.path.rstrip("/"),
        }
        options: dict[str, Any] = {"ssl_context": tls_context(target)} if target.tls else {}
        return elasticsearch.Elasticsearch(
            [node],
            **options,
            **self._credentials,
            request_timeout=self._timeout,
            node_class=_BulkNode,
            node_pool_class=_SingleNodePool,
            max_retries=0,
            retry_on_timeout=False,
            retry_on_status=(),
        )

    def _failed(self, status: int, body: Any) -> Exception:
        """Build the error for an answer about the request as a whole."""
        error = body.get("error", body) if isinstance(body, Mapping) else body
        description = f"{status} {_describe_error(error)}"
        # Any other 400 is about the request (headers, parameters, the server's version), and no event is refused.
        is_invalid = isinstance(error, Mapping) and error.get("type") == "action_request_validation_exception"
        if status == 413 or (status == 400 and is_invalid):
            return ReceiverRefusedError(description)
        remedy = _find_remedy(error)
        if status == 401:
            remedy = f"; check the URL's user and password, or {API_KEY} in the environment"
        elif 300 <= status < 400:
            remedy = "; redirects are not followed: give Elasticsearch's own address"
        return RetryError(f"{self._target}: {description}{remedy}")


def _credentials(target: Target, api_key: str | None) -> dict[str, Any]:
    if target.user is not None:
        return {"basic_auth": (target.user, target.password or "")}
    if api_key is None or not api_key.strip():
        return {}
    key = api_key.strip()
    if not _PRINTABLE_ASCII.match(key):
        raise ValueError(f"{API_KEY} in the environment: expected an API key, encoded or as id:key")
    name, colon, secret = key.partition(":")
    return {"api_key": (name, secret) if colon else key}


def _build_operation(line: bytes, ingested: str, namespace: str) -> tuple[bytes, bytes]:
    """Build the two lines of a bulk request that create one event.

    Raises:
        _InvalidEventError: the line is not an event of logging_lib, or cannot be encoded again.
    """
    try:
        document = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise _InvalidEventError(f"not JSON: {error}") from None
    event = document.get("event") if isinstance(document, dict) else None
    if not isinstance(event, dict):
        raise _InvalidEventError("not an event of logging_lib: it has no event.id and event.dataset")
    name, dataset = event.get("id"), event.get("dataset")
    if not isinstance(name, str) or not 0 < len(name.encode()) <= MAX_ID:
        raise _InvalidEventError(f"event.id: expected a text of 1 to {MAX_ID} bytes")
    if dataset not in DATASETS:
        raise _InvalidEventError(f"event.dataset: expected one of {', '.join(DATASETS)}")
    event["ingested"] = ingested
    action = {"create": {"_index": data_stream(dataset, namespace), "_id": name}}
    try:
        return orjson.dumps(action), orjson.dumps(document)
    except TypeError as error:
        raise _InvalidEventError(f"it cannot be encoded: {error}") from None


def _read_items(answer: Any) -> Iterator[tuple[int, Any]]:
    for item in answer["items"]:
        (result,) = item.values()
        yield int(result["status"]), result.get("error")


def _is_final(status: int, error: Any) -> bool:
    """Return whether an error is about the event itself, so that it will never be accepted."""
    return (
        400 <= status < 500
        and status not in (401, 403, 404, 408, 429)
        and _error_kind(error) not in _STORE_ERRORS
    )


def _error_kind(error: Any) -> str:
    kind = error.get("type") if isinstance(error, Mapping) else None
    return kind if isinstance(kind, str) else ""


def _find_remedy(error: Any) -> str:
    kind = _error_kind(error)
    return f"; {_REMEDIES[kind]}" if kind in _REMEDIES else ""


def _describe_error(error: Any) -> str:
    """Describe an error's type, reason and causes in one line."""
    parts: list[str] = []
    while isinstance(error, Mapping) and len(parts) < 5:
        parts.append(": ".join(str(error[key]) for key in ("type", "reason") if error.get(key)))
        error = error.get("caused_by")
    if not parts:
        parts = [error.decode("utf-8", "replace") if isinstance(error, bytes) else str(error)]
    return _to_one_line("; caused by ".join(parts))


def _to_one_line(text: str) -> str:
    printable = "".join(letter if letter.isprintable() else " " for letter in text[:_MAX_TEXT])
    return " ".join(printable.split())
