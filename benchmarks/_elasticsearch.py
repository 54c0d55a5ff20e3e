"""A real Elasticsearch with our stack in it: the one that LOGGING_LIB_TEST_ES_URL names, or one that is started."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from logging_lib.store.connection import Connection
from tests import elasticsearch_server
from tests.store import elastic


@contextlib.contextmanager
def deployed() -> Iterator[Connection | None]:
    """A connection as long as the block lives; None, and the reason printed, where this machine cannot run one."""
    with contextlib.ExitStack() as stack:
        url = os.environ.get("LOGGING_LIB_TEST_ES_URL")
        if url is None:
            try:
                url = stack.enter_context(elasticsearch_server.running())
            except elasticsearch_server.Unavailable as reason:
                print(f"  not run on Elasticsearch: {reason}")
                yield None
                return
        yield stack.enter_context(elastic.deployed(url))
