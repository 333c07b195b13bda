"""One trial of a sweep: kept where it is finished, gone on with where it was cut off, recorded where it fails."""

from __future__ import annotations

import math
import os
import traceback
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from clm_dl.command import check_job
from clm_dl.config import as_saved, plain
from clm_dl.errors import Pruned, UserError
from clm_dl.experiment.experiment import run_experiment
from clm_dl.experiment.identity import Settings, saved_settings, settings_of
from clm_dl.experiment.run_files import read_results, write_status
from clm_dl.experiment.run_home import BEFORE, locked, state_of
from clm_dl.experiment.settings import Plan, read_plan
from clm_dl.experiment.shared import SHARED
from clm_dl.experiment.sweep.journal import Step, note
from clm_dl.experiment.sweep.objective import objective
from clm_dl.experiment.sweep.progress import progress
from clm_dl.masking import masked
from clm_dl.training.checkpoint import load_checkpoint
from clm_dl.visual.terminal import print_comparison
from clm_dl.writing import replacing

if TYPE_CHECKING:
    from clm_dl.experiment.sweep.study import Watch  # needs the extra optuna

ERROR = "error.txt"  # of a failed trial: the sentence, or the traceback of what nobody expected
LAST = Path("checkpoints") / "last.ckpt"
RECORD = (*BEFORE, ERROR, "status.json", "config.yaml")  # all that a trial leaves that failed before it had results
TITLES = {"begins": "trial"}  # of steps, as they are printed
Log = Callable[[str], None]


def run_trial(config: DictConfig, folder: Path, sweep: Path, log: Log = print, *, watch: Watch | None = None) -> float:
    """Run the trial that `config` describes in `folder`, a folder of its `sweep`'s, unless it is there already.

    It is where a trial of the sweep has the same settings: a finished one is kept and not touched, one that was cut off
    goes on from its last checkpoint, one that failed begins again. No exception leaves a trial, but Ctrl-C and SIGTERM.

    Args:
        watch: of a search that is told how the trial ends; where it prunes, a pruned trial is kept, too.

    Returns:
        The objective; NaN of a trial that has not finished.
    """
    tell = _Teller(sweep.absolute(), log)
    value = _run_or_keep(config, folder, tell, watch)
    if watch and tell.step != "left":
        watch.tell(value, pruned=tell.step != "refused" and state_of(tell.place) == "pruned")
    return value


def _run_or_keep(config: DictConfig, folder: Path, tell: _Teller, watch: Watch | None) -> float:
    place, over = folder, ("finished", "pruned") if watch and watch.prunes else ("finished",)
    try:
        saved, plan, error = _read(config)
        place = _place(folder, settings_of(saved) if saved else None)
        if state_of(place) not in over:
            with ExitStack() as stack:
                try:
                    stack.enter_context(locked(place))
                except UserError as busy:
                    return tell(place, "left", str(busy))
                if state_of(place) not in over:  # another process may have been faster
                    return _run(config, place, saved, plan, error, tell, watch)
        if state_of(place) == "pruned":
            return tell(place, "kept", "pruned")
        value = _value(place, config)
        tell(place, "kept")
        return value
    except Exception as refusal:
        return tell(place, "refused", _sentence(refusal))
    except (KeyboardInterrupt, SystemExit):
        note(tell.sweep, tell.name(place), "interrupted")
        raise
    finally:
        for path in {folder, place}:
            with suppress(OSError):
                path.rmdir()  # Hydra makes it, whatever becomes of it; one that holds anything stays


@dataclass
class _Teller:
    """Writes each step of a trial to the journal of its sweep, and prints it; the last one was `step` at `place`."""

    sweep: Path
    log: Log
    place: Path = Path()
    step: Step = "begins"

    def __call__(self, place: Path, step: Step, sentence: str = "") -> float:
        self.place, self.step = place, step
        note(self.sweep, self.name(place), step, sentence)
        here = Path.cwd()
        shown = place.relative_to(here) if place.is_relative_to(here) else place
        if step != "finished":  # its comparison was printed
            self.log(f"{f'{TITLES.get(step, step)}:':12s} {shown}{f': {sentence}' if sentence else ''}")
        return math.nan

    def progress(self) -> None:
        """Print how far the sweep is."""
        self.log(f"sweep:       {progress(self.sweep)}")

    def name(self, place: Path) -> str:
        return str(place.relative_to(self.sweep) if place.is_relative_to(self.sweep) else place)


