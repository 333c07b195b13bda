"""The tasks by name."""

from clm_dl.tasks.churn.module import ChurnTask, PropensityTask
from clm_dl.tasks.module import SequenceTask
from clm_dl.tasks.multitask.module import MultiTask
from clm_dl.tasks.pretrain.module import PretrainTask
from clm_dl.tasks.recommend.module import NextItemTask, NextOrderTask
from clm_dl.tasks.survival.module import SurvivalTask
from clm_dl.tasks.value.module import ValueTask

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
