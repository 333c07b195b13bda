"""Labels that a file gives: one row a customer and cutoff."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from clm_dl.data.store.store import EventStore
from clm_dl.errors import UserError


def read_given(store: EventStore, path: str | Path) -> tuple[pd.DataFrame, dict[str, int]]:
    """Given labels of a CSV or Parquet file with columns customer, time (of the store's zone unless it names one),
    label (1, 0 or empty = censored).

    Returns:
        DataFrame customer (int64 code), cutoff (int64 microseconds), label (float64), and the rows it could not use by
        reason.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(
            f"labels.path: no file {path}, so give a CSV or Parquet file with columns customer, time, label"
        )
    frame = pd.read_parquet(path) if path.suffix in (".parquet", ".pq") else pd.read_csv(path)
    missing = [name for name in ("customer", "time", "label") if name not in frame]
    if missing:
        raise UserError(
            f"labels.path: {path} has no column {missing[0]!r}, it has {', '.join(map(str, frame.columns))}"
        )
    index = pd.Index(store.customer_ids)
    ids = frame["customer"]
    if pd.api.types.is_numeric_dtype(index) != pd.api.types.is_numeric_dtype(ids):
        index, ids = index.astype(str), ids.astype(str)
    code = index.get_indexer(ids)
    time = store.zone.moments(frame["time"])
    words = frame["label"].map(
        {True: 1.0, False: 0.0, "1": 1.0, "0": 0.0, "true": 1.0, "false": 0.0, "True": 1.0, "False": 0.0}
    )
    bad = words.isna() & frame["label"].notna()
    if bad.any():
        raise UserError(f"labels.path: label must be 1, 0 or empty (censored), got {frame['label'][bad].iloc[0]!r}")
    repeated = pd.DataFrame({"code": code, "time": time}).duplicated().to_numpy()
    reasons = {"unknown_customer": code < 0, "unparseable_time": time.isna().to_numpy(), "repeated": repeated}
    reason = np.select(list(reasons.values()), list(reasons), default="")
    keep = reason == ""
    cutoff = time[keep].dt.as_unit("us").astype("int64")
    used = pd.DataFrame(
        {
            "customer": code[keep].astype(np.int64),
            "cutoff": cutoff.to_numpy(),
            "label": words[keep].to_numpy(dtype=float),
        }
    )
    return used, {"given_rows": len(frame), **{name: int((reason == name).sum()) for name in reasons}}
