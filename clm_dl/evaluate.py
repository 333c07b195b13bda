"""clm-evaluate: run directory → the network scored again, with intervals, per cutoff and per slice; or frozen on later
cutoffs.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from omegaconf import DictConfig

from clm_dl.config import command, plain
from clm_dl.data.open import open_store
from clm_dl.data.store.store import EventStore
from clm_dl.errors import UserError, nearest
from clm_dl.evaluation.splits import NETWORK
from clm_dl.experiment.backtest import backtest
from clm_dl.experiment.experiment import FOLDS
from clm_dl.experiment.fold import changed, churn_metrics
from clm_dl.experiment.inference import network_scorer, scoring_datamodule
from clm_dl.experiment.ranked_fold import RankedFold
from clm_dl.experiment.run_files import BACKTEST, write_json
from clm_dl.experiment.settings import RANKED
from clm_dl.experiment.timing import Clock
from clm_dl.recommending import ranked_task
from clm_dl.run import Run, load_run
from clm_dl.tasks.churn.summary import to_json
from clm_dl.visual.drift import print_backtest
from clm_dl.visual.html import render_report
from clm_dl.visual.terminal import print_comparison, print_cutoffs

Summary = Callable[[pd.DataFrame], dict[str, Any]]


@command("evaluate")
def main(config: DictConfig) -> None:
    """Print the comparison overall, in its parts, per cutoff and per slice; write evaluation.json, with `cutoffs`
    backtest.json.
    """
    run = load_run(config.run)
    settings = run.config
    store = None if settings["data"]["name"] == "table" else open_store(settings["data"], settings["paths"], print)
    if config.cutoffs is not None:
        if store is None:
            raise UserError(
                f"{run.path} was trained on a table without time, so it has no later cutoffs: leave cutoffs out"
            )
        found = backtest(run, store, plain(config.cutoffs), resamples=config.bootstrap)
        write_json(run.path / BACKTEST, to_json(found))
        (run.path / "report.html").write_text(render_report([run.path]))
        print_backtest(found)
        print(f"backtest: {run.path / BACKTEST}\nreport:   {run.path / 'report.html'}")
        return
    for name in config.slices:
        if store is None or name not in store.static.columns:
            known = [] if store is None else list(store.static.columns)
            raise UserError(
                f"no customer attribute {name!r} to slice by{nearest(name, known)}; the store has "
                f"{', '.join(known) or 'none'}"
            )
    if settings["task"]["name"] in RANKED:
        assert store is not None
        scores, summary = evaluate_ranked(run, store, config.bootstrap)
    else:
        scores, summary = evaluate_snapshots(run, store, config.bootstrap)
    evaluation = {"all": summary(scores)}
    print_comparison(evaluation["all"])
    print_cutoffs(evaluation["all"])
    for name in config.slices:
        assert store is not None
        value = pd.Series(store.static[name].astype("string").fillna("missing").to_numpy(), index=store.customer_ids)
        for level, part in scores.groupby(scores["customer_id"].map(value), sort=True):
            print(f"\n{name} = {level}")
            evaluation[f"{name}={level}"] = summary(part)
            print_comparison(evaluation[f"{name}={level}"])
    write_json(run.path / "evaluation.json", evaluation)
    print(f"evaluation: {run.path / 'evaluation.json'}")


def evaluate_snapshots(run: Run, store: EventStore | None, resamples: int) -> tuple[pd.DataFrame, Summary]:
    """The Scores table with the network's rows made again (newest fold), and what makes metrics of it or of a part of
    it.
    """
    scores, settings = run.scores, {**run.config, "bootstrap": resamples}
    summary: Callable[..., dict[str, Any]] = partial(churn_metrics, settings)
    if store is not None:
        fold = FOLDS[settings["task"]["name"]](settings, store, 0, run.path, Clock(), network=False)
        fold.check(run.metrics["fingerprint"])
        summary = fold.summarise
        if NETWORK in set(scores["model"]):
            again, _ = fold.network_scores(run.task, scoring_datamodule(run, store, fold.snapshots), run.calibration)
            scores = pd.concat([again, scores[~scores["model"].isin(again["model"].unique())]], ignore_index=True)
    return scores, partial(summary, fingerprint=run.metrics["fingerprint"], counts=run.metrics["data"])


def evaluate_ranked(run: Run, store: EventStore, resamples: int) -> tuple[pd.DataFrame, Summary]:
    """The same for a run that ranks: its network ranks the whole catalogue again for every validation and test
    snapshot.
    """
    scores = run.scores
    fold = RankedFold({**run.config, "bootstrap": resamples}, store, run.path, Clock(), network=False)
    fold.check(run.metrics["fingerprint"])
    if NETWORK in set(scores["model"]):
        if not np.array_equal(run.catalogue.item_ids, fold.catalogue.item_ids):
            raise changed(run.path)
        scorer = network_scorer(ranked_task(run), scoring_datamodule(run, store, fold.snapshots), fold.held_out)
        scores = pd.concat([fold.scores_of({NETWORK: scorer}), scores[scores["model"] != NETWORK]], ignore_index=True)
    return scores, partial(fold.summarise, fingerprint=run.metrics["fingerprint"], counts=run.metrics["data"])


if __name__ == "__main__":
    main()
