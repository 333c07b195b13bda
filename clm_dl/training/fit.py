"""Fitting a network: Lightning's trainer with early stopping, checkpoints and resume, whatever the task."""

from __future__ import annotations

import logging
import os
import shutil
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback, EarlyStopping, LearningRateMonitor, ModelCheckpoint, TQDMProgressBar
from pytorch_lightning.loggers import TensorBoardLogger
from pytorch_lightning.utilities.exceptions import MisconfigurationException
from torch.utils.tensorboard import SummaryWriter

from clm_dl.config import build
from clm_dl.data.sequences.datamodule import SequenceDataModule
from clm_dl.data.snapshots.snapshots import Snapshots
from clm_dl.data.store.store import EventStore
from clm_dl.errors import UserError
from clm_dl.experiment.run_files import write_json
from clm_dl.run import load_checkpoint
from clm_dl.tasks.module import SequenceTask
from clm_dl.tasks.registry import TASKS
from clm_dl.training.memory import kept_memory
from clm_dl.visual.tensorboard import GradientNorm, ModelGraph, Throughput, WeightHistograms

HPARAMS = ("seed", "encoder", "task", "sequence", "vocabulary")  # the groups that TensorBoard's hparams show


@dataclass
class Network:
    """A network with its batches and its trainer, before training; `best` keeps the best epoch, `checkpoint` is to be
    resumed from.
    """

    task: SequenceTask
    datamodule: SequenceDataModule
    trainer: pl.Trainer
    best: ModelCheckpoint
    padding_ratio: float
    checkpoint: dict[str, Any] | None


def prepare_network(settings: Mapping[str, Any], datamodule: SequenceDataModule, folder: Path) -> Network:
    """The network and trainer that `settings` describe; the run directory `folder` is not touched yet.

    Raises:
        ValueError, FileNotFoundError: an option of the network, the trainer or the checkpoint to resume from is wrong.
    """
    # no tips, no list of absent accelerators
    logging.getLogger("pytorch_lightning.utilities.rank_zero").setLevel(logging.WARNING)
    pl.seed_everything(settings["seed"], workers=True, verbose=False)
    task = TASKS[settings["task"]["name"]](
        schema=datamodule.schema, encoder=settings["encoder"], task=settings["task"], seed=settings["seed"]
    )
    checkpoint = read_resumable(Path(settings["ckpt"]), task) if settings["ckpt"] else None
    callbacks = build_callbacks(settings, folder, task)
    try:
        trainer = pl.Trainer(
            **{key: value for key, value in settings["trainer"].items() if key != "compile"},
            default_root_dir=folder,
            logger=[build(logger, trusted=settings["trusted"]) for logger in settings["logger"].values()],
            callbacks=callbacks,
            num_sanity_val_steps=0,
            use_distributed_sampler=False,  # the datamodule's sampler knows about ranks
            enable_model_summary=False,
            # of a resumed run: else Lightning keeps the loader that it made before it knew the epoch to go on with
            reload_dataloaders_every_n_epochs=checkpoint["epoch"] + 1 if checkpoint else 0,
        )
    except (MisconfigurationException, ModuleNotFoundError) as error:
        raise UserError(
            f"trainer: {str(error).rstrip('.!')}: choose other options of trainer, e.g. trainer=default"
        ) from error
    best = next(callback for callback in callbacks if isinstance(callback, ModelCheckpoint))
    return Network(task, datamodule, trainer, best, datamodule.padding_ratio("train"), checkpoint)


def fit_network(network: Network, settings: Mapping[str, Any], folder: Path, log: Callable[[str], None]) -> None:
    """Train on the training snapshots and give `network.task` the weights of the epoch with the best validation metric.

    In a distributed run every process trains; the first one writes.
    """
    task, datamodule, trainer = network.task, network.datamodule, network.trainer
    resumed = folder / "checkpoints" / Path(settings["ckpt"]).name if network.checkpoint else None
    if trainer.is_global_zero:
        (folder / "checkpoints").mkdir(parents=True, exist_ok=True)
        write_json(folder / "vocabulary.json", datamodule.vocabulary.to_json())
        write_json(folder / "schema.json", datamodule.schema)
        if network.checkpoint:
            adopt_checkpoint(network.checkpoint, Path(settings["ckpt"]), folder)
        num_parameters = sum(parameter.numel() for parameter in task.parameters())
        log(
            f"network: {settings['encoder']['name']}, {num_parameters:,} parameters, {datamodule.num_training:,} "
            f"training snapshots, padded/real {network.padding_ratio:.2f}"
        )
    if settings["trainer"]["compile"]:
        task.encoder.compile()
    with kept_memory(), warnings.catch_warnings():
        # Lightning 2.6 on torch 2.13
        warnings.filterwarnings("ignore", message=".*LeafSpec.*is deprecated", category=FutureWarning)
        warnings.filterwarnings("ignore", message=".*smaller than the logging interval")  # a small log is no mistake
        warnings.filterwarnings("ignore", message="Checkpoint directory .* exists and is not empty")  # of a resumed run
        trainer.fit(task, datamodule=datamodule, ckpt_path=resumed)
    best = network.best.best_model_path
    task.load_state_dict(load_checkpoint(Path(best))["state_dict"])
    task.to(trainer.strategy.root_device)


