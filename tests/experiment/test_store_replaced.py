"""A store that another process prepares anew while a run uses it: the run answers under its own customers' ids."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from clm_dl.data.open import open_store
from clm_dl.evaluate import main as evaluate
from clm_dl.experiment import experiment, rescoring
from clm_dl.run import Run

KEYS = ["customer_id", "cutoff", "split", "model", "label"]


def prepare_again(run: Run, log: pd.DataFrame) -> None:
    """In a process of its own: the same file, whose customers all have other ids and other codes now."""
    log.assign(cust="z" + log["cust"].str[::-1])[::-1].to_csv(run.config["data"]["path"], index=False)
    data, paths = run.config["data"], run.config["paths"]
    words = [f"data.{key}={data[key]}" for key in ("path", "name")]
    words += [f"data.roles.{key}={value}" for key, value in data["roles"].items() if value]
    words += [f"data.categorical=[{','.join(data['categorical'])}]", f"paths.data_dir={paths['data_dir']}"]
    done = subprocess.run(
        [sys.executable, "-m", "clm_dl.prepare", "data=events", *words], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert open_store(data, paths).customer_ids[0].startswith("z")  # nothing is left to prepare


@pytest.mark.parametrize("when", ["train", pytest.param("evaluate", marks=pytest.mark.slow)])
def test_a_run_keeps_its_customers(
    train: Callable[..., Run],
    run: Run,
    shop_log: pd.DataFrame,
    here: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    when: str,
) -> None:
    shop_log.to_csv(tmp_path / "log.csv", index=False)
    words = [f"data.path={tmp_path / 'log.csv'}", f"paths.data_dir={tmp_path / 'data'}", "baselines=[recency]"]
    place, name = {"train": (experiment, "train_fold"), "evaluate": (rescoring, "network_rows")}[when]
    original, asked = getattr(place, name), []

    def interrupted(*given: Any, **options: Any) -> Any:
        if not asked:
            asked.append(True)
            prepare_again(run_of(), shop_log)
        return original(*given, **options)

    def run_of() -> Run:
        config = run.config
        data = config["data"] | {"path": str(tmp_path / "log.csv")}
        other = Run(run.path)
        other.config = config | {"data": data, "paths": config["paths"] | {"data_dir": str(tmp_path / "data")}}
        return other

    if when == "train":
        monkeypatch.setattr(place, name, interrupted)
    found = train(*words)
    if when == "evaluate":
        monkeypatch.setattr(place, name, interrupted)
        here(evaluate, f"run={found.path}", "bootstrap=5")
        again = json.loads((found.path / "evaluation.json").read_text())["all"]["split"]["test"]["overall"]["network"]
        for metric, figure in found.metrics["split"]["test"]["overall"]["network"].items():
            if figure["value"] is not None:
                assert again[metric]["value"] == pytest.approx(figure["value"], rel=1e-6), metric
    assert asked
    rows = found.scores[found.scores["model"] == "network"].reset_index(drop=True)
    expected = run.scores[run.scores["model"] == "network"].reset_index(drop=True)
    pd.testing.assert_frame_equal(rows[KEYS], expected[KEYS])
    pd.testing.assert_series_equal(rows["score"], expected["score"])
