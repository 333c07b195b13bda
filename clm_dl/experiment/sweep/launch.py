"""The start of a sweep: where its trials go, what they share, and what is said when it ends."""

from __future__ import annotations

import os
import re
import shlex
import sys
import uuid
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

from clm_dl.composing import composed, quoted
from clm_dl.config import plain
from clm_dl.errors import UserError
from clm_dl.experiment.sweep.journal import START, entries
from clm_dl.experiment.sweep.place import OVERVIEW, check_place
from clm_dl.experiment.sweep.progress import NUM_TRIALS
from clm_dl.experiment.sweep.search import Search, at_once, cores, params_of, read_search
from clm_dl.experiment.sweep.summary import sum_up
from clm_dl.experiment.sweep.trial import check_devices
from clm_dl.masking import masked
from clm_dl.overrides import check_overrides, check_search

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "LOKY_MAX_CPU_COUNT")
OF_ALL = {"hparams_search", "launcher", "study.trials", "study.seed", "study.prune"}


@contextmanager
def sweeping(overrides: Sequence[str], own: Path | None, words: Sequence[str]) -> Iterator[list[str]]:
    """Around the jobs of a sweep: gives Hydra the folder and the names of the trials; sums up when all are over.

    Args:
        overrides: of the command line, found to be right. own: the folder of one's own options.
        words: the command line, for the line that goes on with it.

    Raises:
        UserError: no trial of the sweep could be run, or a file of somebody else's is in the way. SystemExit: 1, some
            have failed.
    """
    parsed = OverridesParser.create().parse_overrides(list(overrides))
    swept = {one.key_or_group for one in parsed if one.is_sweep_override()}
    given = {one.key_or_group: one for one in parsed}
    _check(set(given), swept)
    common_words = [one.input_line or "" for one in parsed if not one.is_sweep_override()]
    common = composed("train", common_words, own, with_hydra=True)
    check_search(common.hydra)
    if not swept & {"trainer", "trainer.devices", "trainer.num_nodes"}:
        check_devices(common)
    check_overrides("train", [*params_of(common), *(one.input_line or "" for one in parsed)], own)
    search, folder = read_search(common, parsed), _folder(common)
    check_place(folder, overwrite=bool(common.overwrite))
    further = [f"hydra.sweep.dir={quoted(str(folder))}"]
    if "hydra.job.config.override_dirname.exclude_keys" not in given:
        same = ",".join(quoted(key) for key in given if key not in swept)
        further.append(f"hydra.job.config.override_dirname.exclude_keys=[{same}]")
    start = uuid.uuid4().hex
    environment = {START: start, NUM_TRIALS: str(search.trials), **_threads(common)}
    further += [f"+hydra.job.env_set.{name}={quoted(value)}" for name, value in environment.items()]
    named = common.sweep or "hydra.sweep.dir" in given
    line = shlex.join([*words, *([] if named else [f"hydra.sweep.dir={folder}"])])
    try:
        with _studies(folder, search, common_words, own):
            if search.by:
                print(f"{'search:':12s} {search.told}")
            yield further
    except (KeyboardInterrupt, SystemExit):
        if entries(folder, start):
            print(f"error: the sweep was cut off; go on with: {masked(line)}", file=sys.stderr)
        raise
    finally:
        mask_overview(folder)
    _end(folder, start, masked(line), plain(common.trusted))


def mask_overview(folder: Path) -> None:
    """Take passwords out of the file that Hydra writes the command line to."""
    overview = folder / OVERVIEW
    if overview.is_file():
        overview.write_text(masked(overview.read_text()))


def _check(given: set[str], swept: set[str]) -> None:
    if "paths.output_dir" in given:
        raise UserError(
            "paths.output_dir together with -m would overwrite every trial with the next: leave it out, or set "
            "sweep=NAME or hydra.sweep.dir"
        )
    if "sweep" in swept:
        raise UserError("sweep names the folder of one sweep: give it one name")
    if of_all := sorted(swept & OF_ALL):
        raise UserError(f"{of_all[0]} is the same for all trials of a sweep: give it one value")
    if {"sweep", "hydra.sweep.dir"} <= given:
        raise UserError("sweep=NAME and hydra.sweep.dir both say where the trials go: leave one out")


def _folder(common: DictConfig) -> Path:
    if common.sweep is None:
        return Path(str(OmegaConf.select(common, "hydra.sweep.dir")))
    name = str(common.sweep)
    if not re.fullmatch(r"\w[\w.,=+-]*(/\w[\w.,=+-]*)*", name):
        raise UserError(f"sweep={name!r} names a folder below runs: use letters, digits and . , = + - _ alone")
    return Path("runs") / name


def _threads(common: DictConfig) -> dict[str, str]:
    """So many threads a trial that those that run at once share the cores; what the environment says is stronger."""
    if (jobs := at_once(common.hydra.launcher)) is None:
        return {}
    return {name: str(max(1, cores() // jobs)) for name in THREADS if name not in os.environ}


def _studies(folder: Path, search: Search, words: Sequence[str], own: Path | None) -> AbstractContextManager[None]:
    if search.by != "optuna":
        return nullcontext()
    from clm_dl.experiment.sweep.study import studies_opened  # needs the extra optuna

    return studies_opened(folder, search, words, own)


def _end(folder: Path, start: str, line: str, trusted: Sequence[str]) -> None:
    """Show what was found; SystemExit: 1 where a trial of this start did not finish."""
    found = entries(folder, start)
    if any(folder.glob("**/status.json")):
        sum_up(folder, trusted)
    lost = [entry for entry in found if entry.step in ("failed", "refused")]
    if lost:
        what = "1 trial" if len(lost) == 1 else f"{len(lost)} trials"
        print(f"error: {what} did not finish; to try again: {line}", file=sys.stderr)
        for entry in lost:
            print(f"  {entry.trial}: {entry.sentence}", file=sys.stderr)
        raise SystemExit(1)
