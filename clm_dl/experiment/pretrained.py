"""Start: what `init=RUN` takes from a pretrained run: fields, vocabulary and scales as they are, weights, vectors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from clm_dl.data.snapshots.cutoffs import DAY
from clm_dl.errors import UserError
from clm_dl.experiment.run_files import read_scores, read_status, read_trained
from clm_dl.tasks.cases import Cases
from clm_dl.tasks.network import PooledNetwork, SequenceNetwork, customer_vectors
from clm_dl.tasks.registry import TASKS
from clm_dl.tasks.trained import Trained

INPUTS = ("version", "token", "bags", "categorical", "numeric", "time")  # keys of the schema before any head
UNLIKE = ("frozen", "dropout")  # settings of an encoder that may differ: they change no weight


@dataclass(frozen=True, eq=False)
class Start:
    """A finished pretraining run that another run starts from."""

    trained: Trained

    @classmethod
    def open(cls, path: str, config: Mapping[str, Any], cases: Cases) -> Start:
        """The run at `path`, found to fit this `config` and to have seen nothing too late for `cases`.

        Raises:
            ValueError, FileNotFoundError: it is no such run, saw events from the last training cutoff on or customers
                that validate, or has another encoder.
        """
        trained, state = read_trained(Path(path), config["trusted"]), read_status(Path(path))["state"]
        run, name = trained.path, trained.task.name
        if not trained.task.starts_others or state != "finished":
            known = " or ".join(one for one, task in TASKS.items() if task.starts_others)
            raise UserError(
                f"init must be a finished run of task={known}, got {run}, a run of task={name} that is {state}"
            )
        seen = read_scores(run)["cutoff"].max()
        seen, cutoff = round(seen.timestamp() * 1e6), cases.snapshots.last_training_cutoff
        iso = cases.store.zone.iso
        if seen > cutoff:
            raise UserError(
                f"init={run} saw events up to {iso(seen)}, but the last training cutoff of this run is {iso(cutoff)}: "
                "pretrain with the snapshots of this run"
            )
        kept, theirs = (float(of["snapshots"].get("val_customers") or 0.0) for of in (config, trained.config))
        if kept != theirs:
            raise UserError(
                f"init={run} kept snapshots.val_customers={theirs:g} out of training, this run has {kept:g}: pretrain "
                "with this run's"
            )
        encoders = (of["encoder"] for of in (config, trained.config))
        mine, its = ({key: value for key, value in one.items() if key not in UNLIKE} for one in encoders)
        if config["encoder"]["name"] != "none" and mine != its:
            raise UserError(f"init={run} has the encoder {its}, this run {mine}: choose the same")
        assert trained.schema is not None
        if config["sequence"]["token"] != trained.schema["token"]:
            raise UserError(
                f"init={run} reads {trained.schema['token']} tokens, got sequence.token={config['sequence']['token']}: "
                "choose the same"
            )
        return cls(trained)

    @property
    def inputs(self) -> dict[str, Any]:
        """Vocabulary, and the part of the schema that embedding and encoder know; what a head reads is not in it."""
        schema = self.trained.schema
        assert schema is not None
        return {"vocabulary": self.trained.vocabulary, "schema": {key: schema[key] for key in INPUTS}}

    def load_weights(self, network: SequenceNetwork) -> None:
        """Give embedding, encoder and, where it has the same weights, pooling those of the run.

        Raises:
            ValueError: embedding or encoder have other sizes.
        """
        assert isinstance(network, PooledNetwork)
        assert self.trained.network is not None
        weights = self.trained.network.state_dict()
        for name in network.pretrained:
            part = network.get_submodule(name)
            found = {
                key.removeprefix(f"{name}."): value for key, value in weights.items() if key.startswith(f"{name}.")
            }
            own = part.state_dict()
            if {key: value.shape for key, value in found.items()} == {key: value.shape for key, value in own.items()}:
                part.load_state_dict(found)
            elif name != "pooling":
                raise UserError(
                    f"init={self.trained.path} has an {name} of other sizes: choose its encoder and task.{name} "
                    "settings"
                )

    def vectors(self, cases: Cases) -> pd.DataFrame:
        """Vectors of the run's network, a row a snapshot: columns embedding_0, embedding_1, …, recency and tenure
        (days).

        The last two because tokens carry causal time only: what has passed since the last one is in no vector.
        """
        trained, snapshots = self.trained, cases.snapshots
        assert trained.network is not None
        plain = Cases(cases.store, snapshots)
        inputs = trained.task.inputs(plain, vocabulary=trained.vocabulary, schema=trained.schema)
        z_ND = customer_vectors(trained.network, inputs, np.arange(len(snapshots)))
        time = np.asarray(cases.store.time)
        since = {"recency": time[snapshots.stop - 1], "tenure": time[snapshots.start]}
        facts = {name: ((snapshots.cutoff - when_N) / DAY).astype(np.float32) for name, when_N in since.items()}
        return pd.DataFrame(z_ND, columns=[f"embedding_{d}" for d in range(z_ND.shape[1])]).assign(**facts)
