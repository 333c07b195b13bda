"""Results of made-up models of churn: what is shown of a finished run."""

from collections.abc import Callable

import pandas as pd
import pytest
from shown import results_with
from support import config_of, metrics_of

from clm_dl.experiment.settings import read_task
from clm_dl.visual.results import Results

COUNTS = {"rows_in": 5, "kept": 4, "quarantined": 1, "duplicates": 0, "customers": 120, "events": 4}


@pytest.fixture
def make_results(make_scores: Callable[..., pd.DataFrame]) -> Callable[..., Results]:
    """(settings, name of the run, models -> noise) -> Results."""

    def make(
        *overrides: str, name: str = "run", models: dict[str, float | None] | None = None, fingerprint: str = "abc"
    ) -> Results:
        config = config_of("data.path=log.csv", "snapshots.gap_days=7", f"paths.output_dir=runs/{name}", *overrides)
        task = read_task(config)
        scores = make_scores({"network": 0.1, "logistic": 0.5, "base_rate": None} if models is None else models)
        metrics = metrics_of(task, scores, counts=COUNTS, fingerprint=fingerprint)
        return results_with(task, config, metrics, scores=scores)

    return make
