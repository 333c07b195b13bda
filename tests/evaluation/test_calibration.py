"""ECE on equal-mass bins, Platt scaling, prior correction."""

import numpy as np
import pytest
from scipy.special import expit, logit
from sklearn.linear_model import LogisticRegression

from clm_dl.evaluation.calibration import PlattCalibrator, ece, prior_correction, reliability
from clm_dl.evaluation.classification import log_loss


def test_ece_equals_bins_made_by_hand():
    rng = np.random.default_rng(0)
    p = rng.random(1500)
    label = (rng.random(1500) < p**2).astype(float)
    bins = np.array_split(np.argsort(p), 15)
    expect = np.mean([abs(p[rows].mean() - label[rows].mean()) for rows in bins])
    assert ece(label, p) == pytest.approx(expect, abs=1e-12)
    mean_p, rate = reliability(label, p)
    assert mean_p == pytest.approx([p[rows].mean() for rows in bins])
    assert rate == pytest.approx([label[rows].mean() for rows in bins])


def test_ece_of_constant_scores_is_the_gap_of_the_means():
    label = np.repeat([1.0, 0.0], [30, 70])
    assert ece(label, np.full(100, 0.45)) == pytest.approx(0.15)
    assert ece(label[::-1], np.full(100, 0.3)) == pytest.approx(0, abs=1e-12)


def test_ece_does_not_depend_on_the_order_of_tied_rows():
    rng = np.random.default_rng(1)
    label, p = rng.integers(0, 2, 200).astype(float), rng.integers(1, 5, 200) / 5
    mixed = rng.permutation(200)
    assert ece(label[mixed], p[mixed]) == pytest.approx(ece(label, p), abs=1e-12)


def test_weights_equal_repeated_rows():
    rng = np.random.default_rng(2)
    label, p, times = rng.integers(0, 2, 100).astype(float), rng.random(100), rng.integers(0, 4, 100)
    assert ece(label, p, weight=times) == pytest.approx(ece(np.repeat(label, times), np.repeat(p, times)), abs=1e-12)


def test_platt_finds_slope_and_intercept():
    rng = np.random.default_rng(3)
    true_p = expit(rng.normal(-1.5, 1.2, 40_000))
    label = (rng.random(40_000) < true_p).astype(float)
    distorted = expit((logit(true_p) - 0.7) / 0.5)
    fitted = PlattCalibrator().fit(distorted, label)
    reference = LogisticRegression(C=np.inf, tol=1e-8).fit(logit(distorted)[:, None], label)
    assert fitted.slope == pytest.approx(reference.coef_[0, 0], abs=2e-3)
    assert fitted.intercept == pytest.approx(reference.intercept_[0], abs=2e-3)
    assert fitted.slope == pytest.approx(0.5, abs=0.03)
    assert ece(label, fitted.predict(distorted)) < 0.01 < ece(label, distorted)
    again = PlattCalibrator.from_dict(fitted.to_dict())
    assert again.predict(distorted).tolist() == fitted.predict(distorted).tolist()


def test_platt_stays_finite_on_separable_and_constant_scores():
    label = np.repeat([0.0, 1.0], [70, 30])
    separable = PlattCalibrator().fit(label, label)
    assert np.isfinite([separable.slope, separable.intercept]).all()
    assert separable.predict([0.0, 1.0]) == pytest.approx([1 / 72, 31 / 32], abs=1e-6)
    constant = PlattCalibrator().fit(np.full(100, 0.9), np.repeat([0.0, 1.0], [80, 20]))
    assert constant.predict([0.9]) == pytest.approx([0.2])


@pytest.mark.parametrize("label", [np.zeros(4), np.ones(4)])
def test_platt_refuses_one_class(label):
    with pytest.raises(ValueError, match="both classes"):
        PlattCalibrator().fit(np.full(4, 0.5), label)


def test_prior_correction_undoes_undersampling():
    rng = np.random.default_rng(4)
    x = rng.normal(size=200_000)
    label = rng.random(200_000) < expit(x - 3)
    kept = label | (rng.random(200_000) < 0.1)
    model = LogisticRegression(C=np.inf).fit(x[kept, None], label[kept])
    p = prior_correction(model.predict_proba(x[:, None])[:, 1], label.mean(), label[kept].mean())
    assert p.mean() == pytest.approx(label.mean(), rel=0.01)
    assert np.abs(p - expit(x - 3)).max() < 0.03
    assert prior_correction([0.0, 1.0], 0.1, 0.5).tolist() == [0, 1]
    with pytest.raises(ValueError, match="strictly between"):
        prior_correction([0.5], 0.0, 0.5)


