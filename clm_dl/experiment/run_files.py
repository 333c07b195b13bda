"""The files of a run: written whole or not at all, read back as what predicting and showing need."""

from __future__ import annotations

import json
import os
import shutil
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from omegaconf import OmegaConf

from clm_dl.data.ranking.catalogue import Catalogue
from clm_dl.data.sequences.vocabulary import Vocabulary
from clm_dl.errors import MissingFile, Pruned, UserError
from clm_dl.experiment.manifest import MANIFEST, sound, write_manifest
from clm_dl.experiment.migrate import current_config
from clm_dl.experiment.settings import read_task
from clm_dl.masking import masked, masked_config
from clm_dl.tasks.base import ScoredTask, Task
from clm_dl.tasks.network import SequenceNetwork
from clm_dl.tasks.trained import Trained
from clm_dl.training.checkpoint import load_checkpoint
from clm_dl.visual.results import Results
from clm_dl.writing import DiskFull, full_disk_said, is_full, replacing, write_text

RUN_VERSION = 1
MODEL = Path("checkpoints") / "model.ckpt"
ITEMS, CARDS = "items.parquet", "cards.json"  # of runs that recommend
BACKTEST = "backtest.json"  # of clm-evaluate cutoffs=…
BASELINES = "baselines"  # <question>/<baseline>.skops
RESTORE = "take it from a copy of the run, or train the run again"
WRITTEN = (  # of a run; with them FOLDERS, and of a run that begins anew its checkpoints and curves
    *(MANIFEST, "metrics.json", "scores.parquet", "evaluation.json", "timing.json", "versions.json", "vocabulary.json"),
    *("schema.json", "report.html", "model_card.md", "hparams.yaml", ITEMS, CARDS, BACKTEST, str(MODEL)),
    "projector_config.pbtxt",
)
FOLDERS = ("fold_*", BASELINES, "00000")  # of older folds, of fitted baselines, of TensorBoard's projector


# --- writing


def write_json(path: Path, value: Any) -> None:
    """Write JSON whole or not at all."""
    write_text(path, json.dumps(value, indent=1, allow_nan=False))


def write_parquet(table: pd.DataFrame, path: Path) -> None:
    """Write a table of a run whole or not at all."""
    with replacing(path) as temporary:
        table.to_parquet(temporary, index=False)


def save_trained(
    folder: Path,
    task: Task,
    network: SequenceNetwork,
    *,
    vocabulary: Vocabulary,
    schema: Mapping[str, Any],
    calibrations: Mapping[str, Any],
) -> None:
    """Write the scoring checkpoint that `read_trained` reads, and vocabulary and schema as JSON."""
    states = {name: {} if one is None else one.to_dict() for name, one in calibrations.items()}
    checkpoint = {
        "version": RUN_VERSION,
        "task": task.name,
        "hyper_parameters": network.hyper_parameters,
        "state_dict": network.state_dict(),
        "vocabulary": vocabulary.to_json(),
        "schema": dict(schema),
        "calibration": states if task.holds_tasks else states[task.name],
    }
    with replacing(folder / MODEL) as temporary:
        torch.save(checkpoint, temporary)
    write_json(folder / "vocabulary.json", vocabulary.to_json())
    write_json(folder / "schema.json", dict(schema))


def clear_results(folder: Path, *, resumed: bool) -> None:
    """Take out of a run's `folder` what an earlier run left there; of a resumed one checkpoints and curve stay."""
    names = [
        *WRITTEN,
        ".*.tmp",
        "checkpoints/.*.tmp",
        *([] if resumed else ["events.out.tfevents.*", "checkpoints/best*.ckpt", "checkpoints/last*.ckpt"]),
    ]
    for path in [path for name in names for path in folder.glob(name)]:
        path.unlink(missing_ok=True)  # two patterns may name one file
    for path in [path for name in FOLDERS for path in folder.glob(name)]:
        shutil.rmtree(path)


def helper_process() -> bool:
    """Whether this is a further process of a distributed run: it trains along and writes nothing."""
    return any(int(os.environ.get(name, 0)) > 0 for name in ("RANK", "LOCAL_RANK", "SLURM_PROCID"))


