"""Calibration of survival curves: each horizon by itself, and none above the one before it."""

import numpy as np
from scipy.special import expit, logit

from clm_dl.evaluation.calibration import PlattCalibrator, ece
from clm_dl.tasks.survival.calibration import CurveCalibrator


def test_curves_are_calibrated_by_horizon_and_do_not_rise():
    rng = np.random.default_rng(3)
    true = np.sort(rng.random((30_000, 3)), axis=1)[:, ::-1]
    label = (true > rng.random((30_000, 1))).astype(float)
    tilted = expit(0.5 * logit(true) + [1.0, 0.0, -1.0])
    known = rng.random(true.shape) < 0.8
    calibrator = CurveCalibrator().fit(tilted, np.where(known, label, np.nan), known)
    curve = calibrator.predict(tilted)
    for s in range(3):
        assert ece(label[:, s], curve[:, s]) < 0.02 < ece(label[:, s], tilted[:, s])
    assert (np.diff(curve, axis=1) <= 0).all()
    assert (
        np.diff(CurveCalibrator([PlattCalibrator(1, 0), PlattCalibrator(1, 3)]).predict(true[:, :2]), axis=1) <= 0
    ).all()
    np.testing.assert_array_equal(CurveCalibrator.from_dict(calibrator.to_dict()).predict(tilted), curve)
