"""MultiTask: each part's loss is that of the task of its own, every part teaches the encoder, weights and log variances
do as they say.
"""

import dataclasses
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from clm_dl.experiment.multitask_fold import MultiTaskFold
from clm_dl.tasks.multitask.module import NEXT_EVENT, MultiTask, part_weights, questions
from clm_dl.tasks.pretrain.module import PretrainTask

from clm_dl.config import compose, plain
from clm_dl.data.open import open_store
from clm_dl.data.sequences.inputs import SequenceInputs
from clm_dl.experiment.timing import Clock
from clm_dl.nn import ENCODERS
from clm_dl.run import Run
from clm_dl.tasks.module import SequenceTask
from clm_dl.tasks.registry import TASKS
from clm_dl.training.fit import build_datamodule

DAYS = [0, 14, 28]
MULTITASK = ("task=multitask", f"task.horizons_days={DAYS}")
TARGETS = {"churn": slice(0, 0), "survival": slice(0, 3), "value": slice(3, 5)}  # of target_BK


@pytest.fixture(scope="module")
def datamodule(run: Run) -> SequenceInputs:
    store = open_store(run.config["data"], run.config["paths"])
    task = plain(compose("train", list(MULTITASK)))["task"]
    settings = {**run.config, "task": task, "snapshots": {**run.config["snapshots"], "follow_days": DAYS[-1]}}
    fold = MultiTaskFold(settings, store, 0, run.path, Clock(), network=False)
    datamodule = build_datamodule(run.config, store, fold.snapshots, fold.target_NK)
    datamodule.schema.update(fold.head_schema())
    return datamodule


def build(datamodule: SequenceInputs, encoder: str = "gru", *overrides: str, task: str = "multitask") -> SequenceTask:
    words = [*MULTITASK] if task == "multitask" else [f"task={task}", *[MULTITASK[1]] * (task == "survival")]
    settings = plain(compose("train", [*words, f"encoder={encoder}", *overrides]))
    torch.manual_seed(0)
    return TASKS[task](schema=datamodule.schema, encoder=settings["encoder"], task=settings["task"])


@pytest.mark.parametrize("encoder", ENCODERS)
def test_every_encoder_learns_every_part_of_a_batch(datamodule: SequenceInputs, encoder: str) -> None:
    batch = next(iter(datamodule.train_loader()))
    task = build(datamodule, encoder, "task.dropout=0.0", "encoder.dropout=0.0")
    task.fit_floor([batch])
    optimizer = torch.optim.AdamW(task.parameters(), lr=5e-3)
    first = {name: loss.item() for name, loss in task.losses(batch).items()}
    assert list(first) == ["churn", "survival", "value", "next_event"]
    assert first["churn"] == pytest.approx(math.log(2), abs=0.25)
    assert first["next_event"] == pytest.approx(1.0, abs=0.1)  # what the same guess for every token loses
    for _ in range(25):
        optimizer.zero_grad()
        task.batch_loss(batch).backward()
        optimizer.step()
    for name, loss in task.losses(batch).items():
        share = 0.999 if name == NEXT_EVENT else 0.95  # little is to be known of the next event of this log
        assert loss.item() < share * first[name], name
    answers = task.eval()
    assert answers.logits(batch).shape == (len(batch),)
    assert (answers.active(batch).diff(dim=1) <= 0).all()
    assert answers.forecast(batch).shape == (len(batch), 5)


@pytest.mark.parametrize("name", ["churn", "survival", "value"])
def test_a_part_s_loss_and_answer_are_those_of_its_own_task(datamodule: SequenceInputs, name: str) -> None:
    options = ["task.positive_weight=3.0", "task.label_smoothing=0.1"] if name == "churn" else []
    multi, single = build(datamodule, "gru", *options).eval(), build(datamodule, "gru", *options, task=name).eval()
    for part in ("embedding", "encoder", "pooling"):
        single.get_submodule(part).load_state_dict(multi.get_submodule(part).state_dict())
    single.get_submodule("head").load_state_dict(multi.heads[name].state_dict())
    batch = next(iter(datamodule.train_loader()))
    batch.recency_B[::2] += datamodule.schema["head"]["recency"]["edges"][
        -1
    ]  # half: silent for longer than in training
    alone = dataclasses.replace(batch, target_BK=batch.target_BK[:, TARGETS[name]])
    torch.testing.assert_close(multi.losses(batch)[name], single.batch_loss(alone), rtol=0, atol=0)
    answer = {"churn": "logits", "survival": "active", "value": "forecast"}[name]
    torch.testing.assert_close(getattr(multi, answer)(batch), getattr(single, answer)(alone), rtol=0, atol=0)