def event_writer(trainer: pl.Trainer) -> SummaryWriter | None:
    """The writer of TensorBoard's logger, if the run has one."""
    logger = next((logger for logger in trainer.loggers if isinstance(logger, TensorBoardLogger)), None)
    return None if logger is None else logger.experiment


def build_datamodule(
    settings: Mapping[str, Any],
    store: EventStore,
    snapshots: Snapshots,
    targets: np.ndarray | None = None,
    **inputs: Any,
) -> SequenceDataModule:
    """Batches of `snapshots`; vocabulary and scalers are fitted on the training period, or those of `inputs` (a
    pretrained run's).
    """
    calendar = settings["data"].get("calendar")
    return SequenceDataModule(store, snapshots, targets=targets, calendar=calendar, **batch_options(settings), **inputs)


def batch_options(settings: Mapping[str, Any]) -> dict[str, Any]:
    """What every data module takes from the settings: tokens, vocabulary, batches."""
    task, vocabulary = settings["task"], settings["vocabulary"]
    return {
        **settings["sequence"],
        **{f"vocabulary_{name}": vocabulary[name] for name in ("min_count", "max_size", "fields")},
        **{name: task[name] for name in ("batch_size", "max_tokens_per_batch", "num_workers")},
        "pin_memory": torch.cuda.is_available(),
        "seed": settings["seed"],
    }


def build_callbacks(settings: Mapping[str, Any], folder: Path, task: SequenceTask) -> list[Callback]:
    """Best and last checkpoint, early stopping on the metric that `task` monitors, and what TensorBoard draws."""
    options = settings["callbacks"]
    checkpoints = folder / "checkpoints"
    best = ModelCheckpoint(
        checkpoints,
        filename="best",
        monitor=task.monitor,
        mode=task.mode,
        enable_version_counter=False,
        auto_insert_metric_name=False,
        save_on_train_epoch_end=True,
    )
    last = ModelCheckpoint(
        checkpoints, filename="last", monitor=None, enable_version_counter=False, save_on_train_epoch_end=True
    )
    callbacks: list[Callback] = [
        best,
        last,
        EarlyStopping(task.monitor, mode=task.mode, patience=options["patience"]),
        LearningRateMonitor("step"),
        Throughput(),
        ModelGraph(),
    ]
    if options["gradient_norm"]:
        callbacks.append(GradientNorm())
    if options["weight_histograms"]:
        callbacks.append(WeightHistograms())
    if settings["trainer"]["enable_progress_bar"]:
        callbacks.append(TQDMProgressBar(refresh_rate=20))
    return callbacks


def read_resumable(path: Path, task: SequenceTask) -> dict[str, Any]:
    """The Lightning checkpoint at `path`, found to belong to `task`.

    Raises:
        FileNotFoundError: no such file.
        ValueError: corrupt, or of a network with another schema or other sizes.
    """
    checkpoint = load_checkpoint(path)
    if "state_dict" not in checkpoint or "callbacks" not in checkpoint:
        raise UserError(
            f"{path} cannot be resumed: give the last.ckpt that Lightning wrote, not the scoring checkpoint"
        )
    if checkpoint["hyper_parameters"]["schema"] != task.hparams["schema"]:
        raise UserError(
            f"checkpoint {path} was trained on another schema (columns, vocabulary or training period): resume with "
            "its own data"
        )
    for name, tensor in task.state_dict().items():
        if name not in checkpoint["state_dict"] or checkpoint["state_dict"][name].shape != tensor.shape:
            raise UserError(
                f"checkpoint {path} belongs to another network ({name} differs): resume with its own encoder and task "
                "settings"
            )
    return checkpoint


def adopt_checkpoint(checkpoint: dict[str, Any], path: Path, folder: Path) -> None:
    """Move the checkpoint at `path` into `folder` with the best one beside it, so that the resumed run continues its
    record.
    """
    target = (folder / "checkpoints").absolute()
    records = [state for state in checkpoint["callbacks"].values() if "best_model_path" in state]
    if all(state["dirpath"] == str(target) for state in records):
        return
    for state in records:
        best = Path(state["best_model_path"])
        state |= {"dirpath": str(target), "best_model_path": str(target / best.name)}
        state["best_k_models"] = {
            str(target / Path(name).name): value for name, value in state["best_k_models"].items()
        }
        state["kth_best_model_path"] = str(target / Path(state["kth_best_model_path"]).name)
        if path.parent.resolve() != target.resolve() and path.name != best.name and (path.parent / best.name).is_file():
            shutil.copy2(path.parent / best.name, target / best.name)
    torch.save(checkpoint, target / f"{path.name}.tmp")
    os.replace(target / f"{path.name}.tmp", target / path.name)