def write_status(path: Path, state: str, reason: str | None = None) -> None:
    """Write status.json of the run at `path`; of one that ends on a full disk in the place of what it said before."""
    text = json.dumps({"version": RUN_VERSION, "state": state, "reason": reason}, indent=1)
    try:
        write_text(path / "status.json", text)
    except DiskFull:
        if state in ("running", "finished"):
            raise
        with (path / "status.json").open("r+") as file:  # in its place, which needs no more of the disk
            file.write(text)
            file.truncate()


@contextmanager
def run_status(path: Path) -> Iterator[None]:
    """Keep status.json: running, then finished, interrupted (Ctrl-C; SIGTERM in training), pruned or failed and why;
    of a finished run the manifest comes last.
    """
    write_status(path, "running")
    said = threading.excepthook
    # TensorBoard's thread hands its error on, and need not print it as well
    threading.excepthook = lambda thread: None if is_full(thread.exc_value) else said(thread)
    try:
        with full_disk_said(path):
            yield
            write_status(path, "finished")
            write_manifest(path)
    except (KeyboardInterrupt, SystemExit) as error:  # Lightning turns Ctrl-C into SystemExit, SIGTERM into its own
        terminated = type(error).__name__ == "SIGTERMException"
        signal, code = ("SIGTERM", 143) if terminated else ("Ctrl-C", 130)
        write_status(path, "interrupted", f"{signal}; the best checkpoint so far is kept")
        last = path / "checkpoints" / "last.ckpt"
        go_on = f": go on with ckpt={last}" if last.exists() else ""
        print(f"error: interrupted with {signal}{go_on}", file=sys.stderr)
        raise SystemExit(code) from error
    except Pruned as end:
        write_status(path, "pruned", str(end))
        raise
    except BaseException as error:
        write_status(path, "failed", masked(" ".join(str(error).split()))[:500] or type(error).__name__)
        raise
    finally:
        threading.excepthook = said


# --- reading


def read_config(path: Path, trusted: Sequence[str] = ()) -> dict[str, Any]:
    """config.yaml of the run at `path`, as plain dicts in the present version's keys.

    Nothing in it is worked out: `${oc.env:NAME}` stays as it stands. Which classes may be made of it says whoever
    reads it (`trusted`), never the file.
    """
    if not sound(path, "config.yaml").is_file():
        raise MissingFile(f"{path} is no run directory (it has no config.yaml): give the folder that clm-train printed")
    read_status(path)
    with undamaged(path / "config.yaml"):
        config: Any = OmegaConf.to_container(OmegaConf.load(path / "config.yaml"))
        return current_config(dict(config)) | {"trusted": list(trusted)}


def read_status(path: Path) -> dict[str, Any]:
    """status.json: {"version", "state": running | finished | interrupted | pruned | failed, "reason"}."""
    if not (path / "status.json").is_file():
        raise MissingFile(
            f"{path} is no run directory (it has no status.json): give the folder that clm-train printed, or take the "
            "file from a copy of the run"
        )
    status: dict[str, Any] = read_json(path / "status.json", "version", "state")
    if status["version"] != RUN_VERSION:
        raise UserError(
            f"run {path} has version {status['version']}, this clm_dl reads version {RUN_VERSION}: train it again"
        )
    sound(path, "status.json")
    return status


def existing(path: Path, name: str | Path) -> Path:
    """The file of a run; FileNotFoundError says that only a finished run has it."""
    if not sound(path, name).is_file():
        raise MissingFile(f"run {path} ({read_status(path)['state']}) has no {name}: only a finished run has one")
    return path / name


def read_checkpoint(path: Path, config: Mapping[str, Any]) -> dict[str, Any]:
    """The scoring checkpoint: version, task, hyper_parameters, state_dict, vocabulary, schema, calibration."""
    if config["encoder"]["name"] == "none":
        raise UserError(
            f"run {path} was made with encoder=none, so there is no network to use: train one with another encoder"
        )
    checkpoint = load_checkpoint(existing(path, MODEL))
    if checkpoint.get("version") != RUN_VERSION:
        raise UserError(
            f"{path / MODEL} has version {checkpoint.get('version')}, this clm_dl reads version {RUN_VERSION}: train "
            "it again"
        )
    if lacking := {"schema", "state_dict", "vocabulary", "calibration", "hyper_parameters"} - set(checkpoint):
        raise UserError(f"{path / MODEL} is corrupt (it has no {min(lacking)}): {RESTORE}")
    return checkpoint


