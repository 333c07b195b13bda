"""Figures of basket values by hand, the calibrator against least squares, and the loss against torch's density."""

import json

import numpy as np
import pandas as pd
import pytest
import torch

from clm_dl.tasks.basket_value.calibration import LogNormalCalibrator
from clm_dl.tasks.basket_value.metrics import METRICS, basket_measure, reference
from clm_dl.tasks.basket_value.question import REACH, BasketQuestion
from clm_dl.tasks.basket_value.scores import read_baskets

E = np.e


def rows(model: str, median: list[float], score: list[float]) -> pd.DataFrame:
    """Customer a twice, b and c once; c's next order is unknown."""
    amount = [E, E**2, E**3, np.nan]
    return pd.DataFrame(
        {
            "customer_id": ["a", "a", "b", "c"],
            "cutoff": pd.to_datetime(["2021-01-01", "2021-02-01", "2021-01-01", "2021-01-01"], utc=True),
            "task": "basket_value",
            "split": "test",
            "model": model,
            "score": score,
            "score_raw": median,
            "median": median,
            "label": amount,
            "spend": amount,
            **dict.fromkeys(("orders", "low", "high", "expected_orders"), np.nan),
            "recent": True,
        }
    )


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    network = rows("network", [E, E, E**3, 1.0], [1.0, 2.0, 3.0, 1.0])
    return pd.concat([network, rows("other", [E**2] * 4, [3.0, 2.0, 1.0, 1.0])], ignore_index=True)


def test_figures_by_hand(table: pd.DataFrame) -> None:
    measure = basket_measure(read_baskets(table, "test"))
    assert measure.models == ("network", "other")
    assert measure.metrics == tuple(metric.name for metric in METRICS)
    once, a_twice = measure.values(np.array([[1.0, 1.0], [2.0, 1.0]]))
    place = {name: column for column, name in enumerate(measure.metrics)}
    np.testing.assert_allclose(once[:, place["log_mae"]], [1 / 3, 2 / 3])
    np.testing.assert_allclose(a_twice[:, place["log_mae"]], [2 / 5, 3 / 5])  # a resample repeats both its snapshots
    np.testing.assert_allclose(once[:, place["gini"]], [1, -1])
    np.testing.assert_allclose(once[:, place["bias"]], [6 / (E + E**2 + E**3) - 1] * 2)


def test_a_constant_median_reaches_the_floor(table: pd.DataFrame) -> None:
    """That of the known next orders themselves."""
    read = read_baskets(table, "test")
    known = reference(read)
    assert (known["snapshots"], known["customers"], known["censored"]) == (3, 2, 1)
    assert known["amount"] == pytest.approx((E + E**2 + E**3) / 3)
    floor = basket_measure(read).values(np.ones((1, 2)))[0, 1, 0]  # "other" says E² of everyone
    assert known["floor"]["log_mae"] == pytest.approx(floor) == pytest.approx(2 / 3)


def test_models_of_other_snapshots_are_refused(table: pd.DataFrame) -> None:
    with pytest.raises(ValueError, match="snapshots"):
        read_baskets(table.drop(index=0), "test")


def test_calibration_is_least_squares_of_the_logs() -> None:
    rng = np.random.default_rng(0)
    answer = rng.normal(2, 1, 5000)
    amount = np.exp(0.3 + 0.7 * answer + rng.normal(0, 0.5, 5000))
    calibrator = LogNormalCalibrator().fit(answer, amount)
    slope, intercept = np.polyfit(answer, np.log(amount), 1)
    assert (calibrator.slope, calibrator.intercept) == pytest.approx((slope, intercept))
    assert calibrator.mean(answer).mean() == pytest.approx(amount.mean(), rel=0.03)
    below = amount < calibrator.median(answer)
    assert below.mean() == pytest.approx(0.5, abs=0.02)
    again = LogNormalCalibrator.from_dict(json.loads(json.dumps(calibrator.to_dict())))
    np.testing.assert_array_equal(again.mean(answer), calibrator.mean(answer))


def test_calibration_of_constant_answers_moves_them_to_the_mean_of_the_logs() -> None:
    calibrator = LogNormalCalibrator().fit([1.0, 1.0], [E, E**3])
    assert calibrator.median([1.0]) == pytest.approx([E**2])
    assert calibrator.mean([1.0]) == pytest.approx([E**2 * np.exp(0.5)])
    with pytest.raises(ValueError, match="got none"):
        LogNormalCalibrator().fit([], [])


def test_loss_is_the_lognormal_density_and_unknown_amounts_have_no_part_in_it() -> None:
    question = BasketQuestion(scales={"center": 2.0, "scale": 0.5}, head_size=None, dropout=0.0, columns=slice(None))
    output = torch.tensor([[0.3, -0.4], [1.0, 0.2], [5.0, 5.0]], requires_grad=True)
    truth = torch.tensor([[9.0], [4.0], [float("nan")]])
    location, deviation = 2.0 + 0.5 * output[:2, 0], 0.5 * (REACH * (output[:2, 1] / REACH).tanh()).exp()
    density = torch.distributions.LogNormal(location, deviation).log_prob(truth[:2, 0])
    constant = np.log(0.5) + 0.5 * np.log(2 * np.pi) + truth[:2, 0].log()  # what no output changes
    loss = question.loss(output, truth)
    torch.testing.assert_close(loss, (-density - constant).mean())
    (gradient,) = torch.autograd.grad(loss, output)
    assert gradient[:2].abs().min() > 0
    assert (gradient[2] == 0).all()
    found = question.metrics(output, truth)
    assert found["log_mae"].item() == pytest.approx(
        float((location - truth[:2, 0].log()).abs().mean().detach()), rel=1e-6
    )


def test_nothing_known_in_a_batch_gives_no_gradient() -> None:
    question = BasketQuestion(scales={"center": 2.0, "scale": 0.5}, head_size=None, dropout=0.0, columns=slice(None))
    output = torch.ones(2, 2, requires_grad=True)
    loss = question.loss(output, torch.full((2, 1), float("nan")))
    (gradient,) = torch.autograd.grad(loss, output)
    assert loss.item() == 0
    assert (gradient == 0).all()
