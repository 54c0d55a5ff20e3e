"""Where the servers that tests start lie on this machine: outside the checkout, brought there by `make servers`."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

JAVA_FOLDER = Path("/usr/lib/jvm")


class Unavailable(Exception):  # noqa: N818 - it says why tests are skipped
    """This machine cannot run a server; the message says what is missing."""


def folder() -> Path:
    """Return the cache's folder, which need not exist; the variable ``LOGGING_LIB_TEST_CACHE`` may name it.

    Elasticsearch does not run as root, and another user may not enter root's home: root's cache lies in ``/var``.
    """
    if named := os.environ.get("LOGGING_LIB_TEST_CACHE"):
        return Path(named)
    if os.getuid() == 0:
        return Path("/var/cache/logging-lib-test")
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "logging-lib-test"


@contextmanager
def lock() -> Iterator[None]:
    """Hold the cache for one process: another checkout's `make servers` ends first."""
    folder().mkdir(parents=True, exist_ok=True)
    with (folder() / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def find_java(oldest: int = 21, newest: int | None = None) -> Path:
    """Return the home of a JDK of at least one version, and at most another.

    Raises:
        Unavailable: there is none.
    """
    candidates = [Path(os.environ["JAVA_HOME"])] if "JAVA_HOME" in os.environ else []
    candidates += sorted(JAVA_FOLDER.glob("*"), reverse=True)
    if java := shutil.which("java"):
        candidates.append(Path(java).resolve().parents[1])
    for home in candidates:
        release = home / "release"
        if (home / "bin" / "java").exists() and release.exists():
            lines = dict(line.split("=", 1) for line in release.read_text().splitlines() if "=" in line)
            version = int(lines.get("JAVA_VERSION", '"0"').strip('"').split(".")[0])
            if oldest <= version <= (newest or version):
                return home
    versions = f"{oldest} or newer" if newest is None else f"{oldest} to {newest}"
    raise Unavailable(f"no JDK {versions} was found; set JAVA_HOME")
