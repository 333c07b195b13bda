"""Churn baselines: every shipped configuration, calibration, imbalance, imputation, nothing fitted outside training."""

import io
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
import yaml
from sklearn.metrics import roc_auc_score

from clm_dl.baselines.tabular.classifier import build_baseline, fit_score
from clm_dl.config import CONFIG_DIR
from clm_dl.data.snapshots.cutoffs import DAY
from clm_dl.data.snapshots.snapshots import Snapshots
from clm_dl.data.store.files import write_store
from clm_dl.data.store.store import EventStore

CONFIGS = {path.stem: yaml.safe_load(path.read_text()) for path in (CONFIG_DIR / "baseline").glob("*.yaml")}
NAMES = sorted(name for name, config in CONFIGS.items() if "churn" in config["task"] and "sees" not in config)
LOGISTIC = {"name": "logistic", "_target_": "sklearn.linear_model.LogisticRegression"}


def load(name: str) -> dict[str, Any]:
    config = yaml.safe_load((CONFIG_DIR / "baseline" / f"{name}.yaml").read_text())
    fixed = {
        "horizon_days": 28,
        "labels": {"name": "no_event", "event_types": None},
    }  # what the run's configuration fills in
    return (
        config
        | {key: fixed[key] for key in fixed if key in config}
        | ({"n_estimators": 20} if name == "forest" or name.endswith("lightgbm") else {})
    )


def make_table(seed: int = 0, num: int = 1200) -> tuple[pd.DataFrame, np.ndarray]:
    """Churn that grows with recency and shrinks with orders; gaps, a text column, 20 % positive."""
    rng = np.random.default_rng(seed)
    recency, orders = rng.gamma(2, 10, num), rng.poisson(4, num)
    y = (rng.random(num) < 1 / (1 + np.exp(2.8 - 0.08 * recency + 0.15 * orders))).astype(float)
    X = pd.DataFrame(
        {"recency": recency, "orders": orders.astype(float), "gap": np.where(orders > 3, rng.random(num), np.nan)}
    )
    X["orders"] = X["orders"].clip(lower=1)
    X["tenure"] = X["recency"] + np.where(X["orders"] > 1, 12 * X["orders"], 0)
    X["static_age"] = (
        pd.Series(rng.choice(["young", "old", "?"], num)).where(lambda text: text != "?").astype("category")
    )
    return X, y


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> EventStore:
    num = 1200
    return write_store(
        tmp_path_factory.mktemp("baselines") / "store",
        customer_ids=np.arange(num) + 5000,
        offsets=np.arange(num + 1),
        time=np.zeros(num),
        columns={},
        fields=[],
        dictionaries={},
        end=DAY,
        fingerprint="test",
    )


def make_snapshots(y: np.ndarray) -> Snapshots:
    """600 training rows, two validation cutoffs of 150, 300 test rows."""
    num = len(y)
    index = np.arange(num)
    split = np.where(index < 600, "train", np.where(index < 900, "val", "test"))
    return Snapshots(
        customer=index,
        cutoff=DAY * (1 + np.digitize(index, [600, 750, 900])),
        split=split,
        label=y,
        start=index,
        stop=index + 1,
        recent=index % 2 == 0,
        horizon_days=28.0,
        gap_days=0.0,
    )


def test_all_thirteen_are_there() -> None:
    learners = {"base_rate", "recency", "logistic", "tree", "forest", "knn", "naive_bayes", "svm", "lightgbm"}
    assert set(NAMES) == learners | {"bayes_net", "bg_nbd", "mbg_nbd", "pareto_nbd"}


@pytest.mark.parametrize(("name", "like"), [("embedding_logistic", "logistic"), ("embedding_lightgbm", "lightgbm")])
def test_a_baseline_of_vectors_sees_nothing_else(store: EventStore, name: str, like: str) -> None:
    X, y = make_table()
    snapshots, noise = make_snapshots(y), X.assign(**dict.fromkeys(X.select_dtypes("number"), 0.0))
    scores = fit_score(noise, snapshots, store=store, baselines=[load(name)], seed=1, embedding=X)
    expected = fit_score(X, snapshots, store=store, baselines=[load(like)], seed=1)
    pd.testing.assert_frame_equal(scores.drop(columns="model"), expected.drop(columns="model"))


def test_vectors_beside_features_that_they_share(store: EventStore) -> None:
    X, y = make_table()
    both = fit_score(X, make_snapshots(y), store=store, baselines=[load("embedding_rfm_lightgbm")], seed=1, embedding=X)
    expected = fit_score(X, make_snapshots(y), store=store, baselines=[load("lightgbm")], seed=1)
    pd.testing.assert_frame_equal(both.drop(columns="model"), expected.drop(columns="model"))


