"""Figures of churn show the numbers that they are given, on any input."""

import numpy as np
import pytest
from shown import bars_of, lines_of

from clm_dl.tasks.churn import figures as plots

LABEL, SCORE = np.array([1.0, 0, 1, 0]), np.array([0.9, 0.8, 0.7, 0.1])


def test_figures_draw_usual_and_degenerate_input():
    rng = np.random.default_rng(0)
    for label in (rng.integers(0, 2, 50).astype(float), np.zeros(5), np.zeros(0)):
        scores = {f"m{i}": rng.random(len(label)) for i in range(7)}
        for draw in (plots.reliability_figure, plots.precision_recall_figure, plots.roc_figure, plots.gain_figure):
            draw(label, scores).canvas.draw()
        plots.histogram_figure(label, scores["m0"], "m0").canvas.draw()
        plots.profit_figure(label, scores, benefit=10, cost=1).canvas.draw()


def test_roc_figure_draws_the_curve():
    found = lines_of(plots.roc_figure(LABEL, {"m": SCORE}))
    assert found == {"m": [[0, 0], [0, 0.5], [0.5, 0.5], [0.5, 1], [1, 1]], "0": [[0, 0], [1, 1]]}


def test_reliability_figure_draws_the_rate_against_the_mean_score():
    found = lines_of(plots.reliability_figure(LABEL, {"m": SCORE, "sure": np.array([1.0, 0, 0.6, 0])}, bins=2))
    assert found["m"] == [[0.4, 0.5], [0.85, 0.5]]
    assert found["sure"] == [[0, 0], [0.8, 1]]
    assert found["0"] == [[0, 0], [1, 1]]


def test_precision_recall_figure_draws_the_curve_and_the_prevalence():
    found = lines_of(plots.precision_recall_figure(np.array([1.0, 0, 0, 0]), {"m": SCORE, "late": SCORE[[1, 0, 2, 3]]}))
    third, fourth = round(1 / 3, 9), 0.25
    assert found["m"] == [[1, 1], [1, 0.5], [1, third], [1, fourth]]
    assert found["late"] == [[0, 0], [1, 0.5], [1, third], [1, fourth]]
    assert found["0"] == [[0, fourth], [1, fourth]]


def test_gain_figure_draws_the_curve_between_random_and_perfect():
    found = lines_of(plots.gain_figure(np.array([1.0, 0, 0, 0]), {"m": SCORE[[1, 0, 2, 3]]}))
    assert found["m"] == [[0, 0], [0.25, 0], [0.5, 1], [0.75, 1], [1, 1]]
    assert found["perfect"] == [[0, 0], [0.25, 1], [1, 1]]
    assert found["random"] == [[0, 0], [1, 1]]


def test_histogram_shows_each_class_as_shares_of_its_own():
    figure = plots.histogram_figure(np.array([1.0, 0, 1, 0, 1]), np.array([1.0, 0, 1, 0.5, 0]), "m")
    heights = bars_of(figure)
    assert figure.axes[0].get_title(loc="left") == "Scores of m"
    assert [heights["negative"][place] for place in (0, 20, 39)] == [0.5, 0.5, 0]
    assert [heights["positive"][place] for place in (0, 20, 39)] == pytest.approx([1 / 3, 0, 2 / 3])
    assert [sum(part) for part in heights.values()] == pytest.approx([1, 1])


def test_profit_figure_draws_the_curve_and_marks_its_maximum():
    found = lines_of(plots.profit_figure(LABEL, {"m": SCORE}, benefit=10, cost=1))
    for share, profit in {0: 0, 0.25: 2.25, 0.5: 2, 0.75: 4.25, 1: 4}.items():  # (10 · positives − contacts) / 4
        assert [share, profit] in found["m"]
    assert found["0"] == [[0.75, 4.25]]
