"""Tasks: Lightning modules that turn one encoder into an answer about the customer."""

from clm_dl.tasks.base import SequenceTask
from clm_dl.tasks.churn import ChurnTask
from clm_dl.tasks.next_item import NextItemTask, NextOrderTask

TASKS: dict[str, type[SequenceTask]] = {"churn": ChurnTask, "next_item": NextItemTask, "next_order": NextOrderTask}

__all__ = ["TASKS", "ChurnTask", "NextItemTask", "NextOrderTask", "SequenceTask"]
