"""Tree-augmented naive Bayes: features in bins, each a child of churn and of at most one other feature."""

from __future__ import annotations

import numpy as np
from scipy.sparse.csgraph import breadth_first_order, minimum_spanning_tree
from sklearn.base import BaseEstimator, ClassifierMixin

from clm_dl.errors import UserError


class BayesNet(ClassifierMixin, BaseEstimator):
    """Discrete Bayesian network whose structure is the tree that explains most (Chow-Liu on mutual information given
    the label).

    P(label) · Π P(feature | label, parent): Friedman, Geiger, Goldszmidt (1997), Bayesian network classifiers.

    Args:
        num_bins: of each feature, at its quantiles.
        smoothing: imaginary rows for each cell of a table, spread as the label's own distribution of the feature.
        tree: false: no feature has a parent besides the label (naive Bayes on bins).
    """

    def __init__(self, *, num_bins: int = 8, smoothing: float = 5.0, tree: bool = True):
        self.num_bins = num_bins
        self.smoothing = smoothing
        self.tree = tree

    def fit(self, X: np.ndarray, y: np.ndarray) -> BayesNet:
        """Fit `[N, F]` numbers without gaps; sets `parent_` `[F]` (−1: the label alone) and the tables."""
        if self.num_bins < 2 or not self.smoothing > 0:
            raise UserError(
                f"a Bayesian network needs num_bins ≥ 2 and smoothing > 0, got {self.num_bins} and {self.smoothing}"
            )
        X, y = np.asarray(X, dtype=np.float64), np.asarray(y)
        self.classes_, label = np.unique(y, return_inverse=True)
        self.edges_ = [self._edges(column) for column in X.T]
        codes = self._bins(X)
        one_hot = (codes[:, :, None] == np.arange(self.num_bins)).reshape(len(codes), -1).astype(np.float32)
        pairs = np.stack([one_hot[label == c].T @ one_hot[label == c] for c in range(len(self.classes_))]).astype(
            np.float64
        )
        num = X.shape[1]
        # [C, F, bins, F, bins] counts
        pairs = pairs.reshape(len(self.classes_), num, self.num_bins, num, self.num_bins)
        self.parent_ = _tree(pairs) if self.tree else np.full(num, -1)
        self.log_prior_ = np.log((np.bincount(label) + 1) / (len(label) + len(self.classes_)))
        features = np.arange(num)
        alone = pairs[:, features, :, features, :].diagonal(axis1=2, axis2=3).transpose(1, 0, 2)  # [C, F, bins]
        base = (alone + self.smoothing / self.num_bins) / (alone.sum(2, keepdims=True) + self.smoothing)
        tables = np.repeat(base[:, :, None, :], self.num_bins, axis=2)  # [C, F, bin of the parent, bin]
        for child in np.flatnonzero(self.parent_ >= 0):
            joint = pairs[:, self.parent_[child], :, child, :]
            tables[:, child] = (joint + self.smoothing * base[:, child, None]) / (
                joint.sum(2, keepdims=True) + self.smoothing
            )
        self.log_tables_ = np.log(tables)
        return self

    def predict_proba(self, X: np.ndarray) -> np.ndarray:
        """`[N, C]`, by Bayes' rule."""
        codes, features = self._bins(np.asarray(X, dtype=np.float64)), np.arange(len(self.edges_))
        above = np.where(self.parent_ >= 0, codes[:, self.parent_], 0)
        joint = self.log_prior_[:, None] + self.log_tables_[:, features, above, codes].sum(-1)  # [C, N]
        joint = np.exp(joint - joint.max(0))
        return np.asarray((joint / joint.sum(0)).T)

    def _edges(self, column: np.ndarray) -> np.ndarray:
        """Where a bin ends, itself included: between the values where these are few, else at quantiles."""
        values = np.unique(column)
        if len(values) <= self.num_bins:
            return (values[1:] + values[:-1]) / 2
        return np.unique(np.quantile(column, np.linspace(0, 1, self.num_bins + 1)[1:-1]))

    def _bins(self, X: np.ndarray) -> np.ndarray:
        return np.stack(
            [np.searchsorted(edges, column, side="left") for edges, column in zip(self.edges_, X.T, strict=True)],
            axis=1,
        )


def _tree(pairs: np.ndarray) -> np.ndarray:
    """Parent `[F]` of each feature in the tree of largest mutual information given the label; −1 at its root."""
    share = pairs / pairs.sum() * pairs.shape[1] ** 2
    first = share.sum((4,), keepdims=True)
    second = share.sum((2,), keepdims=True)
    label = share.sum((2, 4), keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        gain = np.nansum(np.where(share > 0, share * np.log(share * label / (first * second)), 0), axis=(0, 2, 4))
    np.fill_diagonal(gain, 0)
    order, parent = breadth_first_order(minimum_spanning_tree(-(gain + 1.0)), 0, directed=False)
    assert len(order) == len(gain)
    return np.where(parent < 0, -1, parent)
