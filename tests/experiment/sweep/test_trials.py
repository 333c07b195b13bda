"""A sweep that is over: trials ranked by validation, ties with the best, seeds together, what has not finished."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from omegaconf import OmegaConf
from shown import printed

from clm_dl.experiment.run_files import write_json, write_status
from clm_dl.experiment.run_home import LOCK, locked
from clm_dl.experiment.shared import SHARED
from clm_dl.experiment.sweep.summary import sum_up
from clm_dl.experiment.sweep.trials import rank, read_trials, seeds
from clm_dl.report import main as report_command
from clm_dl.run import Run
from clm_dl.sweep import load_sweep
from clm_dl.visual.sweep import print_sweep

Make = Callable[..., Path]


@pytest.fixture
def make(run: Run, tmp_path: Path) -> Make:
    """A finished trial in `sweep`: `make("0_seed=0", seed=0)`; `loss` is added to its validation figure, `noise` to its
    scores, `seconds` is what it took.
    """

    def trial(name: str, *, loss: float = 0.0, noise: float = 0.0, seconds: float = 5.0, **settings: Any) -> Path:
        folder = tmp_path / "sweep" / name
        shutil.copytree(run.path, folder)
        (folder / "manifest.json").unlink()
        config = OmegaConf.load(folder / "config.yaml")
        for key, value in settings.items():
            OmegaConf.update(config, key.replace("__", "."), value)
        OmegaConf.save(config, folder / "config.yaml")
        metrics = json.loads((folder / "metrics.json").read_text())
        for end in ("value", "low", "high"):
            metrics["split"]["val"]["overall"]["network"]["log_loss"][end] += loss
        write_json(folder / "metrics.json", metrics)
        scores = pd.read_parquet(folder / "scores.parquet")
        logit = np.log(scores["score"] / (1 - scores["score"])) + noise * np.random.default_rng(0).normal(
            size=len(scores)
        )
        scores.assign(score=1 / (1 + np.exp(-logit))).to_parquet(folder / "scores.parquet")
        write_json(folder / "timing.json", {"network": seconds, "baselines": 30 / seconds})  # whoever came first fits
        return folder

    return trial


@pytest.fixture
def sweep(make: Make, tmp_path: Path) -> Path:
    """Two encoders by two seeds, where the second encoder is far behind; one that failed and one that was killed."""
    make("0_encoder=lstm,seed=0", loss=0.002, seconds=4.0)
    make("1_encoder=lstm,seed=1", seed=1, seconds=9.0)
    make("2_encoder=gru,seed=0", encoder__name="gru", loss=0.5, noise=3.0)
    make("10_encoder=gru,seed=1", encoder__name="gru", seed=1, loss=0.6, noise=4.0)
    for number, state in ((11, "failed"), (12, "running")):
        folder = tmp_path / "sweep" / f"{number}_seed={number}"
        folder.mkdir()
        write_status(folder, state, "encoder.hidden_size is a width" if state == "failed" else None)
    write_json(tmp_path / "sweep" / SHARED / "churn_recency_0" / "manifest.json", {})  # no trial
    return tmp_path / "sweep"


def test_trials_are_ranked_by_validation_and_ties_are_paired(sweep: Path) -> None:
    table = rank(read_trials(sweep))
    assert table["trial"].str.partition("_")[0].tolist() == ["1", "0", "2", "10", "11", "12"]
    assert table["rank"].dropna().tolist() == [1, 2, 3, 4]
    assert table["verdict"].tolist() == ["best", "tie", "behind", "behind", "", ""]
    assert table["state"].tolist() == ["finished"] * 4 + ["failed", "cut off"]
    assert table.loc[table["cheapest"], "trial"].tolist() == ["0_encoder=lstm,seed=0"]
    assert table["seed"].tolist()[:4] == [1, 0, 0, 1]
    assert table["encoder.name"].tolist()[:4] == ["lstm", "lstm", "gru", "gru"]
    assert "objective" in table
    assert not {"encoder.hidden_size", "paths.output_dir"} & set(table)
    assert np.isclose(table["difference"][1], 0)  # the scores are the same
    assert table["difference_low"][2] > 0


def test_a_report_replaces_the_table_of_a_sweep_and_none_else(
    sweep: Path, exits: Callable[..., tuple[int, str, str]]
) -> None:
    (sweep / "trials.csv").write_text("trial,mine\n1,2\n")
    code, _, error = exits(report_command, f"sweep={sweep}")
    assert code == 2
    assert f"{sweep / 'trials.csv'} is none that a sweep of clm_dl wrote" in error
    assert (sweep / "trials.csv").read_text() == "trial,mine\n1,2\n"
    assert not (sweep / "report.html").exists()
    for word in ("overwrite=true", "overwrite=false"):  # and then it is a sweep's
        assert exits(report_command, f"sweep={sweep}", word)[0] == 0
        assert (sweep / "trials.csv").read_text().startswith("rank,trial,")


def test_seeds_stand_together(sweep: Path) -> None:
    together = seeds(rank(read_trials(sweep)))
    assert together["encoder.name"].tolist() == ["lstm", "gru"]
    assert together["trials"].tolist() == [2, 2]
    assert np.allclose(together["sd"], [0.002 / 2**0.5, 0.1 / 2**0.5])


def test_without_several_seeds_nothing_stands_together(make: Make, tmp_path: Path) -> None:
    make("0")
    make("1", encoder__name="gru")
    assert len(seeds(rank(read_trials(tmp_path / "sweep")))) == 0


def test_other_snapshots_are_compared_by_their_intervals(make: Make, tmp_path: Path) -> None:
    make("0")
    for name, loss in (("1", 0.001), ("2", 5.0)):
        folder = make(name, loss=loss, seed=int(name))
        metrics = json.loads((folder / "metrics.json").read_text())
        write_json(folder / "metrics.json", metrics | {"fingerprint": "another"})
    table = rank(read_trials(tmp_path / "sweep"))
    assert table["verdict"].tolist() == ["best", "tie", "behind"]
    assert table["difference"].isna().all()


def test_trials_of_a_log_that_changed_are_said_and_no_seeds_of_it(
    make: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make("0_seed=0")
    make("1_seed=1", seed=1)
    old = make("2_seed=2", seed=2)
    metrics = json.loads((old / "metrics.json").read_text())
    write_json(old / "metrics.json", metrics | {"fingerprint": "of another state"})
    sum_up(tmp_path / "sweep")
    assert "note: the log has changed since: 2_seed=2 scored other snapshots" in capsys.readouterr().out
    table = rank(read_trials(tmp_path / "sweep"))
    assert table["snapshots"].nunique() == 2
    assert seeds(table)["trials"].tolist() == [2, 1]


def test_the_time_of_a_resumed_trial_does_not_make_it_the_cheapest(make: Make, tmp_path: Path) -> None:
    folder = tmp_path / "sweep" / "0"
    make("0", seconds=1.0, ckpt=str(folder / "checkpoints" / "last.ckpt"))
    make("1", seed=1, seconds=8.0, ckpt="elsewhere/checkpoints/last.ckpt", loss=0.001)
    trials = read_trials(tmp_path / "sweep")
    table = rank(trials)
    assert table["resumed"].tolist() == [True, False]
    assert table["cheapest"].tolist() == [False, True]
    known = {"log_loss": trials[0].metric}
    assert "≥ 1 s" in printed(lambda console: print_sweep(table, seeds(table), known, console), width=120)


def test_a_trial_that_runs_or_is_damaged_is_said(make: Make, tmp_path: Path) -> None:
    make("0")
    (make("1", seed=1) / "metrics.json").write_text("{")
    (tmp_path / "sweep" / "2").mkdir()
    write_status(tmp_path / "sweep" / "2", "running")
    with locked(tmp_path / "sweep" / "2"):
        table = rank(read_trials(tmp_path / "sweep"))
    assert table["state"].tolist() == ["finished", "damaged", "running"]
    assert "metrics.json is corrupt" in table["reason"][1]
    assert not (tmp_path / "sweep" / "2" / LOCK).exists()


def test_nothing_but_failures_is_a_table_too(tmp_path: Path) -> None:
    (tmp_path / "0").mkdir()
    write_status(tmp_path / "0", "failed", "no")
    table = rank(read_trials(tmp_path))
    assert table["state"].tolist() == ["failed"]
    assert "failed: 0: no" in printed(lambda console: print_sweep(table, seeds(table), {}, console))


def test_report_makes_the_summary_again(
    sweep: Path, here: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    here(report_command, "sweep=sweep")
    printed = capsys.readouterr().out
    for text in ("4 of 6 trials finished: sweep/trials.csv, sweep/report.html", "best", "tie, cheapest", "lstm", "±"):
        assert text in printed, text
    assert "clm-predict run=sweep/1_encoder=lstm,seed=1 input=" in printed
    table = pd.read_csv(sweep / "trials.csv")
    again = rank(read_trials(sweep))
    text = ["verdict", "reason"]  # which a CSV cannot tell from nothing
    pd.testing.assert_frame_equal(table.fillna(dict.fromkeys(text, "")), again, check_dtype=False)
    html = (sweep / "report.html").read_text()
    for text in (
        "1_encoder%3Dlstm%2Cseed%3D1/report.html",
        "behind",
        "failed, encoder.hidden_size",
        "mean ± sd of their seeds",
    ):
        assert text in html, text
    assert "fANOVA" not in html  # of four trials
    here(report_command, "sweep=sweep")  # its own files are replaced
    for words, sentence in (([], "or sweep=FOLDER"), (["sweep=sweep", "runs=sweep"], "leave one out")):
        with pytest.raises(SystemExit):
            here(report_command, *words)
        assert sentence in capsys.readouterr().err


def test_the_page_says_what_the_objective_depends_on(make: Make, tmp_path: Path) -> None:
    for number, (encoder, seed) in enumerate((encoder, seed) for encoder in ("lstm", "gru") for seed in range(3)):
        make(f"{number}", encoder__name=encoder, seed=seed, loss=0.3 * (encoder == "gru"))
    sum_up(tmp_path / "sweep")
    html = (tmp_path / "sweep" / "report.html").read_text()
    assert "each setting explains by itself (fANOVA) – of 6 trials, so do not rely on it" in html


def test_load_sweep(sweep: Path, run: Run) -> None:
    found = load_sweep(sweep)
    assert repr(found) == f"Sweep('{sweep}', 4 of 6 trials finished)"
    assert len(found.trials) == 6
    assert found.curves["trial"].nunique() == 4
    one = found.curves[(found.curves["trial"] == "1_encoder=lstm,seed=1") & (found.curves["name"] == "val/log_loss")]
    assert one["epoch"].tolist() == [0, 1]
    history = run.history
    assert np.allclose(one["value"], history.loc[history["name"] == "val/log_loss", "value"])
    assert len(found.scores) == 4 * len(run.scores)
    assert list(found.scores)[:2] == ["trial", "customer_id"]
    assert found.run().path.name == "1_encoder=lstm,seed=1"
    assert found.run("2_encoder=gru,seed=0").config["encoder"]["name"] == "gru"
