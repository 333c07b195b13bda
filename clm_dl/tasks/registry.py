"""The tasks by name: a task of its own is a folder and one line here."""

from __future__ import annotations

from importlib import import_module

from clm_dl.tasks.base import Task

HOMES = (  # modules below clm_dl.tasks, and classes in them
    ("churn", "ChurnTask"),
    ("churn", "PropensityTask"),
    ("survival", "SurvivalTask"),
    ("value", "ValueTask"),
    ("basket_value", "BasketValueTask"),
    ("recommend", "NextItemTask"),
    ("recommend", "NextOrderTask"),
    ("pretrain", "PretrainTask"),
    ("multitask", "MultiTask"),
)
_found: list[type[Task]] = [getattr(import_module(f"clm_dl.tasks.{folder}.task"), name) for folder, name in HOMES]
TASKS: dict[str, type[Task]] = {task.name: task for task in _found}
