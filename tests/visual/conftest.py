"""A run directory around a Scores table of made-up models."""

import json

import pytest
import yaml

from clm_dl.metrics.summary import summarise


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
