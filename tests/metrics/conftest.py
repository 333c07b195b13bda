"""A Scores table of made-up models whose quality is known by construction."""

import numpy as np
import pandas as pd
import pytest

DATES = {"val": ["2020-03-01", "2020-03-15"], "test": ["2020-05-01", "2020-05-15", "2020-05-29"]}


@pytest.fixture
def make_scores():
    """(models -> noise) -> Scores table; more noise is a worse model, None a constant one. A tenth of test is censored."""

    def make(models: dict[str, float | None], num_customers: int = 120, dates: dict[str, list[str]] = DATES) -> pd.DataFrame:
        rng = np.random.default_rng(0)
        risk = rng.standard_normal(num_customers)
        frames = []
        for split, cutoffs in dates.items():
            for cutoff in cutoffs:
                label = (rng.random(num_customers) < 1 / (1 + np.exp(1.0 - 2 * risk))).astype(float)
                if split == "test":
                    label[rng.random(num_customers) < 0.1] = np.nan
                recent = rng.random(num_customers) < 0.6
                for model, noise in models.items():
                    logit = np.zeros(num_customers) if noise is None else 2 * risk - 1 + noise * rng.standard_normal(num_customers)
                    frame = {"customer_id": [f"c{i:04d}" for i in range(num_customers)], "cutoff": pd.Timestamp(cutoff, tz="UTC")}
                    frame |= {"split": split, "model": model, "task": "churn", "horizon": 28.0, "score": 1 / (1 + np.exp(-logit))}
                    frames.append(pd.DataFrame(frame | {"score_raw": 1 / (1 + np.exp(-logit / 2)), "label": label, "recent": recent}))
        return pd.concat(frames, ignore_index=True)

    return make