def read_trained(path: Path, trusted: Sequence[str] = ()) -> Trained:
    """What predicting needs of the run at `path`."""
    config = read_config(path, trusted)
    task = _task_of(config, path)
    if config["encoder"]["name"] == "none" or task.settings.rule is None:  # a table is scored out of its folds
        return Trained(path, config, task)
    checkpoint = read_checkpoint(path, config)
    network = task.network(checkpoint["schema"])
    try:
        network.load_state_dict(checkpoint["state_dict"])
    except RuntimeError as error:
        raise UserError(
            f"checkpoint {path / MODEL} is corrupt: its weights do not fit its own schema; train again"
        ) from error
    states = checkpoint["calibration"]
    calibrations = {
        question.name: question.read_calibration(states if question is task else states[question.name])
        for question in task.questions
    }
    vocabulary = Vocabulary.from_json(checkpoint["vocabulary"])
    known = {"vocabulary": vocabulary, "schema": checkpoint["schema"], "calibrations": calibrations}
    return Trained(path, config, task, network=network.eval(), **known)


def read_results(path: Path, trusted: Sequence[str] = ()) -> list[Results]:
    """What showing needs of the run at `path`, a record a question."""
    config = read_config(path, trusted)
    task = _task_of(config, path)
    metrics = read_metrics(path, task)
    return results_of(task, path, config, metrics, scores=None)


def results_of(
    task: Task,
    path: Path,
    config: Mapping[str, Any],
    metrics: Mapping[str, Any],
    scores: pd.DataFrame | None,
    **known: Any,
) -> list[Results]:
    """Results of every question; `scores` are read when they are asked for, unless they are at hand. What is not
    `known` (cards, backtest, timing, status) is read.
    """
    several = task.holds_tasks
    found = {name: read_json(path / file) for name, file in _SHOWN.items() if sound(path, file).is_file()} | known

    def load(question: ScoredTask) -> pd.DataFrame:
        table = read_scores(path) if scores is None else scores
        return table[table["task"] == question.name].reset_index(drop=True) if several else table

    return [
        Results(
            task=question,
            path=path,
            config=masked_config(config),
            metrics=metrics["tasks"][question.name] if several else metrics,
            load_scores=lambda question=question: load(question),  # type: ignore[misc]
            several=several,
            **found,
        )
        for question in task.questions
    ]


_SHOWN = {"cards": CARDS, "backtest": BACKTEST, "timing": "timing.json", "status": "status.json"}


@contextmanager
def undamaged(file: Path) -> Iterator[None]:
    """One sentence in place of whatever is raised where a `file` is not what clm_dl wrote."""
    try:
        yield
    except (UserError, FileNotFoundError, PermissionError, MemoryError):
        raise
    except Exception as error:  # each format has its own
        raise UserError(f"{file} is corrupt ({type(error).__name__}): {RESTORE}") from error


def read_json(path: Path, *keys: str) -> Any:
    """A JSON file of a run; with `keys`, a mapping that has them."""
    with undamaged(path):
        value = json.loads(path.read_text(encoding="utf-8"))
    if keys and not (isinstance(value, dict) and set(keys) <= set(value)):
        raise UserError(f"{path} is corrupt (it lacks {' or '.join(keys)}): {RESTORE}")
    return value


def read_metrics(path: Path, task: Task) -> dict[str, Any]:
    """metrics.json of the run at `path`."""
    metrics: dict[str, Any] = read_json(existing(path, "metrics.json"), "tasks" if task.holds_tasks else "split")
    return metrics


def read_scores(path: Path) -> pd.DataFrame:
    """scores.parquet of the run at `path`."""
    file = existing(path, "scores.parquet")
    with undamaged(file):
        return pd.read_parquet(file)


def _task_of(config: Mapping[str, Any], path: Path) -> Task:
    """The task of the run at `path`, with its catalogue."""
    with undamaged(path / "config.yaml"):
        task = read_task(config)
    if sound(path, ITEMS).is_file():
        with undamaged(path / ITEMS):
            task.catalogue = Catalogue.from_frame(pd.read_parquet(path / ITEMS))
    return task