def _read(config: DictConfig) -> tuple[dict[str, Any] | None, Plan | None, Exception | None]:
    """The configuration as it is saved, its plan, and what is wrong with it: a trial that cannot run is one, too."""
    saved: dict[str, Any] | None = None
    try:
        saved = as_saved(config, plain(config))
        check_job(config)
        check_devices(config)
        plan = read_plan(plain(config))
        return as_saved(config, plan.config), plan, None
    except Exception as error:
        return saved, None, error


def check_devices(config: DictConfig) -> None:
    """Raise UserError where every process of a distributed run would run the whole sweep again."""
    for name in ("devices", "num_nodes"):
        if (value := config.trainer[name]) not in (1, "1"):
            raise UserError(f"a sweep runs one device a job, got trainer.{name}={value}: set trainer.{name}=1")


def _place(folder: Path, settings: Settings | None) -> Path:
    """Where the trial is or is to be; UserError where another one is in its way."""
    there = saved_settings(folder)
    if settings is not None and there == settings:
        return folder
    others = sorted(path.parent for path in folder.parent.glob("*/config.yaml") if path.parent != folder)
    same = [other for other in others if settings is not None and saved_settings(other) == settings]
    if same:
        return min(same, key=lambda other: state_of(other) != "finished")
    held = {path.name for path in folder.glob("*") if not path.name.endswith(".tmp")}
    if held <= set(BEFORE) or (held <= set(RECORD) and state_of(folder) is not None):
        return folder
    raise UserError(f"the folder holds {_other(there, settings)}: choose another sweep=NAME, or delete it")


def _other(there: Settings | None, settings: Settings | None) -> str:
    if there is None or settings is None:
        return "something else"
    keys = [key for key in sorted({*there, *settings}) if there.get(key) != settings.get(key)]
    told = [f"{key} {there.get(key, '–')} there, {settings.get(key, '–')} here" for key in keys[:2]]
    return f"a trial with other settings ({'; '.join(told)}{' …' if keys[2:] else ''})"


def _run(
    config: DictConfig,
    place: Path,
    saved: Any,
    plan: Plan | None,
    error: Exception | None,
    tell: _Teller,
    watch: Watch | None,
) -> float:
    """Train in `place`, which is locked and holds nothing that finished."""
    for left in (place / ERROR, *place.glob("*.tmp"), *place.glob(".*.tmp")):  # of a process that was killed
        left.unlink(missing_ok=True)
    try:
        if error is not None or plan is None:
            raise error or AssertionError
        config.paths.output_dir = str(place)
        if goes_on := _resumable(place, plan, tell.log):
            config.ckpt = str(place / LAST)
        tell(place, "goes on" if goes_on else "begins")
        run_experiment(config, log=tell.log, is_locked=True, shared=tell.sweep / SHARED, watcher=watch)
    except Pruned as end:
        return tell(place, "pruned", str(end))
    except Exception as failure:
        if state_of(place) != "finished":
            _record(place, failure, saved)
        tell(place, "failed", _sentence(failure))
        tell.progress()
        return math.nan
    tell(place, "finished")
    print_comparison(read_results(place, plain(config.trusted)))
    tell.progress()
    return _value(place, config)


def _resumable(place: Path, plan: Plan, log: Log) -> bool:
    """Whether a run that was cut off, or pruned, left a checkpoint to go on from."""
    one_network = plan.settings.has_network and not plan.is_table and plan.folds == 1
    if state_of(place) not in ("running", "interrupted", "pruned") or not one_network or not (place / LAST).is_file():
        return False
    try:
        load_checkpoint(place / LAST)
    except UserError as error:
        log(f"{error}; it begins anew")
        return False
    return True


def _value(place: Path, config: DictConfig) -> float:
    first = read_results(place, plain(config.trusted))[0]
    return objective(first.metrics, first.known, first.config["objective"])


def _record(place: Path, failure: Exception, saved: Any) -> None:
    """status.json, error.txt and what is known of the configuration."""
    write_status(place, "failed", _sentence(failure)[:500])
    if saved is not None:
        with replacing(place / "config.yaml") as temporary:
            OmegaConf.save(OmegaConf.create(saved), temporary)
    expected = isinstance(failure, (UserError, OSError)) and os.environ.get("HYDRA_FULL_ERROR") != "1"
    text = _sentence(failure) if expected else masked("".join(traceback.format_exception(failure)))
    with replacing(place / ERROR) as temporary:
        temporary.write_text(f"{text.rstrip()}\n", encoding="utf-8")


def _sentence(error: Exception) -> str:
    text = masked(" ".join(str(error).split()))
    if isinstance(error, (UserError, OSError)) and text:
        return text
    return f"{type(error).__name__}{f': {text}' if text else ''}"