@pytest.mark.parametrize("name", NAMES)
def test_every_baseline_scores_validation_and_test_the_same_way_twice(store: EventStore, name: str) -> None:
    X, y = make_table()
    y[::50] = np.nan  # censored
    snapshots = make_snapshots(y)
    scores, again = (fit_score(X, snapshots, store=store, baselines=[load(name)], seed=1) for _ in range(2))
    pd.testing.assert_frame_equal(scores, again, check_exact=True)
    columns = ["customer_id", "cutoff", "split", "model", "task", "horizon", "score", "score_raw", "label", "recent"]
    assert scores.columns.tolist() == columns
    assert scores["customer_id"].tolist() == list(range(5600, 6200))
    assert scores["split"].value_counts().to_dict() == {"val": 300, "test": 300}
    assert scores[["score", "score_raw"]].to_numpy().min() >= 0
    assert scores[["score", "score_raw"]].to_numpy().max() <= 1
    known = scores[(scores["split"] == "test") & scores["label"].notna()]
    auc = roc_auc_score(known["label"], known["score"])
    assert auc == 0.5 if name == "base_rate" else auc > 0.6
    newest = scores[scores["cutoff"] == pd.Timestamp("1970-01-04", tz="UTC")]
    newest = newest[newest["label"].notna()]
    assert len(newest) == 147
    assert newest["score"].mean() == pytest.approx(newest["label"].mean(), abs=0.02)  # calibrated there


def test_recency_is_monotone_in_days_and_sees_nothing_else() -> None:
    X, y = make_table()
    model = build_baseline(load("recency"), seed=0).fit(X, y)
    grid = X.iloc[:50].assign(recency=np.linspace(0, 100, 50))
    assert (np.diff(model.predict_proba(grid)[:, 1]) > 0).all()
    np.testing.assert_array_equal(model.predict_proba(grid), model.predict_proba(grid.assign(orders=9.0)))


@pytest.mark.parametrize("name", ["logistic", "lightgbm", "knn", "svm"])
@pytest.mark.parametrize("imbalance", ["none", "class_weight", "undersample", "smote", "adasyn"])
def test_imbalance_moves_raw_scores_and_calibration_moves_them_back(name: str, imbalance: str) -> None:
    X, y = make_table(num=3000)
    fit, held, test = slice(0, 1500), slice(1500, 2200), slice(2200, None)
    model = (
        build_baseline(load(name), seed=0, imbalance=imbalance)
        .fit(X[fit], y[fit], X[held], y[held])
        .calibrate(X[held], y[held])
    )
    if imbalance != "none" and name in ("logistic", "lightgbm"):
        assert model.raw_score(X[test]).mean() > y[test].mean() + 0.1
    assert model.predict_proba(X[test])[:, 1].mean() == pytest.approx(y[test].mean(), abs=0.04)
    assert roc_auc_score(y[test], model.predict_proba(X[test])[:, 1]) > 0.65


def test_prior_correction_alone_restores_the_rate() -> None:
    X, y = make_table(num=3000)
    model = build_baseline(LOGISTIC, seed=0, imbalance="class_weight").fit(X, y)
    plain = build_baseline(LOGISTIC, seed=0).fit(X, y)
    np.testing.assert_allclose(model.predict_proba(X)[:, 1].mean(), plain.predict_proba(X)[:, 1].mean(), atol=0.02)


@pytest.mark.parametrize("impute", ["mean", "median", "mode", "iterative"])
def test_gaps_are_imputed_from_training_with_a_flag(impute: str) -> None:
    X, y = make_table()
    y = X["gap"].isna().to_numpy().astype(float)  # the gap itself is the answer: only a flag can see it
    X = X[["gap", "static_age"]]
    model = build_baseline(LOGISTIC, seed=0, impute=impute).fit(X[:600], y[:600])
    assert roc_auc_score(y[600:], model.predict_proba(X[600:])[:, 1]) == 1.0
    alone = model.predict_proba(X[600:601])  # statistics come from training, not from what is scored
    np.testing.assert_allclose(alone, model.predict_proba(X[600:])[:1], rtol=1e-12)


def test_unseen_levels_and_gaps_at_prediction_are_fine() -> None:
    X, y = make_table()
    model = build_baseline(LOGISTIC, seed=0).fit(X, y)
    strange = X[:3].assign(recency=np.nan, static_age=pd.Series(["martian", None, "young"]))
    assert np.isfinite(model.predict_proba(strange)).all()


