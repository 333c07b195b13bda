"""Inference: a finished run applied to any log: scores, ranked lists, vectors of customers and items."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from clm_dl.baselines.spec import Fitted
from clm_dl.data.log.prepare import prepare_store
from clm_dl.data.open import open_store
from clm_dl.data.sequences.inputs import SequenceInputs
from clm_dl.data.snapshots.labels import label_span
from clm_dl.data.store.store import EventStore
from clm_dl.data.zone import Zone
from clm_dl.errors import UserError, nearest
from clm_dl.evaluation.metric import NETWORK
from clm_dl.evaluation.summary import best_model
from clm_dl.experiment.familiarity import notes, written_then
from clm_dl.experiment.fitted import fitted_models, members, silent
from clm_dl.experiment.run_files import read_metrics
from clm_dl.tasks.base import Answers, ScoredTask
from clm_dl.tasks.cases import Cases
from clm_dl.tasks.network import customer_vectors
from clm_dl.tasks.recommending import RecommendingTask
from clm_dl.tasks.trained import Trained
from clm_dl.writing import passing_folder

BEST = "best"
INPUT = "input"  # of a table's attrs: what preparing said of the input
Say = Callable[[str], None]


def predict(
    trained: Trained,
    events: Any = None,
    *,
    cutoff: Any = None,
    recalibrate: bool = False,
    model: str | None = None,
    data: Mapping[str, Any] | None = None,
    log: Say = silent,
) -> pd.DataFrame:
    """One calibrated score for every customer with an event before the cutoff; of a survival run, one for each horizon.

    Args:
        events: a path or a table in the format the run was trained on; None for the run's own log.
        cutoff: ISO date or time (of the run's data.timezone when it names no zone); None for the end of the log, all of
            its events included. Nothing at or after it is read.
        recalibrate: calibrate on the newest cutoff of this log whose labels are known, not as in training; of tasks
            that can be backtested.
        model: network (the default where there is one), another model of the run, or best, which validation chose.
        data: keys of configs/data/events.yaml in which `events` differ from the run's own log, such as time_format.
        log: receives what is found out of the input, a line at a time; `attrs["input"]` of the table holds it, too.

    Returns:
        The Scores table with split "predict", empty labels, and `in_population`: whether the customer fits the run's
        population rule; and what the task says besides (`ScoredTask.predicted`). Of a run with several questions the
        rows of every question, one below the other.
    """
    path, task = trained.path, trained.task
    if any(question.recommends for question in task.questions):
        raise UserError(f"run {path} answers {task.name} with ranked lists: use run.recommend")
    if not any(question.predicts for question in task.questions):
        raise UserError(
            f"run {path} was pretrained and answers no question: start a run from it with init, or use its embed"
        )
    if recalibrate and (len(task.questions) > 1 or not task.questions[0].watched):
        raise UserError(f"recalibrate is for runs that can be backtested, got one of {task.name}: leave it out")
    said, say = _kept(log)
    with customers_of(trained, events, cutoff, data=data, log=say) as (store, cases):
        answered, tables = _Answered(trained, cases, say), []
        for question in task.questions:
            part, chosen = task.cases_of(question, cases), chosen_model(trained, question, model)
            answers, calibration = answered(question, chosen)
            if recalibrate:
                calibration = newest_calibration(trained, question, store, chosen)
            table = question.write(part, np.arange(len(part)), answers, calibration, model=chosen)
            tables.append(question.predicted(table, part))
        return _told(pd.concat(tables, ignore_index=True), said)


def recommend(
    trained: Trained,
    events: Any = None,
    *,
    cutoff: Any = None,
    k: int | None = None,
    customers: Sequence[Any] | None = None,
    where: Mapping[str, Any] | None = None,
    model: str | None = None,
    data: Mapping[str, Any] | None = None,
    log: Say = silent,
) -> pd.DataFrame:
    """The k best items for every customer with an event before the cutoff; their raw history is enough, the run need
    not know them.

    Args:
        events, cutoff, model, data, log: as in `predict`.
        k: length of a list; None for the run's own.
        customers: ids to recommend to; None for everyone in the log.
        where: `{content column: value or values}`: only such items.

    Returns:
        See `tasks.recommend.lists.best_items`.

    Raises:
        ValueError: k outside the catalogue, a customer without a history, an unknown model, column or value in `where`.
    """
    known: Any = {"cutoff": cutoff, "k": k, "customers": customers, "where": where, "model": model}
    table, _ = counted_lists(trained, events, **known, data=data, log=log)
    return table


def counted_lists(
    trained: Trained,
    events: Any = None,
    *,
    cutoff: Any = None,
    k: int | None = None,
    customers: Sequence[Any] | None = None,
    where: Mapping[str, Any] | None = None,
    model: str | None = None,
    data: Mapping[str, Any] | None = None,
    log: Say = silent,
) -> tuple[pd.DataFrame, int]:
    """The lists of `recommend`, and how many customers were asked for: some may have nothing left."""
    question = ranked_question(trained)
    wanted, chosen = question.wanted(k, where), chosen_model(trained, question, model)
    said, say = _kept(log)
    with customers_of(trained, events, cutoff, data=data, log=say) as (_, cases):
        cases = cases if customers is None else cases.of_customers(customers)
        answers, _ = _Answered(trained, cases, say)(question, chosen)
        return _told(question.lists(trained.network, cases, answers, wanted), said), len(cases)


def embed(
    trained: Trained,
    events: Any = None,
    *,
    cutoff: Any = None,
    data: Mapping[str, Any] | None = None,
    log: Say = silent,
) -> pd.DataFrame:
    """Customer vectors as of the cutoff: columns customer_id, cutoff, z0 … z(D−1); arguments as in `predict`."""
    network = network_of(trained)
    said, say = _kept(log)
    with customers_of(trained, events, cutoff, data=data, log=say) as (store, cases):
        inputs = _Answered(trained, cases, say).inputs
        z_ND = customer_vectors(network, inputs, np.arange(len(cases)))
        keys = {
            "customer_id": store.customer_ids[cases.snapshots.customer],
            "cutoff": pd.to_datetime(cases.snapshots.cutoff, unit="us", utc=True),
        }
        return _told(pd.concat([pd.DataFrame(keys), _vectors(z_ND)], axis=1), said)


def item_vectors(trained: Trained) -> pd.DataFrame:
    """The vectors of the run's whole catalogue, in the space of its customer vectors: columns item_id, z0 … z(D−1)."""
    question = ranked_question(trained)
    assert question.catalogue is not None
    vectors_VD = question.item_vectors(network_of(trained))
    return pd.concat([pd.Series(question.catalogue.item_ids, name="item_id"), _vectors(vectors_VD)], axis=1)


# --- what they share


@contextmanager
def customers_of(
    trained: Trained, events: Any, cutoff: Any, *, data: Mapping[str, Any] | None = None, log: Say = silent
) -> Iterator[tuple[EventStore, Cases]]:
    """The log prepared up to the cutoff in a temporary store, and everyone with a history; `log` is told how the log
    was read, and what of it the run does not know.
    """
    _check_kept(trained)
    if isinstance(events, Sequence) and not isinstance(events, str):
        raise UserError("input is one file, folder or pattern such as logs/*.parquet, got a list: write input=PATH")
    own, paths = trained.config["data"], trained.config["paths"]
    given = {key: value for key, value in (data or {}).items() if value is not None}
    data = {**own, **given}
    at = None if cutoff is None else Zone(data.get("timezone") or "UTC").parse(cutoff)
    with passing_folder() as folder:
        if events is None and data["name"] == "simulator":
            store = open_store(data, paths)
        else:
            source = (
                {}
                if events is None
                else {"path": str(events)}
                if isinstance(events, (str, Path))
                else {"frame": events}
            )
            if source and data.get("sources"):
                raise UserError(
                    "this run was trained on several data.sources: predict from its own log by leaving input out"
                )
            if source:  # its own end, where nothing else is said
                data = data | {"end": given.get("end")}
            known: Any = {"before": at, "written": written_then(trained, whole=bool(source)), "log": log}
            store = prepare_store({"data_dir": paths["data_dir"], **data, **source}, folder / "store", **known)
        if at is None:
            at = store.known_until
        else:
            store.end = min(store.end, at)  # what comes after is unknown, whatever data.end says and the store holds
        for line in notes(trained, store, at):
            log(line)
        yield store, trained.task.cases_at(store, at)


def network_of(trained: Trained) -> Any:
    """The run's network; ValueError without one."""
    _check_kept(trained)
    if trained.network is None:
        raise UserError(
            f"run {trained.path} was made with encoder=none, so there is no network to use: train one with another "
            "encoder"
        )
    return trained.network


def _check_kept(trained: Trained) -> None:
    """Raise ValueError for a run on a table without time."""
    if trained.task.settings.rule is None:
        raise UserError(
            f"run {trained.path} scored a table out of its folds and keeps no model of all: read its scores.parquet"
        )


def ranked_question(trained: Trained) -> RecommendingTask:
    """The run's task, found to recommend."""
    [question, *_] = trained.task.questions
    if not isinstance(question, RecommendingTask):
        raise UserError(
            f"run {trained.path} answers {trained.task.name} and ranks no items: give a run that recommends"
        )
    return question


def chosen_model(trained: Trained, question: ScoredTask, name: str | None) -> str:
    """The model that `name` names; best: the one that validation chose; None: the network, or without one the best."""
    if name == NETWORK or (name is None and trained.network is not None):
        network_of(trained)
        return NETWORK
    metrics = read_metrics(trained.path, trained.task)
    metrics = metrics.get("tasks", {}).get(question.name, metrics)
    known = list(metrics["split"]["test"]["overall"])
    if name in (BEST, None):
        return str(best_model(question, metrics, known)["name"])
    if name not in known:
        raise UserError(
            f"run {trained.path} has no model {name!r}{nearest(str(name), known)}; it has {', '.join(known)}, and best"
        )
    return str(name)


def newest_calibration(trained: Trained, question: ScoredTask, store: EventStore, model: str) -> Any:
    """The calibration of a model's answers on the newest cutoff of `store` whose labels are all known."""
    settings = question.settings
    assert settings.rule is not None
    newest = store.zone.add(store.end, -label_span(store, settings.labels, settings.rule))
    cases = question.later_cases(store, np.array([newest]))
    answered = _Answered(trained, cases)
    answers, _ = answered(question, model)
    fitted = answered.fitted.get(model)
    rows = np.arange(len(cases))
    return question.calibrate(answers, cases, rows, model=None if fitted is None else fitted.model, aged=True)


class _Answered:
    """What the models of a run say of some cases; batches are made once for all questions."""

    def __init__(self, trained: Trained, cases: Cases, say: Say = silent) -> None:
        self.trained, self.cases, self.say = trained, cases, say
        self.fitted: dict[str, Fitted] = {}

    @cached_property
    def inputs(self) -> SequenceInputs:
        trained = self.trained
        inputs = trained.task.inputs(self.cases, vocabulary=trained.vocabulary, schema=trained.schema)
        for note in inputs.notes:
            self.say(note)
        return inputs

    def __call__(self, question: ScoredTask, model: str) -> tuple[Answers, Any]:
        """Answers and calibration of one model for all of the cases."""
        trained, cases = self.trained, self.trained.task.cases_of(question, self.cases)
        if model == NETWORK:
            answers = question.answers(network_of(trained), self.inputs, np.arange(len(cases)))
            return answers, trained.calibrations[question.name]
        if model not in self.fitted:
            self.fitted = fitted_models(trained, question, model)
        fitted = self.fitted[model]
        others = {name: self(question, name)[0] for name in members(fitted)}
        return question.baseline_answers(fitted, cases, others), fitted.calibration


def _kept(log: Say) -> tuple[list[str], Say]:
    """A list of all that `log` is told from now on."""
    lines: list[str] = []

    def say(line: str) -> None:
        lines.append(line)
        log(line)

    return lines, say


def _told(table: pd.DataFrame, lines: list[str]) -> pd.DataFrame:
    table.attrs[INPUT] = lines
    return table


def _vectors(z_ND: np.ndarray) -> pd.DataFrame:
    return pd.DataFrame(z_ND, columns=[f"z{d}" for d in range(z_ND.shape[1])])
