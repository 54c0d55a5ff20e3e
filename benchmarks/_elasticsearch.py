"""A real Elasticsearch with our stack deployed: the one in LOGGING_LIB_TEST_ES_URL, or one that is started."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator

from logging_lib.store.connection import BulkOperation, Connection, send_bulk
from tests import elasticsearch_server
from tests.store import elastic


@contextlib.contextmanager
def deployed() -> Iterator[Connection | None]:
    """Yield a connection for the block; None, with the reason printed, if this machine cannot run a server."""
    with contextlib.ExitStack() as stack:
        url = os.environ.get("LOGGING_LIB_TEST_ES_URL")
        if url is None:
            try:
                url = stack.enter_context(
                    elasticsearch_server.running(java_options=elasticsearch_server.LONG_LIVED)
                )
            except elasticsearch_server.Unavailable as reason:
                print(f"  not run on Elasticsearch: {reason}")
                yield None
                return
        yield stack.enter_context(elastic.deployed(url))


def fill(connection: Connection, stream: str, lines: Iterable[bytes]) -> None:
    """Index lines of JSON as new documents of a data stream."""
    operations = (
        BulkOperation(str(number), {"create": {"_id": f"{stream}{number:012d}"}}, line.rstrip())
        for number, line in enumerate(lines)
    )
    outcomes = send_bulk(connection, stream, operations, retry_seconds=300)
    refused = next((outcome.reason for outcome in outcomes if outcome.reason), None)
    assert refused is None, refused
    connection.call("POST", f"/{stream}/_refresh")
