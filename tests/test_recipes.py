"""Recipes: a command line without an experiment gets the preset of its task and data; what it names itself stays."""

from collections.abc import Sequence

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from clm_dl.config import CONFIG_DIR, compose
from clm_dl.overrides import command_line
from clm_dl.recipes import recipe_overrides

PRESETS = sorted(path.stem for path in CONFIG_DIR.glob("experiment/*.yaml"))


def added(*words: str) -> list[str]:
    parsed = OverridesParser.create().parse_overrides(list(words))
    return recipe_overrides(CONFIG_DIR, parsed, [*PRESETS, "mine", "next_item_mine"])


@pytest.mark.parametrize(
    ("words", "preset"),
    [
        (["data=events"], "churn_events"),
        (["data=ml100k"], "next_item_ml100k"),
        (["task=value", "data=events"], "churn_events"),
        (["task=value", "data=table"], "churn_table"),
        (["task=next_item", "data=cdnow"], "next_item_events"),
        (["task=churn,value", "data=cdnow,simulator"], None),
        (["task=churn,value", "data=events"], "churn_events"),
        (["data=mine"], "mine"),
        (["task=churn", "data=mine"], "mine"),
        (["task=value", "data=mine"], "mine"),
        (["task=next_item", "data=mine"], "next_item_mine"),
        (["task=next_item", "experiment=mine"], "next_item_mine"),
    ],
)
def test_a_task_and_data_bring_their_recipe(words: Sequence[str], preset: str | None) -> None:
    if preset:
        assert added(*words) == [f"experiment={preset}"]
    else:
        with pytest.raises(ValueError, match=r"churn_cdnow.*choose one with experiment=NAME"):
            added(*words)


def test_without_data_it_is_that_of_the_default_data_set() -> None:
    assert added("task=next_item") == ["experiment=next_item_events", "data=completejourney"]
    assert added("task=value") == ["experiment=churn_completejourney", "data=completejourney"]
    assert added("task=pretrain") == ["experiment=pretrain_completejourney", "data=completejourney"]


@pytest.mark.parametrize(
    "words", [[], ["encoder=gru"], ["data=cdnow", "experiment=churn_events"], ["task=value", "experiment=mine"]]
)
def test_who_names_an_experiment_or_neither_task_nor_data_gets_no_other(words: list[str]) -> None:
    assert added(*words) == []


def test_a_sweep_over_tasks_of_several_recipes_of_one_experiment_is_refused() -> None:
    with pytest.raises(ValueError, match="next_item_mine differ from the other recipes"):
        added("task=value,next_item", "experiment=mine")


def test_every_preset_is_the_recipe_of_its_own_task_and_data() -> None:
    for path in CONFIG_DIR.glob("experiment/*.yaml"):
        task, _, data = path.stem.rpartition("_")
        assert added(f"task={task}", f"data={data}") == [f"experiment={path.stem}"]


def test_what_the_command_line_says_is_stronger_than_the_recipe() -> None:
    config = compose("train", ["task=next_item", "data=cdnow", "encoder=gru", "sequence=order", "trainer.max_epochs=2"])
    assert (config.task.name, config.data.name, config.task.dropout) == ("next_item", "cdnow", 0.5)
    assert (config.encoder.name, config.sequence.token, config.trainer.max_epochs) == ("gru", "order", 2)
    assert command_line("prepare", ["data=cdnow"]) == ["data=cdnow"]  # others train nothing
