"""clm-evaluate: run directory → the network scored again from its checkpoint, with intervals, per cutoff and per slice."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from omegaconf import DictConfig

from clm_dl.config import command, nearest
from clm_dl.data.scores import scores_table
from clm_dl.data.snapshots import build_snapshots
from clm_dl.data.store import EventStore
from clm_dl.metrics.summary import summarise
from clm_dl.run import Run, load_run, write_json
from clm_dl.scoring import churn_probabilities, scoring_datamodule
from clm_dl.stores import open_store
from clm_dl.visual.terminal import print_comparison


@command("evaluate")
def main(config: DictConfig) -> None:
    """Print the comparison overall, for the recently active, per cutoff and per slice; write evaluation.json."""
    run = load_run(config.run)
    settings = run.config
    options = {"task": "churn", "fingerprint": run.metrics["fingerprint"], "data_counts": run.metrics["data"]}
    options |= {"resamples": config.bootstrap, "threshold": settings["threshold"], "seed": settings["seed"]}
    scores = run.scores
    store = None
    if settings["data"]["name"] != "table":
        store = open_store(settings["data"], settings["paths"], print)
        if "network" in set(scores["model"]):
            again = rescore(run, store)
            baselines = scores[scores["model"] != "network"]
            scores = pd.concat([again, baselines], ignore_index=True)
    evaluation: dict[str, Any] = {"all": summarise(scores, **options)}
    print_comparison(evaluation["all"])
    for name in config.slices:
        if store is None or name not in store.static.columns:
            known = [] if store is None else list(store.static.columns)
            raise ValueError(
                f"no customer attribute {name!r} to slice by{nearest(name, known)}; the store has {', '.join(known) or 'none'}"
            )
        value = pd.Series(store.static[name].astype("string").fillna("missing").to_numpy(), index=store.customer_ids)
        for level, part in scores.groupby(scores["customer_id"].map(value), sort=True):
            print(f"\n{name} = {level}")
            evaluation[f"{name}={level}"] = summarise(part, **options)
            print_comparison(evaluation[f"{name}={level}"])
    write_json(run.path / "evaluation.json", evaluation)
    print(f"evaluation: {run.path / 'evaluation.json'}")


def rescore(run: Run, store: EventStore) -> pd.DataFrame:
    """The network's Scores rows, made again from the checkpoint (newest fold).

    Raises:
        ValueError: the log, the labels or the population changed since the run, so that its snapshots are others.
    """
    settings = run.config
    snapshots = build_snapshots(store, **settings["snapshots"], labels=settings["labels"])
    if snapshots.fingerprint(store) != run.metrics["fingerprint"].split("-")[0]:
        raise ValueError(f"the snapshots of {run.path} cannot be made again: its log or labels changed since it was trained; train anew")
    index = np.flatnonzero(np.isin(snapshots.split, ("val", "test")))
    raw = churn_probabilities(run.task, scoring_datamodule(run, store, snapshots), index)
    return scores_table(
        store, snapshots.select(index), model="network", task="churn", score=run.calibration.predict(raw), score_raw=raw
    )  # fmt: skip


if __name__ == "__main__":
    main()
