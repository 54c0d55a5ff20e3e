"""``make pictures``: photographs the demo's report and its dashboards, for the README."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
DEMO, IMAGES = ROOT / "build" / "demo", ROOT / "docs" / "images"
MAX_BYTES = 300_000
PICTURES = (
    ("report.png", DEMO / "report.html", "", 1280, 1500),
    ("preview.png", ROOT / "build" / "preview" / "index.html", "#inputs?period=24h", 1280, 1500),
)


def main() -> int:
    found = filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome")))
    chromium = next(found, None)
    if chromium is None:
        print("no chromium on PATH: apt-get install chromium", file=sys.stderr)
        return 2
    IMAGES.mkdir(parents=True, exist_ok=True)
    for name, page, anchor, width, height in PICTURES:
        out = IMAGES / name
        with tempfile.TemporaryDirectory() as profile:
            command = [
                chromium, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
                f"--user-data-dir={profile}", "--virtual-time-budget=20000",
                f"--window-size={width},{height}", f"--screenshot={out}", page.as_uri() + anchor,
            ]  # fmt: skip
            subprocess.run(command, capture_output=True, check=True, timeout=120)
        size = out.stat().st_size
        print(f"{out.relative_to(ROOT)}: {size / 1000:.0f} kB")
        if size > MAX_BYTES:
            print(f"more than {MAX_BYTES / 1000:.0f} kB: too large for the README", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
