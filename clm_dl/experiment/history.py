"""Training curves: what TensorBoard's files of a run hold, step by step and epoch by epoch."""

from __future__ import annotations

import logging
from pathlib import Path

import pandas as pd

from clm_dl.experiment.manifest import read_manifest, sound

OF_THE_END = ("test", "epoch")  # names of what is no curve begin so


def read_history(run: Path) -> pd.DataFrame:
    """Columns step, name, value."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator  # slow to import

    logging.getLogger("tensorboard").setLevel(logging.WARNING)  # it tells which file it reads next
    for name in read_manifest(run) or ():
        if name.startswith("events.out.tfevents."):
            sound(run, name)
    events = EventAccumulator(str(run), size_guidance={"scalars": 0})
    events.Reload()
    rows = [(item.step, name, item.value) for name in events.Tags()["scalars"] for item in events.Scalars(name)]
    return pd.DataFrame(rows, columns=["step", "name", "value"])


def epoch_means(history: pd.DataFrame) -> pd.DataFrame:
    """Columns epoch, name, value: the mean of each curve over the steps of each epoch, which count from 0."""
    epoch = history.loc[history["name"] == "epoch"].groupby("step")["value"].last()
    curves = history[~history["name"].str.startswith(OF_THE_END)].astype({"value": "float64"})
    curves = curves.assign(epoch=curves["step"].map(epoch)).dropna(subset="epoch").astype({"epoch": "int64"})
    found: pd.DataFrame = curves.groupby(["name", "epoch"], sort=False)["value"].mean().reset_index()
    return found[["epoch", "name", "value"]]
