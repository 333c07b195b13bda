"""Loggers, and every option of the groups around training: each one runs; what fails in one is one sentence."""

import os
import re
import sqlite3
import subprocess
import sys
import sysconfig
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from clm_dl.config import CONFIG_DIR
from clm_dl.errors import UserError
from clm_dl.run import Run

ROOT = Path(__file__).parent.parent.parent
ON_A_CPU = {"gpu": ["trainer.compile=false"], "overfit": ["trainer.max_epochs=3"]}
# in environments or processes of their own: below, and tests/test_cli.py; Ray needs another cloudpickle than this one
APART = {"wandb", "mlflow", "grid", "ddp", "ray"}
OPTIONS = [
    (group, path.stem)
    for group in ("trainer", "callbacks", "logger", "launcher", "debug", "hparams_search")
    for path in sorted((CONFIG_DIR / group).glob("*.yaml"))
    if path.stem not in APART
]


@pytest.mark.slow
@pytest.mark.parametrize(("group", "option"), OPTIONS, ids=lambda value: value)
def test_every_option_runs(train: Callable[..., Run], group: str, option: str) -> None:
    words = [f"{group}={option}", *ON_A_CPU.get(option, []), "trainer.max_epochs=1", "baselines=[recency]"]
    run = train(*dict.fromkeys(words))
    assert run.status["state"] == "finished"
    assert (run.path / "csv" / "metrics.csv").is_file() == (option == "csv")


def test_a_run_needs_no_logger(train: Callable[..., Run]) -> None:
    run = train("~logger.tensorboard", "trainer.max_epochs=1", "baselines=none")
    assert not list(run.path.glob("events.out.tfevents.*"))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["logger=csv", "+logger.csv.prefx=a", "data.path=nowhere.csv"], "unexpected keyword argument 'prefx'"),
        (["+logger.mine=5", "data.path=nowhere.csv"], "logger.mine: 5 names no class"),
        (["+logger.mine={_target_: os.system}", "data.path=nowhere.csv"], "trusted=.os."),
    ],
)
def test_a_logger_that_cannot_be_is_said_before_data_are_read(
    train: Callable[..., Run], overrides: list[str], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        train(*overrides)


@pytest.mark.parametrize("place", ["make", "start"])
def test_what_a_logger_raises_is_one_sentence(
    train: Callable[..., Run], monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    class Strange(Exception):
        pass

    def fails(*_: object, **__: object) -> None:
        raise Strange("nobody answers.\nsecond line")

    name = "pytorch_lightning.loggers.TensorBoardLogger"
    monkeypatch.setattr(f"{name}.__init__" if place == "make" else f"{name}._get_next_version", fails)
    monkeypatch.setattr(f"{name}.experiment", property(fails))
    with pytest.raises(UserError, match=r"^logger.tensorboard: nobody answers: choose other options"):
        train("trainer.max_epochs=1", "baselines=none")


# --- what the extras bring, in an environment of their own


@pytest.fixture(scope="module")
def extras(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Python with the packages of this one and of the extras of loggers, as pip finds them."""
    folder = tmp_path_factory.mktemp("extras") / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    (site,) = folder.glob("lib/python*/site-packages")
    (site / "base.pth").write_text(f"import site; site.addsitedir({sysconfig.get_paths()['purelib']!r})\n")
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    packages = [*wanted["wandb"], *wanted["mlflow"]]
    python = folder / "bin" / "python"
    options = ["--quiet", "--progress-bar", "off", "--constraint", ROOT / "constraints.txt"]
    done = subprocess.run([python, "-m", "pip", "install", *options, *packages], capture_output=True, text=True)
    if re.search("connection|timed out|resolution|No matching distribution", done.stderr) and done.returncode:
        pytest.skip(f"no package index at hand: {done.stderr.strip().splitlines()[-1]}")
    assert done.returncode == 0, done.stderr
    return python


@pytest.mark.slow
@pytest.mark.parametrize("name", ["wandb", "mlflow"])
def test_a_logger_of_an_extra_gets_the_curve(extras: Path, run: Run, tmp_path: Path, name: str) -> None:
    config = run.config
    words = ["experiment=churn_events", f"data.path={config['data']['path']}", "data.roles.customer=cust"]
    words += ["data.roles.time=ts", f"paths.data_dir={config['paths']['data_dir']}", "paths.output_dir=run"]
    words += ["baselines=none", "bootstrap=5", "trainer.max_epochs=2", "trainer.accelerator=cpu", f"logger={name}"]
    words += ["trainer.enable_progress_bar=false"]
    told = ("WANDB_", "MLFLOW_")
    environment = {key: value for key, value in os.environ.items() if not key.startswith(told)}
    environment |= {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "HOME": str(tmp_path / "home")}
    command = [str(extras), "-m", "clm_dl.train", *words]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert {path.name for path in tmp_path.iterdir()} <= {"run", "home"}
    if name == "wandb":
        (record,) = (tmp_path / "run" / "wandb").glob("offline-run-*/run-*.wandb")
        assert b"val/log_loss" in record.read_bytes()
        return
    with sqlite3.connect(tmp_path / "run" / "mlflow.db") as database:
        found = database.execute("SELECT step FROM metrics WHERE key = 'val/log_loss'").fetchall()
    assert len(found) == 2
