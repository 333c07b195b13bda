"""TabularClassifier: every shipped churn baseline, calibration, imbalance, imputation, nothing fitted outside
training.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score
from support import asked_of, baseline_rows, changed, shipped

from clm_dl.baselines.spec import Spec
from clm_dl.baselines.tabular.classifier import TabularClassifier
from clm_dl.baselines.tabular.preprocessing import build_preprocessor
from clm_dl.errors import UserError
from clm_dl.tasks.cases import Cases

ALL = shipped("churn")
NAMES = sorted(name for name, spec in ALL.items() if spec.sees == ("features",))
QUICK = {"n_estimators": 200, "learning_rate": 0.3, "min_child_samples": 20, "patience": 5}


def quick(name: str) -> Spec:
    """The shipped baseline, with fewer trees."""
    return changed(ALL[name], n_estimators=20) if name == "forest" or name.endswith("lightgbm") else ALL[name]


def classifier(spec: Spec, *, seed: int = 0, **options: str) -> TabularClassifier:
    model: TabularClassifier = TabularClassifier.of(spec, seed=seed, **options)
    return model


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
def score(cases_of: Callable[..., Cases]) -> Callable[..., pd.DataFrame]:
    """Scores of baselines: 600 of 1,200 rows train, 150 validate at each of two cutoffs, 300 test."""

    def score(X: pd.DataFrame, y: np.ndarray, *specs: Spec, **further: Any) -> pd.DataFrame:
        return baseline_rows(asked_of("churn", *specs, seed=1), cases_of(X, y, **further))

    return score


def test_all_thirteen_are_there() -> None:
    learners = {"base_rate", "recency", "logistic", "tree", "forest", "knn", "naive_bayes", "svm", "lightgbm"}
    assert set(NAMES) == learners | {"bayes_net", "bg_nbd", "mbg_nbd", "pareto_nbd"}


@pytest.mark.parametrize(("name", "like"), [("embedding_logistic", "logistic"), ("embedding_lightgbm", "lightgbm")])
def test_a_baseline_of_vectors_sees_nothing_else(score: Callable[..., pd.DataFrame], name: str, like: str) -> None:
    X, y = make_table()
    noise = X.assign(**dict.fromkeys(X.select_dtypes("number"), 0.0))
    scores, expected = score(noise, y, quick(name), embedding=X), score(X, y, quick(like))
    pd.testing.assert_frame_equal(scores.drop(columns="model"), expected.drop(columns="model"))


def test_vectors_beside_features_that_they_share(score: Callable[..., pd.DataFrame]) -> None:
    X, y = make_table()
    both, expected = score(X, y, quick("embedding_rfm_lightgbm"), embedding=X), score(X, y, quick("lightgbm"))
    pd.testing.assert_frame_equal(both.drop(columns="model"), expected.drop(columns="model"))


@pytest.mark.parametrize("name", NAMES)
def test_every_baseline_scores_validation_and_test_the_same_way_twice(
    score: Callable[..., pd.DataFrame], name: str
) -> None:
    X, y = make_table()
    y[::50] = np.nan  # censored
    scores, again = (score(X, y, quick(name)) for _ in range(2))
    pd.testing.assert_frame_equal(scores, again, check_exact=True)
    columns = ["customer_id", "cutoff", "split", "model", "task", "horizon", "score", "score_raw", "label", "recent"]
    assert scores.columns.tolist() == columns
    assert scores["customer_id"].tolist() == list(range(600, 1200))
    assert scores["split"].value_counts().to_dict() == {"val": 300, "test": 300}
    assert scores[["score", "score_raw"]].to_numpy().min() >= 0
    assert scores[["score", "score_raw"]].to_numpy().max() <= 1
    known = scores[(scores["split"] == "test") & scores["label"].notna()]
    auc = roc_auc_score(known["label"], known["score"])
    assert auc == 0.5 if name == "base_rate" else auc > 0.6
    newest = scores[scores["cutoff"] == pd.Timestamp("1970-01-04", tz="UTC")]
    newest = newest[newest["label"].notna()]
    assert len(newest) == 147
    assert newest["score"].mean() == pytest.approx(newest["label"].mean(), abs=0.03)  # calibrated there


def test_recency_is_monotone_in_days_and_sees_nothing_else() -> None:
    X, y = make_table()
    model = classifier(ALL["recency"]).fit(X, y)
    grid = X.iloc[:50].assign(recency=np.linspace(0, 100, 50))
    assert (np.diff(model.predict_proba(grid)[:, 1]) > 0).all()
    np.testing.assert_array_equal(model.predict_proba(grid), model.predict_proba(grid.assign(orders=9.0)))


@pytest.mark.parametrize("name", ["logistic", "lightgbm", "knn", "svm"])
@pytest.mark.parametrize("imbalance", ["none", "class_weight", "undersample", "smote", "adasyn"])
def test_imbalance_moves_raw_scores_and_calibration_moves_them_back(
    cases_of: Callable[..., Cases], name: str, imbalance: str
) -> None:
    X, y = make_table(num=3200)
    cases = cases_of(X, y)
    test = cases.snapshots.split == "test"
    scores = baseline_rows(asked_of("churn", quick(name), imbalance=imbalance), cases)
    scores = scores[scores["split"] == "test"]
    if imbalance != "none" and name in ("logistic", "lightgbm"):
        assert scores["score_raw"].mean() > y[test].mean() + 0.1
    assert scores["score"].mean() == pytest.approx(y[test].mean(), abs=0.04)
    assert roc_auc_score(y[test], scores["score"]) > 0.65


def test_prior_correction_alone_restores_the_rate() -> None:
    X, y = make_table(num=3000)
    model = classifier(ALL["logistic"], imbalance="class_weight").fit(X, y)
    plain = classifier(ALL["logistic"]).fit(X, y)
    assert plain.prior is None
    assert model.prior == (y.mean(), 0.5)
    assert model.raw_score(X).mean() > y.mean() + 0.1
    np.testing.assert_allclose(model.predict_proba(X)[:, 1].mean(), plain.predict_proba(X)[:, 1].mean(), atol=0.02)


@pytest.mark.parametrize("impute", ["mean", "median", "mode", "iterative"])
def test_gaps_are_imputed_from_training_with_a_flag(impute: str) -> None:
    X, y = make_table()
    y = X["gap"].isna().to_numpy().astype(float)  # the gap itself is the answer: only a flag can see it
    X = X[["gap", "static_age"]]
    model = classifier(ALL["logistic"], impute=impute).fit(X[:600], y[:600])
    assert roc_auc_score(y[600:], model.predict_proba(X[600:])[:, 1]) == 1.0
    alone = model.predict_proba(X[600:601])  # statistics come from training, not from what is scored
    np.testing.assert_allclose(alone, model.predict_proba(X[600:])[:1], rtol=1e-12)


def test_unseen_levels_and_gaps_at_prediction_are_fine() -> None:
    X, y = make_table()
    model = classifier(ALL["logistic"]).fit(X, y)
    strange = X[:3].assign(recency=np.nan, static_age=pd.Series(["martian", None, "young"]))
    assert np.isfinite(model.predict_proba(strange)).all()


def test_a_column_whose_kind_changed_is_read_as_in_training_or_refused() -> None:
    then = pd.DataFrame({"plan": ["1", "2", "gold"] * 20, "age": [20.0, 30.0, 40.0] * 20})
    fitted = build_preprocessor(then, impute="median", seed=0).fit(then)
    now = then.iloc[:2].assign(plan=[1.0, 2.0])
    np.testing.assert_array_equal(fitted.transform(now), fitted.transform(then.iloc[:2]))
    with pytest.raises(UserError, match="age was a number in training and is text in this input"):
        fitted.transform(now.assign(age="unknown"))


def test_test_rows_do_not_touch_what_is_fitted(score: Callable[..., pd.DataFrame]) -> None:
    X, y = make_table()
    other = X.copy()
    other.loc[1000:, ["recency", "orders", "gap"]] = 1e6
    one, two = (score(table, y, *map(quick, ("logistic", "lightgbm", "knn"))) for table in (X, other))
    same = (one["customer_id"] < 1000).to_numpy()
    pd.testing.assert_frame_equal(one[same], two[same], check_exact=True)
    assert not one.equals(two)


def test_early_stopping_keeps_fewer_trees() -> None:
    X, y = make_table()
    spec = changed(ALL["lightgbm"], n_estimators=500, learning_rate=0.3, patience=5)
    stopped, whole = classifier(spec).fit(X[:600], y[:600], X[600:], y[600:]), classifier(spec).fit(X, y)
    assert stopped.estimator_.booster_.num_trees() < 100
    assert whole.estimator_.booster_.num_trees() == 500


def test_the_newest_validation_cutoff_calibrates_and_neither_stops_nor_fits_anything(
    score: Callable[..., pd.DataFrame],
) -> None:
    """Other features and labels there move no raw score; other labels at the older one move when the trees stop."""
    X, y = make_table()
    specs = changed(ALL["lightgbm"], **QUICK), ALL["logistic"]

    def scores(X: pd.DataFrame, turned: np.ndarray) -> tuple[pd.Series, pd.Series]:
        """Of test, raw and calibrated, where the labels of these rows are turned round."""
        table = score(X, np.where(np.isin(X.index, turned), 1 - y, y), *specs)
        table = table[table["split"] == "test"].set_index("model")
        return table["score_raw"], table["score"]

    strange, oldest, newest = X.copy(), np.arange(600, 750), np.arange(750, 900)
    strange.loc[newest, ["recency", "orders", "gap"]] = 1e3
    (raw, calibrated), (turned, turned_round) = scores(X, newest[:0]), scores(X, newest)
    pd.testing.assert_series_equal(turned, raw)
    pd.testing.assert_series_equal(scores(strange, newest)[0], raw)
    for name in ("lightgbm", "logistic"):
        assert not np.allclose(turned_round[name], calibrated[name])
    stopped, _ = scores(X, oldest)
    assert not stopped["lightgbm"].equals(raw["lightgbm"])  # it does stop by the older ones
    assert stopped["logistic"].equals(raw["logistic"])


def test_bad_input_is_one_sentence() -> None:
    X, y = make_table(num=100)
    with pytest.raises(ValueError, match="one class only in train"):
        classifier(ALL["logistic"]).fit(X, np.ones(100))
    with pytest.raises(ValueError, match="no column 'recency'"):
        classifier(ALL["recency"]).fit(X[["orders"]], y)
    with pytest.raises(ValueError, match="impute must be one of mean, median, mode, iterative, got 'guess'"):
        classifier(ALL["logistic"], impute="guess").fit(X, y)
    rare = np.zeros(100)
    rare[0] = 1
    with pytest.raises(ValueError, match="smote needs at least 2 training rows"):
        classifier(ALL["logistic"], imbalance="smote").fit(X, rare)