def test_test_rows_do_not_touch_what_is_fitted(store: EventStore) -> None:
    X, y = make_table()
    snapshots = make_snapshots(y)
    changed = X.copy()
    changed.loc[1000:, ["recency", "orders", "gap"]] = 1e6
    configs = [load(name) for name in ("logistic", "lightgbm", "knn")]
    one, two = (fit_score(table, snapshots, store=store, baselines=configs, seed=0) for table in (X, changed))
    same = (one["customer_id"] < 6000).to_numpy()
    pd.testing.assert_frame_equal(one[same], two[same], check_exact=True)
    assert not one.equals(two)


def test_what_calibrates_a_baseline_neither_trains_nor_stops_it(store: EventStore) -> None:
    """Other labels at the newest validation cutoff move no raw score, at the older one they move when the trees stop."""
    X, y = make_table()
    config = load("lightgbm") | {"n_estimators": 200, "learning_rate": 0.3, "patience": 5}
    raw, score = [], []
    for rows in (slice(0, 0), slice(750, 900), slice(600, 750)):
        changed = y.copy()
        changed[rows] = 1 - changed[rows]
        scores = fit_score(X, make_snapshots(changed), store=store, baselines=[config], seed=0)
        raw.append(scores["score_raw"].to_numpy())
        score.append(scores["score"].to_numpy())
    np.testing.assert_array_equal(raw[1], raw[0])
    assert np.corrcoef(score[1], score[0])[0, 1] < 0  # the calibration turned round
    assert not np.array_equal(raw[2], raw[0])


def test_a_fitted_baseline_survives_a_file() -> None:
    X, y = make_table(num=300)
    model = build_baseline(load("lightgbm"), seed=0).fit(X, y)
    file = io.BytesIO()
    joblib.dump(model, file)
    file.seek(0)
    np.testing.assert_array_equal(joblib.load(file).predict_proba(X), model.predict_proba(X))


def test_early_stopping_keeps_fewer_trees() -> None:
    X, y = make_table()
    config = load("lightgbm") | {"n_estimators": 500, "learning_rate": 0.3, "patience": 5}
    model = build_baseline(config, seed=0).fit(X[:600], y[:600], X[600:], y[600:])
    assert model.estimator_.model_.best_iteration_ < 100
    assert build_baseline(config, seed=0).fit(X, y).estimator_.model_.n_estimators_ == 500


def test_the_newest_validation_cutoff_neither_stops_nor_fits_anything(store: EventStore) -> None:
    X, y = make_table()
    quick = {"n_estimators": 200, "learning_rate": 0.3, "min_child_samples": 20, "patience": 5}
    configs = [load("lightgbm") | quick, load("logistic")]

    def raw(X: pd.DataFrame, y: np.ndarray) -> pd.Series:
        scores = fit_score(X, make_snapshots(y), store=store, baselines=configs, seed=0)
        return scores.loc[scores["split"] == "test"].set_index("model")["score_raw"]

    changed, oldest, newest = X.copy(), np.arange(600, 750), np.arange(750, 900)
    changed.loc[newest, ["recency", "orders", "gap"]] = 1e3
    before, after, stopped = (
        raw(X, y),
        raw(changed, np.where(np.isin(X.index, newest), 1 - y, y)),
        raw(X, np.where(np.isin(X.index, oldest), 1 - y, y)),
    )
    pd.testing.assert_series_equal(after, before)
    assert not stopped["lightgbm"].equals(before["lightgbm"])  # it does stop by the older ones
    assert stopped["logistic"].equals(before["logistic"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"impute": "guess"}, "impute must be one of mean, median, mode, iterative, got 'guess'"),
        ({"imbalance": "guess"}, "imbalance must be one of"),
    ],
)
def test_unknown_options_are_named(change: dict, message: str) -> None:
    X, y = make_table(num=100)
    with pytest.raises(ValueError, match=message):
        build_baseline(LOGISTIC, seed=0, **change).fit(X, y)


def test_bad_input_is_one_sentence() -> None:
    X, y = make_table(num=100)
    with pytest.raises(ValueError, match="one class only in train"):
        build_baseline(LOGISTIC, seed=0).fit(X, np.ones(100))
    with pytest.raises(ValueError, match="no column 'recency'"):
        build_baseline(load("recency"), seed=0).fit(X[["orders"]], y)
    rare = np.zeros(100)
    rare[0] = 1
    with pytest.raises(ValueError, match="smote needs at least 2 training rows"):
        build_baseline(LOGISTIC, seed=0, imbalance="smote").fit(X, rare)


def test_the_package_of_a_class_must_be_trusted(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"add trusted=\[subprocess\]"):
        build_baseline({"name": "bad", "_target_": "subprocess.run"}, seed=0)
