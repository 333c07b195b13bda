"""The built wheel, installed into an empty folder, works outside the repository: commands, configs, a small run."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pandas as pd
import pytest

ROOT = Path(__file__).parent.parent
COMMANDS = (
    "clm-prepare",
    "clm-train",
    "clm-evaluate",
    "clm-predict",
    "clm-embed",
    "clm-report",
    "clm-doctor",
    "clm-init",
)

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    subprocess.run([sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, ROOT], check=True)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def site(wheel, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "--no-deps", "--no-index", "--target", folder, wheel], check=True
    )
    return folder


def call(site: Path, cwd: Path, *command: str) -> str:
    """Run `command` in `cwd` with the wheel's folder ahead of everything else; its output, which failures show too."""
    environment = {**os.environ, "PYTHONPATH": str(site), "OMP_NUM_THREADS": "1", "CLM_DATA_DIR": str(cwd / "data")}
    done = subprocess.run(
        command,
        cwd=cwd,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}"
    return done.stdout


def test_holds_every_config_and_nothing_of_the_tests(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    configs = {f"clm_dl/{path.relative_to(ROOT).as_posix()}" for path in (ROOT / "configs").rglob("*.yaml")}
    assert configs
    assert configs <= names
    folders = {"clm_dl", "hydra_plugins", f"{wheel.name.split('-py3')[0]}.dist-info"}
    assert {name.split("/")[0] for name in names} == folders


def test_is_imported_from_the_wheel_with_its_own_configs(site, tmp_path):
    printed = call(
        site, tmp_path, sys.executable, "-c", "import clm_dl.config as c; print(c.__file__, c.CONFIG_DIR, sep='\\n')"
    ).split()
    assert printed == [str(site / "clm_dl" / "config.py"), str(site / "clm_dl" / "configs")]


def test_hydra_finds_the_sweepers(site, tmp_path):
    code = "from hydra.core.plugins import Plugins; print(*Plugins.instance().class_name_to_class)"
    assert "hydra_plugins.clm_dl_search.Sobol" in call(site, tmp_path, sys.executable, "-c", code)


@pytest.mark.parametrize("command", COMMANDS)
def test_command_prints_its_help(site, tmp_path, command):
    shown = call(site, tmp_path, str(site / "bin" / command), "--help")
    assert ("clm-init FILE" if command == "clm-init" else "==") in shown  # Hydra's banner lines


def test_trains_and_predicts_on_a_log_of_ones_own(site, tmp_path, small_log):
    small_log.to_csv(tmp_path / "log.csv", index=False)
    roles = [
        "data.path=log.csv",
        "data.roles.customer=cust",
        "data.roles.time=ts",
        "data.roles.item=sku",
        "data.roles.amount=spend",
    ]
    quick = ["trainer.max_epochs=1", "baselines=[recency,logistic]", "bootstrap=20", "paths.output_dir=run"]
    printed = call(
        site,
        tmp_path,
        str(site / "bin" / "clm-train"),
        "experiment=churn_events",
        *roles,
        "snapshots.horizon_days=14",
        *quick,
    )
    assert "logistic" in printed
    assert "tensorboard --logdir" in printed
    assert {"metrics.json", "scores.parquet", "config.yaml", "vocabulary.json", "schema.json", "status.json"} <= {
        path.name for path in (tmp_path / "run").iterdir()
    }

    call(
        site,
        tmp_path,
        str(site / "bin" / "clm-predict"),
        "run=run",
        "input=log.csv",
        "cutoff=2020-07-01",
        "output=scores.parquet",
    )
    scores = pd.read_parquet(tmp_path / "scores.parquet")
    assert scores.score.between(0, 1).all()
    assert scores.customer_id.isin(small_log.cust).all()
    assert scores.label.isna().all()
