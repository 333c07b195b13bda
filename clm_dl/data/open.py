"""Which store belongs to a configuration: prepared, simulated or opened, whichever it needs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from clm_dl.data.log.fingerprint import source_fingerprint
from clm_dl.data.log.interchange import spell_out
from clm_dl.data.log.prepare import prepare_store
from clm_dl.data.log.roles import parse_data
from clm_dl.data.simulator.worlds import ensure_simulated
from clm_dl.data.store.files import found_store
from clm_dl.data.store.store import EventStore


def store_path(data: Mapping[str, Any], paths: Mapping[str, Any]) -> Path:
    """The home of stores: `paths.store`, or a folder in `paths.data_dir` named after the data set and what is read."""
    if paths.get("store"):
        return Path(paths["store"])
    if data.get("frame") is not None:
        return Path(paths["output_dir"]) / "store"
    source = json.dumps(
        [data.get(key) for key in ("path", "table", "sources", "engine", "world", "num_customers", "num_days", "seed")],
        default=str,
    )
    return (
        Path(paths["data_dir"])
        / "stores"
        / f"{data['name']}-{hashlib.blake2b(source.encode(), digest_size=4).hexdigest()}"
    )


def open_store(
    data: Mapping[str, Any], paths: Mapping[str, Any], log: Callable[[str], None] = lambda _: None
) -> EventStore:
    """The store of `data`, made first when there is none of its sources and options as they are now."""
    path = store_path(data, paths)
    if data["name"] == "simulator":
        return ensure_simulated(data, path)
    data = {"data_dir": paths["data_dir"], **data}
    parse_data(spell_out(data))  # what is wrong with it is said before anything is read
    return ensure_store(data, path, log)


def ensure_store(
    data: Mapping[str, Any], path: str | Path, log: Callable[[str], None] = lambda line: None
) -> EventStore:
    """Open the store in the home `path` that was made from these sources and roles as they are now, else prepare it."""
    return found_store(path, source_fingerprint(data), log) or prepare_store(data, path, log=log)
