"""A real Chromium for tests of pages: the one on PATH; `make servers` installs it for root on Debian."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tests.cache import Unavailable

NAMES = ("chromium", "chromium-browser", "google-chrome")
GRAVE = ("serious", "critical")


def find() -> str | None:
    """Return Chromium's path."""
    return next(filter(None, map(shutil.which, NAMES)), None)


def install() -> None:
    """Install Chromium by apt-get, where there is none on PATH and this is Debian's root.

    Raises:
        Unavailable: it is not, or it failed.
    """
    if find() is not None:
        return
    remedy = f"no {' or '.join(NAMES)} on PATH; apt-get install chromium"
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise Unavailable(remedy)
    for command in (["update"], ["install", "-y", "--no-install-recommends", "chromium"]):
        done = subprocess.run(
            ["apt-get", "-q", *command], env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
            stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            raise Unavailable(f"{remedy}: {done.stderr.strip()[-500:]}")


def chromium() -> str:
    """Return its path; skips the test, with the reason, where there is none."""
    path = find()
    if path is None:
        pytest.skip(
            f"THE PAGES ARE NOT TESTED: no {' or '.join(NAMES)} on PATH; make servers, or install one"
        )
    return path


@contextmanager
def launched() -> Iterator[Any]:
    """A browser, until the block ends."""
    from playwright.sync_api import sync_playwright

    path = chromium()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"], timeout=600_000)
        yield browser
        browser.close()


class Visit:
    """A page in its own context, with all that it said and asked for.

    ``asked`` are its requests other than for itself; ``said`` its errors and the console's.
    """

    def __init__(
        self, browser: Any, *, width: int = 1280, scheme: str = "light", bypass_csp: bool = False
    ) -> None:
        self.context = browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme=scheme, bypass_csp=bypass_csp
        )
        self.page = self.context.new_page()
        self.page.set_default_timeout(300_000)
        self.asked: list[str] = []
        self.said: list[str] = []
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on(
            "console", lambda message: message.type in ("error", "warning") and self.said.append(message.text)
        )

    def __enter__(self) -> Visit:
        return self

    def __exit__(self, *_: object) -> None:
        self.context.close()

    def beyond(self, address: str) -> list[str]:
        """Requests to anything but this address and data within the page."""
        return [url for url in self.asked if not url.startswith((address, "data:"))]

    def faults(self) -> list[str]:
        """Grave faults that axe-core finds."""
        spec = find_spec("axe_playwright_python")
        assert spec is not None
        assert spec.origin is not None
        script = Path(spec.origin).with_name("axe.min.js").read_text("utf-8")
        self.page.add_script_tag(content=script)
        found = self.page.evaluate("async () => (await axe.run()).violations")
        return [
            f"{one['id']}: {one['help']}: {one['nodes'][0]['html'][:200]}"
            for one in found
            if one["impact"] in GRAVE
        ]

    def width_overflow(self) -> int:
        """Pixels by which the page is wider than its window."""
        overflow: int = self.page.evaluate("() => document.documentElement.scrollWidth - innerWidth")
        return overflow
