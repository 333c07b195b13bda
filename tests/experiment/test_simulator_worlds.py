"""The whole pipeline on logs whose best possible score is known: an LSTM finds the order of events, features find what
RFM can say.
"""

from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from clm_dl.config import compose
from clm_dl.data.open import open_store
from clm_dl.data.simulator.truth import true_survival
from clm_dl.data.simulator.worlds import oracle_probability
from clm_dl.experiment.experiment import run_experiment
from clm_dl.run import Run


def aucs(folder: Path, *overrides: str) -> dict[str, float]:
    """Test AUC of every model of the preset, and of the oracle."""
    words = [
        "experiment=churn_simulator",
        "trainer.enable_progress_bar=false",
        "bootstrap=10",
        f"paths.data_dir={folder}",
    ]
    run = Run(
        run_experiment(
            compose("train", [*words, f"paths.output_dir={folder / 'run'}", *overrides]), log=lambda text: None
        )
    )
    store = open_store(run.config["data"], run.config["paths"])
    snapshots = run.trained.task.cases(store).snapshots
    test = snapshots.select(snapshots.split == "test")
    found = {name: figures["auroc"]["value"] for name, figures in run.metrics["split"]["test"]["overall"].items()}
    return found | {"oracle": roc_auc_score(test.label, oracle_probability(store, test))}


@pytest.mark.slow
def test_order_world_an_lstm_reaches_the_oracle_and_features_are_blind(tmp_path: Path) -> None:
    auc = aucs(tmp_path, "baselines=[logistic,forest,lightgbm]", "data.num_customers=4000")
    assert auc["network"] >= auc["oracle"] - 0.02, auc
    assert max(auc[name] for name in ("logistic", "forest", "lightgbm")) <= auc["network"] - 0.10, auc
    assert auc["oracle"] > 0.8


@pytest.mark.slow
def test_rfm_world_features_reach_the_oracle(tmp_path: Path) -> None:
    auc = aucs(
        tmp_path, "data.world=rfm", "encoder=none", "baselines=[logistic,forest,lightgbm]", "data.num_customers=4000"
    )
    assert max(auc[name] for name in ("logistic", "forest", "lightgbm")) >= auc["oracle"] - 0.02, auc


@pytest.mark.slow
def test_preset_as_shipped_in_both_worlds(tmp_path: Path) -> None:
    order = aucs(tmp_path / "order", "baselines=all")
    assert order.pop("network") >= order.pop("oracle") - 0.02
    assert max(order.values()) < 0.7
    rfm = aucs(tmp_path / "rfm", "data.world=rfm", "baselines=[logistic,forest,lightgbm]")
    assert min(rfm[name] for name in ("network", "lightgbm")) >= rfm["oracle"] - 0.02


@pytest.mark.slow
def test_survival_preset_knows_the_true_curve(tmp_path: Path) -> None:
    words = [
        "experiment=survival_simulator",
        "trainer.enable_progress_bar=false",
        "bootstrap=10",
        "baselines=[logistic]",
    ]
    config = compose("train", [*words, f"paths.data_dir={tmp_path}", f"paths.output_dir={tmp_path / 'run'}"])
    run = Run(run_experiment(config, log=lambda text: None))
    store = open_store(run.config["data"], run.config["paths"])
    task = run.trained.task
    snapshots = task.cases(store).snapshots
    truth = true_survival(store, snapshots.select(snapshots.split == "test"), run.config["task"]["horizons_days"])
    curves = task.read(run.scores, "test").active
    error = {name: np.abs(curve - truth).mean(axis=0) for name, curve in curves.items()}
    assert error["network"].max() <= 0.03
    assert error["logistic"].max() >= 0.1
    overall = run.metrics["split"]["test"]["overall"]["network"]
    assert overall["ece"]["value"] <= 0.02
