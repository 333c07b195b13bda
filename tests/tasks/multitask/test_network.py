"""MultiTaskNetwork: each part's loss is that of the task of its own, every part teaches the encoder, weights and log
variances do as they say.
"""

import dataclasses
import math
from collections.abc import Callable

import pytest
import torch

from clm_dl.config import compose, plain
from clm_dl.data.sequences.inputs import SequenceInputs
from clm_dl.experiment.settings import read_task
from clm_dl.nn import ENCODERS
from clm_dl.tasks.multitask.network import MultiTaskNetwork
from clm_dl.tasks.multitask.options import NEXT_EVENT
from clm_dl.tasks.network import SnapshotNetwork
from clm_dl.tasks.pretrain.network import PretrainNetwork

DAYS = "task.horizons_days=[0,14,28]"
MULTITASK = ("task=multitask", DAYS)
TARGETS = {"churn": slice(0, 0), "survival": slice(0, 3), "value": slice(3, 5)}  # of target_BK
Multi = Callable[..., MultiTaskNetwork]


@pytest.fixture(scope="module")
def inputs(shop_inputs: Callable[..., SequenceInputs]) -> SequenceInputs:
    return shop_inputs(*MULTITASK)


@pytest.fixture(scope="module")
def multi(inputs: SequenceInputs, build: Callable[..., MultiTaskNetwork]) -> Multi:
    """The network of all parts: `multi("task.weighting=uncertainty", encoder="lstm")`."""

    def multi(*words: str, encoder: str = "gru") -> MultiTaskNetwork:
        return build(inputs.schema, *MULTITASK, f"encoder={encoder}", *words)

    return multi


@pytest.mark.parametrize("encoder", ENCODERS)
def test_every_encoder_learns_every_part_of_a_batch(
    inputs: SequenceInputs, multi: Multi, learn: Callable[..., list[float]], encoder: str
) -> None:
    batch = next(iter(inputs.train_loader()))
    network = multi("task.dropout=0.0", "encoder.dropout=0.0", encoder=encoder)
    network.fit_floor([batch])
    first = {name: loss.item() for name, loss in network.losses(batch).items()}
    assert list(first) == ["churn", "survival", "value", "next_event"]
    assert first["churn"] == pytest.approx(math.log(2), abs=0.25)
    assert first["next_event"] == pytest.approx(1.0, abs=0.1)  # what the same guess for every token loses
    learn(network, batch, steps=25, lr=5e-3)
    for name, loss in network.losses(batch).items():
        share = 0.999 if name == NEXT_EVENT else 0.95  # little is to be known of the next event of this log
        assert loss.item() < share * first[name], name
    churn, survival, value = (network.eval().answer(name, batch) for name in TARGETS)
    assert churn.shape == (len(batch),)
    assert (survival.diff(dim=1) <= 0).all()
    assert value.shape == (len(batch), 5)


@pytest.mark.parametrize("name", ["churn", "survival", "value"])
def test_a_part_s_loss_and_answer_are_those_of_its_own_task(
    inputs: SequenceInputs, multi: Multi, build: Callable[..., SnapshotNetwork], name: str
) -> None:
    options = ["task.positive_weight=3.0", "task.label_smoothing=0.1"] if name == "churn" else []
    own = [f"task={name}", "encoder=gru", *options, *[DAYS] * (name == "survival")]
    several, single = multi(*options).eval(), build(inputs.schema, *own).eval()
    for part in several.pretrained:
        single.get_submodule(part).load_state_dict(several.get_submodule(part).state_dict())
    single.head.load_state_dict(several.heads[name].state_dict())
    batch = next(iter(inputs.train_loader()))
    # half: silent for longer than in training
    batch.recency_B[::2] += inputs.schema["head"]["recency"]["edges"][-1]
    alone = dataclasses.replace(batch, target_BK=batch.target_BK[:, TARGETS[name]])
    torch.testing.assert_close(several.losses(batch)[name], single.batch_loss(alone), rtol=0, atol=0)
    torch.testing.assert_close(several.answer(name, batch), single.answer(name, alone), rtol=0, atol=0)


