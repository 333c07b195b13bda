"""Golden runs: one tiny run a task, whose scores, metrics, predictions and backtest are what they were.

A golden file holds a hash of every table and JSON file, floats rounded to 1e-6, and the figures of the test split.
Where the processor or a library is another one than the file was written with, sums are added in another order, so only
the figures are compared, to a tolerance. `GOLDEN=write make test-all ARGS=tests/golden` writes the files anew; a commit
that does says why.
"""

import hashlib
import json
import os
import platform
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from clm_dl.config import compose
from clm_dl.evaluate import main as evaluate
from clm_dl.experiment.experiment import run_experiment
from clm_dl.run import Run

FOLDER = Path(__file__).parent
LIBRARIES = ("torch", "numpy", "scipy", "scikit-learn", "lightgbm", "pandas", "pyarrow")
pytestmark = pytest.mark.slow
TOLERANCE = 0.02  # of a figure where sums are added in another order
SMALL = ("trainer.max_epochs=2", "bootstrap=20")
ITEMS = ("baselines=[popular,repeat,markov,ease,content,blend,two_stage]", "trainer.max_epochs=3", "bootstrap=20")
SHOP = {  # name -> overrides of the runs on the shop's log
    "churn": ("snapshots.folds=2", "baselines=[recency,logistic,forest,lightgbm,bg_nbd]"),
    "propensity": ("task=propensity", "labels=event", "labels.field=dept", "labels.values=[toys]"),
    "survival": ("task=survival", "task.horizons_days=[0,14,28]", "baselines=[base_rate,logistic,lightgbm]"),
    "value": ("task=value", "baselines=[past_mean,ridge,lightgbm_value,bg_nbd_gamma_gamma]"),
    "multitask": (
        "task=multitask",
        "task.horizons_days=[0,14]",
        "baselines=[logistic,ridge]",
        "task.weighting=uncertainty",
    ),
    "pretrain": ("task=pretrain", "baselines=none"),
    "unlabelled": ("task=pretrain", "task.objective=coles", "baselines=none", "task.slices.min_tokens=2"),
}
RING = {  # of those on the ring's
    "next_item": ITEMS,
    "next_item_rolling": ("protocol=rolling", "snapshots.horizon_days=28", "policy.repeats=allow", *ITEMS),
    "next_order": ("task=next_order", "sequence=order", "sequence.features=false", "encoder=gru", *ITEMS),
}
BACKTEST = ("churn", "value")


def environment() -> dict[str, str]:
    """What decides in which order sums are added."""
    processor = next(
        (line.split(":")[1].strip() for line in _cpuinfo() if line.startswith("model name")), platform.processor()
    )
    found = {"processor": processor, "capability": torch.backends.cpu.get_cpu_capability()}
    found["threads"] = os.environ.get("OMP_NUM_THREADS", "")  # LightGBM's ranker adds by thread
    return found | {name: version(name) for name in LIBRARIES}


def _cpuinfo() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text().splitlines() if path.is_file() else []


def rounded(value: Any) -> Any:
    """JSON with floats of six decimals."""
    if isinstance(value, dict):
        return {key: rounded(part) for key, part in sorted(value.items())}
    if isinstance(value, list):
        return [rounded(part) for part in value]
    return round(value, 6) + 0.0 if isinstance(value, float) else value


def of_json(value: Any) -> str:
    return hashlib.blake2b(json.dumps(rounded(value)).encode(), digest_size=16).hexdigest()


def of_table(table: pd.DataFrame) -> str:
    floats = table.select_dtypes("floating").columns
    table = table.assign(**{name: table[name].round(6) + 0.0 for name in floats})
    return hashlib.blake2b(table.to_csv(index=False, float_format="%.6f").encode(), digest_size=16).hexdigest()


def figures(metrics: dict[str, Any]) -> dict[str, float | None]:
    """The test figures of every model, of every question of a multi-task run."""
    found = {}
    for question, part in metrics.get("tasks", {metrics["task"]: metrics}).items():
        for model, values in part["split"]["test"]["overall"].items():
            found |= {f"{question} {model} {name}": rounded(value["value"]) for name, value in values.items()}
    return found


def hashes(run: Run, answers: dict[str, pd.DataFrame], backtest: bool) -> dict[str, str]:
    """Of everything that a run says."""
    found = {"scores": of_table(run.scores), "metrics": of_json(run.metrics)}
    found |= {"vectors": of_table(run.embed())} if run.config["data"]["name"] != "table" else {}
    found |= {name: of_table(table) for name, table in answers.items()}
    return found | ({"backtest": of_json(json.loads((run.path / "backtest.json").read_text()))} if backtest else {})


def compare(name: str, run: Run, answers: dict[str, pd.DataFrame]) -> None:
    path, found = (
        FOLDER / f"{name}.json",
        {"environment": environment(), "hashes": hashes(run, answers, name in BACKTEST)},
    )
    found["figures"] = figures(run.metrics)
    if os.environ.get("GOLDEN") == "write":
        path.write_text(json.dumps(found, indent=0, ensure_ascii=False) + "\n")
    golden = json.loads(path.read_text())
    assert list(found["figures"]) == list(golden["figures"])
    for figure, value in golden["figures"].items():
        assert found["figures"][figure] == (
            value if value is None else pytest.approx(value, rel=TOLERANCE, abs=TOLERANCE)
        ), figure
    if found["environment"] == golden["environment"]:
        assert found["hashes"] == golden["hashes"]


@pytest.mark.parametrize("name", SHOP)
def test_a_run_on_snapshots(name: str, train: Callable[..., Run], monkeypatch: pytest.MonkeyPatch) -> None:
    run = train(*SMALL, *SHOP[name])
    if name in BACKTEST:
        monkeypatch.setattr("sys.argv", ["clm-evaluate", f"run={run.path}", "cutoffs=rolling", "bootstrap=20"])
        evaluate()
    asked = run.config["task"]["name"] != "pretrain"
    compare(name, run, {"predictions": run.predict(cutoff="2021-08-01"), "all": run.predict()} if asked else {})


def test_a_run_from_a_pretrained_one(train: Callable[..., Run]) -> None:
    start = train(*SMALL, *SHOP["pretrain"])
    run = train(*SMALL, f"init={start.path}", "baselines=[logistic,embedding_logistic,embedding_rfm_lightgbm]")
    compare("from_pretrained", run, {"predictions": run.predict(cutoff="2021-08-01")})


def test_a_table_without_time(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    table = pd.DataFrame(
        {"age": rng.integers(18, 80, 300), "plan": rng.choice(["basic", "plus"], 300), "fee": rng.gamma(2, 10, 300)}
    )
    table["churned"] = (rng.random(300) < 1 / (1 + np.exp(2 - table["age"] / 40 - (table["plan"] == "plus")))).astype(
        int
    )
    quick = ["bootstrap=20", "data.folds=3", "baselines=[logistic,tree]", f"paths.output_dir={tmp_path}"]
    run = Run(run_experiment(compose("train", ["experiment=churn_table", *quick]), frame=table, log=lambda text: None))
    compare("table", run, {})


@pytest.mark.parametrize("name", RING)
def test_a_run_that_recommends(name: str, train_ranked: Callable[..., Run]) -> None:
    run = train_ranked(*RING[name])
    answers = {
        model: run.recommend(cutoff="2021-07-01", k=5, model=model)
        for model in ("network", "blend", "two_stage", "content")
    }
    compare(name, run, answers)
