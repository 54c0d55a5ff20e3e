"""The environments of other tools: pinned, one for each tool, outside the checkout."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "logging-lib-bench"
PINNED = {
    # Evidently 0.7 imports names that pandas 3 no longer has.
    "evidently": ("evidently==0.7.23", "pandas==2.3.3", "pyarrow"),
    "nannyml": ("nannyml==0.13.1", "pandas==2.3.3", "pyarrow", "statsmodels"),
}
QUIET = {"DO_NOT_TRACK": "1", "NML_DISABLE_USAGE_LOGGING": "1"}


def environment(peer: str) -> Path:
    """Return a peer's Python, in an environment that is created at the first call."""
    folder = CACHE / peer
    python, made = folder / "bin" / "python", folder / "installed.json"
    if not made.is_file() or json.loads(made.read_bytes()) != list(PINNED[peer]):
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
        install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*install, *PINNED[peer]], check=True)
        made.write_text(json.dumps(PINNED[peer]), "utf-8")
    return python


def run(peer: str, *arguments: str, script: str | None = None) -> Any:
    """Return the JSON that ``_peer_<peer>.py``, or another named script, prints in the peer's environment."""
    python = environment(peer)
    script_file = Path(__file__).with_name(f"_peer_{script or peer}.py")
    made = subprocess.run(
        [str(python), "-W", "ignore", str(script_file), *arguments],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, **QUIET},
    )
    return json.loads(made.stdout.strip().splitlines()[-1])
