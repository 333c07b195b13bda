"""The contract of every task, gone through once on a small log with an untrained network: steps fit together, what is
written is read, no answer knows the future, weights are all that a network needs.
"""

import io
import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from copy import copy
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from no_host import train_on_meta
from support import OWN

from clm_dl.config import compose, plain
from clm_dl.data.open import open_store
from clm_dl.data.sequences.inputs import SequenceInputs
from clm_dl.evaluation.metric import NETWORK
from clm_dl.experiment.scoring import network_answers, network_rows, run_metrics
from clm_dl.experiment.settings import read_plan, read_task
from clm_dl.nn import ENCODERS
from clm_dl.retrieval import take_ragged, top_k
from clm_dl.tasks.base import Answers, ScoredTask, Task
from clm_dl.tasks.cases import Cases
from clm_dl.tasks.network import SequenceNetwork
from clm_dl.tasks.registry import TASKS

ROLES = {"customer": "cust", "time": "ts", "item": "sku", "amount": "spend"}
SHOP = ["experiment=churn_events", *(f"data.roles.{role}={column}" for role, column in ROLES.items())]
SHOP += ["data.categorical=[dept]", "encoder=gru", "encoder.hidden_size=8", "baselines=none"]
of_every_task = pytest.mark.parametrize("name", TASKS)


@dataclass(frozen=True)
class Walk:
    """A task and what its steps gave; tables, answers and calibrations by question."""

    config: dict[str, Any]
    task: Task
    cases: Cases
    inputs: SequenceInputs
    network: SequenceNetwork
    tables: list[pd.DataFrame]
    answers: dict[str, Answers]
    calibrations: dict[str, Any]

    def questions(self) -> list[tuple[ScoredTask, Cases, pd.DataFrame]]:
        """Every question with its cases and its rows of the Scores table."""
        asked = [(question, self.task.cases_of(question, self.cases)) for question in self.task.questions]
        return [(*one, table) for one, table in zip(asked, self.tables, strict=True)]


@pytest.fixture(scope="module")
def log(shop_log: pd.DataFrame) -> pd.DataFrame:
    """The shop's, whose lines are of 30 items."""
    return shop_log.assign(sku=[f"i{code}" for code in np.random.default_rng(0).integers(0, 30, len(shop_log))])


@pytest.fixture(scope="module")
def cases_in(log: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Cases]:
    """The cases of a task in a log, whose store is its own."""
    kept = tmp_path_factory.mktemp("store")

    def cases_in(config: dict[str, Any], frame: pd.DataFrame) -> Cases:
        folder = kept if frame is log else tmp_path_factory.mktemp("store")
        store = open_store({**config["data"], "frame": frame}, {**config["paths"], "store": str(folder)})
        return read_task(config).cases(store)

    return cases_in


@pytest.fixture(scope="module")
def walked(cases_in: Callable[..., Cases], log: pd.DataFrame) -> Callable[[str], Walk]:
    @cache
    def walked(name: str) -> Walk:
        config = plain(compose("train", [*SHOP, f"task={name}", *OWN.get(name, [])]))
        task, cases = read_task(config), cases_in(config, log)
        task.catalogue = getattr(cases, "catalogue", None)
        inputs = task.inputs(cases)
        torch.manual_seed(0)
        network = task.network(inputs.schema)
        task.prepare(network, inputs)
        answers = network_answers(task, cases, network, inputs)
        tables, calibrations = network_rows(task, cases, answers)
        return Walk(config, task, cases, inputs, network, tables, answers, calibrations)

    return walked


def numbers(answers: Answers, rows: np.ndarray) -> np.ndarray:
    """`[len(rows), …]`, in whatever form a task gives its answers."""
    if callable(answers):  # scores of the catalogue
        return np.asarray(answers(rows))
    if isinstance(answers, tuple):  # losses, by model and split
        table = np.full((len(rows), len(answers[1])), np.nan)
        for _, place_n, loss_NF, _ in (part for part in answers[0] if part[0] == NETWORK):
            table[place_n] = loss_NF
        return table
    return np.asarray(answers)


