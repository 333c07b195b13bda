"""Figures of value show the deciles, the gain and the coverage that they are given."""

import numpy as np
import pandas as pd
import pytest
from shown import bars_of, lines_of

from clm_dl.tasks.value.figures import coverage_figure, decile_figure, spend_gain_figure
from clm_dl.tasks.value.scores import Forecast, ValueScores


def test_value_figures_show_deciles_gain_and_coverage():
    num = 20
    spend, score = np.arange(num, dtype=float), np.arange(num, dtype=float) + 1
    low, high = score - 5, np.where(score > 10, score - 2, score + 5)  # who spends most spends more than that
    everyone = (np.arange(num), pd.DatetimeIndex(["2021-01-01"] * num), np.ones(num, bool))
    forecasts = {"network": Forecast(score, low=low, high=high), "wrong": Forecast(-score)}
    table = ValueScores(*everyone, spend, spend, forecasts, {}, 0)
    heights = bars_of(decile_figure(table, "network"))
    assert heights["expected"] == pytest.approx(np.arange(10) * 2 + 1.5)
    assert heights["spent"] == pytest.approx(np.arange(10) * 2 + 0.5)
    found = lines_of(spend_gain_figure(table, ["network", "wrong"]))
    assert found["network"] == found["perfect"]
    assert found["network"][1] == [0.05, 0.1]  # 19 of 190
    assert found["wrong"][2] == [0.1, np.round(1 / 190, 9)]
    heights = bars_of(coverage_figure(table, "network"))
    assert heights == {"inside": [1.0] * 5 + [0.0] * 5, "spent more": [0.0] * 5 + [1.0] * 5, "spent less": [0.0] * 10}
