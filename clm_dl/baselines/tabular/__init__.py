"""Models of the feature table: any scikit-learn estimator, with preprocessing and calibration."""
