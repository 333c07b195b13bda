"""Every shipped YAML composes, its `_target_` signatures bind, and each experiment says how to launch it."""

import importlib
import inspect
from pathlib import Path
from typing import Any

import pytest

from clm_dl.config import CONFIG_DIR, compose, plain

COMMANDS = sorted(path.stem for path in CONFIG_DIR.glob("*.yaml"))
OPTIONS = sorted((path.parent.name, path.stem) for path in CONFIG_DIR.glob("*/*.yaml"))
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
    config = plain(compose("train", [override, *extra]))
    for target in targets(config):
        module, _, name = target["_target_"].rpartition(".")
        try:
            found = getattr(importlib.import_module(module), name)
        except ModuleNotFoundError:
            assert option in ("wandb", "mlflow")  # extras that fail with a sentence of their own
            continue
        inspect.signature(found).bind_partial(
            **{
                key: value
                for key, value in target.items()
                if key not in ("_target_", "name", "task", "sees", "columns", "max_rows")
            }
        )


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.stem)
def test_experiment_header_has_its_launch_line_cost_and_result(path: Path) -> None:
    header = [line for line in path.read_text().splitlines() if line.startswith("# ")]
    text = "\n".join(header)
    assert f"clm-train experiment={path.stem}" in text
    assert "Costs" in text
    assert "Reaches" in text


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
