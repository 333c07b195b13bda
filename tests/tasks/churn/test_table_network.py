"""The network of a table: what it can learn that no linear model can, early stopping, seeds, and odd tables."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
import skops.io
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from support import config_of

from clm_dl.baselines.spec import Spec
from clm_dl.baselines.tabular.classifier import TabularClassifier
from clm_dl.config import compose, plain
from clm_dl.experiment.settings import read_task
from clm_dl.tasks.churn.table_network import TableNetwork

OPTIONS = {key: value for key, value in config_of("data=table")["data"]["network"].items() if key[0] not in "n_"}
OPTIONS |= {"num_bins": 8, "num_members": 4, "num_layers": 2, "hidden_size": 32, "random_state": 0}


def made(**changes: Any) -> TableNetwork:
    return TableNetwork(**(OPTIONS | changes))


def checkerboard(num: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Two numbers whose product alone says the label, three that say nothing, and a tenth of labels turned over."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(num, 5))
    return X, ((X[:, 0] * X[:, 1] > 0) ^ (rng.random(num) < 0.1)).astype(int)


@pytest.fixture(scope="module")
def fitted() -> TableNetwork:
    X, y = checkerboard(800)
    return made().fit(X[:600], y[:600], eval_X=X[600:], eval_y=y[600:])


def test_it_learns_an_interaction_that_no_linear_model_can(fitted: TableNetwork) -> None:
    X, y = checkerboard(800)
    X_new, y_new = checkerboard(1000, seed=1)
    linear = LogisticRegression().fit(X, y)
    assert roc_auc_score(y_new, linear.predict_proba(X_new)[:, 1]) < 0.6
    assert roc_auc_score(y_new, fitted.predict_proba(X_new)[:, 1]) > 0.85


def test_it_keeps_the_best_epoch_and_stops_soon_after(fitted: TableNetwork) -> None:
    X, y = checkerboard(800)
    quick = made(max_epochs=fitted.num_epochs_).fit(X[:600], y[:600], eval_X=X[600:], eval_y=y[600:])
    np.testing.assert_array_equal(quick.predict_proba(X), fitted.predict_proba(X))
    noise = np.random.default_rng(0).integers(0, 2, 800)
    assert made(patience=2).fit(X[:600], noise[:600], eval_X=X[600:], eval_y=noise[600:]).num_epochs_ < 10


def test_the_same_seed_is_the_same_network_and_leaves_other_draws_alone(fitted: TableNetwork) -> None:
    X, y = checkerboard(200)
    known = {"eval_X": X[100:], "eval_y": y[100:]}
    torch.manual_seed(5)
    first = made(max_epochs=3).fit(X[:100], y[:100], **known).predict_proba(X)
    drawn = torch.rand(1)
    torch.manual_seed(6)
    again = made(max_epochs=3).fit(X[:100], y[:100], **known).predict_proba(X)
    np.testing.assert_array_equal(first, again)
    torch.manual_seed(5)
    assert torch.equal(torch.rand(1), drawn)
    other = made(max_epochs=3, random_state=1).fit(X[:100], y[:100], **known).predict_proba(X)
    assert not np.array_equal(first, other)


def test_validation_rows_stop_and_neither_bin_nor_weigh() -> None:
    """Of equally many epochs the validation rows choose, and that is all: with one epoch there is nothing to choose."""
    X, y = checkerboard(200)
    one = made(max_epochs=1)
    answers = [
        one.fit(X[:100], y[:100], eval_X=far, eval_y=label).predict_proba(X[:100])
        for far, label in ((X[100:], y[100:]), (X[100:] * 50, 1 - y[100:]))
    ]
    np.testing.assert_array_equal(*answers)
    assert one.edges_[0][0] == pytest.approx(X[:100, 0].min())


def test_it_reads_back_from_data_to_the_same_answers(fitted: TableNetwork) -> None:
    X, _ = checkerboard(50, seed=2)
    content = skops.io.dumps(fitted)
    held = skops.io.get_untrusted_types(data=content)
    assert held == ["clm_dl.tasks.churn.table_network.TableNetwork"]
    again = skops.io.loads(content, trusted=held)
    np.testing.assert_array_equal(again.predict_proba(X), fitted.predict_proba(X))


def test_weights_count_as_rows_do() -> None:
    X, y = checkerboard(200)
    known = {"eval_X": X[100:], "eval_y": y[100:]}
    plain = made(max_epochs=5).fit(X[:100], y[:100], **known).predict_proba(X)[:, 1]
    heavy = made(max_epochs=5).fit(
        X[:100], y[:100], np.where(y[:100] == 1, 9.0, 1.0), **known, eval_weight=np.where(y[100:] == 1, 9.0, 1.0)
    )
    assert heavy.predict_proba(X)[:, 1].mean() > plain.mean() + 0.2


@pytest.mark.parametrize(
    ("option", "value"),
    [("num_bins", 0), ("num_members", 1.5), ("dropout", 1.0), ("learning_rate", 0.0), ("patience", 0)],
)
def test_options_out_of_range_are_one_sentence(option: str, value: float) -> None:
    X, y = checkerboard(20)
    with pytest.raises(ValueError, match=f"data.network.{option}"):
        made(**{option: value}).fit(X, y)


# --- behind the preprocessing of a table


def table(num: int, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame({"bill": rng.gamma(2, 30, num), "calls": rng.poisson(3, num).astype(float)})
    frame["plan"] = pd.Series(rng.choice(["a", "b", "c"], num), dtype=object)
    frame["same"], frame["word"] = 1.0, "x"
    return frame


def classifier(**changes: Any) -> TabularClassifier:
    spec = Spec("network", lambda: TableNetwork(**(OPTIONS | {"max_epochs": 40} | changes)), ("churn",))
    return TabularClassifier.of(spec, seed=0)


def test_gaps_are_told_apart_from_values() -> None:
    frame = table(600)
    gone = np.random.default_rng(1).random(600) < 0.3
    label = (gone ^ (np.random.default_rng(2).random(600) < 0.1)).astype(int)
    frame.loc[gone, "bill"] = np.nan
    model = classifier().fit(frame[:300], label[:300], frame[300:450], label[300:450])
    assert roc_auc_score(label[450:], model.raw_score(frame[450:])) > 0.8


def test_unseen_categories_and_values_are_answered() -> None:
    frame = table(300)
    label = (frame["plan"] == "a").astype(int).to_numpy()
    model = classifier().fit(frame[:200], label[:200], frame[200:], label[200:])
    strange = frame[:3].assign(plan=["new", None, "a"], bill=[np.nan, 1e12, -1e12], calls=np.nan, same=7.0, word=None)
    answers = model.predict_proba(strange)
    assert np.isfinite(answers).all()
    assert ((answers >= 0) & (answers <= 1)).all()


@pytest.mark.parametrize("columns", [["bill", "calls"], ["plan", "word"], ["same"], ["word"]])
def test_all_numbers_all_categories_and_nothing_but_constants(columns: list[str]) -> None:
    frame = table(120)[columns]
    label = (np.arange(120) % 3 == 0).astype(int)
    model = classifier(max_epochs=5).fit(frame[:80], label[:80], frame[80:], label[80:])
    assert np.isfinite(model.predict_proba(frame)).all()


def test_the_preprocessing_knows_the_training_rows_alone() -> None:
    """Whatever stands in the rows that stop, calibrate or are scored, edges and levels are those of training."""
    frame, label = table(200), (np.arange(200) % 2).astype(int)
    other = frame.copy()
    other.loc[100:, "bill"] *= 1000.0
    other.loc[100:, "plan"] = "elsewhere"
    known = [classifier(max_epochs=1).fit(one[:100], label[:100], one[100:], label[100:]) for one in (frame, other)]
    assert known[0].estimator_.edges_ == known[1].estimator_.edges_
    np.testing.assert_array_equal(*(model.raw_score(frame) for model in known))


@pytest.mark.slow
def test_a_table_of_thirty_rows() -> None:
    frame = table(30).assign(left=np.arange(30) % 3 == 0).astype({"left": int})
    config = plain(compose("train", ["data=table", "data.label=left", "data.network.max_epochs=5"]))
    scores, _ = read_task(config).table_scores({**config["data"], "frame": frame})
    assert scores["score"].between(0, 1).all()
    assert (scores.groupby("model").size() == 30).all()
