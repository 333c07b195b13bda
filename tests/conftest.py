"""Shared fixtures: one thread for torch, and a small log with known events."""

import numpy as np
import pandas as pd
import pytest
import torch

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def small_log() -> pd.DataFrame:
    """400 lines of 30 customers over 200 days of 2020: several lines an order, two categoricals, two numerics, gaps."""
    rng = np.random.default_rng(0)
    num = 400
    customer = rng.integers(0, 30, num)
    day = rng.integers(0, 200, num)
    frame = pd.DataFrame(
        {
            "cust": [f"c{c:02d}" for c in customer],
            "ts": pd.Timestamp("2020-01-01") + pd.to_timedelta(day, unit="D") + pd.to_timedelta(rng.integers(0, 3, num) * 6, unit="h"),
            "sku": [f"i{i}" for i in rng.integers(0, 25, num)],
            "dept": rng.choice(["food", "toys", "garden"], num, p=[0.6, 0.3, 0.1]),
            "spend": np.round(rng.gamma(2.0, 5.0, num), 2),
            "discount": np.where(rng.random(num) < 0.2, np.nan, np.round(rng.random(num), 2)),
        }
    )
    return frame
