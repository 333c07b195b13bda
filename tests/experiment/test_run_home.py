"""The folder of a run: nobody's files are taken, a finished run is replaced on demand alone, and two runs never mix."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from clm_dl.errors import UserError
from clm_dl.experiment.run_home import LOCK, check_folder, locked
from clm_dl.run import Run, load_run

QUICK = ("encoder=none", "baselines=[base_rate]")


def listed(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("overwrite", ["true", "false"])
@pytest.mark.parametrize(
    "name", ["thesis.txt", "metrics.json", "report.html", "baselines/a.py", "fold_1/a", "store/a", "status.json"]
)
def test_a_folder_that_is_no_run_is_left_alone(
    train: Callable[..., Run], tmp_path: Path, overwrite: str, name: str
) -> None:
    (tmp_path / "mine" / name).parent.mkdir(parents=True)
    (tmp_path / "mine" / name).write_text("{}")
    if name.startswith("store"):
        (tmp_path / "mine" / "more").write_text("")
    before = listed(tmp_path)
    with pytest.raises(UserError, match="holds no run but other files"):
        train(*QUICK, f"overwrite={overwrite}", f"paths.output_dir={tmp_path / 'mine'}")
    assert listed(tmp_path) == before


def test_a_checkpoint_in_a_folder_that_is_no_run_does_not_make_it_one(
    run: Run, train: Callable[..., Run], tmp_path: Path
) -> None:
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "last.ckpt").write_bytes((run.path / "checkpoints" / "last.ckpt").read_bytes())
    (tmp_path / "metrics.json").write_text("mine")
    with pytest.raises(UserError, match="holds no run but other files"):
        train(f"ckpt={tmp_path}/checkpoints/last.ckpt", f"paths.output_dir={tmp_path}")
    assert (tmp_path / "metrics.json").read_text() == "mine"


@pytest.mark.slow
def test_a_link_in_a_run_leads_no_run_to_other_files(train: Callable[..., Run], tmp_path: Path) -> None:
    folder = tmp_path / "run"
    train(*QUICK, f"paths.output_dir={folder}")
    (tmp_path / "others").mkdir()
    (tmp_path / "others" / "best.ckpt").write_text("precious")
    (folder / "checkpoints").symlink_to(tmp_path / "others", target_is_directory=True)
    with pytest.raises(UserError, match="checkpoints leads elsewhere"):
        train(*QUICK, f"paths.output_dir={folder}", "overwrite=true")
    (folder / "checkpoints").unlink()
    (folder / "checkpoints").mkdir()
    (folder / "checkpoints" / "precious.ckpt").write_text("mine")
    train(*QUICK, f"paths.output_dir={folder}", "overwrite=true")
    assert (folder / "checkpoints" / "precious.ckpt").read_text() == "mine"
    assert (tmp_path / "others" / "best.ckpt").read_text() == "precious"


def test_a_finished_run_is_replaced_on_demand_alone(train: Callable[..., Run], tmp_path: Path) -> None:
    folder = f"paths.output_dir={tmp_path / 'run'}"
    train(*QUICK, folder)
    before = listed(tmp_path)
    with pytest.raises(UserError, match=r"holds a finished run.*overwrite=true"):
        train(*QUICK, folder, "seed=1")
    assert listed(tmp_path) == before
    assert train(*QUICK, folder, "seed=1", "overwrite=true").config["seed"] == 1


@pytest.mark.parametrize("state", ["failed", "interrupted", "running"])
def test_a_run_that_did_not_finish_may_be_trained_again(tmp_path: Path, state: str) -> None:
    (tmp_path / "status.json").write_text(json.dumps({"version": 1, "state": state, "reason": None}))
    check_folder(tmp_path, overwrite=False, resumed=False)


def test_a_file_is_no_folder(train: Callable[..., Run], tmp_path: Path) -> None:
    (tmp_path / "run").write_text("mine")
    with pytest.raises(UserError, match="is a file"):
        train(*QUICK, f"paths.output_dir={tmp_path / 'run'}")


# --- the lock


HOLD = "import sys, time, pathlib; from clm_dl.experiment.run_home import locked\n"
HOLD += "with locked(pathlib.Path(sys.argv[1])): print('held', flush=True); time.sleep(100)"


@pytest.fixture
def holder(tmp_path: Path) -> subprocess.Popen:
    """Another process that holds the lock of `run`."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path / "run")], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    yield process  # type: ignore[misc]
    process.kill()
    process.communicate()


def test_a_run_is_locked_while_it_runs_and_a_dead_one_holds_nobody(
    train: Callable[..., Run], holder: subprocess.Popen, tmp_path: Path
) -> None:
    folder = f"paths.output_dir={tmp_path / 'run'}"
    before = listed(tmp_path)
    with pytest.raises(UserError, match=f"in use by process {holder.pid} on {socket.gethostname()}"):
        train(*QUICK, folder)
    assert listed(tmp_path) == before
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert (tmp_path / "run" / LOCK).exists()
    assert train(*QUICK, folder).status["state"] == "finished"
    assert not (tmp_path / "run" / LOCK).exists()


def test_a_lock_of_another_machine_is_respected(tmp_path: Path) -> None:
    (tmp_path / LOCK).write_text("process 1 on elsewhere")
    sentence = r"in use by process 1 on elsewhere: if that run is over, delete .*run\.lock"
    with pytest.raises(UserError, match=sentence), locked(tmp_path):
        pass
    assert (tmp_path / LOCK).exists()


def test_the_lock_is_gone_when_its_run_failed(tmp_path: Path) -> None:
    def fails() -> None:
        with locked(tmp_path / "run"):
            assert str(os.getpid()) in (tmp_path / "run" / LOCK).read_text()
            with pytest.raises(UserError, match="in use by"), locked(tmp_path / "run"):
                pass
            raise KeyError

    with pytest.raises(KeyError):
        fails()
    assert list((tmp_path / "run").iterdir()) == []


@pytest.mark.slow
def test_of_two_runs_at_once_in_one_folder_one_wins(run: Run, tmp_path: Path) -> None:
    words = ["experiment=churn_events", f"data.path={run.config['data']['path']}", "data.roles.customer=cust"]
    words += ["data.roles.time=ts", f"paths.data_dir={run.config['paths']['data_dir']}", "paths.output_dir=run"]
    words += ["bootstrap=20", "baselines=[recency]", "trainer.max_epochs=3", "trainer.enable_progress_bar=false"]
    starts = []
    for seed in (0, 1):
        command = [sys.executable, "-m", "clm_dl.train", *words, f"seed={seed}"]
        starts.append(subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True))
        time.sleep(0.1)
    errors = [process.communicate(timeout=300)[1] for process in starts]
    codes = [process.returncode for process in starts]
    assert sorted(codes) == [0, 2], errors
    winner = codes.index(0)
    assert "in use by" in errors[1 - winner] or "holds a finished run" in errors[1 - winner]
    assert load_run(tmp_path / "run").config["seed"] == winner
