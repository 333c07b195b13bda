"""Locks between processes: who reads holds a file, who would take it away claims it first.

They end with the process that holds them. Where there are none (Windows, some network disks) a claim fails, so that
nothing is taken away.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

try:
    import fcntl
except ImportError:
    fcntl = None  # type: ignore[assignment]


def hold(path: Path) -> int:
    """A descriptor of the file, with a shared lock as long as it is open; waits while another process has a claim."""
    descriptor = os.open(path, os.O_RDONLY)
    with suppress(OSError):
        if fcntl:
            fcntl.flock(descriptor, fcntl.LOCK_SH)
    return descriptor


@contextmanager
def claim(path: Path) -> Iterator[bool]:
    """Whether nobody holds the file; nobody can while the block runs."""
    try:
        descriptor = os.open(path, os.O_RDWR)
    except OSError:
        yield False
        return
    try:
        yield _alone(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """One process at a time in the block, where there are locks."""
    descriptor = os.open(folder, os.O_RDONLY) if fcntl else -1
    try:
        with suppress(OSError):
            if fcntl:
                fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        if fcntl:
            os.close(descriptor)


def _alone(descriptor: int) -> bool:
    if not fcntl:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
