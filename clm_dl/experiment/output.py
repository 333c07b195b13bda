"""Files that a command is told to write: none but its own is replaced, the suffix decides the format."""

from __future__ import annotations

import fnmatch
import json
import os
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq

from clm_dl.errors import UserError
from clm_dl.experiment.run_files import FOLDERS, WRITTEN
from clm_dl.experiment.run_home import state_of
from clm_dl.writing import replacing

TABLES = (".parquet", ".csv", ".feather")
MARK = b"clm_dl"  # key of a table's metadata: a command wrote it
GENERATOR = '<meta name="generator" content="clm_dl">'  # the same of a report
SIGNATURE = "# written by clm-init "  # of a configuration, with the checksum of the lines around it
OF_A_RUN = (*WRITTEN, *FOLDERS, "config.yaml", "status.json", "run.lock", "manifest.json", "checkpoints", "store")
INPUTS = ("path", "vectors")  # keys of files that a run reads


def read_by(config: Mapping[str, Any], *more: Any) -> list[str]:
    """The paths and patterns that the configuration of a run reads, and `more` of them."""
    parts = (config["data"], config["labels"], config["task"])
    return [*(path for part in parts for path in _paths(part)), *(str(one) for one in more if one is not None)]


def check_output(
    path: str | Path,
    key: str = "output",
    *,
    reads: Iterable[str] = (),
    formats: tuple[str, ...] = TABLES,
    overwrite: bool = False,
) -> Path:
    """The path of a file to write, found to take the place of nothing that its command did not make.

    Args:
        key: of the configuration, for the sentences. reads: what the command reads.
        overwrite: any other file may be replaced but what is read, and files of runs and stores.

    Raises:
        UserError: one sentence.
    """
    path = Path(path)
    if path.is_dir():
        raise UserError(f"{path} is a folder: give the path of a file to write")
    if path.suffix.lower() not in formats:
        known = formats[0] if len(formats) == 1 else f"{', '.join(formats[:-1])} or {formats[-1]}"
        raise UserError(f"{key}={path} must end in {known}, got {path.suffix or 'no suffix'}: the suffix is the format")
    place = path.resolve()
    if (owner := _owner(place)) is not None:
        raise UserError(f"{key}={path} is a file of {owner}: choose another one")
    for source in reads:
        if _is_read(place, source):
            raise UserError(f"{key}={path} is what this command reads ({source}): choose another file")
    if not place.parent.is_dir() and any(parent.exists() and not parent.is_dir() for parent in place.parents):
        raise UserError(f"{key}={path} lies below a file: choose another one")
    if place.exists() and not overwrite and not is_ours(place):
        raise UserError(
            f"{key}={path} exists, and no mark says that clm_dl wrote it{_as_it_is(place)}: choose another one, or set "
            "overwrite=true"
        )
    return path


def signed(text: str) -> str:
    """A configuration with the line by which it is known to be unchanged, which stands behind `# @package`."""
    lines = text.splitlines(keepends=True)
    lines.insert(int(lines[0].startswith("# @package")), f"{SIGNATURE}{zlib.crc32(text.encode()):08x}\n")
    return "".join(lines)


def _is_signed(text: str) -> bool:
    lines = text.splitlines(keepends=True)
    rest = "".join(line for line in lines if not line.startswith(SIGNATURE))
    return len(lines) > 1 and signed(rest) == text


def write_table(table: pd.DataFrame, path: Path) -> None:
    """Write `table` in the format of the suffix: whole or not at all."""
    with replacing(path) as temporary:
        if path.suffix.lower() == ".csv":
            table.to_csv(temporary, index=False)
            return
        arrow = pa.Table.from_pandas(table, preserve_index=False)
        arrow = arrow.replace_schema_metadata({**(arrow.schema.metadata or {}), MARK: b"1"})
        write: Any = pq.write_table if path.suffix.lower() == ".parquet" else pyarrow.feather.write_feather
        write(arrow, temporary)


def _paths(part: Any) -> Iterator[str]:
    if isinstance(part, Mapping):
        for key, value in part.items():
            if key in INPUTS and isinstance(value, str):
                yield value
            else:
                yield from _paths(value)
    elif isinstance(part, (list, tuple)):
        for value in part:
            yield from _paths(value)


def _owner(place: Path) -> str | None:
    """The run or store that a file of this name belongs to."""
    for folder in place.parents:
        own = place.relative_to(folder)
        if _is_store(folder):
            return f"the store {folder}"
        if state_of(folder) and any(fnmatch.fnmatch(own.parts[0], name) for name in OF_A_RUN):
            return f"the run {folder}"
    return None


def _is_store(folder: Path) -> bool:
    try:
        meta = json.loads((folder / "meta.json").read_text())
    except (OSError, ValueError):
        return False
    return isinstance(meta, dict) and "fingerprint" in meta


def _is_read(place: Path, source: str) -> bool:
    """Whether a file is, or by its name would become, part of what `source` names: a file, a folder, a pattern."""
    given = Path(source).expanduser().absolute()
    if given.exists():
        return given.resolve() in place.parents or (place.exists() and os.path.samefile(place, given))
    return fnmatch.fnmatch(str(place), os.path.realpath(given))


def _as_it_is(place: Path) -> str:
    return " as it is" if place.suffix.lower() == ".yaml" else ""


def is_ours(place: Path) -> bool:
    """Whether a mark in the file says that clm_dl wrote it."""
    try:
        if place.suffix.lower() == ".parquet":
            return MARK in (pq.read_schema(place).metadata or {})
        if place.suffix.lower() == ".feather":
            with pa.memory_map(str(place)) as file:
                return MARK in (pa.ipc.open_file(file).schema.metadata or {})
        if place.suffix.lower() == ".yaml":
            return _is_signed(place.read_text(encoding="utf-8"))
        with place.open(encoding="utf-8") as file:
            return place.suffix.lower() == ".html" and GENERATOR in file.read(2000)
    except (OSError, ValueError, pa.ArrowException):
        return False
