"""What is wrong with a home of stores, file by file: for clm-doctor."""

from __future__ import annotations

from pathlib import Path

from clm_dl.data.store.home import META, OWN, POINTER, pointed, read_meta
from clm_dl.data.store.store import store_faults
from clm_dl.errors import MissingFile, UserError

MISSING = "is missing or cut short"


def home_faults(path: Path) -> dict[str, str | None]:
    """What is wrong with each file of the stores in `path`, or of the store at `path`; None: nothing."""
    inside = [folder for folder in path.glob("*") if folder.is_dir() and not folder.name.startswith(".")]
    folders = sorted(folder for folder in [path, *inside] if _has_store(folder))
    if not folders and not (path / POINTER).is_file():
        raise MissingFile(f"no event store at {path}: run clm-prepare first")
    found: dict[str, str | None] = {}
    if (path / POINTER).is_file() or any(folder != path for folder in folders):
        target = pointed(path)
        missing = None if (path / POINTER).is_file() else MISSING
        found[POINTER] = missing or (None if target in folders else "names no store that is here")
    for folder in folders:
        prefix = "" if folder == path else f"{folder.name}/"
        try:
            meta = read_meta(folder)
        except UserError:
            found[prefix + META] = "is corrupt" if (folder / META).is_file() else MISSING
            continue
        found[prefix + META] = None
        found |= {prefix + name: fault for name, fault in store_faults(folder, meta).items()}
    return found


def _has_store(folder: Path) -> bool:
    return (folder / META).is_file() or any(OWN.fullmatch(file.name) for file in folder.glob("*"))
