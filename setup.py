"""Copies the content folders into the wheel as data of ``logging_lib``; all else is in setup.cfg."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

CONTENT = ("watchers", "pipelines", "kibana_dashboards", "docs/runbooks")


class BuildWithContent(build_py):
    def run(self) -> None:
        super().run()
        if self.editable_mode:
            return  # a checkout finds the folders where they are: see logging_lib/_util/resources.py
        for name in CONTENT:
            source, target = (
                Path(__file__).parent / name,
                Path(self.build_lib, "logging_lib", "_content", name),
            )
            if source.is_dir():
                shutil.rmtree(target, ignore_errors=True)
                shutil.copytree(source, target)


setup(cmdclass={"build_py": BuildWithContent})
