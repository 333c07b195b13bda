"""Writing: a file whole or not at all, a full disk in one sentence, and folders of passing data that go with whoever
made them.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from clm_dl.errors import UserError
from clm_dl.locks import claim, hold

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
SAID = re.compile(  # by DuckDB, PyTorch and NumPy, whose errors have no number
    r"no space left|disk quota|max_temp_directory_size|PytorchStreamWriter failed writing|requested and \d+ written",
    re.IGNORECASE,
)
LOCK, PASSING = "lock", "clm_dl-"  # the lock of a folder that goes with its process; how such a one begins elsewhere
MARK = "clm_dl event store"  # in the lock: the folder is ours to remove


class DiskFull(UserError, OSError):
    """The disk, or what a user may have of it, is full."""


def is_full(error: BaseException | None) -> bool:
    """Whether an error, or what caused it, says that a disk is full."""
    while error is not None:
        if (
            isinstance(error, DiskFull)
            or (isinstance(error, OSError) and error.errno in FULL)
            or SAID.search(str(error))
        ):
            return True
        error = error.__cause__ or error.__context__
    return False


@contextmanager
def full_disk_said(path: Path) -> Iterator[None]:
    """DiskFull in place of whatever is raised where the disk is full; `path` is what was written."""
    try:
        yield
    except DiskFull:
        raise
    except Exception as error:  # every library has its own
        if not is_full(error):
            raise
        raise DiskFull(f"disk full at {path}: free some space, or choose another folder") from error


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A file beside `path` to write, then renamed: an interrupted write leaves nothing half, and several writers at
    once do not meet.
    """
    with full_disk_said(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}.tmp")
        try:
            yield temporary
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


@contextmanager
def passing_folder(parent: Path | None = None, prefix: str = PASSING) -> Iterator[Path]:
    """A new folder in `parent` (None: that of the system for such), gone after the block; those that killed processes
    left there are removed first.
    """
    parent = Path(tempfile.gettempdir()) if parent is None else parent
    for left in parent.glob(f"{prefix}*/{LOCK}"):
        if not left.parent.is_symlink():
            with claim(left) as abandoned:
                if abandoned and left.read_text() == MARK:
                    shutil.rmtree(left.parent, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
    held = None
    try:
        (folder / "unheld").write_text(MARK)
        held = hold(folder / "unheld")
        os.replace(folder / "unheld", folder / LOCK)  # so that no lock is seen that nobody holds yet
        (folder / "new").mkdir()
        yield folder / "new"
    finally:
        if held is not None:
            os.close(held)
        shutil.rmtree(folder, ignore_errors=True)
