"""The folder of a run: what may be there before it begins, and the lock that keeps a second run out of it."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from clm_dl.errors import UserError
from clm_dl.locks import seize

LOCK = "run.lock"
BEFORE = (LOCK, "store")  # what a run may have left that ended before it began; the store of a table in memory


def state_of(folder: Path) -> str | None:
    """The state that a run's status.json tells; None where `folder` is no run."""
    try:
        status: Any = json.loads((folder / "status.json").read_text())
    except (OSError, ValueError):
        return None
    return str(status["state"]) if isinstance(status, dict) and {"version", "state"} <= set(status) else None


def check_folder(folder: Path, *, overwrite: bool, resumed: bool) -> None:
    """Raise UserError where a run would take the place of anything but a run that is not needed any more.

    Args:
        overwrite: a finished run may be replaced. resumed: this run goes on with the one that is there.
    """
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is a file, and a run needs a folder: choose another paths.output_dir")
    held = sorted(path.name for path in folder.iterdir() if path.name not in BEFORE) if folder.is_dir() else []
    if not held:
        return
    state = state_of(folder)
    if state is None:
        raise UserError(f"{folder} holds no run but other files ({held[0]}, …): choose another paths.output_dir")
    if links := sorted(path.name for path in folder.iterdir() if path.is_symlink() and path.is_dir()):
        raise UserError(
            f"{folder / links[0]} leads elsewhere, and a run writes and clears its own folder alone: choose another "
            "paths.output_dir"
        )
    if state == "finished" and not (overwrite or resumed):
        raise UserError(f"{folder} holds a finished run: choose another paths.output_dir, or set overwrite=true")


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Make `folder` and keep every other run out of it; the lock of a process that is dead holds nobody.

    Raises:
        UserError: another run is at it, or one of another machine that cannot be asked.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / LOCK
    file = _open(path)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)  # still ours: whoever waits finds that this file is gone
        file.close()


def _open(path: Path) -> IO[str]:
    while True:
        file = path.open("a+")
        if not seize(file.fileno()):  # the system lets go of it when the process ends
            holder = _holder(file)
            file.close()
            raise UserError(
                f"{path.parent} is in use by {holder or 'another run'}: wait for it, or choose another paths.output_dir"
            )
        if path.exists() and os.path.samestat(os.fstat(file.fileno()), path.stat()):
            break
        file.close()  # the run before has ended in between
    host = socket.gethostname()
    if (holder := _holder(file)) and not holder.endswith(f" on {host}"):
        file.close()
        raise UserError(f"{path.parent} is in use by {holder}: if that run is over, delete {path}")
    file.truncate(0)
    file.write(f"process {os.getpid()} on {host}")
    file.flush()
    return file


def _holder(file: IO[str]) -> str:
    file.seek(0)
    return file.read().strip()
