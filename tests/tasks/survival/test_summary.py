"""metrics.json of survival from the Scores table: paired by snapshot, whole where a part is empty."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from support import metrics_of, task_of

from clm_dl.tasks.survival.metrics import integrated_brier, known_metrics
from clm_dl.tasks.survival.scores import read_curves

DAYS = [0, 28, 56]


@pytest.fixture
def scores() -> pd.DataFrame:
    """Two models on 150 customers at two test cutoffs and one of validation; the newest test cutoff is followed for 28
    days.
    """
    rng = np.random.default_rng(0)
    frames = []
    for split, cutoff in (("val", "2020-03-01"), ("test", "2020-06-01"), ("test", "2020-07-01")):
        scale = rng.lognormal(3.5, 1.0, 150)
        left = rng.exponential(scale) - 5
        label = (left[:, None] >= DAYS).astype(float)
        label[:, 2] = np.nan if cutoff == "2020-07-01" else label[:, 2]
        for model, noise in (("logistic", 0.9), ("network", 0.2)):
            active = np.exp(-(np.array(DAYS) + 5) / (scale * rng.lognormal(0, noise, 150))[:, None])
            frame = {
                "customer_id": np.repeat([f"c{i:03d}" for i in range(150)], 3),
                "cutoff": pd.Timestamp(cutoff, tz="UTC"),
                "split": split,
            }
            frame |= {
                "model": model,
                "task": "survival",
                "horizon": np.tile(np.array(DAYS, float), 150),
                "score": active.ravel(),
            }
            frames.append(
                pd.DataFrame(
                    frame
                    | {"score_raw": active.ravel() ** 2, "label": label.ravel(), "recent": np.repeat(scale > 20, 3)}
                )
            )
    return pd.concat(frames, ignore_index=True).sample(frac=1, random_state=0)  # in any order


def summary(scores: pd.DataFrame) -> dict[str, Any]:
    return metrics_of(task_of("task=survival", f"task.horizons_days={DAYS}"), scores)


def test_metrics_are_complete_and_json(scores: pd.DataFrame) -> None:
    metrics = summary(scores)
    assert metrics["horizons_days"] == DAYS
    test = metrics["split"]["test"]
    assert list(test["overall"]) == ["network", "logistic"]
    assert set(test["per_cutoff"]) == {"2020-06-01", "2020-07-01"}
    for part in (test["overall"], test["recent"], *test["per_cutoff"].values()):
        assert set(part["network"]) == {metric.name for metric in known_metrics(DAYS)}
    table = read_curves(scores, "test")
    assert test["overall"]["network"]["ibs"]["value"] == pytest.approx(
        integrated_brier(table.label, table.active["network"], DAYS)
    )
    assert test["raw"]["network"]["ibs"]["value"] != test["overall"]["network"]["ibs"]["value"]
    assert test["per_cutoff"]["2020-07-01"]["network"]["auroc@56"]["value"] is None
    reference = metrics["reference"]["test"]
    assert reference["censored"] == {"0": 0, "28": 0, "56": 150}
    assert 0 < reference["active"]["56"] < reference["active"]["28"] < reference["active"]["0"] < 1
    assert test["overall"]["network"]["ibs"]["value"] < reference["floor"]["ibs"]
    assert metrics["best_baseline"] == {"name": "logistic", "chosen_on": "val"}
    assert metrics["difference"]["test"]["network - logistic"]["c_index"]["low"] > 0
    assert "test_recent" in metrics["difference"]


def test_models_must_share_snapshots_and_a_split_may_be_missing(scores: pd.DataFrame) -> None:
    with pytest.raises(ValueError, match="same test snapshots and labels"):
        summary(scores.drop(scores.index[(scores["model"] == "network") & (scores["split"] == "test")][:3]))
    alone = summary(scores[(scores["model"] == "logistic") & (scores["split"] == "test")])
    assert alone["difference"] == {}
    assert alone["split"]["val"]["overall"] == {}
    assert alone["best_baseline"] == {"name": None, "chosen_on": None}
