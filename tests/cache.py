"""Where the servers that tests start lie on this machine: outside the checkout, brought there by `make servers`."""

from __future__ import annotations

import os
import shutil
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


def find_java() -> Path:
    """Return the home of a JDK 21 or newer.

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
            if int(lines.get("JAVA_VERSION", '"0"').strip('"').split(".")[0]) >= 21:
                return home
    raise Unavailable("no JDK 21 or newer was found; set JAVA_HOME")
