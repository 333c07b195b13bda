"""Fitting a network: Lightning's trainer with early stopping, checkpoints and resume, whatever the task."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback, EarlyStopping, LearningRateMonitor, ModelCheckpoint, TQDMProgressBar

from clm_dl.data.sequences.inputs import SequenceInputs
from clm_dl.errors import UserError
from clm_dl.nn import compile_encoder
from clm_dl.tasks.base import Task
from clm_dl.tasks.module import SequenceTask
from clm_dl.tasks.network import SequenceNetwork
from clm_dl.training.callbacks import GradientNorm, ModelGraph, Throughput, WeightHistograms, writers
from clm_dl.training.checkpoint import adopt_checkpoint, load_checkpoint, network_weights, read_resumable
from clm_dl.training.datamodule import SequenceDataModule
from clm_dl.training.loggers import check_loggers, make_loggers, start_loggers
from clm_dl.training.memory import kept_memory
from clm_dl.training.options import TrainingOptions


@dataclass(frozen=True, eq=False)
class Training:
    """A network with its batches and its trainer; `best` keeps the best epoch, `checkpoint` is to be resumed from."""

    network: SequenceNetwork
    inputs: SequenceInputs
    module: SequenceTask
    trainer: pl.Trainer
    best: ModelCheckpoint
    checkpoint: dict[str, Any] | None
    options: TrainingOptions

    @property
    def writer(self) -> Any:
        """The writer of TensorBoard's logger, if the run has one."""
        return next(iter(writers(self.trainer)), None)


def check_training(options: TrainingOptions, folder: Path) -> None:
    """Raise UserError where trainer, loggers or the checkpoint to resume from cannot be, before data is read."""
    check_loggers(options)
    _trainer(options, folder, logger=[])
    if options.checkpoint and not Path(options.checkpoint).is_file():
        load_checkpoint(Path(options.checkpoint))  # says that there is none


def prepare_training(
    task: Task, inputs: SequenceInputs, options: TrainingOptions, folder: Path, *, fingerprint: str
) -> Training:
    """The network of `task` and the trainer that `options` describe; the run directory `folder` is not touched yet.
    `fingerprint`: of the cases, see `Task.fingerprint`.

    Raises:
        ValueError, FileNotFoundError: an option of the network, the trainer or the checkpoint to resume from is wrong.
    """
    pl.seed_everything(options.seed, workers=True, verbose=False)
    network = task.network(inputs.schema)
    inputs.num_shapes = options.shapes
    inputs.train_sampler()  # refuses a size of batches that cannot be
    asked = {"name": task.name, "labels": dict(task.settings.labels), "data": fingerprint}
    checkpoint = read_resumable(Path(options.checkpoint), network, asked) if options.checkpoint else None
    module = task.module(network, inputs)
    module.asked = asked
    callbacks = build_callbacks(options, folder, module)
    # of a resumed run: else Lightning keeps the loader that it made before it knew the epoch to go on with
    again = checkpoint["epoch"] + 1 if checkpoint else 0
    more: Any = {"logger": make_loggers(options), "callbacks": callbacks, "reload_dataloaders_every_n_epochs": again}
    trainer = _trainer(options, folder, **more)
    best = next(callback for callback in callbacks if isinstance(callback, ModelCheckpoint))
    return Training(network, inputs, module, trainer, best, checkpoint, options)


def _trainer(options: TrainingOptions, folder: Path, **more: Any) -> pl.Trainer:
    # no tips, no list of absent accelerators
    logging.getLogger("pytorch_lightning.utilities.rank_zero").setLevel(logging.WARNING)
    try:
        return pl.Trainer(
            **options.trainer,
            default_root_dir=folder,
            num_sanity_val_steps=0,
            use_distributed_sampler=False,  # the inputs' sampler knows about ranks
            enable_model_summary=False,
            **more,
        )
    except Exception as error:  # Lightning has several, and what it calls has its own
        said = (str(error) or type(error).__name__).rstrip(".!")
        raise UserError(f"trainer: {said}: choose other options of trainer, e.g. trainer=default") from error


def fit(training: Training, folder: Path, log: Callable[[str], None]) -> None:
    """Train on the training snapshots and give the network the weights of the epoch with the best validation metric.

    In a distributed run every process trains; the first one writes.
    """
    network, inputs, trainer, options = training.network, training.inputs, training.trainer, training.options
    if 0 < len(rows := inputs.rows("val")) < trainer.world_size:
        raise UserError(
            f"trainer.devices: {trainer.world_size} processes share {len(rows)} snapshots for early stopping: choose "
            "fewer devices, or more validation cutoffs or customers"
        )
    resumed = folder / "checkpoints" / Path(options.checkpoint).name if options.checkpoint else None
    if trainer.is_global_zero:
        (folder / "checkpoints").mkdir(parents=True, exist_ok=True)
        if training.checkpoint and options.checkpoint:
            adopt_checkpoint(training.checkpoint, Path(options.checkpoint), folder)
        num_parameters = sum(parameter.numel() for parameter in network.parameters())
        log(
            f"network: {network.encoder_options['name']}, {num_parameters:,} parameters, {inputs.num_training:,} "
            f"training snapshots, padded/real {inputs.train_sampler().padding_ratio():.2f}"
        )
    start_loggers(options, trainer.loggers)
    if options.compile:
        compile_encoder(network.encoder)
    with kept_memory(), warnings.catch_warnings():
        # Lightning 2.6 on torch 2.13
        warnings.filterwarnings("ignore", message=".*LeafSpec.*is deprecated", category=FutureWarning)
        warnings.filterwarnings("ignore", message=".*smaller than the logging interval")  # a small log is no mistake
        # debug=overfit: the same batch each time, and one of validation may hold one class only
        warnings.filterwarnings("ignore", message="You requested to overfit|No (positive|negative) samples in targets")
        # every process judges the whole of validation
        warnings.filterwarnings("ignore", message="It is recommended to use .*sync_dist=True")
        # of a resumed run
        warnings.filterwarnings("ignore", message="Checkpoint directory .* exists and is not empty")
        trainer.fit(training.module, datamodule=SequenceDataModule(inputs), ckpt_path=resumed)
    network.load_state_dict(network_weights(load_checkpoint(Path(training.best.best_model_path))))
    network.to(trainer.strategy.root_device)


def build_callbacks(options: TrainingOptions, folder: Path, module: SequenceTask) -> list[Callback]:
    """Best and last checkpoint, early stopping on the metric that `module` monitors, and what TensorBoard draws."""
    chosen, checkpoints, monitor, mode = options.callbacks, folder / "checkpoints", module.monitor, module.mode
    always: dict[str, Any] = {"enable_version_counter": False, "save_on_train_epoch_end": True}
    always["auto_insert_metric_name"] = False  # a / in it would make folders
    callbacks: list[Callback] = [
        ModelCheckpoint(checkpoints, filename="best", monitor=monitor, mode=mode, **always),
        ModelCheckpoint(checkpoints, filename="last", monitor=None, **always),
        EarlyStopping(monitor, patience=chosen.patience, mode=mode),
        *([LearningRateMonitor("step")] if options.loggers else []),
        Throughput(),
        ModelGraph(),
    ]
    if chosen.gradient_norm:
        callbacks.append(GradientNorm())
    if chosen.weight_histograms:
        callbacks.append(WeightHistograms())
    if options.trainer["enable_progress_bar"]:
        callbacks.append(TQDMProgressBar(refresh_rate=20))
    return callbacks