def by_snapshot(cases: Cases, rows: np.ndarray, values: np.ndarray) -> pd.DataFrame:
    """A row a snapshot, by customer, cutoff and split."""
    part = cases.snapshots.select(rows)
    index = pd.MultiIndex.from_arrays([cases.store.customer_ids[part.customer], part.cutoff, part.split])
    return pd.DataFrame(values, index=index)


def told(walk: Walk, question: ScoredTask, cases: Cases, network: SequenceNetwork) -> pd.DataFrame:
    """What the network says of the held-out snapshots."""
    known = {"vocabulary": walk.inputs.vocabulary, "schema": walk.inputs.schema}
    answers = question.answers(network, walk.task.inputs(cases, **known), cases.held_out)
    return by_snapshot(cases, cases.held_out, numbers(answers, cases.held_out))


def came_true(cases: Cases, cutoff: int) -> pd.DataFrame:
    """What is known of the snapshots at the cutoff."""
    rows = np.flatnonzero(cases.snapshots.cutoff == cutoff)
    return by_snapshot(cases, rows, cases.outcome[rows])


@of_every_task
def test_answers_become_rows_and_rows_become_the_figures_that_the_task_names(
    walked: Callable[[str], Walk], name: str
) -> None:
    walk = walked(name)
    metrics = run_metrics(walk.task, pd.concat(walk.tables), [walk.cases], {}, resamples=3, seed=0)
    for question, cases, table in walk.questions():
        found, rows = numbers(walk.answers[question.name], cases.held_out), cases.held_out
        assert len(found) == len(rows) > 20
        assert np.isfinite(found).all()
        assert set(table["task"]) == {question.name}
        assert set(table["split"]) == {"val", "test"}
        own = metrics.get("tasks", {}).get(question.name, metrics)
        whole, part = next(iter(question.parts(question.read(table, "test")).items()))
        assert whole == "overall"
        measure = question.measure(part)
        values = measure.values(np.ones((2, measure.num_customers)))
        assert values.shape == (2, len(measure.models), len(measure.metrics))
        names = [metric.name for metric in question.metrics(own)]
        assert sorted(names) == sorted([*measure.metrics, *measure.fixed])
        assert {*question.best_by, question.objective} <= {metric.name for metric in question.metrics()}


def intervals_in(part: Any) -> Iterator[dict[str, float]]:
    """Every figure with an interval in a part of metrics.json."""
    if isinstance(part, Mapping):
        if set(part) == {"value", "low", "high"}:
            yield dict(part)
        else:
            for inner in part.values():
                yield from intervals_in(inner)


@of_every_task
def test_every_interval_holds_its_figure(walked: Callable[[str], Walk], name: str) -> None:
    """Of every metric, part, cutoff and difference, however few the resamples."""
    walk = walked(name)
    others = [table.assign(model="other", score=0.9 * table["score"]) for table in walk.tables]
    scores = pd.concat(walk.tables if name == "pretrain" else [*walk.tables, *others])
    metrics = run_metrics(walk.task, scores, [walk.cases], {}, resamples=8, seed=0)
    found = [one for one in intervals_in(metrics) if one["low"] is not None]
    assert len(found) > 10
    for one in found:
        assert one["low"] <= one["value"] <= one["high"]


BACK = {  # model's part of a table that was read -> what the network answered, as `numbers` has it
    "value": lambda table: table.raw[NETWORK].score,
    "basket_value": lambda table: np.log(table.raw[NETWORK]),
    "pretrain": lambda table: table.losses[NETWORK][0],
    **dict.fromkeys(("next_item", "next_order"), lambda table: table.models["catalogue"][NETWORK].top),
    **dict.fromkeys(("churn", "propensity", "survival"), lambda table: table.raw[NETWORK]),
}


