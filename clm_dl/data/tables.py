"""Tables written whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pandas as pd

from clm_dl.errors import UserError


def write_parquet(table: pd.DataFrame, path: str | Path) -> None:
    """Write `table` beside `path`, then rename: an interrupted write leaves nothing half."""
    path = Path(path)
    if path.is_dir():
        raise UserError(f"{path} is a folder: give the path of a file to write")
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        table.to_parquet(temporary, index=False)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
