"""Other tools' environments: pinned, each its own, outside the checkout."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "logging-lib-bench"
PINNED = {
    # Evidently 0.7 imports what pandas 3 has no more.
    "evidently": ("evidently==0.7.23", "pandas==2.3.3", "pyarrow"),
    "nannyml": ("nannyml==0.13.1", "pyarrow", "statsmodels"),
}


def run(peer: str, *arguments: str) -> Any:
    """The JSON that ``_peer_<peer>.py`` prints, in the peer's environment, which is made at the first call."""
    python = CACHE / peer / "bin" / "python"
    if not python.exists():
        subprocess.run(["uv", "venv", "--quiet", "--python", "3.11", str(CACHE / peer)], check=True)
    wanted = ["uv", "pip", "install", "--quiet", "--python", str(python), *PINNED[peer]]
    subprocess.run(wanted, check=True)
    quiet = {**os.environ, "DO_NOT_TRACK": "1", "NML_DISABLE_USAGE_LOGGING": "1"}
    script = Path(__file__).with_name(f"_peer_{peer}.py")
    made = subprocess.run(
        [str(python), "-W", "ignore", str(script), *arguments],
        check=True,
        capture_output=True,
        text=True,
        env=quiet,
    )
    return json.loads(made.stdout.strip().splitlines()[-1])
