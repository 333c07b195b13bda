"""Loggers: checked before data are read, made when training is at hand, and one sentence where they fail."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

from pytorch_lightning.loggers import Logger

from clm_dl.classes import extras, missing
from clm_dl.config import build, check_class
from clm_dl.errors import UserError
from clm_dl.training.options import TrainingOptions


def check_loggers(options: TrainingOptions) -> None:
    """Raise UserError where a logger cannot be made; none is, for some write as soon as they are."""
    for name, logger in options.loggers.items():
        if name in extras() and find_spec(name) is None:  # an extra has the name of its package
            raise missing(f"logger={name}", ModuleNotFoundError(f"No module named {name!r}"))
        with _explained(name):
            check_class(logger, f"logger.{name}", trusted=options.trusted)


def make_loggers(options: TrainingOptions) -> list[Logger]:
    """The loggers of a run."""
    made = []
    for name, logger in options.loggers.items():
        with _explained(name):
            made.append(build(logger, trusted=options.trusted))
    return made


def start_loggers(options: TrainingOptions, loggers: list[Logger]) -> None:
    """Let every logger open its record: a server may not answer, or ask who you are."""
    for name, logger in zip(options.loggers, loggers, strict=True):
        with _explained(name):
            getattr(logger, "experiment", None)


@contextmanager
def _explained(name: str) -> Iterator[None]:
    try:
        yield
    except (UserError, OSError, MemoryError):
        raise
    except Exception as error:  # each logger has its own
        said = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
        raise UserError(f"logger.{name}: {said}: choose other options of logger.{name}, or another logger") from error
