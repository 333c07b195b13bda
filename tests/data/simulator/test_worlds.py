"""Simulator: the oracle is exact, RFM is blind in one world and enough in the other, and an LSTM finds the order."""

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from support import inputs_of, snapshots_of

from clm_dl.data.simulator.worlds import START, ensure_simulated, oracle_probability, simulate, write_simulated
from clm_dl.data.snapshots.features import rfm_features
from clm_dl.nn import BinaryHead, EventEmbedding, HeadFeatures, build_encoder, build_pooling
from clm_dl.tasks.churn.loss import binary_cross_entropy

DATA = {"name": "simulator", "world": "order", "num_customers": 4000, "num_days": 364, "seed": 0}
RULE = {"horizon_days": 28, "every_days": 14, "active_days": 14}


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    folder = tmp_path_factory.mktemp("simulator")
    return {world: write_simulated(DATA | {"world": world}, folder / world) for world in ("order", "rfm")}


@pytest.mark.parametrize("world", ["order", "rfm"])
@pytest.mark.parametrize("horizon", [5, 14, 28])
@pytest.mark.parametrize("day", [196, 203])  # between two periods, and within one
def test_oracle_is_calibrated(tmp_path, world, horizon, day):
    store = write_simulated(
        DATA | {"world": world, "num_customers": 30_000, "num_days": 238, "seed": 7}, tmp_path / "store"
    )
    cutoffs = {
        name: [str(np.datetime64(START, "us") + np.timedelta64(d, "D"))[:10]]
        for name, d in [("train", 56), ("val", 112), ("test", day)]
    }
    snapshots = snapshots_of(store, horizon_days=horizon, active_days=40, **cutoffs)
    chance, label = oracle_probability(store, snapshots), snapshots.label
    for split in ("train", "val", "test"):  # one cutoff each, so the customers of a split are independent
        here = snapshots.split == split
        bins = np.array_split(np.flatnonzero(here)[np.argsort(chance[here], kind="stable")], 8)
        for part in bins:
            deviation = np.sqrt((chance[part] * (1 - chance[part])).sum())
            assert abs((label[part] - chance[part]).sum()) <= 4 * deviation + 1e-6
    assert chance[here].std() > 0.1


def test_order_world_hides_in_the_order():
    events = simulate("order", num_customers=500, seed=1).events
    visits = events.groupby([events["customer"], events["time"].dt.floor("D")])["event_type"].agg(tuple)
    first = "complaint", "purchase", "purchase", "complaint"
    assert set(visits) == {first, ("purchase", "complaint", "purchase", "complaint")}
    assert (visits == first).mean() == pytest.approx(0.5, abs=0.03)


def rfm_auc(store, snapshots):
    """Best test AUC of two baselines on RFM features with the counts of each type."""
    features = rfm_features(store, snapshots).select_dtypes("number")
    code = store.column("event_type")
    for value in (0, 1):
        total = np.concatenate([[0], np.cumsum(code == value)])
        features[f"type_{value}"] = total[snapshots.stop] - total[snapshots.start]
        last = np.maximum.accumulate(np.where(code == value, np.asarray(store.time), 0))
        features[f"recency_{value}"] = (snapshots.cutoff - last[snapshots.stop - 1]) // 86_400_000_000
    train, test = snapshots.training, snapshots.split == "test"
    models = [
        HistGradientBoostingClassifier(max_iter=60, learning_rate=0.05, max_leaf_nodes=7, random_state=0),
        make_pipeline(SimpleImputer(keep_empty_features=True), StandardScaler(), LogisticRegression(max_iter=1000)),
    ]
    scores = [
        model.fit(features[train], snapshots.label[train]).predict_proba(features[test])[:, 1] for model in models
    ]
    return max(roc_auc_score(snapshots.label[test], score) for score in scores)


def test_rfm_is_blind_in_one_world_and_enough_in_the_other(stores):
    for world, store in stores.items():
        snapshots = snapshots_of(store, **RULE)
        test = snapshots.split == "test"
        oracle = roc_auc_score(snapshots.label[test], oracle_probability(store, snapshots)[test])
        best = rfm_auc(store, snapshots)
        if world == "order":
            assert best <= oracle - 0.10, (best, oracle)
        else:
            assert best >= oracle - 0.02, (best, oracle)


@pytest.mark.slow
def test_lstm_comes_within_two_points_of_the_oracle(stores):
    store = stores["order"]
    snapshots = snapshots_of(store, **RULE)
    data = inputs_of(store, snapshots, max_tokens=64, max_tokens_per_batch=2048)
    torch.manual_seed(0)
    embedding, extra = EventEmbedding(data.schema), HeadFeatures(data.schema)
    encoder = build_encoder({"name": "lstm", "hidden_size": 32}, embedding.output_size)
    pooling, head = (
        build_pooling("last", encoder.output_size),
        BinaryHead(encoder.output_size, extra_size=extra.output_size),
    )
    network = torch.nn.ModuleList([embedding, extra, encoder, pooling, head])

    def logit(batch):
        return head(pooling(encoder(embedding(batch), batch.mask_BT, batch.time_BT), batch.mask_BT), extra(batch))

    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3)
    loader = data.train_loader()
    for epoch in range(5):
        loader.sampler.set_epoch(epoch)
        for batch in loader:
            optimizer.zero_grad()
            binary_cross_entropy(logit(batch), batch.label_B).backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
    network.eval()
    test, score = np.flatnonzero(snapshots.split == "test"), np.zeros(len(snapshots))
    with torch.no_grad():
        for batch in data.loader(test):
            score[batch.index_B] = logit(batch)
    oracle = roc_auc_score(snapshots.label[test], oracle_probability(store, snapshots)[test])
    assert roc_auc_score(snapshots.label[test], score[test]) >= oracle - 0.02


def test_same_seed_same_log():
    same, other = simulate("rfm", num_customers=50, seed=3), simulate("rfm", num_customers=50, seed=4)
    pd.testing.assert_frame_equal(same.events, simulate("rfm", num_customers=50, seed=3).events)
    assert not same.events.equals(other.events)
    assert same.events["customer"].nunique() == 50


def test_a_store_is_made_again_only_when_needed(tmp_path):
    data = DATA | {"num_customers": 20}
    made = ensure_simulated(data, tmp_path / "store").path.stat().st_ino
    assert ensure_simulated(data, tmp_path / "store").path.stat().st_ino == made
    assert ensure_simulated(data | {"seed": 1}, tmp_path / "store").path.stat().st_ino != made
    for name in ("time.npy", "truth.parquet"):
        (ensure_simulated(data, tmp_path / "store").path / name).unlink()
        store = ensure_simulated(data, tmp_path / "store")
        assert store.num_customers == 20
        assert len(pd.read_parquet(store.path / "truth.parquet"))


def test_bad_arguments(stores, small_store):
    with pytest.raises(ValueError, match="rfm or order"):
        simulate("chaos", num_customers=5)
    with pytest.raises(ValueError, match="at least 1 customer"):
        simulate("rfm", num_customers=0)
    with pytest.raises(ValueError, match="gap_days=0"):
        oracle_probability(stores["rfm"], snapshots_of(stores["rfm"], horizon_days=14, gap_days=7))
    with pytest.raises(ValueError, match=r"no truth\.parquet"):
        oracle_probability(small_store, snapshots_of(small_store, horizon_days=20, every_days=10))
