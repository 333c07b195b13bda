"""Figures of survival show the curves and the calibration that they are given."""

import numpy as np
import pandas as pd
from shown import lines_of

from clm_dl.tasks.survival.figures import by_horizon_figure, curves_figure, customers_figure, horizon_reliability_figure
from clm_dl.tasks.survival.scores import CurveScores


def test_survival_figures_show_curves_and_calibration_by_horizon():
    days = [0, 28]
    label = np.array([[1.0, 1], [1, 0], [0, 0], [1, np.nan]])
    active = np.array([[0.9, 0.8], [0.7, 0.4], [0.3, 0.1], [0.8, 0.6]])
    everyone = (np.arange(4), pd.DatetimeIndex(["2021-01-01"] * 4), np.ones(4, bool))
    table = CurveScores(*everyone, label, {"network": active, "flat": np.full((4, 2), 0.5)}, {})
    found = lines_of(curves_figure(table, days, ["network", "flat"]))
    mean = np.round(active[:3, 1].mean(), 9)  # of those followed so far
    assert found["network"] == [[0, 0.675], [28, mean]]
    assert found["flat"] == [[0, 0.5], [28, 0.5]]
    assert found["observed"] == [[0, 0.75], [28, np.round(1 / 3, 9)]]
    found = lines_of(horizon_reliability_figure(table, days, "network"))
    assert set(found) == {"0 days", "28 days", "0"}
    assert found["0 days"][0] == [0.3, 0]
    assert found["0 days"][-1] == [0.9, 1]
    assert found["28 days"][-1] == [0.8, 1]
    overall = {"network": {f"ece@{day}": {"value": day / 100, "low": day / 200, "high": day / 50} for day in days}}
    figure = by_horizon_figure(overall, days, ["network"], "ece", "ECE")
    assert lines_of(figure)["network"] == [[0, 0], [28, 0.28]]
    band = figure.axes[0].collections[0].get_paths()[0].vertices
    assert {tuple(point) for point in band.tolist()} >= {(28.0, 0.14), (28.0, 0.56)}
    drawn = customers_figure(table, days, "network").axes[0].lines
    assert len(drawn) == 5
    assert drawn[0].get_ydata().tolist() == [0.3, 0.1]  # the shortest lifetime expected comes first