def test_the_next_event_s_loss_is_that_of_pretraining(
    inputs: SequenceInputs, multi: Multi, build: Callable[..., PretrainNetwork]
) -> None:
    several = multi("experiment=churn_events").eval()
    pretraining = build(inputs.schema, "experiment=churn_events", "task=pretrain", "encoder=gru").eval()
    batch = next(iter(inputs.loader(inputs.rows("train")[:64])))
    for network in (several, pretraining):
        network.fit_floor([batch])
        network.eval()
    torch.testing.assert_close(several.weight_F, pretraining.weight_F)
    for part in several.pretrained:
        pretraining.get_submodule(part).load_state_dict(several.get_submodule(part).state_dict())
    pretraining.head.load_state_dict(several.next_event.state_dict())
    torch.testing.assert_close(several.losses(batch)[NEXT_EVENT], pretraining.batch_loss(batch))


@pytest.mark.parametrize("name", ["churn", "survival", "value", NEXT_EVENT])
def test_each_part_teaches_the_encoder_and_its_own_head_alone(inputs: SequenceInputs, multi: Multi, name: str) -> None:
    network = multi()
    network.losses(next(iter(inputs.train_loader())))[name].backward()
    heads = {**dict(network.heads.items()), NEXT_EVENT: network.next_event}
    for other, head in heads.items():
        moved = [parameter.grad is not None and bool(parameter.grad.abs().sum() > 0) for parameter in head.parameters()]
        assert all(moved) if other == name else not any(moved), other
    assert all(parameter.grad is not None for parameter in network.encoder.parameters())


def test_censored_truth_changes_no_loss(inputs: SequenceInputs, multi: Multi) -> None:
    network = multi().eval()
    batch = next(iter(inputs.train_loader()))
    unknown = torch.arange(len(batch)) % 2 == 0
    labels = torch.where(unknown, torch.nan, batch.label_B)
    censored = dataclasses.replace(
        batch, label_B=labels, target_BK=batch.target_BK.masked_fill(unknown[:, None], torch.nan)
    )
    known = inputs.dataset[batch.index_B[~unknown]]
    for name in network.questions:
        torch.testing.assert_close(network.losses(censored)[name], network.losses(known)[name], rtol=1e-5, atol=1e-6)


def test_fixed_weights_make_the_sum(inputs: SequenceInputs, multi: Multi) -> None:
    weights = {"churn": 2.0, "survival": 0.5, "value": 1.0, "next_event": 0.25}
    network = multi(*[f"task.weights.{name}={weight}" for name, weight in weights.items()]).eval()
    batch = next(iter(inputs.train_loader()))
    losses = network.losses(batch)
    torch.testing.assert_close(network.batch_loss(batch), sum(weights[name] * loss for name, loss in losses.items()))


@pytest.mark.parametrize("weighting", ["fixed", "uncertainty"])
def test_the_validation_loss_is_the_weighted_sum_of_the_parts_whatever_the_weighting(
    inputs: SequenceInputs, multi: Multi, validate: Callable[..., dict[str, float]], weighting: str
) -> None:
    weights = {"churn": 2.0, "survival": 0.5, "value": 1.0, "next_event": 0.25}
    options = [f"task.weights.{name}={weight}" for name, weight in weights.items()]
    network = multi(*options, f"task.weighting={weighting}")
    if weighting == "uncertainty":
        with torch.no_grad():
            network.log_variance_I.fill_(0.5)
    found = validate(network, list(inputs.loader(inputs.rows("val"))))
    monitored = {"churn": "log_loss", "survival": "nll", "value": "nll", "next_event": "loss"}
    total = sum(weight * found[f"val/{name}_{monitored[name]}"] for name, weight in weights.items())
    assert found["val/loss"] == pytest.approx(total, rel=1e-5)


