"""The tasks by name: a task of its own is a folder and one line here."""

from __future__ import annotations

from clm_dl.tasks.base import Task
from clm_dl.tasks.churn.task import ChurnTask, PropensityTask
from clm_dl.tasks.multitask.task import MultiTask
from clm_dl.tasks.pretrain.task import PretrainTask
from clm_dl.tasks.recommend.task import NextItemTask, NextOrderTask
from clm_dl.tasks.survival.task import SurvivalTask
from clm_dl.tasks.value.task import ValueTask

TASKS: dict[str, type[Task]] = {
    task.name: task
    for task in (
        ChurnTask,
        PropensityTask,
        SurvivalTask,
        ValueTask,
        NextItemTask,
        NextOrderTask,
        PretrainTask,
        MultiTask,
    )
}
