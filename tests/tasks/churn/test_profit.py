"""Profit of contacting the highest scored."""

import warnings

import numpy as np
import pytest
from support import metrics_of, task_of

from clm_dl.tasks.churn.profit import expected_profit_curve


def test_profit_by_hand():
    label, score = np.array([1.0, 0, 1, 0]), np.array([0.9, 0.8, 0.7, 0.1])
    curve = expected_profit_curve(label, score, benefit=4, cost=1, points=5)
    assert curve.fraction.tolist() == [0, 0.25, 0.5, 0.75, 1]
    assert (curve.profit * 4).tolist() == [0, 3, 2, 5, 4]
    assert curve.best == 3
    assert curve.at(0.625) * 4 == pytest.approx(3.5)


@pytest.mark.parametrize("label", [np.zeros(5), np.ones(5), np.zeros(0)])
def test_one_class_or_nobody_gives_a_curve_without_a_warning(label):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        curve = expected_profit_curve(label, np.linspace(0.1, 0.9, len(label)), benefit=2, cost=1, points=3)
    assert np.isnan(curve.profit).all() == (len(label) == 0)
    if len(label):
        assert curve.profit[-1] == pytest.approx(2 * label.mean() - 1)


def test_profit_share_is_chosen_on_validation(make_scores):
    scores = make_scores({"network": 0.1})
    profit = metrics_of(task_of("profit.benefit=5", "profit.cost=1"), scores)["profit"]
    assert (profit["benefit"], profit["cost"]) == (5, 1)
    found = profit["models"]["network"]
    assert found["profit"] <= found["best_profit"]
    assert 0 < found["fraction"] < 1
    val = scores[scores["split"] == "val"]
    curve = expected_profit_curve(val["label"], val["score"], benefit=5, cost=1)
    assert found["fraction"] == curve.fraction[curve.best]
