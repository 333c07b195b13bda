"""Tasks: Lightning modules that turn one encoder into an answer about the customer."""

from clm_dl.tasks.base import SequenceTask
from clm_dl.tasks.churn import ChurnTask

TASKS: dict[str, type[SequenceTask]] = {"churn": ChurnTask}

__all__ = ["TASKS", "ChurnTask", "SequenceTask"]
