"""Recipes: the preset of configs/experiment/ that a command line without one means, by its task and data."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from pathlib import Path

import yaml
from hydra.core.override_parser.types import Override

from clm_dl.errors import UserError

DECIDE = ("experiment", "task", "data")
ANY_LOG = "events"  # the presets of one's own log, for every log that has none of its own


def recipe_overrides(folder: Path, overrides: Sequence[Override], presets: Sequence[str]) -> list[str]:
    """The choices that give a command line its recipe: none where it names neither task nor data, or an experiment,
    unless that has a preset of its own for the task: experiment=mine task=next_item means next_item_mine, if it exists.

    The recipe of a task and data set is their own preset, or else that of the task for any log, of the data set for any
    task, of the default task for this data set, of the default task for any log. Data without a task means a task that
    it has a preset of.

    Args:
        folder: that of train.yaml and the groups. presets: the names of all, sorted.

    Raises:
        ValueError: a sweep over tasks or data that have several recipes.
    """
    decide = [one for one in overrides if one.key_or_group in DECIDE and not one.package]
    given = {one.key_or_group: _options(one) for one in decide}
    if "experiment" in given:
        pairs = {(task, name): f"{task}_{name}" for task in given.get("task", []) for name in given["experiment"]}
        own = {pair: preset for pair, preset in pairs.items() if preset in presets}
        if own and len(pairs) > 1:
            raise UserError(
                f"{', '.join(own.values())} differ from the other recipes of this sweep: sweep each for itself"
            )
        return [f"experiment={preset}" for preset in own.values()]
    if not {"task", "data"} & set(given):
        return []
    entries = yaml.safe_load((folder / "train.yaml").read_text())["defaults"]
    default = {group: option for entry in entries if isinstance(entry, dict) for group, option in entry.items()}
    choices = product(given.get("task", [""]), given.get("data", [default["data"]]))
    found = {_recipe(presets, task, data, default["task"]) for task, data in choices}
    if len(found) > 1:
        raise UserError(
            f"the tasks and data of this sweep have the recipes {', '.join(sorted(found))}: choose one with "
            "experiment=NAME, or sweep each for itself"
        )
    data = [] if "data" in given else [f"data={default['data']}"]  # the preset may be of another data set
    return [f"experiment={found.pop()}", *data]


def _recipe(presets: Sequence[str], task: str, data: str, default_task: str) -> str:
    wanted = [f"{one}_{place}" for one in (task or default_task, default_task) for place in (data, ANY_LOG)]
    wanted.insert(2 if task and task != default_task else 0, data)
    if not task:
        wanted[2:2] = [preset for preset in presets if preset.endswith(f"_{data}")]
    return next(name for name in wanted if name in presets)


def _options(override: Override) -> list[str]:
    if override.is_sweep_override():
        return [str(value) for value in override.sweep_string_iterator()]
    return [str(override.value())]
