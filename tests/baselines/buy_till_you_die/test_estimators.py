"""Buy-till-you-die models on the feature table: the same answers as the models themselves, no labels, each customer
once.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.metrics import roc_auc_score
from support import asked_of, baseline_rows, changed, shipped, snapshots_of

from clm_dl.baselines.buy_till_you_die.estimators import SilenceClassifier, SpendRegressor
from clm_dl.baselines.buy_till_you_die.models import BetaGeo, GammaGamma
from clm_dl.baselines.spec import CannotAnswer, Spec
from clm_dl.baselines.tabular.classifier import TabularClassifier
from clm_dl.data.snapshots.cutoffs import DAY
from clm_dl.data.snapshots.features import rfm_features
from clm_dl.data.store.files import write_store
from clm_dl.data.store.store import EventStore, Field
from clm_dl.tasks.cases import Cases

ALL = shipped("churn")
BG_NBD, LOGISTIC = ALL["bg_nbd"], ALL["logistic"]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> EventStore:
    """800 customers who buy at a rate of their own, one line an order, until they leave; a year of days."""
    rng = np.random.default_rng(0)
    parts = []
    for _ in range(800):
        gaps = rng.exponential(1 / rng.gamma(1.0, 1 / 15), 60)
        bought = min(60, 1 + rng.geometric(rng.beta(1.0, 4.0)))
        day = rng.uniform(0, 120) + np.cumsum(np.r_[0.0, gaps[: bought - 1]])
        parts.append(day[day < 364])
    num = [len(part) for part in parts]
    amount = np.concatenate([rng.gamma(4.0, 1 / rng.gamma(5.0, 1 / 25), size) for size in num])
    return write_store(
        tmp_path_factory.mktemp("btyd") / "store",
        customer_ids=np.arange(800),
        offsets=np.cumsum([0, *num]),
        time=(np.concatenate(parts) * DAY).astype(np.int64),
        columns={"amount": amount},
        fields=[Field("amount", "numeric", "amount")],
        dictionaries={},
        end=364 * DAY,
        fingerprint="btyd",
    )


@pytest.fixture(scope="module")
def world(store: EventStore) -> tuple[Any, pd.DataFrame]:
    snapshots = snapshots_of(
        store,
        horizon_days=28,
        train=["1970-04-01", "1970-05-01"],
        val=["1970-07-01", "1970-08-01"],
        test=["1970-11-01"],
    )
    return snapshots, rfm_features(store, snapshots)


def test_it_answers_as_the_model_does_from_each_customer_s_newest_history(world: Any) -> None:
    snapshots, X = world
    train = snapshots.training
    found = SilenceClassifier(horizon_days=28).fit(X[train], groups=snapshots.customer[train])
    newest = train & (snapshots.cutoff == snapshots.cutoff[train].max())
    assert len(np.unique(snapshots.customer[train])) == newest.sum() < train.sum()

    def history(rows: np.ndarray) -> list[np.ndarray]:
        table = X[rows].astype(float)
        repeat = table["orders"] > 1
        return [
            values.to_numpy()
            for values in (table["orders"] - 1, (table["tenure"] - table["recency"]).where(repeat, 0), table["tenure"])
        ]

    model = BetaGeo().fit(*history(newest))
    test = snapshots.split == "test"
    proba = found.predict_proba(X[test])
    np.testing.assert_allclose(proba[:, 1], model.probability_inactive(28, *history(test)), rtol=1e-5)
    np.testing.assert_allclose(proba.sum(1), 1)
    label = snapshots.label[test]
    assert proba[:, 1].mean() == pytest.approx(label.mean(), abs=0.05)  # without a look at any label
    alive = model.probability_alive(*history(test))
    assert roc_auc_score(label, proba[:, 1]) > max(0.8, roc_auc_score(label, 1 - alive) + 0.05)


def test_labels_and_resampling_and_other_columns_change_nothing(world: Any) -> None:
    snapshots, X = world
    train, test = snapshots.training, snapshots.split == "test"
    y = snapshots.label[train]
    one = TabularClassifier.of(BG_NBD, seed=0).fit(X[train], y, groups=snapshots.customer[train])
    two = TabularClassifier.of(BG_NBD, seed=0, imbalance="smote").fit(
        X[train].assign(spend=np.nan), 1 - y, groups=snapshots.customer[train]
    )
    np.testing.assert_array_equal(one.raw_score(X[test]), two.raw_score(X[test]))
    assert clone(one.estimator).get_params() == one.estimator.get_params()


@pytest.fixture(scope="module")
def score(store: EventStore, world: Any) -> Callable[..., pd.DataFrame]:
    """Scores of baselines on the world's feature table, or on another one."""
    snapshots, X = world

    def score(*specs: Spec, X: pd.DataFrame = X, **log: Callable[[str], None]) -> pd.DataFrame:
        return baseline_rows(
            asked_of("churn", *specs), Cases(store, snapshots, snapshots.label, memo={"features": X}), **log
        )

    return score


