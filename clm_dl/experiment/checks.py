"""Checks of a run's configuration that need no data: the shape of its groups, what stands alone, what goes together."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch

from clm_dl.baselines.spec import IMBALANCE, IMPUTE
from clm_dl.data.ranking.protocols import check_protocol
from clm_dl.data.snapshots.labels import check_labels
from clm_dl.data.zone import Zone
from clm_dl.errors import UserError, choice
from clm_dl.nn import build_encoder
from clm_dl.options import Within, parse
from clm_dl.tasks.balance import check_balance
from clm_dl.tasks.base import Task
from clm_dl.tasks.registry import TASKS

GROUPS = (
    *("paths", "data", "snapshots", "labels", "sequence", "vocabulary", "encoder", "task", "protocol", "policy"),
    *("baseline", "trainer", "callbacks", "logger", "profit"),
)
NAMED = ("data", "labels", "encoder", "task")  # groups with a name
LARGEST_NETWORK = 2**31  # parameters that widths alone make


@dataclass(frozen=True)
class RunOptions:
    """What stands at the top of train.yaml, as far as it is a number, a switch or a word."""

    init: str | None
    ckpt: str | None
    impute: str
    imbalance: str
    objective: str | None
    k: Annotated[int, Within(1)]
    bootstrap: int
    threshold: float
    overwrite: bool
    trusted: tuple[str, ...]


@dataclass(frozen=True)
class PathOptions:
    """The group `paths`."""

    data_dir: str
    store: str | None
    output_dir: str


def check_shape(config: Mapping[str, Any]) -> None:
    """Raise UserError where a group is no group, or has no name."""
    for name in GROUPS:
        if not isinstance(config.get(name), Mapping):
            raise UserError(f"{name} must be a group of settings, got {config.get(name)!r}")
    for name in NAMED:
        if not isinstance(config[name].get("name"), str):
            raise UserError(f"{name}.name must be text, got {config[name].get('name')!r}: choose an option by {name}=…")
    for name, one in config["baseline"].items():
        if not isinstance(one, Mapping):
            raise UserError(f"baseline.{name} must be a group of settings, got {one!r}")


def check_top(config: Mapping[str, Any]) -> None:
    """Raise UserError for what is wrong whatever the task: the keys at the top, paths, and widths of encoders."""
    seed = config["seed"]
    if not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed < 2**32:
        raise UserError(f"seed must be an integer from 0 to 2^32 − 1, got {seed!r}")
    top = parse(RunOptions, config, "", strict=False)
    if not 1 <= top.bootstrap <= 1_000_000:
        raise UserError(
            "bootstrap is the number of resamples and must be an integer ≥ 1 and at most a million, got "
            f"{top.bootstrap}"
        )
    if not 0 <= top.threshold <= 1:
        raise UserError(f"threshold is a probability and must be in [0, 1], got {top.threshold}")
    choice(top.impute, IMPUTE, "impute")
    choice(top.imbalance, IMBALANCE, "imbalance")
    if not isinstance(config["encoder"].get("frozen", False), bool):
        raise UserError(f"encoder.frozen must be true or false, got {config['encoder']['frozen']!r}")
    baselines = config["baselines"]
    if not isinstance(baselines, (str, list, tuple, type(None))) or any(
        not isinstance(one, str) for one in baselines or ()
    ):
        raise UserError(f"baselines must be all, none or a list of names, got {baselines!r}")
    paths = parse(PathOptions, config["paths"], "paths")
    for key in ("data_dir", "output_dir"):
        if not getattr(paths, key).strip():
            raise UserError(f"paths.{key} must name a folder, got {getattr(paths, key)!r}")


def check_writable(folder: Path) -> None:
    """Raise UserError where a run cannot make its folder."""
    place = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    if not place.is_dir():
        raise UserError(f"paths.output_dir={folder} lies below the file {place}: choose another one")
    if not os.access(place, os.W_OK | os.X_OK):
        raise UserError(f"paths.output_dir={folder} cannot be made, {place} may not be written to: choose another one")


def check_together(config: Mapping[str, Any], task: Task) -> None:
    """Raise UserError for what depends on several groups."""
    settings, name = task.settings, task.name
    zone = Zone(settings.timezone)
    if settings.rule is not None:
        ranked = task.questions[0].recommends
        if not ranked or settings.protocol.get("name") == "rolling":
            settings.rule.check_dates(zone)
        if ranked:
            check_protocol(settings.protocol, zone)
        check_labels(settings.labels, _roles(config["data"]))
        if settings.has_network:
            check_network(task)
    check_balance(task)
    if settings.rule is None and not task.reads_tables:
        known = ", ".join(one for one, kind in TASKS.items() if kind.reads_tables)
        raise UserError(f"data={config['data']['name']} has no time, so it answers task={known} alone, got task={name}")
    if not task.starts_from_vectors or settings.rule is None:
        for key, value in {"init": config["init"], "encoder.frozen": config["encoder"]["frozen"]}.items():
            if value:
                raise UserError(
                    f"{key} is for tasks that answer per snapshot from a sequence, got {key}={value} with task={name}"
                )
    folds = 1 if settings.rule is None else settings.rule.folds
    if config["ckpt"] and folds > 1:
        raise UserError(f"ckpt resumes one network, got snapshots.folds={folds}: set snapshots.folds=1")
    if not settings.has_network:
        for question in task.questions:
            if not question.settings.specs:
                what = f"nothing that answers {question.name}" if question is not task else "nothing to train"
                raise UserError(
                    f"encoder=none and baselines={config['baselines']} leave {what}: choose an encoder or a baseline"
                )
        if config["ckpt"]:
            raise UserError(
                "ckpt resumes a network, but encoder=none trains no network: choose the encoder of the checkpoint"
            )


def check_network(task: Task) -> None:
    """Raise UserError where the network cannot be made of any log: it is made here for a blank one, without memory."""
    with torch.device("meta"):
        build_encoder(task.settings.encoder, 8)  # its own sentences come first
        try:
            network = task.network(task.blank_schema())
        except (RuntimeError, OverflowError, TypeError, MemoryError) as error:
            raise UserError(
                f"the network cannot be made ({str(error).splitlines()[0]}): check encoder and task"
            ) from error
    size = sum(parameter.numel() for parameter in network.parameters())
    if size > LARGEST_NETWORK:
        raise UserError(f"the network would have {size:,} parameters: choose smaller widths in encoder and task")


def _roles(data: Mapping[str, Any]) -> set[str] | None:
    """The roles that columns of a log play; None of data that come without."""
    groups = [
        data.get("roles"),
        *(source.get("roles") for source in data.get("sources") or () if isinstance(source, Mapping)),
    ]
    given = [group for group in groups if isinstance(group, Mapping)]
    return {role for group in given for role, column in group.items() if column is not None} if given else None
