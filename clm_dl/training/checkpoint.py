"""Checkpoints: data alone; read without executing anything, resumed from, moved into the folder of who goes on."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from clm_dl.errors import MissingFile, UserError
from clm_dl.tasks.network import SequenceNetwork
from clm_dl.writing import replacing

FREE = ("optimizer", "schedule")  # task settings that a resumed run may change
KEPT = ("best.ckpt", "last.ckpt", "")  # checkpoints of a run; none yet
PREFIX = "network."  # of a network's weights in the checkpoints that Lightning writes


def load_checkpoint(path: Path) -> dict[str, Any]:
    """A checkpoint as data: nothing in it is executed (`weights_only=True`)."""
    if not path.is_file():
        raise MissingFile(f"no checkpoint at {path}: give runs/…/checkpoints/last.ckpt of a run that was trained")
    try:
        checkpoint: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises RuntimeError, UnpicklingError, EOFError, OSError, …
        raise UserError(
            f"checkpoint {path} is corrupt or holds more than data ({type(error).__name__}): train it again"
        ) from error
    if not isinstance(checkpoint, dict):
        raise UserError(f"{path} is no checkpoint of clm_dl: give runs/…/checkpoints/last.ckpt")
    return checkpoint


def network_weights(checkpoint: dict[str, Any]) -> dict[str, torch.Tensor]:
    """The network's weights in a checkpoint that Lightning wrote; one of an older version has them without PREFIX."""
    return {name.removeprefix(PREFIX): value for name, value in checkpoint["state_dict"].items()}


def read_resumable(path: Path, network: SequenceNetwork, asked: Mapping[str, Any]) -> dict[str, Any]:
    """The Lightning checkpoint at `path`, found to belong to `network`, which is to learn what is `asked`.

    Raises:
        FileNotFoundError: no such file.
        ValueError: corrupt, or of a network with another schema or other sizes, or for another question.
    """
    checkpoint = load_checkpoint(path)
    if "state_dict" not in checkpoint or "callbacks" not in checkpoint:
        raise UserError(
            f"{path} cannot be resumed: give the last.ckpt that Lightning wrote, not the scoring checkpoint"
        )
    if checkpoint["hyper_parameters"]["schema"] != network.schema:
        raise UserError(
            f"checkpoint {path} was trained on another schema (columns, vocabulary or training period): resume with "
            "its own data"
        )
    weights = network_weights(checkpoint)
    for name, tensor in network.state_dict().items():
        if name not in weights or weights[name].shape != tensor.shape:
            raise UserError(
                f"checkpoint {path} belongs to another network ({name} differs): resume with its own encoder and task "
                "settings"
            )
    before = {**checkpoint["hyper_parameters"]["task"], **checkpoint.get("asked", {})}
    now = {**network.hyper_parameters["task"], **asked}
    for name in (name for name in now if name in before and name not in FREE):  # an older version may lack some
        if before[name] != now[name]:
            raise UserError(
                f"checkpoint {path} was trained for another question ({name} differs): resume with its own task, "
                "labels, snapshots and data"
            )
    for state in _records(checkpoint):
        named = [Path(str(state[key])).name for key in ("best_model_path", "kth_best_model_path")]
        for name in [*named, *(Path(str(one)).name for one in state["best_k_models"])]:
            if name not in KEPT:  # Lightning removes what was best before
                raise UserError(
                    f"checkpoint {path} calls a checkpoint of its run {name!r}, where only best.ckpt and last.ckpt can "
                    "be: give the last.ckpt of a run that clm_dl trained"
                )
    checkpoint["state_dict"] = {f"{PREFIX}{name}": value for name, value in weights.items()}
    return checkpoint


def adopt_checkpoint(checkpoint: dict[str, Any], path: Path, folder: Path) -> Path:
    """Move the checkpoint at `path` into `folder`, the best one beside it, so that the record goes on; its new path."""
    target = (folder / "checkpoints").absolute()
    for state in _records(checkpoint):
        best = Path(state["best_model_path"])
        state |= {"dirpath": str(target), "best_model_path": str(target / best.name), "last_model_path": ""}
        state["best_k_models"] = {
            str(target / Path(name).name): value for name, value in state["best_k_models"].items()
        }
        state["kth_best_model_path"] = str(target / Path(state["kth_best_model_path"]).name)
        foreign = path.parent.resolve() != target.resolve() and path.name != best.name
        source = path.parent / best.name
        if foreign and source.is_file() and not source.is_symlink():  # what a link leads to is no part of that run
            shutil.copy2(source, target / best.name)
    with replacing(target / path.name) as temporary:
        torch.save(checkpoint, temporary)
    return target / path.name


def _records(checkpoint: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What each ModelCheckpoint wrote down."""
    return [state for state in checkpoint["callbacks"].values() if "best_model_path" in state]
