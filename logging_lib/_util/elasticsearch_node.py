"""A node for Elasticsearch's official client that reads answers up to a size."""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple

import urllib3
from elastic_transport import NodeConfig, Urllib3HttpNode

from logging_lib._util.answers import read_answer


class BoundedNode(Urllib3HttpNode):
    """A node that refuses an answer of more than ``max_bytes`` bytes, with a ``ConnectionError`` of the client."""

    max_bytes: ClassVar[int] = 256 << 20

    def __init__(self, config: NodeConfig) -> None:
        super().__init__(config)
        self.pool: Any = _BoundedPool(self.pool, self.max_bytes)


class _Answer(NamedTuple):
    status: int
    headers: Any
    data: bytes


class _BoundedPool:
    """The part of urllib3's pool that the client uses."""

    def __init__(self, pool: urllib3.HTTPConnectionPool, max_bytes: int) -> None:
        self._pool, self._max_bytes = pool, max_bytes

    def urlopen(self, method: str, target: str, **options: Any) -> _Answer:
        response = self._pool.urlopen(method, target, **options, preload_content=False)
        try:
            return _Answer(response.status, response.headers, read_answer(response, self._max_bytes))
        except BaseException:
            response.close()  # the unread rest must not be taken for the next answer
            raise
        finally:
            response.release_conn()

    def close(self) -> None:
        self._pool.close()
