"""Fitted baselines of a run: the best one kept as data, read back without executing anything, or fitted again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from clm_dl.baselines.spec import Fitted
from clm_dl.data.open import open_store
from clm_dl.errors import UserError
from clm_dl.evaluation.metric import NETWORK
from clm_dl.experiment.kept_model import as_data, read_model
from clm_dl.experiment.manifest import sound
from clm_dl.experiment.pretrained import Start
from clm_dl.experiment.rescoring import own_cases
from clm_dl.experiment.run_files import BASELINES, read_metrics, read_trained
from clm_dl.experiment.scoring import fit_baselines
from clm_dl.tasks.base import Answers, ScoredTask
from clm_dl.tasks.cases import Cases
from clm_dl.tasks.trained import Trained


def keep_best(folder: Path, question: ScoredTask, fitted: Sequence[Fitted], metrics: Mapping[str, Any]) -> None:
    """Write the best model and the best baseline of a question, as far as they are fitted, with what they combine.

    One that holds classes other than those of this package and scikit-learn is not kept: it is fitted again.
    """
    by_name = {one.spec.name: one for one in fitted}
    chosen = {metrics.get(key, {}).get("name") for key in ("best_baseline", "best_model")}
    chosen |= {name for one in chosen if one in by_name for name in members(by_name[one])}
    for name in chosen & set(by_name):
        one, path = by_name[name], _path(folder, question, name)
        if (content := one.content or as_data(one.model, one.calibration)) is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)


def fitted_models(trained: Trained, question: ScoredTask, name: str) -> dict[str, Fitted]:
    """The fitted baseline `name` and those that it combines: kept with the run, or fitted again on the run's own log.

    Raises:
        ValueError: the log that the run was trained on has changed. FileNotFoundError: it is not there any more.
    """
    if "embedding" in question.spec(name).sees and (start := trained.config["init"]):
        trained.task.start_from(Start(read_trained(Path(start), trained.config["trusted"])).vectors)
    found: dict[str, Fitted] = {}
    for wanted in _wanted(name, found):
        if not _path(trained.path, question, wanted).is_file():
            return _refitted(trained, question, name)
        found[wanted] = _read(trained.path, question, wanted)
    return found


def members(fitted: Fitted) -> list[str]:
    """The models that a fitted hybrid combines; none of any other."""
    return list(fitted.model.members_) if fitted.spec.is_hybrid else []


def _wanted(name: str, found: Mapping[str, Fitted]) -> Iterator[str]:
    """`name`, then, once it is found, the baselines that it combines."""
    yield name
    yield from (member for member in members(found[name]) if member != NETWORK)


def _path(folder: Path, question: ScoredTask, name: str) -> Path:
    return folder / BASELINES / question.name / f"{name}.skops"


def _read(run: Path, question: ScoredTask, name: str) -> Fitted:
    path = _path(run, question, name)
    again = f"delete it to fit {name} again"
    try:
        sound(run, path.relative_to(run))
    except UserError as error:
        raise UserError(f"{path} is corrupt: {again}") from error
    return read_model(path, question, name, again)


def _refitted(trained: Trained, question: ScoredTask, name: str) -> dict[str, Fitted]:
    """Fitted as it was in the run, on the run's own log, which must not have changed."""
    config, task = trained.config, trained.task
    metrics = read_metrics(trained.path, trained.task)
    whole = own_cases(trained, open_store(config["data"], config["paths"]), metrics)
    cases, spec = task.cases_of(question, whole), question.spec(name)
    singles = [one for one in question.settings.specs if not one.is_hybrid]
    specs = [one for one in singles if spec.members is None or one.name in spec.members] if spec.is_hybrid else []
    network: dict[str, Answers] = {}
    if spec.is_hybrid and trained.network is not None:
        network[NETWORK] = _network_answers(trained, question, whole)
    return {one.spec.name: one for one, _ in fit_baselines(question, cases, network, silent, [*specs, spec])}


def _network_answers(trained: Trained, question: ScoredTask, cases: Cases) -> Answers:
    assert trained.network is not None
    inputs = trained.task.inputs(cases, vocabulary=trained.vocabulary, schema=trained.schema)
    return question.answers(trained.network, inputs, np.asarray(cases.held_out))


def silent(line: str) -> None:
    """Nobody listens."""
