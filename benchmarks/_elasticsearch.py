"""A real Elasticsearch with our stack in it: the one that LOGGING_LIB_TEST_ES_URL names, or one that is started."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from logging_lib import content
from logging_lib.stack import deploy, parts
from logging_lib.stack.server import examine
from logging_lib.store.connection import Connection, Settings
from tests import elasticsearch_server


@contextlib.contextmanager
def deployed() -> Iterator[Connection | None]:
    """A connection as long as the block lives; None, and the reason printed, where this machine cannot run one."""
    with contextlib.ExitStack() as stack:
        url = os.environ.get("LOGGING_LIB_TEST_ES_URL")
        if url is None:
            try:
                url = stack.enter_context(elasticsearch_server.running())
            except elasticsearch_server.Unavailable as reason:
                print(f"  not run: {reason}")
                yield None
                return
        connection = stack.enter_context(Connection(Settings(url)))
        wanted = parts.templates(content.path("pipelines") / "elasticsearch")
        if not examine(connection).match_only_text:
            wanted = parts.without_match_only_text(wanted)
        deploy.deploy(connection, wanted, version="bench", force=True)
        yield connection