def test_uncertainty_weights_by_learnt_variances(multi: Multi) -> None:
    network = multi("task.weighting=uncertainty", "task.weights.value=2.0").eval()
    losses = {
        name: torch.tensor(loss)
        for name, loss in {"churn": 0.3, "survival": 0.6, "value": 3.0, "next_event": 0.9}.items()
    }
    assert network.combined(losses).item() == pytest.approx(0.3 + 0.6 + 2 * 3.0 + 0.9)  # s = 0
    with torch.no_grad():
        network.log_variance_I.copy_(torch.tensor([-0.5, 0.0, 1.0, 0.2]))
    s = network.log_variances().tolist()
    assert s == pytest.approx([-0.5, 0.0, 1.0, 0.2], abs=0.02)
    weights = [1.0, 1.0, 2.0, 1.0]
    total = network.combined(losses)
    expected = sum(
        w * (math.exp(-one) * loss.item() + one) for w, one, loss in zip(weights, s, losses.values(), strict=True)
    )
    assert total.item() == pytest.approx(expected, rel=1e-5)
    optimizer = torch.optim.Adam([network.log_variance_I], lr=0.02)
    for _ in range(600):
        optimizer.zero_grad()
        network.combined(losses).backward()
        optimizer.step()
    assert network.log_variances().tolist() == pytest.approx(
        [math.log(loss) for loss in losses.values()], abs=0.01
    )  # at rest
    assert abs(network.log_variances()).max() < 5


def test_a_loss_below_0_does_not_run_away(multi: Multi) -> None:
    network = multi("task.weighting=uncertainty")
    losses = {name: torch.tensor(-1.0) for name in network.weights}
    optimizer = torch.optim.Adam([network.log_variance_I], lr=1.0)
    for _ in range(200):
        optimizer.zero_grad()
        network.combined(losses).backward()
        optimizer.step()
    assert (network.log_variances() >= -5).all()
    assert network.combined(losses).isfinite()


@pytest.mark.parametrize("nothing", ["0", "0.0", "null"])
def test_a_part_without_a_weight_is_left_out(inputs: SequenceInputs, multi: Multi, nothing: str) -> None:
    network = multi("task.weighting=fixed", f"task.weights.survival={nothing}", f"task.weights.next_event={nothing}")
    assert list(network.questions) == list(network.heads) == ["churn", "value"]
    assert not hasattr(network, "next_event")
    assert network.questions["value"].columns == slice(0, 2)
    names = {name.split(".")[0] for name, _ in network.named_parameters()}
    assert names == {"embedding", "encoder", "heads"}  # pooling=last has no weights
    batch = next(iter(inputs.train_loader()))
    alone = dataclasses.replace(batch, target_BK=batch.target_BK[:, TARGETS["value"]])
    assert set(network.losses(alone)) == {"churn", "value"}


def test_a_bidirectional_encoder_answers_without_the_next_event(multi: Multi) -> None:
    with pytest.raises(ValueError, match=r"task\.weights\.next_event needs a causal encoder, got encoder=transformer"):
        multi("encoder.causal=false", encoder="transformer")
    multi("encoder.causal=false", "task.weights.next_event=0", encoder="transformer")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("task.weights.churn=-1",), r"task\.weights\.churn must be a number ≥ 0 or null, got -1"),
        (("task.weights={churn:much}",), r"task\.weights\.churn must be a number ≥ 0 or null, got 'much'"),
        (("task.weights={churn:true}",), r"task\.weights\.churn must be a number ≥ 0 or null, got True"),
        (("+task.weights.spend=1",), r"task\.weights has parts churn, survival, value, next_event, got 'spend'"),
        (("task.weights={churn:0,survival:null,value:0.0}",), r"leaves no question to answer"),
        (("task.weights=1",), r"task\.weights must give a weight to each of churn, survival, value, next_event, got 1"),
        (("task.weighting=learnt",), r"task\.weighting must be one of fixed, uncertainty, got 'learnt'"),
    ],
)
def test_weights_are_checked(overrides: tuple[str, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message) as raised:
        read_task(plain(compose("train", ["baselines=none", *MULTITASK, *overrides])))
    assert "\n" not in str(raised.value)
