"""Runs side by side: seeds averaged metric by metric, differences paired where the same snapshots and targets were
scored.
"""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from shown import results_with
from support import config_of, metrics_of

from clm_dl.data.ranking.catalogue import Catalogue
from clm_dl.evaluation.comparison import _follows, group_runs, paired_difference
from clm_dl.experiment.settings import read_task
from clm_dl.visual.results import Results

NUM, ITEMS = 60, 20


def churn_run(scores: pd.DataFrame, seed: int) -> Results:
    config = config_of(f"seed={seed}")
    task = read_task(config)
    return results_with(task, config, metrics_of(task, scores, resamples=10), scores=scores)


def ranked_run(seed: int, fingerprint: str = "abc", encoder: str = "lstm") -> Results:
    """60 customers with one target each, i0; the network has it among its first 8 items, `popular` anywhere."""
    rng, rows = np.random.default_rng(seed), []
    ids = np.array([f"i{i}" for i in range(ITEMS)], dtype=object)
    for model, deepest in (("network", 8), ("popular", ITEMS)):
        for customer, above in enumerate(rng.integers(0, deepest, NUM).tolist()):
            others = [(place, f"i{place}", 0.0, None) for place in range(1, 11) if place != above + 1]
            target = (above + 1 if above < 10 else None, "i0", 1.0, above)
            rows += [(model, customer, *row) for row in [*others, target]]
    scores = pd.DataFrame(rows, columns=["model", "customer_id", "rank", "item_id", "label", "above"])
    scores = scores.astype({"rank": "Int64", "above": "Int64"}).assign(repeat=False, cold=False)
    scores = scores.assign(ties=scores["above"] * 0 + 1, split="test", among="catalogue", history=5, candidates=ITEMS)
    scores = scores.assign(cutoff=pd.Timestamp("2020-05-01", tz="UTC"), probability=np.nan)
    config = config_of("task=next_item", "sequence=line", f"encoder={encoder}", f"seed={seed}")
    task = read_task(config)
    task.catalogue = Catalogue(
        ids, np.ones(ITEMS, np.int64), {}, {}, pd.DataFrame(index=range(ITEMS)), np.zeros((ITEMS, 0), np.float32)
    )
    options = {"cases": [SimpleNamespace(counts={})], "fingerprint": fingerprint, "resamples": 10}
    return results_with(task, config, metrics_of(task, scores, **options), scores=scores)


def values(runs: list[Results], model: str, metric: str) -> list[float]:
    return [run.metrics["split"]["test"]["overall"][model][metric]["value"] for run in runs]


def test_churn_seeds_are_averaged_metric_by_metric(make_scores):
    runs = [churn_run(make_scores({"network": noise, "logistic": 0.5}), seed) for seed, noise in ((0, 0.1), (1, 2.0))]
    (group,) = group_runs(runs)
    network, logistic = values(runs, "network", "auroc"), values(runs, "logistic", "auroc")
    assert group.mean("auroc") == pytest.approx((np.mean(network), np.std(network, ddof=1)))
    found = paired_difference(group, group, other_model="logistic", resamples=100)
    assert found["auroc"]["value"] == pytest.approx(np.mean(network) - np.mean(logistic))
    assert found["auroc"]["low"] < found["auroc"]["value"] < found["auroc"]["high"]


def test_ranked_seeds_are_averaged_metric_by_metric():
    runs = [ranked_run(0), ranked_run(1)]
    (group,) = group_runs(runs)
    network, popular = values(runs, "network", "ndcg@10"), values(runs, "popular", "ndcg@10")
    assert group.mean("ndcg@10") == pytest.approx((np.mean(network), np.std(network, ddof=1)))
    found = paired_difference(group, group, other_model="popular", resamples=100)
    assert found["ndcg@10"]["value"] == pytest.approx(np.mean(network) - np.mean(popular))
    assert 0 < found["ndcg@10"]["low"] < found["ndcg@10"]["value"] < found["ndcg@10"]["high"]
    assert "coverage@10" not in found  # of all lists together: nothing to resample


def test_a_run_ties_with_itself_to_the_last_digit():
    group, other = group_runs([ranked_run(0), ranked_run(0, encoder="gru")])
    found = paired_difference(other, group, resamples=50)
    assert found["hr@10"] == {"value": 0.0, "low": 0.0, "high": 0.0}


def test_other_targets_cannot_be_paired_and_make_another_group():
    group, foreign = group_runs([ranked_run(0), ranked_run(1, fingerprint="another order of ties")])
    assert paired_difference(group, foreign) is None


def test_a_second_run_of_one_seed_is_no_other_seed():
    runs = [ranked_run(0), ranked_run(0), ranked_run(1)]
    assert [group.runs for group in group_runs(runs)] == [(runs[0], runs[2]), (runs[1],)]


def test_groups_are_named_by_the_settings_that_differ():
    groups = group_runs([ranked_run(0), ranked_run(1), ranked_run(0, encoder="gru")])
    assert [(group.name, len(group.runs), group.model) for group in groups] == [
        ("encoder.name=lstm", 2, "network"),
        ("encoder.name=gru", 1, "network"),
    ]


def test_what_follows_from_a_choice_is_not_named():
    lstm, gru = {"encoder.name": "lstm", "encoder.num_layers": "1"}, {"encoder.name": "gru", "encoder.num_layers": "2"}
    assert _follows("encoder.num_layers", ["encoder.name", "encoder.num_layers"], [lstm, gru])
    assert not _follows(
        "encoder.num_layers", ["encoder.name", "encoder.num_layers"], [lstm, gru, {**lstm, "encoder.num_layers": "3"}]
    )
    assert not _follows("encoder.num_layers", ["encoder.num_layers"], [lstm, {**lstm, "encoder.num_layers": "3"}])
