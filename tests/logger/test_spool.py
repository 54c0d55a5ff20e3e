"""The spool: segments, rotation, the disk's limits, and what a reader can tell about a segment."""

from __future__ import annotations

import json
import os
import resource
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import logging_lib
from logging_lib.logger import spool as spools
from logging_lib.logger.jsonlines import read_lines
from logging_lib.logger.segments import find_filesystem, format_segment_name, has_writer, list_segments
from logging_lib.logger.spool import Spool

Valid = Callable[[dict[str, Any]], dict[str, Any]]
LINE = b'{"n": %4d}\n'


class Clock:
    """Seconds that pass only when a test advances them."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def numbers(directory: Path) -> list[int]:
    """The ``n`` of every whole line, in the order of the segments."""
    numbers_read = []
    for path in list_segments(directory):
        for line in read_lines(path):
            event = json.loads(line.data) if not line.fault else {}
            numbers_read += [event["n"]] if "n" in event else []
    return numbers_read


def health(directory: Path) -> list[dict[str, Any]]:
    documents = [json.loads(line.data) for path in list_segments(directory) for line in read_lines(path)]
    return [event for event in documents if event.get("event", {}).get("dataset") == "ml.health"]


def test_a_segment_is_closed_before_it_grows_beyond_its_size(tmp_path: Path, clock: Clock) -> None:
    spool = Spool(tmp_path / "spool", rotate_bytes=30, clock=clock)
    assert all(spool.write(LINE % n) for n in range(5))
    assert [path.stat().st_size for path in list_segments(spool.directory)] == [24, 24, 12]
    assert numbers(spool.directory) == [0, 1, 2, 3, 4]
    assert [has_writer(path) for path in list_segments(spool.directory)] == [False, False, True]
    assert spool.directory.stat().st_mode & 0o777 == 0o700
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in list_segments(spool.directory))


def test_a_line_larger_than_a_segment_is_kept(tmp_path: Path) -> None:
    spool = Spool(tmp_path, rotate_bytes=10)
    assert all(spool.write(LINE % n) for n in range(3))
    assert numbers(tmp_path) == [0, 1, 2]
    assert len(list_segments(tmp_path)) == 3


def test_no_reader_sees_a_segment_before_it_is_locked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Path] = []
    real = spools.fcntl.flock

    def flock(fd: int, how: int) -> None:
        seen.extend([*list_segments(tmp_path), *tmp_path.glob("*.jsonl")])
        real(fd, how)

    monkeypatch.setattr(spools.fcntl, "flock", flock)
    assert Spool(tmp_path).write(LINE % 1)
    assert seen == []
    assert len(list_segments(tmp_path)) == 1


def test_an_old_segment_is_closed_at_the_next_write(tmp_path: Path, clock: Clock) -> None:
    spool = Spool(tmp_path, rotate_seconds=60, clock=clock)
    spool.write(LINE % 0)
    clock.now += 59
    spool.write(LINE % 1)
    assert len(list_segments(tmp_path)) == 1
    clock.now += 1
    spool.write(LINE % 2)
    assert len(list_segments(tmp_path)) == 2


def test_a_clock_that_steps_back_loses_nothing(tmp_path: Path, clock: Clock, monkeypatch: Any) -> None:
    monkeypatch.setattr(time, "time_ns", lambda: 2_000_000_000)
    first = Spool(tmp_path, clock=clock)
    first.write(LINE % 0)
    monkeypatch.setattr(time, "time_ns", lambda: 1_000_000_000)
    second = Spool(tmp_path, clock=clock, rotate_bytes=20)
    clock.now -= 50
    assert first.write(LINE % 1)
    assert second.write(LINE % 2)
    assert second.write(LINE % 3)
    assert sorted(numbers(tmp_path)) == [0, 1, 2, 3]


def test_close_ends_the_segment_and_a_later_write_begins_another(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    spool.close()
    spool.write(LINE % 0)
    spool.close()
    (path,) = list_segments(tmp_path)
    assert not has_writer(path)
    spool.write(LINE % 1)
    assert numbers(tmp_path) == [0, 1]
    assert len(list_segments(tmp_path)) == 2


def test_threads_that_write_while_segments_change_lose_and_tear_nothing(tmp_path: Path) -> None:
    spool = Spool(tmp_path, rotate_bytes=2_000)

    def work(first: int) -> None:
        for n in range(first, first + 1000):
            assert spool.write(LINE % n)

    threads = [threading.Thread(target=work, args=(1000 * i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for _ in range(20):
        spool.close()
    for thread in threads:
        thread.join()
    assert sorted(numbers(tmp_path)) == list(range(8000))
    assert spool.written == 8000


def test_the_disk_budget_drops_counts_and_reports(
    tmp_path: Path, clock: Clock, valid: Valid, caplog: pytest.LogCaptureFixture
) -> None:
    spool = Spool(tmp_path, budget_bytes=30, rotate_bytes=1000, clock=clock)
    assert [spool.write(LINE % n) for n in range(5)] == [True, True, False, False, False]
    assert dict(spool.dropped) == {"disk_budget": 3}
    assert len(caplog.records) == 1
    (path,) = list_segments(tmp_path)
    path.unlink()
    assert not spool.write(LINE % 5)  # looks once a second
    clock.now += 1
    assert spool.write(LINE % 6)
    (event,) = map(valid, health(tmp_path))
    assert event["ml"]["health"]["dropped"] == 4
    assert event["ml"]["health"]["dropped_reason"] == ["disk_budget"]
    assert spool.written == 3


@pytest.fixture
def file_limit() -> Iterator[int]:
    """Files of this process may grow to so many bytes; beyond, a write is cut short, then refused."""
    import signal

    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
    yield 100
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    signal.signal(signal.SIGXFSZ, handler)


def limit_files(size: int) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))


def test_a_full_disk_tears_a_line_and_the_next_begins_anew(
    tmp_path: Path, file_limit: int, valid: Valid
) -> None:
    spool = Spool(tmp_path)
    written = [spool.write(LINE % n) for n in range(12)]
    assert written == [True] * 8 + [False] * 4
    assert dict(spool.dropped) == {"File too large": 4}
    limit_files(10_000)
    assert spool.write(LINE % 12)
    (path,) = list_segments(tmp_path)
    lines = path.read_bytes().split(b"\n")
    assert lines[8] == b'{"n"'  # what fitted of the ninth
    assert json.loads(lines[9]) == {"n": 12}
    assert valid(json.loads(lines[10]))["ml"]["health"]["dropped"] == 4


@pytest.mark.parametrize("fsync", ["never", "always"])  # without a check before each write, and with one
@pytest.mark.parametrize("is_batch", [False, True])
def test_a_line_that_lacks_only_its_newline_is_written_once(
    fsync: spools.Fsync, is_batch: bool, tmp_path: Path, file_limit: int
) -> None:
    """It was counted as dropped, or written again, and the newline before the next line made it whole."""
    lines = [LINE % number for number in range(5)]
    spool = Spool(tmp_path, fsync=fsync)
    assert spool.write(lines[0])
    limit_files(4 * len(lines[0]) - 1)
    written = spool.write_all(lines[1:4]) if is_batch else sum(map(spool.write, lines[1:4]))
    assert (written, dict(spool.dropped)) == (3, {})
    limit_files(10_000)
    assert spool.write(lines[4])
    (path,) = list_segments(tmp_path)
    assert path.read_bytes() == b"".join(lines)
    assert spool.written == 5
    spool.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small tmpfs needs root")
def test_a_full_file_system_loses_no_whole_line(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    import subprocess

    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", tmp_path], capture_output=True, text=True
    )
    if mounted.returncode:
        pytest.skip(f"no tmpfs can be mounted here: {mounted.stderr.strip()}")
    try:
        spool = Spool(tmp_path)
        written = sum(spool.write(b"%01000d\n" % n) for n in range(100))
        assert 50 < written < 70
        assert spool.dropped["No space left on device"] == 100 - written
        complete = [line for line in read_lines(list_segments(tmp_path)[0]) if len(line.data) == 1000]
        assert len(complete) == written
        assert "lies on tmpfs" in caplog.text
        spool.close()
    finally:
        subprocess.run(["umount", tmp_path], check=True)


def test_a_read_only_folder_costs_the_service_nothing(tmp_path: Path) -> None:
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        if os.geteuid() == 0:
            for folder in [*tmp_path.parents, tmp_path]:
                if folder.stat().st_uid == 0 and not folder.stat().st_mode & 0o001:
                    folder.chmod(0o711)
            os.chown(locked, 65534, 65534)
            os.setuid(65534)
        spool = Spool(locked)
        os.write(writer, json.dumps([spool.write(LINE % 1), dict(spool.dropped)]).encode())
        os._exit(0)
    os.close(writer)
    os.waitpid(child, 0)
    assert json.loads(os.read(reader, 1000)) == [False, {"Permission denied": 1}]
    os.close(reader)


def test_a_deleted_folder_is_made_again_within_a_second(tmp_path: Path, clock: Clock) -> None:
    spool = Spool(tmp_path / "spool", clock=clock)
    spool.write(LINE % 0)
    shutil.rmtree(spool.directory)
    spool.write(LINE % 1)  # into the deleted file: counted when it shows
    clock.now += 1
    assert spool.write(LINE % 2)
    assert numbers(spool.directory) == [2]
    assert spool.dropped["deleted"] == 1


@pytest.mark.parametrize("successor", ["none", "an empty folder"])
def test_a_folder_that_is_moved_away_is_made_again_within_a_second(
    successor: str, tmp_path: Path, clock: Clock
) -> None:
    spool = Spool(tmp_path / "spool", clock=clock)
    spool.write(LINE % 0)
    moved = spool.directory.rename(tmp_path / "spool.old")
    if successor != "none":
        spool.directory.mkdir()
    spool.write(LINE % 1)  # into the moved file: counted when it shows
    clock.now += 1
    assert spool.write(LINE % 2)
    assert spool.write_all([LINE % 3, LINE % 4]) == 2
    assert numbers(spool.directory) == [2, 3, 4]
    assert numbers(moved) == [0, 1]
    assert spool.dropped == {"moved": 1}


def test_a_segment_that_is_replaced_or_deleted_beside_a_link_is_noticed(tmp_path: Path, clock: Clock) -> None:
    spool = Spool(tmp_path / "spool", clock=clock)
    spool.write(LINE % 0)
    assert spool.path is not None
    (tmp_path / "backup").hardlink_to(spool.path)
    spool.path.unlink()
    clock.now += 1
    assert spool.write(LINE % 1)
    spool.path.rename(tmp_path / "another")
    spool.path.touch()
    clock.now += 1
    assert spool.write(LINE % 2)
    assert numbers(spool.directory) == [2]
    assert spool.path.stat().st_size == len(LINE % 2)


@pytest.mark.parametrize(("policy", "expected"), [("never", 0), ("interval", 2), ("always", 6)])
def test_the_fsync_policy_decides_when_data_are_synced(
    policy: Any, expected: int, tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = Spool(tmp_path, fsync=policy, fsync_seconds=5, clock=clock)
    spool.write(LINE % 0)
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", synced.append)
    for n in range(6):
        clock.now += 2
        spool.write(LINE % n)
    assert len(synced) == expected


def test_closed_segments_are_deleted_by_age_on_request(tmp_path: Path, clock: Clock) -> None:
    other = Spool(tmp_path, clock=clock)
    other.write(LINE % 0)
    spool = Spool(tmp_path, rotate_bytes=20, delete_closed_after=600, clock=clock)
    for n in range(1, 4):
        spool.write(LINE % n)
    for path in list_segments(tmp_path)[:3]:
        os.utime(path, (time.time() - 700,) * 2)
    clock.now += 60
    spool.write(LINE % 4)
    assert numbers(tmp_path) == [0, 3, 4]  # the other writer's open segment stays, however old


def test_a_fork_opens_its_own_segment_and_leaves_the_parents_lock(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    spool.write(LINE % 0)
    child = os.fork()
    if child == 0:
        spool.write(LINE % 1)
        os._exit(0 if spool.written == 1 else 1)
    assert os.waitpid(child, 0)[1] == 0
    held = {path: has_writer(path) for path in list_segments(tmp_path)}
    assert sorted(held.values()) == [False, True]
    assert spool.path is not None
    assert held[spool.path]


def test_the_segment_of_a_killed_process_is_distinguished_from_an_open_one(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        Spool(tmp_path).write(LINE % 1)
        os.write(writer, b".")
        threading.Event().wait()
    os.read(reader, 1)
    (path,) = list_segments(tmp_path)
    assert has_writer(path)
    os.kill(child, 9)
    os.waitpid(child, 0)
    assert not has_writer(path)
    os.close(reader)
    os.close(writer)


def test_one_spool_with_options_serves_several_models(tmp_path: Path) -> None:
    spool = logging_lib.Spool(tmp_path / "s", rotate_bytes=1 << 20)
    one = logging_lib.configure(model="one", version="1", spool=spool, report_every=None)
    two = logging_lib.configure(model="two", version="1", spool=tmp_path / "s", report_every=None)
    one.prediction({"a": 1}, 1.0)
    two.prediction({"a": 1}, 1.0)
    assert spool.written == 2
    assert spools.get_spool(tmp_path / "s") is spool


@pytest.mark.parametrize(
    "option", [{"fsync": "sometimes"}, {"rotate_bytes": 0}, {"budget_bytes": -1}, {"fsync_seconds": 0}]
)
def test_an_option_out_of_range_is_refused_at_start(option: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=next(iter(option))):
        Spool(tmp_path, **option)


def test_a_failure_while_a_segment_is_opened_cannot_break_the_call(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    spool = Spool(tmp_path)

    def broken(_: Spool) -> None:
        raise RuntimeError("can't start new thread")

    spool.on_open.append(broken)
    assert spool.write(LINE % 1)
    assert "not shipped or reported on" in caplog.text


def test_a_folder_name_that_the_system_refuses_is_counted(tmp_path: Path) -> None:
    spool = Spool(f"{tmp_path}/a\0b")
    assert not spool.write(LINE % 1)
    assert sum(spool.dropped.values()) == 1


MOUNTS = """\
27 1 254:0 / / rw,relatime - ext4 /dev/vda rw
30 25 0:27 / /dev/shm rw,relatime shared:4 - tmpfs tmpfs rw,size=24684092k
31 27 0:28 / /var/lib/my\\040spool rw - xfs /dev/vdb rw
40 27 0:29 / /run rw - ext4 /dev/vdc rw
41 27 0:30 / /run rw - tmpfs tmpfs rw
garbage
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [("/srv/spool", "ext4"), ("/dev/shm/spool", "tmpfs"), ("/var/lib/my spool/a", "xfs"),
     ("/dev/shmem", "ext4"), ("/run/spool", "tmpfs")],
)  # fmt: skip
def test_the_file_system_of_a_path_is_found(path: str, kind: str) -> None:
    assert find_filesystem(Path(path), MOUNTS) == kind


def test_segments_are_in_order_of_time_and_nothing_else_is_one(tmp_path: Path) -> None:
    names = [format_segment_name("a/b", 7, 255, seq) for seq in (0, 2, 10)] + [
        format_segment_name("z", 1, 1, 0)
    ]
    for name in (*names, "dead-letters.jsonl", "events.jsonl", ".web-1-ff-0.jsonl.new"):
        (tmp_path / name).touch()
    assert [path.name for path in list_segments(tmp_path)] == [names[3], *names[:3]]
    assert list_segments(tmp_path / "absent") == []
