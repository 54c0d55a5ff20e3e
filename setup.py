"""Build with the content folders in the wheel, and with links that work on an index; all else is in setup.cfg."""

import re
import shutil
from configparser import ConfigParser
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent
CONTENT = ("watchers", "pipelines", "kibana_dashboards", "docs/runbooks")


class BuildWithContent(build_py):
    """Copy the content folders into the wheel as data of ``logging_lib``."""

    def run(self) -> None:
        super().run()
        if self.editable_mode:
            return  # a checkout finds the folders at its root
        for name in CONTENT:
            target = Path(self.build_lib, "logging_lib", "_content", name)
            shutil.rmtree(target, ignore_errors=True)
            shutil.copytree(ROOT / name, target)


def read_description() -> str:
    """Read README.md with links into the repository at this version, since an index has none of its files."""
    config = ConfigParser()
    config.read(ROOT / "setup.cfg", "utf-8")
    url, version = config["metadata"]["url"], config["metadata"]["version"]

    def absolute(link: re.Match[str]) -> str:
        view = "raw" if link[1].endswith(".png") else "blob"
        return f"]({url}/{view}/v{version}/{link[1]})"

    return re.sub(r"\]\((?!https?:|#)([^)]+)\)", absolute, (ROOT / "README.md").read_text("utf-8"))


setup(
    cmdclass={"build_py": BuildWithContent},
    long_description=read_description(),
    long_description_content_type="text/markdown",
)
