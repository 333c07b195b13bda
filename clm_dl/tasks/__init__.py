"""Tasks: Lightning modules that turn one encoder into an answer about the customer."""

from clm_dl.tasks.base import SequenceTask
from clm_dl.tasks.churn import ChurnTask, PropensityTask
from clm_dl.tasks.multitask import MultiTask
from clm_dl.tasks.next_item import NextItemTask, NextOrderTask
from clm_dl.tasks.pretrain import PretrainTask
from clm_dl.tasks.survival import SurvivalTask
from clm_dl.tasks.value import ValueTask

TASKS: dict[str, type[SequenceTask]] = {
    "churn": ChurnTask,
    "propensity": PropensityTask,
    "survival": SurvivalTask,
    "value": ValueTask,
    "multitask": MultiTask,
    "next_item": NextItemTask,
    "next_order": NextOrderTask,
    "pretrain": PretrainTask,
}

__all__ = [
    "TASKS",
    "ChurnTask",
    "MultiTask",
    "NextItemTask",
    "NextOrderTask",
    "PretrainTask",
    "PropensityTask",
    "SequenceTask",
    "SurvivalTask",
    "ValueTask",
]