def test_the_next_event_s_loss_is_that_of_pretraining(datamodule: SequenceInputs) -> None:
    multi, pretraining = build(datamodule).eval(), build(datamodule, task="pretrain").eval()
    batch = next(iter(datamodule.loader(np.flatnonzero(datamodule.snapshots.training)[:64])))
    for task in (multi, pretraining):
        task.fit_floor([batch])
        task.eval()
    assert isinstance(pretraining, PretrainTask)
    torch.testing.assert_close(multi.weight_F, pretraining.weight_F)
    for part in ("embedding", "encoder", "pooling"):
        pretraining.get_submodule(part).load_state_dict(multi.get_submodule(part).state_dict())
    pretraining.head.load_state_dict(multi.next_event.state_dict())
    torch.testing.assert_close(multi.losses(batch)[NEXT_EVENT], pretraining.batch_loss(batch))


@pytest.mark.parametrize("name", ["churn", "survival", "value", NEXT_EVENT])
def test_each_part_teaches_the_encoder_and_its_own_head_alone(datamodule: SequenceInputs, name: str) -> None:
    task = build(datamodule)
    task.losses(next(iter(datamodule.train_loader())))[name].backward()
    heads = {**dict(task.heads.items()), NEXT_EVENT: task.next_event}
    for other, head in heads.items():
        moved = [parameter.grad is not None and bool(parameter.grad.abs().sum() > 0) for parameter in head.parameters()]
        assert all(moved) if other == name else not any(moved), other
    assert all(parameter.grad is not None for parameter in task.encoder.parameters())


def test_censored_truth_changes_no_loss(datamodule: SequenceInputs) -> None:
    task = build(datamodule).eval()
    batch = next(iter(datamodule.train_loader()))
    unknown = torch.arange(len(batch)) % 2 == 0
    labels = torch.where(unknown, torch.nan, batch.label_B)
    censored = dataclasses.replace(
        batch, label_B=labels, target_BK=batch.target_BK.masked_fill(unknown[:, None], torch.nan)
    )
    known = datamodule.dataset[batch.index_B[~unknown]]
    for name in task.questions:
        torch.testing.assert_close(task.losses(censored)[name], task.losses(known)[name], rtol=1e-5, atol=1e-6)


def test_fixed_weights_make_the_sum(datamodule: SequenceInputs) -> None:
    weights = {"churn": 2.0, "survival": 0.5, "value": 1.0, "next_event": 0.25}
    task = build(datamodule, "gru", *[f"task.weights.{name}={weight}" for name, weight in weights.items()]).eval()
    batch = next(iter(datamodule.train_loader()))
    losses = task.losses(batch)
    torch.testing.assert_close(task.batch_loss(batch), sum(weights[name] * loss for name, loss in losses.items()))


@pytest.mark.parametrize("weighting", ["fixed", "uncertainty"])
def test_the_validation_loss_is_the_weighted_sum_of_the_parts_whatever_the_weighting(
    datamodule: SequenceInputs, validate: Callable[..., dict[str, float]], weighting: str
) -> None:
    weights = {"churn": 2.0, "survival": 0.5, "value": 1.0, "next_event": 0.25}
    options = [f"task.weights.{name}={weight}" for name, weight in weights.items()]
    task = build(datamodule, "gru", *options, f"task.weighting={weighting}")
    if weighting == "uncertainty":
        with torch.no_grad():
            task.log_variance_I.fill_(0.5)
    found = validate(task, list(datamodule.loader(datamodule.rows("val"))))
    monitored = {"churn": "log_loss", "survival": "nll", "value": "nll", "next_event": "loss"}
    total = sum(weight * found[f"val/{name}_{monitored[name]}"] for name, weight in weights.items())
    assert found["val/loss"] == pytest.approx(total, rel=1e-5)


