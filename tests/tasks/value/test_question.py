"""ValueQuestion in a network: every encoder learns a batch, forecasts are ordered and ≥ 0, only matured windows have a
loss.
"""

from collections.abc import Callable

import pytest
import torch

from clm_dl.data.sequences.inputs import SequenceInputs
from clm_dl.nn import ENCODERS
from clm_dl.tasks.network import SnapshotNetwork
from clm_dl.tasks.value.task import HIGH, LOW, MEDIAN, ORDERS

VALUE = ("experiment=churn_events", "task=value")
Build = Callable[..., SnapshotNetwork]


@pytest.fixture(scope="module")
def inputs(shop_inputs: Callable[..., SequenceInputs]) -> SequenceInputs:
    return shop_inputs("task=value")


@pytest.mark.parametrize("encoder", ENCODERS)
def test_every_encoder_learns_a_batch(
    inputs: SequenceInputs, build: Build, learn: Callable[..., list[float]], encoder: str
) -> None:
    batch = next(iter(inputs.train_loader()))
    network = build(inputs.schema, *VALUE, f"encoder={encoder}", "task.dropout=0.0", "encoder.dropout=0.0")
    losses = learn(network, batch)
    assert losses[-1] < losses[0] - 0.1
    assert all(parameter.grad is not None for parameter in network.parameters())
    forecast = network.eval().answer("value", batch)
    assert forecast.shape == (len(batch), 5)
    assert (forecast >= 0).all()
    assert (forecast[:, LOW] <= forecast[:, MEDIAN]).all()
    assert (forecast[:, MEDIAN] <= forecast[:, HIGH]).all()


def test_a_silence_longer_than_any_in_training_is_worth_what_the_longest_was(
    inputs: SequenceInputs, build: Build
) -> None:
    batch, network = next(iter(inputs.loader(inputs.rows("val")))), build(inputs.schema, *VALUE, "encoder=gru").eval()
    edges = inputs.schema["head"]["recency"]["edges"]
    forecasts = []
    for recency in (edges[-1], edges[-1] + 0.7, edges[0]):
        batch.recency_B = torch.full_like(batch.recency_B, recency)
        forecasts.append(network.answer("value", batch))
    longest, longer, shortest = forecasts
    assert torch.equal(longer, longest)
    assert not torch.equal(shortest, longest)


def test_an_untrained_network_says_what_training_had_on_average(inputs: SequenceInputs, build: Build) -> None:
    batch = next(iter(inputs.loader(inputs.rows("val"))))
    forecast = build(inputs.schema, *VALUE, "encoder=gru").eval().answer("value", batch)
    assert float(forecast[:, ORDERS].detach().mean()) == pytest.approx(inputs.schema["value"]["orders"], rel=0.2)


def test_censored_snapshots_change_nothing(inputs: SequenceInputs, build: Build) -> None:
    batch = next(iter(inputs.train_loader()))
    network = build(inputs.schema, *VALUE, "encoder=gru").eval()
    output, loss = network(batch).detach(), network.question.loss
    batch.target_BK[:3] = torch.nan
    truth = network.question.truth(batch)
    moved = output.clone()
    moved[:3] += 5
    torch.testing.assert_close(loss(moved, truth), loss(output, truth))
    assert not torch.equal(loss(output + 5, truth), loss(output, truth))


@pytest.mark.parametrize(
    ("option", "message"), [("task.coverage=1.5", "task.coverage must lie"), ("task.orders_weight=-1", "must be ≥ 0")]
)
def test_options_are_checked(inputs: SequenceInputs, build: Build, option: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build(inputs.schema, *VALUE, option)
