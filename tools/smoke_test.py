"""Install a wheel into an empty environment and use it as a newcomer does: `python tools/smoke_test.py WHEEL`.

The import without extras, the command's version and help, then on a small table: fit a profile, log predictions
with a fault among them, index them, and let a watch find the fault. Exit code 1 with the output of the step that
failed.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import venv
from pathlib import Path

TABLE = "homeownership,income,rate\n" + "".join(
    f"{('RENT', 'OWN', 'MORTGAGE')[row % 3]},{30000 + row % 97 * 500},{5 + row % 50 / 10}\n"
    for row in range(600)
)
SERVICE = """
import logging_lib

log = logging_lib.configure(model="loans", version="1", profile="profile.json", spool="spool")
for row in range(200):
    category = "Mortgage" if row % 2 else "RENT"
    log.prediction({"homeownership": category, "income": 30000.0 + row % 97 * 500}, prediction=7.5)
assert log.stats()["written"] == 200, log.stats()
"""


def run(folder: Path, *command: str | Path) -> str:
    """Run a command in a folder; return its output, or end this program if it failed."""
    print("$", *(Path(part).name if isinstance(part, Path) else part for part in command), flush=True)
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"exit code {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def smoke_test(wheel: Path, folder: Path) -> None:
    """Install the wheel below a folder and try it there.

    Raises:
        SystemExit: a step failed; its output is in the message.
    """
    venv.create(folder / "venv", with_pip=True)
    python, command = folder / "venv" / "bin" / "python", folder / "venv" / "bin" / "logging-lib"
    version = wheel.name.split("-")[1]
    run(folder, python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", wheel)
    printed = run(folder, python, "-c", "import logging_lib; print(logging_lib.__version__)")
    expect(printed, version)
    run(folder, python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", f"{wheel}[ops]")
    expect(run(folder, command, "--version"), f"logging-lib {version}")
    expect(run(folder, command, "--help"), "watch")
    (folder / "train.csv").write_text(TABLE, "utf-8")
    fit = ("profile", "fit", "train.csv", "--model", "loans", "--version", "1", "--target", "rate")
    run(folder, command, *fit, "-o", "profile.json")
    (folder / "service.py").write_text(SERVICE, "utf-8")
    run(folder, python, "service.py")
    expect(
        run(folder, command, "index", "spool", "--store", "store", "--profile", "profile.json"),
        "events indexed",
    )
    found = run(folder, command, "watch", "run", "--once", "--dry-run", "--store", "store")
    expect(found, "unseen-categories", "homeownership")


def expect(printed: str, *texts: str) -> None:
    """End this program unless all texts were printed."""
    for text in texts:
        if text not in printed:
            sys.exit(f"expected {text!r} in the output, which is:\n{printed}")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    with tempfile.TemporaryDirectory(prefix="logging-lib-smoke-") as folder:
        smoke_test(Path(sys.argv[1]).resolve(), Path(folder))
    print("The wheel works.")