def test_uncertainty_weights_by_learnt_variances(datamodule: SequenceInputs) -> None:
    task = build(datamodule, "gru", "task.weighting=uncertainty", "task.weights.value=2.0").eval()
    losses = {
        name: torch.tensor(loss)
        for name, loss in {"churn": 0.3, "survival": 0.6, "value": 3.0, "next_event": 0.9}.items()
    }
    assert task.combined(losses).item() == pytest.approx(0.3 + 0.6 + 2 * 3.0 + 0.9)  # s = 0
    with torch.no_grad():
        task.log_variance_I.copy_(torch.tensor([-0.5, 0.0, 1.0, 0.2]))
    s = task.log_variances().tolist()
    assert s == pytest.approx([-0.5, 0.0, 1.0, 0.2], abs=0.02)
    weights = [1.0, 1.0, 2.0, 1.0]
    total = task.combined(losses)
    expected = sum(
        w * (math.exp(-one) * loss.item() + one) for w, one, loss in zip(weights, s, losses.values(), strict=True)
    )
    assert total.item() == pytest.approx(expected, rel=1e-5)
    optimizer = torch.optim.Adam([task.log_variance_I], lr=0.02)
    for _ in range(600):
        optimizer.zero_grad()
        task.combined(losses).backward()
        optimizer.step()
    assert task.log_variances().tolist() == pytest.approx(
        [math.log(loss) for loss in losses.values()], abs=0.01
    )  # at rest
    assert abs(task.log_variances()).max() < 5


def test_a_loss_below_0_does_not_run_away(datamodule: SequenceInputs) -> None:
    task = build(datamodule, "gru", "task.weighting=uncertainty")
    losses = {name: torch.tensor(-1.0) for name in task.weights}
    optimizer = torch.optim.Adam([task.log_variance_I], lr=1.0)
    for _ in range(200):
        optimizer.zero_grad()
        task.combined(losses).backward()
        optimizer.step()
    assert (task.log_variances() >= -5).all()
    assert task.combined(losses).isfinite()


@pytest.mark.parametrize("nothing", ["0", "0.0", "null"])
def test_a_part_without_a_weight_is_left_out(datamodule: SequenceInputs, nothing: str) -> None:
    task = build(datamodule, "gru", f"task.weights.survival={nothing}", f"task.weights.next_event={nothing}")
    assert questions(task.task) == ["churn", "value"]
    assert list(task.heads) == ["churn", "value"]
    assert not hasattr(task, "next_event")
    assert task.questions["value"].columns == slice(0, 2)
    names = {name.split(".")[0] for name, _ in task.named_parameters()}
    assert names == {"embedding", "encoder", "heads"}  # pooling=last has no weights
    batch = next(iter(datamodule.train_loader()))
    alone = dataclasses.replace(batch, target_BK=batch.target_BK[:, TARGETS["value"]])
    assert set(task.losses(alone)) == {"churn", "value"}


def test_a_bidirectional_encoder_answers_without_the_next_event(datamodule: SequenceInputs) -> None:
    with pytest.raises(ValueError, match=r"task\.weights\.next_event needs a causal encoder, got encoder=transformer"):
        build(datamodule, "transformer", "encoder.causal=false")
    assert isinstance(build(datamodule, "transformer", "encoder.causal=false", "task.weights.next_event=0"), MultiTask)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("task.weights.churn=-1",), r"task\.weights\.churn must be a number ≥ 0 or null, got -1"),
        (("task.weights={churn:much}",), r"task\.weights\.churn must be a number ≥ 0 or null, got 'much'"),
        (("task.weights={churn:true}",), r"task\.weights\.churn must be a number ≥ 0 or null, got True"),
        (("+task.weights.spend=1",), r"task\.weights has parts churn, survival, value, next_event, got 'spend'"),
        (("task.weights={churn:0,survival:null,value:0.0}",), r"leaves no question to answer"),
        (("task.weights=1",), r"task\.weights must give a weight to each of churn, survival, value, next_event, got 1"),
        (("task.weighting=learnt",), r"task\.weighting must be fixed or uncertainty, got 'learnt'"),
    ],
)
def test_weights_are_checked(overrides: tuple[str, ...], message: str) -> None:
    task = plain(compose("train", [*MULTITASK, *overrides]))["task"]
    with pytest.raises(ValueError, match=message) as raised:
        part_weights(task)
    assert "\n" not in str(raised.value)