def test_platt_undoes_a_shifted_rate_before_it_is_fitted():
    rng = np.random.default_rng(5)
    p = rng.random(500)
    label, corrected = (rng.random(500) < p**2).astype(float), prior_correction(p, 0.1, 0.5)
    shifted = PlattCalibrator(prior=(0.1, 0.5)).fit(p, label)
    expect = PlattCalibrator().fit(corrected, label).predict(corrected)
    np.testing.assert_allclose(shifted.predict(p), expect, rtol=1e-12)
    assert PlattCalibrator.from_dict(shifted.to_dict()).predict(p).tolist() == shifted.predict(p).tolist()


def seasons(levels: list[float], num: int = 3000, *, slope: float = 1.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(p, label, cutoff): at each cutoff the logit that comes true is slope · logit(p) + its level."""
    rng = np.random.default_rng(0)
    z = rng.normal(0, 1.2, (len(levels), num))
    true = slope * z + np.array(levels)[:, None]
    label = (rng.random(z.shape) < expit(true)).astype(float)
    return expit(z).ravel(), label.ravel(), np.repeat(np.arange(len(levels)), num)


@pytest.mark.parametrize(
    ("levels", "slope", "kind"),
    [
        ([0.3, -0.3, 0.3, -0.3], 1.0, "raw"),  # a season: what was right at one cutoff is wrong at the next
        ([0.8, 0.8, 0.8], 1.0, "intercept"),
        ([0.8, 0.8, 0.8], 2.0, "Platt"),
    ],
)
def test_what_older_cutoffs_speak_for_is_chosen(levels: list[float], slope: float, kind: str) -> None:
    p, label, cutoff = seasons(levels, slope=slope)
    fitted = PlattCalibrator().fit_over(p, label, cutoff=cutoff, newest=cutoff == len(levels) - 1)
    assert fitted.told is not None
    assert fitted.told.startswith(kind)
    assert f"chosen on {len(levels) - 1} older cutoffs" in fitted.told
    if kind == "raw":
        assert fitted.predict(p) == pytest.approx(p)
    else:
        assert fitted.slope == pytest.approx(slope, abs=0.2)
        assert fitted.intercept == pytest.approx(0.8, abs=0.2)
    again = PlattCalibrator.from_dict(fitted.to_dict())
    assert (again.told, again.predict(p).tolist()) == (fitted.told, fitted.predict(p).tolist())


def test_one_cutoff_moves_less_than_it_asks_for_and_more_cutoffs_more() -> None:
    asked, moved = 0.3, []
    for num in (1, 2, 5):
        p, label, cutoff = seasons([asked] * num, num=20_000)
        moved.append(PlattCalibrator().fit_over(p, label, cutoff=cutoff, newest=cutoff == num - 1).intercept)
    assert 0.05 < moved[0] < 0.7 * asked
    assert moved[0] < moved[1] < moved[2]
    p, label, cutoff = seasons([3.0], num=20_000)  # a fault of the model and no season
    sure = PlattCalibrator().fit_over(p, label, cutoff=cutoff, newest=cutoff == 0)
    assert sure.intercept == pytest.approx(3, abs=0.15)


def test_a_season_at_a_single_cutoff_hurts_less_than_a_full_calibration() -> None:
    p, label, cutoff = seasons([0.35])
    later, true, _ = seasons([0.0])
    shrunk = PlattCalibrator().fit_over(p, label, cutoff=cutoff, newest=cutoff == 0)
    loss = [log_loss(true, one.predict(later)) for one in (PlattCalibrator(), shrunk, PlattCalibrator().fit(p, label))]
    assert loss[0] < loss[1] < loss[2]
    assert loss[1] - loss[0] < 0.6 * (loss[2] - loss[0])


def test_customers_at_the_training_cutoffs_are_pooled_and_not_shrunk() -> None:
    p, label, cutoff = seasons([0.3, 0.3, 0.3], slope=1.5)
    fitted = PlattCalibrator().fit_over(p, label, cutoff=cutoff, newest=np.ones(len(p), bool))
    whole = PlattCalibrator().fit(p, label)
    assert (fitted.slope, fitted.intercept) == pytest.approx((whole.slope, whole.intercept))
    assert "shrunk" not in str(fitted.told)


def test_an_older_cutoff_with_one_class_judges_nothing() -> None:
    p, label, cutoff = seasons([0.5, 0.5])
    label[cutoff == 0] = 0
    told = PlattCalibrator().fit_over(p, label, cutoff=cutoff, newest=cutoff == 1).told
    assert "not chosen" in str(told)
    with pytest.raises(ValueError, match="both classes"):
        PlattCalibrator().fit_over(p, label * 0, cutoff=cutoff, newest=cutoff == 1)