@of_every_task
def test_what_is_written_is_read(walked: Callable[[str], Walk], name: str) -> None:
    walk = walked(name)
    for question, cases, table in walk.questions():
        rows, part, answers = cases.held_out, cases.snapshots, walk.answers[question.name]
        test = part.split[rows] == "test"
        if cases.outcome is not None:  # figures are of what is known
            test &= ~np.isnan(cases.outcome[rows].reshape(len(rows), -1)).all(axis=1)
        order = np.lexsort((part.customer[rows][test], part.cutoff[rows][test]))
        expected = numbers(answers, rows)[test][order]
        if question.recommends:
            removed = take_ragged(cases.seen, rows[test][order])
            expected = top_k(expected, question.settings.k, removed=removed)[0]
        expected = expected[:, 0] if question.name == "value" else expected
        turned = table.sort_values("customer_id", ascending=False, kind="stable")
        np.testing.assert_allclose(BACK[question.name](question.read(turned, "test")), expected, rtol=1e-6)
        calibration = walk.calibrations[question.name]
        if calibration is not None:
            calibration = question.read_calibration(json.loads(json.dumps(calibration.to_dict())))
        pd.testing.assert_frame_equal(question.write(cases, rows, answers, calibration, model=NETWORK), table)
        several = table if "marginal" in set(table["model"]) else pd.concat([table, table.assign(model="other")])
        several = several.reset_index(drop=True)
        assert len(question.measure(question.parts(question.read(several, "test"))["overall"]).models) == 2
        test_rows = several[several["split"] == "test"]
        last = (test_rows[test_rows["label"] == 1] if question.recommends else test_rows).index[-1]
        with pytest.raises(ValueError):  # noqa: PT011  (each task has its own words)
            question.read(several.drop(index=last), "test")


@of_every_task
def test_no_answer_knows_what_comes_later_and_no_label_what_came_before(
    walked: Callable[[str], Walk], cases_in: Callable[..., Cases], log: pd.DataFrame, name: str
) -> None:
    walk, rng = walked(name), np.random.default_rng(0)
    newest = walk.cases.snapshots.cutoff[walk.cases.held_out].max()
    late = (log["ts"] >= pd.Timestamp(newest, unit="us")).to_numpy()
    assert late.sum() > 50
    for mixed in (late, ~late):
        changed = log.copy()
        for column in ("cust", "sku", "dept", "spend"):
            changed.loc[mixed, column] = rng.permutation(log.loc[mixed, column])
        other = cases_in(walk.config, changed)
        for question, cases, _ in walk.questions():
            pair = (cases, walk.task.cases_of(question, other))
            if mixed is late:
                ours, theirs = (told(walk, question, one, walk.network) for one in pair)
            elif cases.outcome is not None:
                ours, theirs = (came_true(one, newest) for one in pair)
            else:
                continue
            same = ours.index.intersection(theirs.index)
            assert len(same) > 20
            pd.testing.assert_frame_equal(ours.loc[same], theirs.loc[same], rtol=1e-5)


@of_every_task
def test_weights_and_plain_settings_are_all_that_a_network_needs(walked: Callable[[str], Walk], name: str) -> None:
    walk, file = walked(name), io.BytesIO()
    torch.save({"state": walk.network.state_dict(), "plain": walk.network.hyper_parameters}, file)
    file.seek(0)
    saved = torch.load(file, weights_only=True)
    json.dumps(plain_settings := saved["plain"])
    config = walk.config | {key: plain_settings[key] for key in ("task", "encoder", "seed")}
    network = read_task(config).network(plain_settings["schema"])
    network.load_state_dict(saved["state"])
    for question, cases, _ in walk.questions():
        ours, theirs = (told(walk, question, cases, one) for one in (walk.network, network))
        pd.testing.assert_frame_equal(ours, theirs, rtol=0, atol=0)


