"""A real Elasticsearch with the stack of this checkout in it: what the store's and the stack's suites work on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from uuid import uuid4

from logging_lib._util import content
from logging_lib.schema import data_stream
from logging_lib.stack import deploy, resources
from logging_lib.stack.capabilities import inspect_server
from logging_lib.store.connection import Connection, ConnectionSettings
from logging_lib.store.elasticsearch import ElasticsearchStore


def wanted(connection: Connection) -> list[resources.Resource]:
    """All templates and scripts, as this server can have them."""
    wanted_resources = resources.load_templates(content.path("pipelines") / "elasticsearch")
    if not inspect_server(connection).match_only_text:
        wanted_resources = resources.replace_match_only_text(wanted_resources)
    return [*wanted_resources, *resources.load_scripts(content.path("watchers") / "scripts")]


@contextmanager
def deployed(url: str) -> Iterator[Connection]:
    """A connection to a cluster that has our templates."""
    with Connection(ConnectionSettings(url), timeout=600) as connection:
        deploy.deploy(connection, wanted(connection), version="test", force=True)
        yield connection


def new_stream(dataset: str = "ml.prediction") -> str:
    """A stream that no other test uses; the test server cannot delete streams."""
    return data_stream(dataset, f"test{uuid4().hex[:12]}")


def store(connection: Connection) -> ElasticsearchStore:
    return ElasticsearchStore(connection, retry_seconds=120)
