"""An LSTM on one series: it learns each period's change from the periods before, and rolls its own forecasts on."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import nn

from clm_dl.errors import UserError
from clm_dl.lifecycle.forecast import check_series


class SeriesLSTM:
    """Forecasts of a series by one small LSTM, trained on the whole history at once, one step ahead.

    Args:
        hidden_size: width. num_steps: of Adam. weight_decay: on all weights, as histories are short.
        seed: of the initial weights; the global generator is left alone.
    """

    def __init__(
        self,
        *,
        hidden_size: int = 16,
        num_steps: int = 200,
        lr: float = 0.01,
        weight_decay: float = 0.01,
        seed: int = 0,
    ):
        self.hidden_size, self.num_steps, self.lr, self.weight_decay, self.seed = (
            hidden_size,
            num_steps,
            lr,
            weight_decay,
            seed,
        )

    def fit(self, series: ArrayLike) -> SeriesLSTM:
        """Fit `[W]` values, the newest last."""
        y = check_series(series)
        self.mean_, self.scale_ = float(y.mean()), float(y.std()) or 1.0
        self.history_ = torch.tensor((y - self.mean_) / self.scale_, dtype=torch.float32)[None, :, None]  # [1, W, 1]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            self.lstm_, self.head_ = nn.LSTM(1, self.hidden_size, batch_first=True), nn.Linear(self.hidden_size, 1)
        parameters = [*self.lstm_.parameters(), *self.head_.parameters()]
        optimizer = torch.optim.AdamW(parameters, lr=self.lr, weight_decay=self.weight_decay)
        before, after = self.history_[:, :-1], self.history_[:, 1:]
        for _ in range(self.num_steps):
            optimizer.zero_grad()
            loss = (before + self.head_(self.lstm_(before)[0]) - after).square().mean()
            loss.backward()
            optimizer.step()
        return self

    @torch.no_grad()
    def forecast(self, num_periods: int) -> np.ndarray:
        """Expected values of the next periods `[num_periods]`, each fed back as if it had come true."""
        if not hasattr(self, "history_"):
            raise UserError("SeriesLSTM is not fitted: call fit(series) first")
        if num_periods < 1:
            raise UserError(f"num_periods must be ≥ 1, got {num_periods}")
        hidden_1WH, state = self.lstm_(self.history_)
        value, ahead = self.history_[:, -1:], []
        for _ in range(num_periods):
            value = value + self.head_(hidden_1WH[:, -1:])
            ahead.append(float(value))
            hidden_1WH, state = self.lstm_(value, state)
        return self.mean_ + self.scale_ * np.array(ahead)