@of_every_task
def test_the_name_of_a_task_is_enough_to_ask_for_it(name: str) -> None:
    """Whatever the default experiment says of its own task."""
    plan = read_plan(plain(compose("train", [f"task={name}", *OWN.get(name, [])])))
    assert plan.task.name == name
    assert [question.name for question in plan.task.questions] == list(type(plan.task).asked(plan.config["task"]))


def test_the_registry_loads_neither_training_nor_drawing() -> None:
    code = "import sys, clm_dl.tasks.registry; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert "torch" in loaded
    assert not loaded & {"pytorch_lightning", "lightning", "matplotlib", "tensorboard"}


# --- a step of training on a device

RANKING = ("softmax", "sampled_softmax", "in_batch", "gbce", "bpr")
BOTH_WAYS = {"name": "transformer", "hidden_size": 8, "causal": False, "positions": "learned"}
SMALL = [{"name": encoder, "hidden_size": 8} for encoder in ENCODERS]


def ways(walk: Walk, encoders: list[dict[str, Any]]) -> list[tuple[str, SequenceNetwork]]:
    """Untrained networks of a task: these encoders, and its other objectives and losses."""
    chosen: list[tuple[dict[str, Any], dict[str, Any]]] = [(encoder, {}) for encoder in encoders]
    if walk.task.name in ("next_item", "next_order"):
        chosen += [(SMALL[0], {"loss": {"name": loss}}) for loss in RANKING]
    if walk.task.name == "next_item":
        chosen.append((BOTH_WAYS, {"objective": "masked"}))
    if walk.task.name == "pretrain":
        chosen += [(BOTH_WAYS, {"objective": "masked_event"}), (SMALL[0], {"objective": "coles"})]
    found = []
    for encoder, changes in chosen:
        task = copy(walk.task)
        task.settings, task.options = replace(task.settings, encoder=encoder), replace(task.options, **changes)
        network = task.network(walk.inputs.schema)
        task.prepare(network, walk.inputs)
        found.append((f"{encoder['name']} {changes}", network))
    return found


@of_every_task
def test_no_step_makes_the_host_wait(walked: Callable[[str], Walk], name: str) -> None:
    """Nothing is read off the device, no shape depends on what is there, nothing but indices travels to it."""
    walk, dataset = walked(name), walked(name).inputs.dataset
    rows = walk.inputs.rows("train")
    rows = rows[(dataset.lengths[rows] > 2) & (dataset.lengths[rows] < 7)][:4]
    for said, network in ways(walk, SMALL):
        try:
            train_on_meta(network, dataset, rows, width=7)
        except Exception as error:
            raise AssertionError(f"{said}: {error}") from error


SELECTING = ("nn.next_event", "tasks.recommend.network", "tasks.recommend.losses")


@of_every_task
def test_what_counts_in_no_loss_changes_none(
    walked: Callable[[str], Walk], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows that are nobody's, further padding, and whether a loss picks out what counts."""
    walk, dataset = walked(name), walked(name).inputs.dataset
    rows = walk.inputs.rows("train")[:12]
    wider = (np.append(rows, [len(dataset)] * 3), int(dataset.lengths[rows].max()) + 2)
    for said, network in ways(walk, SMALL[:1]):
        if "masked" in said or "coles" in said:  # what is drawn depends on the shape
            continue
        found = []
        for picks, index in ((True, rows), (True, wider), (False, wider)):
            for module in SELECTING:
                monkeypatch.setattr(f"clm_dl.{module}.picks_out", lambda tensor, picks=picks: picks)
            torch.manual_seed(0)
            network.eval().zero_grad()
            loss = network.batch_loss(dataset[index])
            loss.backward()
            gradients = [p.grad.flatten() for p in network.parameters() if p.grad is not None]
            found.append(torch.cat([loss.detach().view(1), *gradients]))
        for other in found[1:]:
            torch.testing.assert_close(other, found[0], rtol=1e-5, atol=1e-6, msg=lambda text, said=said: said + text)
