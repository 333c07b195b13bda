"""The home of stores: one folder a fingerprint, none of which ever changes, and a pointer to the one last asked for.

    HOME/current.json      the pointer, replaced in one step
    HOME/<fingerprint>/    a store: meta.json and the files whose checksums it has
    HOME/.staged-…/        one that is being written, its writer holding `lock`

Two configurations of one log lie side by side. A store that newer data of the same configuration have superseded goes
when nobody reads it; whoever opened it holds it (see `clm_dl.locks`). Nothing is written into a folder of somebody
else's, and only files that this package wrote are ever removed.
"""

from __future__ import annotations

import errno
import glob
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from clm_dl.checksums import SEAL, read_sealed, write_sealed
from clm_dl.errors import MissingFile, UserError
from clm_dl.locks import claim
from clm_dl.writing import passing_folder

STORE_VERSION = 2  # 1 lay in the home itself, and its meta.json had no checksum of its own
META, POINTER, STAGED = "meta.json", "current.json", ".staged-"
FORMAT, POINTER_VERSION = "clm_dl event store", 1
COLUMNS = {"offsets.npy", "time.npy", "order_start.npy", "customers.parquet", "static.parquet"}  # of every store
OWN = re.compile(
    r"((field|dict|changed)_.+|offsets|time|order_start|customers|static|quarantine|truth)\.(npy|parquet)", re.S
)


def read_meta(folder: Path) -> dict[str, Any]:
    """meta.json of the store in `folder`.

    Raises:
        FileNotFoundError: there is none. ValueError: it is corrupt, somebody else's, or of another version.
    """
    path = folder / META
    if not path.is_file():
        raise MissingFile(f"no event store at {folder}: run clm-prepare first")
    try:
        meta, sealed = read_sealed(path), True
    except ValueError:
        meta, sealed = _unsealed(path), False
    version = meta.get("version")
    if isinstance(version, int) and (version not in (1, STORE_VERSION)):
        raise UserError(
            f"event store {folder} has version {version}, this clm_dl reads version {STORE_VERSION}: prepare it again"
        )
    sizes, known = meta.get("sizes"), meta.get("checksums")
    whole = isinstance(sizes, dict) and isinstance(known, dict) and COLUMNS <= set(sizes) == set(known)
    whole &= isinstance(meta.get("fingerprint"), str) and {"end", "num_events", "counts", "fields"} <= set(meta)
    if not whole or sealed != (version == STORE_VERSION) or (version == 1 and SEAL in meta):
        raise UserError(f"event store {folder} is corrupt ({META}): delete the folder and prepare it again")
    return meta


def _unsealed(path: Path) -> dict[str, Any]:
    try:
        meta = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        return {}
    return meta if isinstance(meta, dict) else {}


def is_store(folder: Path) -> bool:
    """Whether meta.json in `folder` is that of a store."""
    try:
        return bool(read_meta(folder))
    except (UserError, OSError):
        return False


def home_of(path: Path) -> Path:
    """The home that `path` names: itself, or the folder above where it is a store in a home."""
    return path.parent if (path / META).is_file() and pointed(path.parent) is not None else path


def pointed(home: Path) -> Path | None:
    """The store that was asked for last, if `home` has a pointer."""
    try:
        found = read_sealed(home / POINTER)
    except (OSError, ValueError):
        return None
    name = found.get("folder")
    return home / name if found.get("format") == FORMAT and isinstance(name, str) and Path(name).name == name else None


def point(home: Path, folder: Path) -> None:
    """Let the pointer name `folder`."""
    if pointed(home) != folder:
        write_sealed(home / POINTER, {"format": FORMAT, "version": POINTER_VERSION, "folder": folder.name})


def stores(home: Path, fingerprint: str = "") -> list[Path]:
    """Folders of stores in `home`, of one fingerprint or of any; a further one of a fingerprint has a number behind."""
    found = home.glob(f"{glob.escape(fingerprint)}*/{META}")
    return sorted(path.parent for path in found if not fingerprint or _is_of(path.parent, fingerprint))


def check_home(home: Path) -> None:
    """Raise UserError where `home` is anything but absent, empty or a home of stores."""
    if not home.exists():
        return
    if not home.is_dir():
        raise UserError(f"the store {home} would replace a file: let paths.store name a folder of its own")
    others = [path for path in home.iterdir() if not path.name.startswith(STAGED)]
    if not others or pointed(home) is not None or is_store(home) or any(map(is_store, stores(home))):
        return
    raise UserError(
        f"{home} holds {min(others).name} and is no event store: let paths.store name a new or an empty folder"
    )


@contextmanager
def staged_folder(home: Path) -> Iterator[Path]:
    """A folder in `home` to write a store into; gone after the block, unless `place` moved it to where it belongs.

    What a killed process left there is removed.
    """
    check_home(home)
    made = not home.exists()
    home.mkdir(parents=True, exist_ok=True)
    try:
        with passing_folder(home, STAGED) as folder:
            yield folder
    finally:
        if made:
            with suppress(OSError):  # there are stores now
                home.rmdir()


def place(new: Path, home: Path, fingerprint: str) -> Path | None:
    """Move the staged store `new` to its place in `home`; None where a store of this fingerprint stands there."""
    target = home / fingerprint
    try:
        os.rename(new, target)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        return None
    return target


def place_beside(new: Path, home: Path, fingerprint: str) -> Path:
    """Move `new` to where a store that differs from its fingerprint's stood, or beside it if somebody reads that."""
    remove(home / fingerprint)
    number = 0
    while True:
        target = place(new, home, f"{fingerprint}-{number}" if number else fingerprint)
        if target is not None:
            return target
        number += 1


def sweep(home: Path, kept: Path) -> None:
    """Remove the stores that `kept` supersedes, as far as nobody reads them: those of its configuration or fingerprint,
    and one of version 1.
    """
    meta = read_meta(kept)
    for folder in stores(home):
        same = is_store(folder) and read_meta(folder).get("configuration") == meta["configuration"]
        if folder != kept and (same or _is_of(folder, meta["fingerprint"])):
            remove(folder)
    if is_store(home):
        remove(home)


def remove(folder: Path) -> None:
    """Remove the files of a store, meta.json last, and its folder if nothing else is in it; not while somebody reads
    it.
    """
    with claim(folder / META) as unread:
        if unread:
            listed = {*read_meta(folder)["sizes"], "truth.parquet"} if is_store(folder) else None
            for path in folder.iterdir():
                if OWN.fullmatch(path.name) and path.is_file() and (listed is None or path.name in listed):
                    path.unlink(missing_ok=True)
            (folder / META).unlink(missing_ok=True)
            with suppress(OSError):
                folder.rmdir()


def _is_of(folder: Path, fingerprint: str) -> bool:
    return re.fullmatch(rf"{re.escape(fingerprint)}(-\d+)?", folder.name) is not None
