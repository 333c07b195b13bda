"""TableNetwork: the network of a table of customers, with scikit-learn's API; it stops early on given rows.

Shapes: N rows, F columns, P bins, K members.
"""

from __future__ import annotations

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassifierMixin
from torch import Tensor
from torch.nn import functional as F

from clm_dl.errors import UserError
from clm_dl.nn.tabular import TabularNetwork

BLOCK = 4096  # rows that are answered at a time


class TableNetwork(ClassifierMixin, BaseEstimator):
    """A TabularNetwork on numbers without gaps; its best epoch by the log loss of the validation rows is kept.

    Args:
        num_bins: of a column, at quantiles of its training values; a column of two values has one.
        num_members, hidden_size, num_layers, dropout: of the network.
        learning_rate, weight_decay: of AdamW. batch_size: rows a step.
        max_epochs, patience: it stops after so many, or so many in a row without improvement; without validation rows
            after `max_epochs`.

    Attributes:
        edges_, weights_: all that predicting needs, as plain numbers and arrays. num_epochs_: those that are kept.
    """

    classes_ = np.array([0, 1])

    def __init__(
        self,
        *,
        num_bins: int,
        num_members: int,
        hidden_size: int,
        num_layers: int,
        dropout: float,
        learning_rate: float,
        weight_decay: float,
        batch_size: int,
        max_epochs: int,
        patience: int,
        random_state: int | None = None,
    ):
        self.num_bins = num_bins
        self.num_members = num_members
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.dropout = dropout
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.batch_size = batch_size
        self.max_epochs = max_epochs
        self.patience = patience
        self.random_state = random_state

    def fit(
        self,
        X: np.ndarray,
        y: np.ndarray,
        sample_weight: np.ndarray | None = None,
        eval_X: np.ndarray | None = None,
        eval_y: np.ndarray | None = None,
        eval_weight: np.ndarray | None = None,
    ) -> TableNetwork:
        """Fit `[N, F]` numbers and labels in {0, 1}; the edges of the bins are those of X alone."""
        self._check()
        self.edges_ = [_edges(column, self.num_bins) for column in np.asarray(X, dtype=np.float64).T]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.random_state or 0)
            network = self._network()
            bins_NP, label_N, weight_N = self._rows(network, X, y, sample_weight)
            watched = None if eval_X is None else self._rows(network, eval_X, eval_y, eval_weight)
            rate = (label_N * weight_N).sum() / weight_N.sum()
            torch.nn.init.constant_(network.bias_K, float(torch.logit(rate, eps=1e-3)))
            optimizer = torch.optim.AdamW(
                network.parameters(), lr=self.learning_rate, weight_decay=self.weight_decay, foreach=True
            )
            lowest = np.inf
            for epoch in range(self.max_epochs):
                network.train()
                for rows in torch.randperm(len(label_N)).tensor_split(-(-len(label_N) // self.batch_size)):
                    logit_BK = network.logits(bins_NP[rows])
                    target_BK, weight_B1 = label_N[rows, None].expand_as(logit_BK), weight_N[rows, None]
                    loss = F.binary_cross_entropy_with_logits(logit_BK, target_BK, weight_B1)
                    optimizer.zero_grad()
                    loss.backward()
                    optimizer.step()
                found = -float(epoch) if watched is None else self._loss(network, *watched)
                if found < lowest:
                    lowest, self.num_epochs_ = found, epoch + 1
                    self.weights_ = {name: value.numpy().copy() for name, value in network.state_dict().items()}
                if epoch + 1 - self.num_epochs_ >= self.patience:
                    break
        return self

    def predict_proba(self, X: np.ndarray) -> np.ndarray:
        """P(0), P(1) `[N, 2]`."""
        with torch.random.fork_rng(devices=[]):  # the weights that are drawn here are not those that count
            network = self._network()
        network.load_state_dict({name: torch.from_numpy(value) for name, value in self.weights_.items()})
        positive = self._answer(network, network.bins(_tensor(X))).double().numpy()
        return np.stack([1 - positive, positive], axis=1)

    def _network(self) -> TabularNetwork:
        return TabularNetwork(
            self.edges_,
            num_members=self.num_members,
            hidden_size=self.hidden_size,
            num_layers=self.num_layers,
            dropout=self.dropout,
        )

    def _rows(
        self, network: TabularNetwork, X: np.ndarray, y: np.ndarray | None, weight: np.ndarray | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Bins, labels and weights as tensors."""
        return network.bins(_tensor(X)), _tensor(y), torch.ones(len(X)) if weight is None else _tensor(weight)

    def _answer(self, network: TabularNetwork, bins_NP: Tensor) -> Tensor:
        """The mean probability of the members `[N]`."""
        network.eval()
        with torch.no_grad():
            return torch.cat([network.logits(block).sigmoid().mean(1) for block in bins_NP.split(BLOCK)])

    def _loss(self, network: TabularNetwork, bins_NP: Tensor, label_N: Tensor, weight_N: Tensor) -> float:
        """Weighted log loss of the mean probability."""
        return float(F.binary_cross_entropy(self._answer(network, bins_NP), label_N, weight_N))

    def _check(self) -> None:
        for name in ("num_bins", "num_members", "hidden_size", "num_layers", "batch_size", "max_epochs", "patience"):
            if not (isinstance(value := getattr(self, name), int) and value >= 1):
                raise UserError(f"data.network.{name} must be an integer ≥ 1, got {value!r}")
        if not 0 <= self.dropout < 1:
            raise UserError(f"data.network.dropout is a share and must be in [0, 1), got {self.dropout}")
        if not self.learning_rate > 0 or not self.weight_decay >= 0:
            raise UserError(
                "data.network.learning_rate must be > 0 and weight_decay ≥ 0, got "
                f"{self.learning_rate} and {self.weight_decay}"
            )


def _tensor(values: np.ndarray | None) -> Tensor:
    return torch.from_numpy(np.asarray(values, dtype=np.float32))


def _edges(column: np.ndarray, num_bins: int) -> list[float]:
    """Where the bins of a column meet: at its values where these are few, else at quantiles."""
    values = np.unique(column)
    if len(values) > num_bins + 1:
        values = np.unique(np.quantile(column, np.linspace(0, 1, num_bins + 1)))
    return [float(value) for value in values]
