"""metrics.json, of churn: its shape, its figures against scikit-learn, censoring, missing parts."""

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import log_loss, roc_auc_score
from support import metrics_of, task_of

from clm_dl.evaluation.summary import best_model

NAMES = {"auroc", "auprc", "auprc_stay", "log_loss", "brier", "ece", "lift@10", "accuracy", "f1"}
COUNTS = {"rows_in": 10, "kept": 8, "quarantined": 1, "duplicates": 1, "customers": 120, "events": 8}


def summary(scores: pd.DataFrame) -> dict[str, Any]:
    return metrics_of(task_of(), scores, counts=COUNTS, resamples=50)


def test_shape(make_scores):
    metrics = summary(make_scores({"network": 0.1, "logistic": 0.5, "recency": 2.0, "base_rate": None}))
    assert (metrics["task"], metrics["fingerprint"]) == ("churn", "abc")
    for split, dates in (("test", 3), ("val", 2)):
        parts = metrics["split"][split]
        assert len(parts["per_cutoff"]) == dates
        for models in (parts["overall"], parts["recent"], *parts["per_cutoff"].values()):
            assert set(models) == {"network", "logistic", "recency", "base_rate"}
            for found in models.values():
                assert set(found) >= NAMES
                assert all(set(found[name]) == {"value", "low", "high"} for name in NAMES)
    assert set(metrics["split"]["test"]["per_cutoff"]) == {"2020-05-01", "2020-05-15", "2020-05-29"}
    assert set(metrics["difference"]["test"]) == {"network - logistic", "network - recency", "network - base_rate"}
    assert set(metrics["data"]) == {*COUNTS, "snapshots"}


def test_figures_equal_scikit_learn_on_matured_rows(make_scores):
    scores = make_scores({"network": 0.1, "logistic": 0.5})
    metrics = summary(scores)
    test = scores[(scores["split"] == "test") & scores["label"].notna()]
    expect = {model: roc_auc_score(rows["label"], rows["score"]) for model, rows in test.groupby("model")}
    overall = metrics["split"]["test"]["overall"]
    for model, value in expect.items():
        assert overall[model]["auroc"]["value"] == pytest.approx(value)
        assert overall[model]["auroc"]["low"] < value < overall[model]["auroc"]["high"]
    assert metrics["difference"]["test"]["network - logistic"]["auroc"]["value"] == pytest.approx(
        expect["network"] - expect["logistic"]
    )
    network = test[test["model"] == "network"]
    assert overall["network"]["log_loss"]["value"] == pytest.approx(log_loss(network["label"], network["score"]))
    assert metrics["split"]["test"]["raw"]["network"]["log_loss"]["value"] == pytest.approx(
        log_loss(network["label"], network["score_raw"])
    )
    recent = network[network["recent"]]
    assert metrics["split"]["test"]["recent"]["network"]["auroc"]["value"] == pytest.approx(
        roc_auc_score(recent["label"], recent["score"])
    )
    day = network[network["cutoff"] == "2020-05-15"]
    found = metrics["split"]["test"]["per_cutoff"]["2020-05-15"]["network"]["auroc"]["value"]
    assert found == pytest.approx(roc_auc_score(day["label"], day["score"]))
    reference = metrics["reference"]["test"]
    censored = scores[(scores["split"] == "test") & (scores["model"] == "network")]["label"].isna().sum()
    assert (reference["censored"], reference["snapshots"]) == (censored, len(network))
    assert reference["prevalence"] == pytest.approx(network["label"].mean())


def test_constant_scores_meet_their_floors(make_scores):
    metrics = summary(make_scores({"base_rate": None}))
    found, floor = metrics["split"]["test"]["overall"]["base_rate"], metrics["reference"]["test"]["floor"]
    for name in ("auroc", "auprc", "auprc_stay", "lift@10"):
        assert found[name]["value"] == pytest.approx(floor[name])
    assert found["log_loss"]["value"] >= floor["log_loss"]


def test_row_and_model_order_change_nothing(make_scores):
    scores = make_scores({"network": 0.1, "logistic": 0.5})
    mixed = scores.sample(frac=1, random_state=1)
    assert json.dumps(summary(scores), sort_keys=True) == json.dumps(summary(mixed), sort_keys=True)


def test_best_baseline_is_chosen_on_validation(make_scores):
    scores = make_scores({"network": 0.1, "logistic": 0.5, "forest": 3.0})
    swap = scores["model"].map({"logistic": "forest", "forest": "logistic", "network": "network"})
    scores["model"] = swap.where(scores["split"] == "val", scores["model"])  # forest wins validation, loses test
    metrics = summary(scores)
    assert metrics["best_baseline"] == {"name": "forest", "chosen_on": "val"}
    assert best_model(task_of(), metrics, ["logistic", "network"]) == {"name": "network", "chosen_on": "val"}
    only_test = scores[scores["split"] == "test"]
    assert summary(only_test)["best_baseline"] == {"name": "logistic", "chosen_on": "test"}


def test_smallest_difference_shrinks_with_customers(make_scores):
    few, many = (
        summary(make_scores({"network": 0.1, "logistic": 0.5}, n))["smallest_detectable_difference"] for n in (60, 960)
    )
    assert few["between"] == "network - logistic"
    assert few["auroc"] / many["auroc"] == pytest.approx(4, rel=0.6)


def test_no_network_no_difference(make_scores):
    metrics = summary(make_scores({"logistic": 0.5, "recency": 2.0}))
    assert metrics["difference"] == {}
    assert metrics["smallest_detectable_difference"]["between"] == "recency - logistic"


def test_table_without_time_or_validation(make_scores):
    scores = make_scores({"logistic": 0.5}, dates={"test": ["2020-05-01"]})
    scores["cutoff"] = pd.Series(pd.NaT, index=scores.index, dtype="datetime64[us, UTC]")
    metrics = summary(scores)
    assert metrics["split"]["test"]["per_cutoff"] == {}
    assert metrics["split"]["val"]["overall"] == {}
    assert metrics["split"]["test"]["overall"]["logistic"]["auroc"]["value"] > 0.6


def test_one_class_in_validation_is_null(make_scores):
    scores = make_scores({"network": 0.1, "logistic": 0.5})
    scores.loc[scores["split"] == "val", "label"] = 0.0
    metrics = summary(scores)
    assert metrics["split"]["val"]["overall"]["network"]["auroc"] == {"value": None, "low": None, "high": None}
    assert metrics["best_baseline"]["chosen_on"] == "test"


def test_different_snapshots_are_refused(make_scores):
    scores = make_scores({"network": 0.1, "logistic": 0.5})
    dropped = scores.drop(scores.index[(scores["model"] == "logistic") & (scores["split"] == "test")][0])
    with pytest.raises(ValueError, match="same test snapshots"):
        summary(dropped)
    changed = scores.copy()
    changed.loc[np.flatnonzero(scores["model"] == "logistic")[0], "label"] = 0.5
    with pytest.raises(ValueError, match="logistic and network"):
        summary(changed)
