"""Probe: whether one column of what the models see alone nearly gives the label."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from clm_dl.evaluation.leakage import leakage
from clm_dl.tasks.cases import Cases


def probe(cases: Cases) -> dict[str, Any]:
    """Features and attributes of the training and validation snapshots, and the last value of every field of their
    histories, held against the label: see `leakage`; nothing where no label has two classes.
    """
    rows = np.isin(cases.snapshots.split, ["train", "val"]) & ~np.isnan(cases.snapshots.label)
    label = cases.snapshots.label[rows]
    if len(label) == 0 or label.min() == label.max():
        return {}
    store, last = cases.store, cases.snapshots.stop[rows] - 1
    fields = [field for field in store.fields if field.kind != "time" and field.role != "text"]
    values = {field.name: pd.Series(np.asarray(store.column(field.name))[last]) for field in fields}
    for field in fields:
        if field.kind == "categorical":
            values[field.name] = values[field.name].astype("category")
    table = pd.concat([cases.features[rows].reset_index(drop=True), pd.DataFrame(values)], axis=1)
    return leakage(table, label, cases.snapshots.customer[rows])
