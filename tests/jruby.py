"""A real JRuby with Jackson for the suite, by Maven, kept in the user's cache folder."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from tests.elasticsearch_server import Unavailable, find_java

VERSION = "10.0.6.0"
"""The one of Logstash 9.6."""
_ARTIFACTS = (
    f"org.jruby:jruby-complete:{VERSION}",
    "com.fasterxml.jackson.core:jackson-core:2.21.4",
    "com.fasterxml.jackson.core:jackson-databind:2.21.4",
    "com.fasterxml.jackson.core:jackson-annotations:2.21",
)
_GET = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy"


def command() -> list[str]:
    """What a script's path is appended to.

    Raises:
        Unavailable: there is no JDK 21+ or no Maven.
    """
    java = find_java() / "bin" / "java"
    jars = ":".join(str(_jar(artifact)) for artifact in _ARTIFACTS)
    quiet = ["--enable-native-access=ALL-UNNAMED", "--sun-misc-unsafe-memory-access=allow"]
    options = [option for option in quiet if _takes(java, option)]
    return [
        str(java),
        "-Xms512m",
        "-Xmx1g",
        *options,
        "-Djruby.compile.invokedynamic=true",
        "-cp",
        jars,
        "org.jruby.Main",
    ]


def _takes(java: Path, option: str) -> bool:
    return subprocess.run([java, option, "-version"], capture_output=True, check=False).returncode == 0


def _jar(artifact: str) -> Path:
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "logging-lib-test" / "jars"
    _, name, version = artifact.split(":")
    jar = cache / f"{name}-{version}.jar"
    if not jar.exists():
        if shutil.which("mvn") is None:
            raise Unavailable("no Maven on PATH to fetch JRuby with")
        print(f"\nfetching {name} {version} by Maven (once) ...", flush=True)
        making = cache / f".{os.getpid()}"
        subprocess.run(
            ["mvn", "-B", "-q", _GET, f"-Dartifact={artifact}", f"-DoutputDirectory={making}"], check=True
        )
        (making / jar.name).replace(jar)
        making.rmdir()
    return jar
