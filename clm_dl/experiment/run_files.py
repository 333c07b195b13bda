"""What a run writes: its folder, its status, its JSON files and the scoring checkpoint, each whole or not at all."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning.utilities.exceptions import SIGTERMException

from clm_dl.data.sequences.vocabulary import Vocabulary
from clm_dl.tasks.module import SequenceTask

RUN_VERSION = 1
MODEL = Path("checkpoints") / "model.ckpt"
ITEMS, CARDS = "items.parquet", "cards.json"  # of ranked runs
BACKTEST = "backtest.json"  # of clm-evaluate cutoffs=…


def save_model(
    path: Path, task: SequenceTask, *, vocabulary: Vocabulary, schema: Mapping[str, Any], calibration: dict[str, Any]
) -> None:
    """Write the scoring checkpoint that `load_run` reads."""
    checkpoint = {
        "version": RUN_VERSION,
        "task": task.name,
        "hyper_parameters": dict(task.hparams),
        "state_dict": task.state_dict(),
        "vocabulary": vocabulary.to_json(),
        "schema": dict(schema),
        "calibration": calibration,
    }
    temporary = path.with_suffix(".tmp")
    torch.save(checkpoint, temporary)
    os.replace(temporary, path)


def write_json(path: Path, value: Any) -> None:
    """Write JSON whole or not at all."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".tmp")
    with os.fdopen(handle, "w") as file:
        json.dump(value, file, indent=1, allow_nan=False)
    os.chmod(temporary, 0o644)  # mkstemp's files are their owner's alone
    os.replace(temporary, path)


def helper_process() -> bool:
    """Whether this is a further process of a distributed run: it trains along and writes nothing."""
    return any(int(os.environ.get(name, 0)) > 0 for name in ("RANK", "LOCAL_RANK", "SLURM_PROCID"))


def clear_results(folder: Path, *, resumed: bool) -> None:
    """Make `folder` and take out what an earlier run left there; its checkpoints and training curve stay when it is
    resumed.
    """
    names = [
        "metrics.json",
        "scores.parquet",
        "evaluation.json",
        "timing.json",
        "report.html",
        "model_card.md",
        ITEMS,
        CARDS,
        BACKTEST,
        str(MODEL),
    ]
    if not resumed:
        names += ["events.out.tfevents.*", "checkpoints/*.ckpt"]
    for path in [path for name in names for path in folder.glob(name)]:
        path.unlink(missing_ok=True)  # two patterns may name one file
    (folder / "checkpoints").mkdir(parents=True, exist_ok=True)


@contextmanager
def run_status(path: Path) -> Iterator[None]:
    """Keep status.json: running, then finished, interrupted (Ctrl-C; SIGTERM while it trains) or failed with the
    reason.
    """

    def write(state: str, reason: str | None = None) -> None:
        write_json(path / "status.json", {"version": RUN_VERSION, "state": state, "reason": reason})

    write("running")
    try:
        yield
    except (KeyboardInterrupt, SystemExit) as error:  # Lightning turns Ctrl-C into SystemExit
        signal, code = ("SIGTERM", 143) if isinstance(error, SIGTERMException) else ("Ctrl-C", 130)
        write("interrupted", f"{signal}; the best checkpoint so far is kept")
        last = path / "checkpoints" / "last.ckpt"
        print(
            f"error: interrupted with {signal}{f': go on with ckpt={last}' if last.exists() else ''}", file=sys.stderr
        )
        raise SystemExit(code) from error
    except BaseException as error:
        write("failed", " ".join(str(error).split())[:500] or type(error).__name__)
        raise
    write("finished")
