"""A real JRuby with Jackson for the suite; `make servers` fetches it by Maven into the suite's cache."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

from tests import cache
from tests.cache import Unavailable, find_java
from tests.maven import Artifact, Maven

VERSION = "10.0.6.0"
"""The one of Logstash 9.6."""
_JACKSON = "com.fasterxml.jackson.core"
_ARTIFACTS = (
    Artifact("org.jruby", "jruby-complete", VERSION, size=36_125_053),
    Artifact(_JACKSON, "jackson-core", "2.21.4", size=594_183),
    Artifact(_JACKSON, "jackson-databind", "2.21.4", size=1_702_879),
    Artifact(_JACKSON, "jackson-annotations", "2.21", size=82_104),
)
SIZE = sum(artifact.size for artifact in _ARTIFACTS)


def command() -> list[str]:
    """What a script's path is appended to.

    Raises:
        Unavailable: there is no JDK 21+, or the cache has no JRuby.
    """
    java = find_java() / "bin" / "java"
    if not is_fetched():
        raise Unavailable(f"JRuby {VERSION} is not in {cache.folder()}; fetch it with: make servers")
    jars = ":".join(map(str, _jars()))
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


def _jars() -> list[Path]:
    return [cache.folder() / "maven" / "repository" / artifact.path for artifact in _ARTIFACTS]


def is_fetched() -> bool:
    return all(jar.exists() for jar in _jars())


def fetch(on_progress: Callable[[int], None]) -> None:
    """Bring JRuby into the cache, if it is not there.

    Args:
        on_progress: is called with the number of bytes that are there.

    Raises:
        Unavailable: there is no JDK 21+ or no Maven, or the packages cannot be had.
    """
    if is_fetched():
        return
    maven = Maven(cache.folder() / "maven")
    earlier = 0
    for artifact in _ARTIFACTS:
        maven.get(artifact, lambda size, earlier=earlier: on_progress(earlier + size))
        earlier += maven.fetched(artifact)
