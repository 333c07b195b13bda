"""Labels that a file gives: one row a customer and cutoff."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from clm_dl.data.ids import MISSING_WORDS, lookup
from clm_dl.data.store.store import EventStore
from clm_dl.data.tables import read_table
from clm_dl.errors import UserError

LABELS = {True: 1.0, False: 0.0} | {
    word: value for value, words in ((1.0, "1 1.0 true True"), (0.0, "0 0.0 false False")) for word in words.split()
}


def read_given(store: EventStore, path: str | Path) -> tuple[pd.DataFrame, dict[str, int]]:
    """Given labels of a CSV or Parquet file with columns customer, time (of the store's zone unless it names one),
    label (1, 0 or empty = censored).

    Rows that say 1 and 0 of one customer and time are all left out; of others the first one that says either counts.

    Returns:
        DataFrame customer (int64 code), cutoff (int64 microseconds), label (float64), and the rows it could not use by
        reason.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(
            f"labels.path: no file {path}, so give a CSV or Parquet file with columns customer, time, label"
        )
    frame = read_table(path)
    missing = [name for name in ("customer", "time", "label") if name not in frame]
    if missing:
        raise UserError(
            f"labels.path: {path} has no column {missing[0]!r}, it has {', '.join(map(str, frame.columns))}"
        )
    code = lookup(store.customer_ids, frame["customer"])
    time = store.zone.moments(frame["time"])
    words = frame["label"].map(LABELS)
    bad = words.isna() & frame["label"].notna() & ~frame["label"].isin(MISSING_WORDS)
    if bad.any():
        raise UserError(f"labels.path: label must be 1, 0 or empty (censored), got {frame['label'][bad].iloc[0]!r}")
    pairs = pd.DataFrame({"code": code, "time": time, "label": words})
    said = pairs.groupby(["code", "time"])["label"]
    contradicting = (said.transform("min") < said.transform("max")).to_numpy()
    reasons = {"unknown_customer": code < 0, "unparseable_time": time.isna().to_numpy()}
    if contradicting.any():
        reasons["contradicting"] = contradicting
    first = pairs.sort_values("label", key=pd.isna, kind="stable")  # an empty one counts where no other is
    reasons["repeated"] = first.duplicated(["code", "time"]).sort_index().to_numpy()
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
