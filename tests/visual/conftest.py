"""A Scores table of made-up models whose quality is known by construction, and a run directory around it."""

import json

import numpy as np
import pandas as pd
import pytest
import yaml

from clm_dl.metrics.summary import summarise

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


@pytest.fixture
def make_run(make_scores, tmp_path):
    """A finished run directory with the files that reports read."""

    def make(name: str = "run", models: dict[str, float | None] | None = None, fingerprint: str = "abc", **settings):
        folder = tmp_path / name
        folder.mkdir()
        scores = make_scores({"network": 0.1, "logistic": 0.5, "base_rate": None} if models is None else models)
        scores.to_parquet(folder / "scores.parquet")
        counts = {"rows_in": 5, "kept": 4, "quarantined": 1, "duplicates": 0, "customers": 120, "events": 4}
        metrics = summarise(scores, fingerprint=fingerprint, data_counts=counts, resamples=40)
        snapshots = {"horizon_days": 28, "gap_days": 7, "active_days": 56, "recent_days": None}
        config = {"seed": 0, "encoder": {"name": "lstm"}, "labels": {"name": "no_event"}, "snapshots": snapshots}
        config |= {"data": {"name": "events", "path": "log.csv"}, "paths": {"output_dir": str(folder)}} | settings
        (folder / "config.yaml").write_text(yaml.safe_dump(config))
        (folder / "metrics.json").write_text(json.dumps(metrics))
        (folder / "timing.json").write_text(json.dumps({"network": 1.5}))
        (folder / "status.json").write_text(json.dumps({"version": 1, "state": "finished", "reason": None}))
        return folder

    return make
