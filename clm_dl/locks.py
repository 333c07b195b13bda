"""Locks between processes: who reads holds a file, who would take it away claims it first, who writes seizes it.

They end with the process that has them. Windows knows no shared ones, some network disks none at all: where a lock
cannot be had it counts as another's, so that nothing is taken away.
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
try:
    import msvcrt
except ImportError:
    msvcrt = None  # type: ignore[assignment]

FAR = 1 << 30  # the byte that Windows locks, which keeps others from reading it, lies behind all that is written


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
        yield bool(fcntl) and _alone(descriptor)
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


def seize(descriptor: int) -> bool:
    """Whether the open file is this process's alone now, until it is closed; False: another one has it."""
    if fcntl:
        return _alone(descriptor)
    if msvcrt is None:
        return True
    os.lseek(descriptor, FAR, os.SEEK_SET)
    try:
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
    except OSError:
        return False
    finally:
        os.lseek(descriptor, 0, os.SEEK_SET)
    return True


def _alone(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
