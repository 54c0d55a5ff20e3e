"""Many incidents at once: one watch, one finding per model, a mail and a Slack post for all of them as digests.

The state is in files; the mail goes to a real SMTP server and the post to a real HTTP server in this process. The
figure is the processor time for 2,000 models relative to 400 and 200: the cost grows with the number, and not with
its square.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks._common import Result
from logging_lib.watch.notify.email import EmailChannel
from logging_lib.watch.notify.slack import SlackChannel
from logging_lib.watch.runner import Runner
from logging_lib.watch.state.file import FileState
from tests.watch.conftest import NOW, SCRIPTS, FakeStore, MailServer, Webhook, build_result, finding, watch

SIZES = (200, 400, 2_000)
ROUNDS = 3  # the best one counts


def run() -> Iterator[Result]:
    seconds = {size: min(_measure(size) for _ in range(ROUNDS)) for size in SIZES}
    for size, (cpu, wall) in seconds.items():
        yield Result(f"incidents_{size}", cpu, f"s of CPU ({wall:.1f} s in all)", "reported")
    few, some, many = (seconds[size][0] for size in SIZES)
    yield Result("incidents_400_by_200", some / few, "times the CPU of 200 models", "<= 2.5")
    yield Result("incidents_2000_by_200", many / few, "times the CPU of 200 models", "<= 15")


def _measure(models: int) -> tuple[float, float]:
    """Return the processor and wall time, in seconds, of one run and its delivery."""
    findings = [finding(model=f"model-{number}") for number in range(models)]
    mail, hook = MailServer(), Webhook()
    try:
        with tempfile.TemporaryDirectory() as folder:
            runner = Runner(
                FakeStore(lambda now: findings),
                [watch()],
                channels={"email": EmailChannel(mail.url), "slack": SlackChannel(hook.url)},
                scripts=SCRIPTS,
                summarize=build_result,
                state=FileState(Path(folder) / "state"),
            )
            cpu, wall = time.process_time(), time.perf_counter()
            report = runner.run_once(NOW)
            taken = time.process_time() - cpu, time.perf_counter() - wall
    finally:
        mail.stop()
        hook.stop()
    assert report.ok
    assert (len(report.alerts), len(mail.mails), len(hook.posts)) == (models, 1, 1)
    return taken