def test_it_meets_the_others_in_the_scores_table(score: Callable[..., pd.DataFrame], world: Any) -> None:
    scores = score(BG_NBD, LOGISTIC)
    assert scores["model"].unique().tolist() == ["bg_nbd", "logistic"]
    test = scores[(scores["split"] == "test")]
    snapshots, X = world
    train = snapshots.training
    alone = SilenceClassifier(horizon_days=28).fit(X[train], groups=snapshots.customer[train])  # each customer once
    raw = test.loc[test["model"] == "bg_nbd", "score_raw"]
    np.testing.assert_array_equal(raw, alone.predict_proba(X[snapshots.split == "test"])[:, 1])
    auc = {name: roc_auc_score(part["label"], part["score"]) for name, part in test.groupby("model")}
    assert auc["bg_nbd"] > auc["logistic"] - 0.03


def test_it_is_left_out_aloud_where_churn_is_not_silence(score: Callable[..., pd.DataFrame]) -> None:
    said: list[str] = []
    contract = changed(BG_NBD, labels={"name": "contractual", "grace_days": 30})
    assert score(contract, LOGISTIC, log=said.append)["model"].unique().tolist() == ["logistic"]
    assert "baseline bg_nbd is left out: it knows silence, and labels=contractual mean something else" in said
    with pytest.raises(CannotAnswer, match="it knows silence"):
        score(contract)
    some = changed(BG_NBD, labels={"name": "no_event", "event_types": ["purchase"]})
    with pytest.raises(CannotAnswer, match=r"labels=no_event with event_types=\['purchase'\] mean something else"):
        score(some)
    assert len(score(BG_NBD))  # silence of every kind is what it is shipped for
    with pytest.raises(CannotAnswer, match="none of the baselines bg_nbd, bg_nbd can answer"):
        score(contract, contract)


def test_single_buyers_alone_are_left_out_aloud(score: Callable[..., pd.DataFrame], world: Any) -> None:
    said: list[str] = []
    X = world[1]
    scores = score(BG_NBD, LOGISTIC, X=X.assign(orders=1.0, tenure=X["recency"]), log=said.append)
    assert scores["model"].unique().tolist() == ["logistic"]
    assert any("bg_nbd is left out: frequency is 0 for every customer" in line for line in said)


def test_spend_is_purchases_times_value(world: Any) -> None:
    snapshots, X = world
    train, test = snapshots.training, snapshots.split == "test"
    found = SpendRegressor(horizon_days=28).fit(X[train], groups=snapshots.customer[train])
    newest = train & (snapshots.cutoff == snapshots.cutoff[train].max())
    value = GammaGamma().fit(X["orders"][newest], X["spend_per_order"][newest])
    assert found.spend_.p_ == pytest.approx(value.p_, rel=1e-3)
    spend = found.predict(X[test])
    purchases = SpendRegressor(horizon_days=280).fit(X[train], groups=snapshots.customer[train]).predict(X[test])
    assert (spend > 0).all()
    assert (purchases > spend).all()


def test_bad_settings_are_one_sentence(world: Any) -> None:
    X = world[1]
    with pytest.raises(ValueError, match="model must be one of bg_nbd, mbg_nbd, pareto_nbd, got 'bg'"):
        SilenceClassifier(model="bg")
    with pytest.raises(ValueError, match="needs a horizon"):
        SilenceClassifier().fit(X)
    with pytest.raises(CannotAnswer, match="all spend is zero"):
        SpendRegressor(horizon_days=28).fit(X.assign(spend_per_order=0.0))
