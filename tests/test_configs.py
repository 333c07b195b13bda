"""Every shipped YAML composes, its `_target_` signatures bind, and each experiment says how to launch it."""

import importlib
import inspect
import os
import shutil
import subprocess
import sys
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

import clm_dl
from clm_dl.composing import LAUNCHERS
from clm_dl.config import CONFIG_DIR, compose, plain
from clm_dl.data.snapshots.rule import SnapshotRule
from clm_dl.errors import MissingExtra
from clm_dl.experiment.settings import OWN_KEYS, chosen_baselines, read_plan
from clm_dl.options import parse

COMMANDS = sorted(path.stem for path in CONFIG_DIR.glob("*.yaml"))
OPTIONS = sorted((path.parent.name, path.stem) for path in CONFIG_DIR.glob("*/*.yaml"))
INSTALLED = [name for name in LAUNCHERS if f"hydra-{name}-launcher" in {one.name for one in distributions()}]
EXPERIMENTS = sorted(CONFIG_DIR.glob("experiment/*.yaml"))


def targets(config: Any) -> list[dict[str, Any]]:
    if isinstance(config, list):
        return [found for item in config for found in targets(item)]
    if not isinstance(config, dict):
        return []
    return [config] * ("_target_" in config) + [found for item in config.values() for found in targets(item)]


def test_lists_are_not_empty() -> None:
    assert len(COMMANDS) >= 6
    assert len(OPTIONS) >= 30
    assert len(EXPERIMENTS) >= 5


@pytest.mark.parametrize("command", COMMANDS)
def test_command_composes(command: str) -> None:
    assert compose(command)


@pytest.mark.parametrize(("group", "option"), OPTIONS, ids=lambda value: value)
def test_option_composes_and_its_targets_bind(group: str, option: str) -> None:
    override = f"+baseline@baseline.tried={option}" if group == "baseline" else f"{group}={option}"
    extra = ["labels.path=x.csv"] if (group, option) == ("labels", "given") else []
    if group == "launcher" and option in LAUNCHERS and option not in INSTALLED:
        with pytest.raises(MissingExtra, match=rf"launcher={option} needs an extra: pip install 'clm-dl\[{option}\]'"):
            compose("train", [override])
        return
    config = plain(compose("train", [override, *extra]))
    for target in targets(config):
        module, _, name = target["_target_"].rpartition(".")
        try:
            found = getattr(importlib.import_module(module), name)
        except ModuleNotFoundError:
            assert option in ("wandb", "mlflow")  # extras that fail with a sentence of their own
            continue
        inspect.signature(found).bind_partial(
            **{key: value for key, value in target.items() if key not in ("_target_", *OWN_KEYS)}
        )


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.stem)
def test_experiment_header_has_its_launch_line_cost_and_result(path: Path) -> None:
    header = [line for line in path.read_text().splitlines() if line.startswith("# ")]
    text = "\n".join(header)
    assert f"clm-train experiment={path.stem}" in text
    assert "Costs" in text
    assert "Reaches" in text


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.stem)
def test_experiment_is_a_plan_whose_every_setting_is_known(path: Path) -> None:
    assert read_plan(plain(compose("train", [f"experiment={path.stem}"]))).task.questions


@pytest.mark.parametrize("option", [name for group, name in OPTIONS if group == "snapshots"])
def test_snapshots_say_only_what_differs_from_those_of_events(option: str) -> None:
    rules = [plain(compose("train", [f"snapshots={name}"]))["snapshots"] for name in (option, "events")]
    said = OmegaConf.to_container(OmegaConf.load(CONFIG_DIR / "snapshots" / f"{option}.yaml"))
    assert rules[0] == rules[1] | said
    assert option == "events" or all(rules[1][name] != value for name, value in said.items())
    parse(SnapshotRule, rules[0], "snapshots")


@pytest.mark.parametrize(("group", "option"), OPTIONS, ids=lambda value: value)
def test_first_line_says_what_the_file_is(group: str, option: str) -> None:
    lines = (CONFIG_DIR / group / f"{option}.yaml").read_text().splitlines()
    assert lines[0].startswith("# ")
    assert lines[0] != "# @package _global_" or lines[1].startswith("# ")


@pytest.mark.parametrize(
    "path", [path for path in EXPERIMENTS if path.stem.startswith("next_")], ids=lambda path: path.stem
)
@pytest.mark.parametrize("protocol", ["leave_one_out", "global_time", "rolling"])
def test_a_protocol_replaces_that_of_a_recommending_preset(path: Path, protocol: str) -> None:
    chosen = plain(compose("train", [f"experiment={path.stem}", f"protocol={protocol}"])["protocol"])
    assert chosen == plain(compose("train", [f"protocol={protocol}"])["protocol"])


def test_every_baseline_of_the_folder_is_in_the_configuration_under_its_name() -> None:
    group = plain(compose("train"))["baseline"]
    assert {name: one["name"] for name, one in group.items()} == {
        name: name for of, name in OPTIONS if of == "baseline"
    }


@pytest.mark.parametrize("task", ["churn", "survival", "value", "next_item"])
def test_all_baselines_of_a_task_stand_in_the_order_of_their_places(task: str) -> None:
    config = plain(compose("train", [f"task={task}"])) | {"init": "a run"}  # whose vectors some of them see
    places = {name: one["place"] for name, one in config["baseline"].items()}
    assert len(set(places.values())) == len(places)
    names = [spec.name for spec in chosen_baselines(config, asked=(task,))]
    assert set(names) == {name for name, one in config["baseline"].items() if task in one["task"]}
    assert names == sorted(names, key=places.get)  # type: ignore[arg-type]


@pytest.mark.slow
def test_a_baseline_of_ones_own_is_a_file_in_the_folder(tmp_path: Path) -> None:
    shutil.copytree(CONFIG_DIR, tmp_path / "configs")
    (tmp_path / "clm_dl").symlink_to(Path(clm_dl.__file__).parent)
    mine = (CONFIG_DIR / "baseline" / "logistic.yaml").read_text()
    mine = mine.replace("name: logistic", "name: mine").replace("place: ", "place: 1")
    (tmp_path / "configs" / "baseline" / "mine.yaml").write_text(mine)
    code = """
from clm_dl.config import compose, plain
from clm_dl.experiment.settings import chosen_baselines
config = plain(compose("train", ["baseline.mine.C=7"]))
[mine] = [spec.make() for spec in chosen_baselines(config, asked=("churn",)) if spec.name == "mine"]
print(mine)
"""
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, cwd=tmp_path)
    assert done.stdout.startswith("LogisticRegression(C=7"), done.stderr
