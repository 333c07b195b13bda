"""clm-train -m: a sweep as a command line starts it, ends it and starts it again."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from clm_dl.experiment.sweep.journal import entries
from clm_dl.run import Run
from clm_dl.train import main as train_command

WORDS = ["experiment=churn_events", "data.roles.customer=cust", "data.roles.time=ts", "baselines=[recency]"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["sweep=mine"], "sweep=mine names a sweep, which is started with -m"),
        (["-m", "sweep=a,b"], "give it one name"),
        (["-m", "sweep=../mine", "seed=0,1"], "names a folder below runs"),
        (["-m", "sweep=mine", "hydra.sweep.dir=other", "seed=0,1"], "leave one out"),
        (["-m", "paths.output_dir=mine", "seed=0,1"], "set sweep=NAME"),
        (["-m", "sweep=mine", "hparams_search=grid,sobol"], "hparams_search is the same for all trials of a sweep"),
        (["-m", "sweep=mine", "hparams_search=sobol", "study.trials=0"], "study.trials must be in [1, "),
        (["-m", "sweep=mine", "encoder.dropout=interval(0,1)"], "encoder.dropout is an interval, from which"),
        (["-m", "sweep=mine", "hparams_search=optuna", "data.path=no.csv", "task.name=x"], "no task 'x'"),
        (["hparams_search=sobol"], "study.trials is the number of trials of a sweep, which is started with -m"),
    ],
)
def test_a_sweep_that_cannot_be_is_refused_at_once(
    words: list[str], message: str, here: Callable[..., None], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    with pytest.raises(SystemExit) as error:
        here(train_command, *words)
    assert error.value.code == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("name", ["trials.csv", "report.html", "multirun.yaml", "journal.jsonl", "optuna.journal"])
def test_a_sweep_takes_the_place_of_no_file_of_somebody_else(
    name: str, exits: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    mine = tmp_path / "runs" / "mine" / name
    mine.parent.mkdir(parents=True)
    mine.write_text("hydra: mine\n")
    code, _, error = exits(train_command, "-m", *WORDS, "data.path=none.csv", "sweep=mine", "seed=0,1")
    assert code == 2
    assert error.startswith(f"error: runs/mine/{name} is none that a sweep of clm_dl wrote")
    assert mine.read_text() == "hydra: mine\n"
    assert [path.name for path in mine.parent.iterdir()] == [name]


@pytest.mark.slow
def test_a_sweep_goes_on_among_its_own_files(exits: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    for _ in range(2):
        code, _, error = exits(train_command, "-m", *WORDS, "data.path=none.csv", "sweep=mine", "seed=0,1")
        assert code == 1
        assert "2 trials did not finish" in error
    assert {path.name for path in (tmp_path / "runs" / "mine").iterdir()} >= {
        "trials.csv",
        "report.html",
        "multirun.yaml",
    }


@pytest.fixture
def start(run: Run, tmp_path: Path) -> Callable[..., subprocess.Popen]:
    """Start clm-train -m as a process group of its own: `start("sweep=mine", "seed=0,1")`."""
    words = [*WORDS, f"data.path={run.config['data']['path']}", f"paths.data_dir={run.config['paths']['data_dir']}"]
    words += ["bootstrap=20", "trainer.enable_progress_bar=false", "encoder.hidden_size=8"]

    def launch(*more: str) -> subprocess.Popen:
        return subprocess.Popen(
            [sys.executable, "-m", "clm_dl.train", "-m", *words, *more],
            cwd=tmp_path,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    return launch


def wait_for(process: subprocess.Popen, true: Callable[[], Any]) -> None:
    for _ in range(3000):
        assert process.poll() is None, process.communicate()[0]
        if true():
            return
        time.sleep(0.1)
    raise AssertionError("it never came")


def files(folder: Path) -> dict[str, Any]:
    found = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path): (path.stat().st_mtime_ns, path.read_bytes()) for path in found}


def finished(sweep: Path) -> list[Path]:
    found = [path.parent for path in sorted(sweep.glob("*/status.json"))]
    return [path for path in found if json.loads((path / "status.json").read_text())["state"] == "finished"]


@pytest.mark.slow
@pytest.mark.parametrize("search", ["grid", "sobol", "optuna"])
@pytest.mark.parametrize("launcher", ["local", "joblib"])
def test_a_sweep_that_is_killed_twice_finishes_and_touches_nothing_that_was(
    start: Callable[..., subprocess.Popen], tmp_path: Path, launcher: str, search: str
) -> None:
    sweep = tmp_path / "runs" / "mine"
    drawn = [f"hparams_search={search}", "study.trials=6", "task.optimizer.lr=interval(0.001,0.01)"]
    words = ["sweep=mine", *(["seed=0,1"] if search == "grid" else drawn), "encoder.num_layers=1,0,2"]
    words += [f"launcher={launcher}", *(["hydra.launcher.n_jobs=2"] if launcher == "joblib" else [])]
    kept: dict[str, Any] = {}
    done: dict[Path, int] = {}  # finished trials, and the lines of the journal by then
    for number in (1, 3):
        process = start(*words, "trainer.max_epochs=3")
        wait_for(process, lambda number=number: len(finished(sweep)) >= number)
        wait_for(process, lambda: list(sweep.glob("*/run.lock")))
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        assert all(kept[name] == value for name, value in files(sweep).items() if name in kept)
        kept = {name: value for folder in finished(sweep) for name, value in files(folder).items()}
        done = {folder: len(entries(sweep)) for folder in finished(sweep)} | done
    process = start(*words, "trainer.max_epochs=3")
    printed = process.communicate()[0]
    assert process.returncode == 1, printed
    assert "Traceback" not in printed
    after = files(sweep)
    assert all(after[name] == value for name, value in kept.items())
    found = pd.read_csv(sweep / "trials.csv")
    assert found["state"].value_counts().to_dict() == {"finished": 4, "failed": 2}
    names = [(3 * turn + place, turn, layers) for turn in (0, 1) for place, layers in ((0, 1), (2, 2))]
    for folder, (number, turn, layers) in zip(finished(sweep), names, strict=True):
        settings = f"encoder.num_layers={layers}"
        if search == "grid":
            assert folder.name == f"{number}_{settings},seed={turn}"
        assert folder.name.startswith(f"{number}_")
        assert settings in folder.name
    for folder, number in done.items():
        later = {entry.step for entry in entries(sweep)[number:] if entry.trial == folder.name}
        assert later == {"kept"}
    assert launcher == "local" or "[5] trial: " in printed or "[5] goes on: " in printed
    assert "error: 2 trials did not finish; to try again: clm-train -m" in printed
    assert f"  1_{'' if search == 'grid' else 'encoder.dropout='}" in printed


@pytest.mark.slow
@pytest.mark.parametrize(("sign", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_the_sweep_with_the_line_that_goes_on(
    start: Callable[..., subprocess.Popen], tmp_path: Path, sign: signal.Signals, code: int
) -> None:
    words = ["seed=0,1", "trainer.max_epochs=300", "callbacks.patience=300"]
    process = start(*words)
    wait_for(process, lambda: list(tmp_path.glob("runs/*/sweep_*/0_seed=0/checkpoints/last.ckpt")))
    os.kill(process.pid, sign)
    printed = process.communicate()[0]
    assert process.returncode == code, printed
    [sweep] = tmp_path.glob("runs/*/sweep_*")
    assert f"go on with: clm-train -m {' '.join(WORDS[:3])} 'baselines=[recency]'" in printed
    assert printed.count(f"hydra.sweep.dir={sweep.relative_to(tmp_path)}") == 1
    assert not (sweep / "1_seed=1").exists()
    process = start(*words, f"hydra.sweep.dir={sweep}")
    wait_for(process, lambda: [entry for entry in entries(sweep) if entry.step == "goes on"])
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


@pytest.mark.slow
def test_two_starts_of_a_sweep_share_its_trials(start: Callable[..., subprocess.Popen], tmp_path: Path) -> None:
    words = ["sweep=mine", "seed=0,1,2", "trainer.max_epochs=2"]
    processes = [start(*words), start(*words)]
    printed = [process.communicate()[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], printed
    sweep = tmp_path / "runs" / "mine"
    assert len(finished(sweep)) == 3
    steps = [(entry.trial, entry.step) for entry in entries(sweep)]
    assert all(steps.count((folder.name, "finished")) == 1 for folder in finished(sweep))
