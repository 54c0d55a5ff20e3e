"""The segments of a spool: their names, whether they still have a writer, and the file system that they are on."""

from __future__ import annotations

import fcntl
import os
import re
from pathlib import Path

DEAD_LETTERS = "dead-letters.jsonl"
"""The file in the spool's folder with the events that a receiver rejected permanently."""

VOLATILE_FILESYSTEMS = frozenset(("tmpfs", "ramfs", "overlay", "overlayfs", "aufs"))
"""The types of file systems whose content is lost with the host or the container."""

_NAME = re.compile(r"(?P<host>.+)-(?P<pid>\d+)-(?P<start>[0-9a-f]+)-(?P<seq>\d+)\.jsonl\Z")
_ESCAPED = re.compile(r"\\([0-7]{3})")


def format_segment_name(host: str, pid: int, start_ns: int, seq: int) -> str:
    """Format ``<host>-<pid>-<start hex>-<seq>.jsonl``, which is unique, and in order of time for one process."""
    return f"{re.sub(r'[^A-Za-z0-9._-]', '_', host) or 'host'}-{pid}-{start_ns:x}-{seq}.jsonl"


def list_segments(directory: Path) -> list[Path]:
    """List the segments of a folder, oldest first; return an empty list if the folder does not exist."""
    try:
        matches = [match for path in directory.iterdir() if (match := _NAME.match(path.name))]
    except FileNotFoundError:
        return []
    matches.sort(key=lambda match: (int(match["start"], 16), int(match["seq"]), match[0]))
    return [directory / match[0] for match in matches]


def list_unnamed_files(directory: Path) -> list[Path]:
    """List the files of JSON lines in a spool's folder that are not shipped, because of their names."""
    names = {path.name for path in list_segments(directory)} | {DEAD_LETTERS}
    return sorted(
        path for path in directory.glob("*.jsonl*") if path.name not in names and not _is_replayed(path)
    )


def _is_replayed(path: Path) -> bool:
    return path.name.startswith(f"{DEAD_LETTERS}.replay")


def has_writer(path: Path) -> bool:
    """Return whether a living process holds the segment: it may grow, and its last line may be incomplete.

    Raises:
        OSError: the file cannot be opened.
    """
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def directory_size(directory: Path) -> int:
    """Return the size of all files in a folder, in bytes."""
    total = 0
    with os.scandir(directory) as entries:
        for entry in entries:
            try:
                total += entry.stat(follow_symlinks=False).st_size
            except FileNotFoundError:  # shipped and deleted in the meantime
                continue
    return total


def find_filesystem(path: Path, mountinfo: str) -> str:
    """Find the type of the file system that holds an absolute path in the text of ``/proc/self/mountinfo``.

    Return an empty text if it does not contain one; see proc_pid_mountinfo(5) for the format.
    """
    best_depth, best_kind = -1, ""
    for line in mountinfo.splitlines():
        mount_part, _, filesystem_part = line.partition(" - ")
        fields, kind = mount_part.split(" "), filesystem_part.split(" ")[0]
        if len(fields) < 5 or not kind:
            continue
        mount = Path(_ESCAPED.sub(lambda octal: chr(int(octal[1], 8)), fields[4]))
        depth = len(mount.parts)
        if depth >= best_depth and path.is_relative_to(
            mount
        ):  # the last of several mounts at one point covers the others
            best_depth, best_kind = depth, kind
    return best_kind


def find_volatile_filesystem(directory: Path) -> str:
    """Return the type of the folder's file system if it is lost with the host or container, otherwise ""."""
    try:
        kind = find_filesystem(
            directory.resolve(), Path("/proc/self/mountinfo").read_text("utf-8", "replace")
        )
    except OSError:
        return ""
    return kind if kind in VOLATILE_FILESYSTEMS else ""
