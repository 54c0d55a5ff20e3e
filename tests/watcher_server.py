"""A real Watcher for the slow tests: Elasticsearch 6.8, the newest that Maven Central has with all of X-Pack.

No other distribution there has Watcher. `make slow-servers` fetches it once (149 MB) into the suite's cache. It
has a trial license and no security, and runs under a JDK 11 to 23.
"""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import requests

from tests import cache
from tests.cache import Unavailable, find_java
from tests.elasticsearch_server import Server, fetched
from tests.maven import Artifact

VERSION = "6.8.23"
PACKAGE = Artifact("org.elasticsearch.distribution.zip", "elasticsearch", VERSION, "zip", 149_356_678)
_SHA256 = "490e9b9fbab9ffb3499938c45850318bd6554d439497842450b60ef22c114fb6"
UNPACKED = 150 << 20
_UNUSED = ("modules/x-pack-ml/", "modules/ingest-geoip/", "bin/elasticsearch-sql-cli")


class WatcherServer(Server):
    """An Elasticsearch 6.8 with Watcher, as long as the block lives.

    Raises:
        Unavailable: there is no JDK 11 to 23, or the cache has no such Elasticsearch.
    """

    def __init__(self) -> None:
        super().__init__()
        self._session = requests.Session()

    def __exit__(self, *exc_info: object) -> None:
        self._session.close()
        super().__exit__(*exc_info)

    def find(self) -> tuple[Path, Path]:
        return find_java(11, 23), find_home()

    def settings(self, secured: bool) -> str:
        return (
            "xpack.ml.enabled: false\nxpack.security.enabled: false\nxpack.monitoring.enabled: false\n"
            "script.max_compilations_rate: 10000/1m\n"  # each template is one
            "xpack.notification.email.account.test.smtp: {host: 127.0.0.1, port: 9}\n"
            "xpack.notification.slack.account.test.url: http://127.0.0.1:9/none\n"
        )

    def start(self) -> None:
        super().start()
        self.call("POST", "/_xpack/license/start_trial?acknowledge=true")

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """Send a request; a list is sent as lines of JSON. Return the answer's JSON."""
        lines = body if isinstance(body, list) else [] if body is None else [body]
        answer = self._session.request(
            method,
            self.url + path,
            data="".join(json.dumps(line) + "\n" for line in lines).encode(),
            headers={
                "Content-Type": "application/x-ndjson" if isinstance(body, list) else "application/json"
            },
        )
        assert answer.ok, f"{method} {path}: {answer.status_code} {answer.text[:2000]}"
        return answer.json()


def is_fetched() -> bool:
    return _home().is_dir()


def _home() -> Path:
    return cache.folder() / f"elasticsearch-{VERSION}"


def find_home() -> Path:
    """Return the folder of the Elasticsearch that `make slow-servers` left in the cache. Raises Unavailable."""
    if not is_fetched():
        raise Unavailable(
            f"Elasticsearch {VERSION} is not in {cache.folder()}; fetch it with: make slow-servers"
        )
    return _home()


def fetch(on_progress: Callable[[int], None]) -> None:
    """Bring it into the cache, as `elasticsearch_server.fetch` does. Raises Unavailable."""
    if not is_fetched():
        with fetched(PACKAGE, _SHA256, UNPACKED, on_progress) as package:
            _unpack(package, _home())


def _unpack(package: Path, home: Path) -> None:
    making = home.with_name(f"{home.name}.making")
    shutil.rmtree(making, ignore_errors=True)
    top = f"elasticsearch-{VERSION}/"
    with zipfile.ZipFile(package) as archive:
        unused = tuple(top + path for path in _UNUSED)
        archive.extractall(making, [name for name in archive.namelist() if not name.startswith(unused)])
    for path in (making, *making.rglob("*")):
        path.chmod(0o755 if path.is_dir() or path.parent.name == "bin" else 0o644)
    (making / top).rename(home)
    making.rmdir()
