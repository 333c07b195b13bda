"""The baselines and hybrids of a ranked run for any log: fitted again on the log that the run was trained on.

A run keeps its network and what its other models scored, not these models themselves. Shapes: N snapshots, B of them, V
catalogue.
"""

from __future__ import annotations

from clm_dl.baselines.recommenders.base import Recommender
from clm_dl.data.open import open_store
from clm_dl.data.snapshots.snapshots import Snapshots
from clm_dl.data.store.store import EventStore
from clm_dl.errors import UserError, nearest
from clm_dl.evaluation.splits import NETWORK
from clm_dl.experiment.inference import network_scorer, scoring_datamodule
from clm_dl.experiment.ranked_fold import RankedFold
from clm_dl.experiment.timing import Clock
from clm_dl.retrieval import Ragged
from clm_dl.run import Run
from clm_dl.tasks.recommend.module import NextItemTask
from clm_dl.tasks.recommend.ranks import Scorer

BEST = "best"


def chosen_model(run: Run, name: str) -> str:
    """The model of a run that `name` names; best: the one that validation chose. ValueError for any other name."""
    known = list(run.metrics["split"]["test"]["overall"])
    if name == BEST:
        return str(run.metrics["best_model"]["name"])
    if name not in known:
        raise UserError(
            f"run {run.path} has no model {name!r}{nearest(name, known)}; it has {', '.join(known)}, and best"
        )
    return name


def refitted(run: Run, name: str, network: Scorer, store: EventStore, snapshots: Snapshots, seen: Ragged) -> Scorer:
    """Scores [B, V] of the N `snapshots` of `store` by the baseline or hybrid `name` of the run, fitted as it was in
    the run.

    Args:
        network: scorer of the run's network on the same snapshots. seen: (offsets [N + 1], items) of their histories.

    Raises:
        ValueError: the log that the run was trained on has changed.
        FileNotFoundError: it is not there any more.
    """
    assert isinstance(run.task, NextItemTask)
    fold = RankedFold(run.config, open_store(run.config["data"], run.config["paths"]), run.path, Clock(), network=False)
    fold.check(run.metrics["fingerprint"])
    own_network = network_scorer(run.task, scoring_datamodule(run, fold.store, fold.snapshots), fold.held_out)
    models, _ = fold.fit_baselines({NETWORK: own_network}, only=name)
    rows = snapshots.start, snapshots.stop, snapshots.cutoff
    single = {NETWORK: network} | {
        other: model.scorer(store, *rows) for other, model in models.items() if isinstance(model, Recommender)
    }
    if name in single:
        return single[name]
    scorer: Scorer = models[name].scorer(single, seen, store, snapshots, repeats=run.config["policy"]["repeats"])
    return scorer
