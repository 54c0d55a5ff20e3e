"""What `make servers` brings: continued where it broke off, and left out with the reason where it cannot be had."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from tests import cache, elasticsearch_server, jruby, maven, watcher_server
from tests.cache import Unavailable
from tests.maven import Artifact, Maven

ROOT = Path(__file__).parents[1]
PACKAGE = Artifact("org.example", "large", "1", "zip", size=1_000_000)
CONTENT = bytes(range(250)) * 4000


class Repository(ThreadingHTTPServer):
    """A Maven repository with one package, whose first answers break off after ``pieces[n]`` bytes."""

    def __init__(self, pieces: list[int]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.pieces = pieces
        self.ranges: list[str | None] = []
        self.url = f"http://127.0.0.1:{self.server_port}/"


class _Handler(BaseHTTPRequestHandler):
    server: Repository

    def do_GET(self) -> None:
        if self.path == f"/{PACKAGE.path}":
            asked = self.headers["Range"]
            self.server.ranges.append(asked)
            start = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
            self.send_response(206 if asked else 200)
            if asked:
                self.send_header("Content-Range", f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}")
            self._send(CONTENT[start:], self.server.pieces.pop(0) if self.server.pieces else None)
        elif self.path == f"/{PACKAGE.path}.sha1":
            self.send_response(200)
            self._send(hashlib.sha1(CONTENT, usedforsecurity=False).hexdigest().encode())
        else:
            self.send_response(404)
            self._send(b"")

    def _send(self, body: bytes, limit: int | None = None) -> None:
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[:limit])

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def repository() -> Iterator[Repository]:
    with Repository([300_000, 400_000]) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.mark.slow
def test_an_interrupted_fetch_is_continued(
    repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the Maven that `make servers` uses, with its plugins as they lie in the cache."""
    folder = cache.folder() / "maven"
    if not Maven.is_fetched(folder):
        pytest.skip(
            f"NO FETCH WAS CONTINUED: no Maven {maven.VERSION} is in {folder}; fetch it with: make servers"
        )
    monkeypatch.setattr(maven, "PAUSE_SECONDS", 0.0)
    settings = tmp_path / "settings.xml"
    settings.write_text(
        "<settings><mirrors><mirror><id>central</id><mirrorOf>central</mirrorOf>"
        f"<url>{repository.url}</url></mirror></mirrors></settings>"
    )
    client = Maven(folder, ["-s", str(settings)])
    seen: list[int] = []
    try:
        assert client.get(PACKAGE, seen.append).read_bytes() == CONTENT
    finally:
        client.forget(PACKAGE)
    assert repository.ranges == [None, "bytes=300000-", "bytes=700000-"]
    assert seen == sorted(seen)
    assert seen[-1] == PACKAGE.size
    assert client.fetched(PACKAGE) == 0


@pytest.mark.parametrize(
    ("path", "java_home", "reason"),
    [("", "", "no JDK 21 or newer was found"), ("", "here", "no Maven on PATH")],
)
def test_servers_that_cannot_be_fetched_are_skipped_with_the_reason(
    path: str, java_home: str, reason: str, tmp_path: Path
) -> None:
    """And it is not a failure: `make test` goes on."""
    if "here" in java_home:
        try:
            java_home = str(cache.find_java())
        except Unavailable as missing:
            pytest.skip(str(missing))
    variables = {"LOGGING_LIB_TEST_CACHE": str(tmp_path / "cache"), "PATH": path, "JAVA_HOME": java_home}
    done = subprocess.run(
        [sys.executable, "-c", f"""
import shutil
from tests import browser, cache
from tools import fetch_test_servers
cache.JAVA_FOLDER = cache.Path({str(tmp_path)!r})
raise SystemExit(fetch_test_servers.main(['--slow']))
"""],
        cwd=ROOT, env={**os.environ, **variables}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for name in ("Elasticsearch", "JRuby", "Watcher"):
        assert f"{name} is left out, and tests that need it will be skipped: {reason}" in done.stdout
    assert "Chromium is left out, and tests that need it will be skipped: no chromium" in done.stdout


def test_a_missing_server_names_the_command_that_fetches_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOGGING_LIB_TEST_CACHE", str(tmp_path))
    with pytest.raises(Unavailable, match=r"Elasticsearch .* is not in .*; fetch it with: make servers"):
        elasticsearch_server.find_home()
    with pytest.raises(Unavailable, match=r"Elasticsearch .* is not in .*; fetch it with: make slow-servers"):
        watcher_server.find_home()
    try:
        cache.find_java()
    except Unavailable:
        return
    with pytest.raises(Unavailable, match=r"JRuby .* is not in .*; fetch it with: make servers"):
        jruby.command()


def test_too_little_space_is_said_before_anything_is_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not Maven.is_fetched(cache.folder() / "maven"):
        pytest.skip(f"no Maven {maven.VERSION} is in the cache; fetch it with: make servers")
    (tmp_path / "maven").mkdir()
    home = f"apache-maven-{maven.VERSION}"
    (tmp_path / "maven" / home).symlink_to(cache.folder() / "maven" / home)
    monkeypatch.setenv("LOGGING_LIB_TEST_CACHE", str(tmp_path))
    monkeypatch.setattr(elasticsearch_server, "UNPACKED", 1 << 60)
    with pytest.raises(Unavailable, match=r"MiB free, and \d+ MiB are needed"):
        elasticsearch_server.fetch(lambda _: None)
