"""What `init=RUN` takes from a pretrained run: fields, vocabulary and scales as they are, weights, and customer
vectors.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from clm_dl.data.snapshots.cutoffs import DAY, iso
from clm_dl.data.snapshots.snapshots import Snapshots
from clm_dl.data.store.store import EventStore
from clm_dl.errors import UserError
from clm_dl.experiment.inference import customer_vectors, scoring_datamodule
from clm_dl.run import Run, load_run
from clm_dl.tasks.module import PooledTask, SequenceTask
from clm_dl.tasks.pretrain.histories import last_training_cutoff

# keys of the schema that embedding and encoder know
INPUTS = ("version", "token", "bags", "categorical", "numeric", "time")
UNLIKE = ("frozen", "dropout")  # settings of an encoder that may differ: they change no weight


def open_pretrained(settings: Mapping[str, Any], snapshots: Snapshots) -> Run:
    """The finished pretraining run `settings["init"]`, found to fit these settings and to have seen nothing too late
    for `snapshots`.

    Raises:
        ValueError, FileNotFoundError: it is no such run, saw events from the last training cutoff on or customers that
            validate, or has another encoder.
    """
    run = load_run(settings["init"])
    task, state = run.config["task"]["name"], run.status["state"]
    if task != "pretrain" or state != "finished":
        raise UserError(
            f"init must be a finished run of task=pretrain, got {run.path}, a run of task={task} that is {state}"
        )
    seen, cutoff = round(run.scores["cutoff"].max().timestamp() * 1e6), last_training_cutoff(snapshots)
    if seen > cutoff:
        raise UserError(
            f"init={run.path} saw events up to {iso(seen)}, but the last training cutoff of this run is {iso(cutoff)}: "
            "pretrain with the snapshots of this run"
        )
    kept, theirs = (float(of["snapshots"].get("val_customers") or 0.0) for of in (settings, run.config))
    if kept != theirs:
        raise UserError(
            f"init={run.path} kept snapshots.val_customers={theirs:g} out of training, this run has {kept:g}: pretrain "
            "with this run's"
        )
    mine, its = (
        {key: value for key, value in of["encoder"].items() if key not in UNLIKE} for of in (settings, run.config)
    )
    if settings["encoder"]["name"] != "none" and mine != its:
        raise UserError(f"init={run.path} has the encoder {its}, this run {mine}: choose the same")
    if settings["sequence"]["token"] != run.schema["token"]:
        raise UserError(
            f"init={run.path} reads {run.schema['token']} tokens, got sequence.token={settings['sequence']['token']}: "
            "choose the same"
        )
    return run


def input_schema(run: Run) -> dict[str, Any]:
    """The part of its schema that embedding and encoder know; what a head reads is not in it."""
    return {key: run.schema[key] for key in INPUTS}


def load_weights(task: SequenceTask, run: Run) -> None:
    """Give embedding, encoder and, where it has the same weights, pooling those of the run.

    Raises:
        ValueError: embedding or encoder have other sizes.
    """
    assert isinstance(task, PooledTask)
    weights = run.checkpoint["state_dict"]
    for name in task.pretrained:
        part = task.get_submodule(name)
        found = {key.removeprefix(f"{name}."): value for key, value in weights.items() if key.startswith(f"{name}.")}
        own = part.state_dict()
        if {key: value.shape for key, value in found.items()} == {key: value.shape for key, value in own.items()}:
            part.load_state_dict(found)
        elif name != "pooling":
            raise UserError(
                f"init={run.path} has an {name} of other sizes: choose its encoder and task.{name} settings"
            )


def vectors(run: Run, store: EventStore, snapshots: Snapshots) -> pd.DataFrame:
    """Vectors of the run's network for every snapshot, a row each: columns embedding_0, embedding_1, …, recency and
    tenure (days).

    The last two because tokens carry causal time only: what has passed since the last one is in no vector.
    """
    z_ND = customer_vectors(run.task, scoring_datamodule(run, store, snapshots), np.arange(len(snapshots)))
    time = np.asarray(store.time)
    since = {"recency": time[snapshots.stop - 1], "tenure": time[snapshots.start]}
    facts = {name: ((snapshots.cutoff - when_N) / DAY).astype(np.float32) for name, when_N in since.items()}
    return pd.DataFrame(z_ND, columns=[f"embedding_{d}" for d in range(z_ND.shape[1])]).assign(**facts)
