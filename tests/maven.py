"""Fetches packages by Maven, and goes on with a large one where an earlier fetch broke off.

Of Maven's versions only those up to 3.8 can continue a partial file, and only over the HTTP transport, which is an
extension there. So the Maven on PATH, whatever its version, brings a Maven 3.8 (8 MB), and that one brings the
packages, into a repository of its own under the suite's cache.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import time
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.cache import Unavailable, find_java

VERSION = "3.8.8"
_PLUGIN = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1"
_EXTENSIONS = """\
<extensions>
  <extension>
    <groupId>org.apache.maven.resolver</groupId>
    <artifactId>maven-resolver-transport-http</artifactId>
    <version>1.6.3</version>
  </extension>
</extensions>
"""
# A server that is silent for so long (milliseconds) ends the attempt; the next one continues it.
_SILENCE = "-Daether.connector.requestTimeout=120000"
ATTEMPTS_WITHOUT_PROGRESS = 4
PAUSE_SECONDS = 5.0


@dataclass(frozen=True)
class Artifact:
    """A file on Maven Central: its coordinates and how large it is, in bytes."""

    group: str
    name: str
    version: str
    packaging: str = "jar"
    size: int = 0

    @property
    def path(self) -> Path:
        """Where it lies in a repository."""
        return Path(
            *self.group.split("."), self.name, self.version, f"{self.name}-{self.version}.{self.packaging}"
        )

    def __str__(self) -> str:
        return f"{self.group}:{self.name}:{self.version}:{self.packaging}"


class Maven:
    """The Maven that continues partial files, with its repository in ``folder``; fetched at its first use.

    Args:
        options: further arguments of every call.

    Raises:
        Unavailable: there is no Maven on PATH, no JDK 21 or newer, or Maven Central cannot be reached.
    """

    def __init__(self, folder: Path, options: Sequence[str] = ()) -> None:
        self._environment = {**os.environ, "JAVA_HOME": str(find_java())}
        self._folder = folder
        self.repository = folder / "repository"
        self._options = [
            "-B", "-q", "-C", "-Dstyle.color=never", f"-Dmaven.repo.local={self.repository}", _SILENCE, *options
        ]  # fmt: skip
        self._project = folder / "project"  # whose extension is the HTTP transport
        self._home = folder / f"apache-maven-{VERSION}"
        if not self.is_fetched(folder):
            self._bring()

    @staticmethod
    def is_fetched(folder: Path) -> bool:
        return (folder / f"apache-maven-{VERSION}" / "bin" / "mvn").exists()

    def get(self, artifact: Artifact, on_progress: Callable[[int], None] = lambda _: None) -> Path:
        """Fetch a file into the repository, in as many attempts as bring it forward.

        Args:
            on_progress: is called with the number of bytes that are there, about twice a second.

        Raises:
            Unavailable: several attempts, one after another, brought nothing more.
        """
        file = self.repository / artifact.path
        most, fruitless = self.fetched(artifact), 0
        while not file.exists():
            # The last attempt is the Maven's on PATH: a proxy that only Java's own properties name is known to no
            # other transport.
            last = fruitless == ATTEMPTS_WITHOUT_PROGRESS - 1
            problem = self._attempt(artifact, on_progress, plain=last)
            if problem is None:
                break
            if last:
                raise Unavailable(f"Maven could not fetch {artifact}: {problem}")
            if self.fetched(artifact) > most:
                most, fruitless = self.fetched(artifact), 0
            else:
                fruitless += 1
            if 0 < artifact.size <= self.fetched(artifact):  # all of it, but not what it should be
                file.with_name(f"{file.name}.part").unlink(missing_ok=True)
            time.sleep(PAUSE_SECONDS)
        on_progress(self.fetched(artifact))
        return file

    def fetched(self, artifact: Artifact) -> int:
        """Return how many bytes of a file are there."""
        file = self.repository / artifact.path
        for name in (f"{file.name}.part", file.name):
            with contextlib.suppress(FileNotFoundError):
                return file.with_name(name).stat().st_size
        return 0

    def forget(self, artifact: Artifact) -> None:
        """Remove a file, and what there is of it."""
        shutil.rmtree((self.repository / artifact.path).parent, ignore_errors=True)

    def _attempt(self, artifact: Artifact, on_progress: Callable[[int], None], *, plain: bool) -> str | None:
        """Return what went wrong; None if nothing did."""
        log = self._folder / "maven.log"
        maven = [_on_path()] if plain else [str(self._home / "bin" / "mvn"), *self._settings()]
        # -U: an attempt that failed is not remembered as an answer.
        goal = [f"{_PLUGIN}:get", f"-Dartifact={artifact}", "-Dtransitive=false"]
        with log.open("wb") as output:
            process = subprocess.Popen(
                [*maven, "-U", *self._options, *goal], cwd=self._folder if plain else self._project,
                env=self._environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
            )  # fmt: skip
        try:
            while process.poll() is None:
                on_progress(self.fetched(artifact))
                time.sleep(0.5)
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait()
        return None if process.returncode == 0 else _problem(log.read_text(errors="replace"))

    def _bring(self) -> None:
        """By the Maven on PATH."""
        maven = _on_path()
        self._folder.mkdir(parents=True, exist_ok=True)
        package = Artifact("org.apache.maven", "apache-maven", VERSION, "zip")
        command = [maven, *self._options, f"{_PLUGIN}:copy", f"-Dartifact={package}:bin",
                   f"-DoutputDirectory={self._folder}"]  # fmt: skip
        done = subprocess.run(
            command, cwd=self._folder, env=self._environment, stdin=subprocess.DEVNULL, capture_output=True,
            text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            raise Unavailable(f"Maven could not fetch {package}: {_problem(done.stdout + done.stderr)}")
        (self._project / ".mvn").mkdir(parents=True, exist_ok=True)
        (self._project / ".mvn" / "extensions.xml").write_text(_EXTENSIONS)
        file = self._folder / f"apache-maven-{VERSION}-bin.zip"
        with zipfile.ZipFile(file) as archive:
            archive.extractall(self._folder)
        (self._home / "bin" / "mvn").chmod(0o755)
        file.unlink()

    def _settings(self) -> list[str]:
        """The settings of the Maven on PATH, mirrors for instance, hold for this one, too."""
        if shutil.which("mvn") is None:
            return []
        said = subprocess.run(
            ["mvn", "-v"], env=self._environment, capture_output=True, text=True, check=False
        ).stdout
        home = re.search(r"^Maven home: (.+)$", said, re.MULTILINE)
        file = Path(home[1]) / "conf" / "settings.xml" if home else None
        return ["-gs", str(file)] if file is not None and file.exists() else []


def _on_path() -> str:
    maven = shutil.which("mvn")
    if maven is None:
        raise Unavailable("no Maven on PATH")
    return maven


def _problem(output: str) -> str:
    errors = [line for line in output.splitlines() if line.startswith("[ERROR]") and len(line) > 10]
    return (errors or output.splitlines() or ["it says nothing"])[0].removeprefix("[ERROR] ")[:500]
