"""The LSTM on one series: learns a rhythm, follows its seed alone, does not touch the global generator, bad input."""

from typing import Any

import numpy as np
import pytest
import torch

from clm_dl.baselines.series_lstm import SeriesLSTM
from clm_dl.lifecycle.forecast import backtest


def test_it_learns_a_rhythm_that_the_mean_and_the_last_value_cannot() -> None:
    y = 100 + 10 * np.array([0, 1, 3, 1] * 12)
    table = backtest(y, num_periods=8, origins=[40], models={"lstm": SeriesLSTM(num_steps=400)})
    error = (table["forecast"] - table["actual"]).abs().groupby(table["model"]).mean()
    assert error["lstm"] < 2 < 0.5 * min(error["mean"], error["last"])


def test_same_seed_same_forecast_whatever_the_global_generator_did() -> None:
    y = 50 + np.random.default_rng(0).normal(size=20)
    before = torch.get_rng_state()
    one = SeriesLSTM(num_steps=5).fit(y).forecast(3)
    assert before.equal(torch.get_rng_state())
    torch.rand(7)
    np.testing.assert_array_equal(one, SeriesLSTM(num_steps=5).fit(y).forecast(3))
    assert (one != SeriesLSTM(num_steps=5, seed=1).fit(y).forecast(3)).all()
    np.testing.assert_allclose(SeriesLSTM(num_steps=5).fit(1000 * y).forecast(3), 1000 * one, rtol=1e-4)


def test_a_constant_series_stays() -> None:
    np.testing.assert_allclose(SeriesLSTM(num_steps=50).fit([4.0] * 12).forecast(3), 4, atol=0.2)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: SeriesLSTM().fit([1, 2]), "at least 3 periods"),
        (lambda: SeriesLSTM().forecast(2), "not fitted"),
        (lambda: SeriesLSTM(num_steps=1).fit([1, 2, 3]).forecast(0), "num_periods must be ≥ 1"),
    ],
)
def test_bad_input_is_one_sentence(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
