"""SurvivalQuestion in a network: every encoder learns a batch, curves never rise, only what was followed has a loss."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch

from clm_dl.data.sequences.inputs import SequenceInputs
from clm_dl.nn import ENCODERS
from clm_dl.tasks.network import SnapshotNetwork

SURVIVAL = ("task=survival", "task.horizons_days=[0,14,28,56]")
Build = Callable[..., SnapshotNetwork]


@pytest.fixture(scope="module")
def inputs(shop_inputs: Callable[..., SequenceInputs]) -> SequenceInputs:
    return shop_inputs(*SURVIVAL)


@pytest.mark.parametrize("encoder", ENCODERS)
def test_every_encoder_learns_a_batch(
    inputs: SequenceInputs, build: Build, learn: Callable[..., list[float]], encoder: str
) -> None:
    batch = next(iter(inputs.train_loader()))
    network = build(inputs.schema, *SURVIVAL, f"encoder={encoder}", "task.dropout=0.0", "encoder.dropout=0.0")
    losses = learn(network, batch)
    intervals = (~batch.target_BK.isnan()).sum() / (~batch.target_BK.isnan()).any(dim=1).sum()
    assert losses[0] == pytest.approx(float(intervals) * math.log(2), rel=0.35)  # hazards of a half
    assert losses[-1] < 0.8 * losses[0]
    curve = network.eval().answer("survival", batch)
    assert curve.shape == (len(batch), 4)
    assert (curve.diff(dim=1) <= 0).all()


def test_batches_carry_the_targets_of_their_own_snapshots(inputs: SequenceInputs) -> None:
    for batch in inputs.loader(np.arange(len(inputs.snapshots))):
        torch.testing.assert_close(batch.target_BK, inputs.dataset.target_NK[batch.index_B], equal_nan=True)


def test_unfollowed_intervals_change_nothing(inputs: SequenceInputs, build: Build) -> None:
    batch = next(iter(inputs.train_loader()))
    network = build(inputs.schema, *SURVIVAL, "encoder=gru").eval()
    output, truth, loss = network(batch).detach(), network.question.truth(batch), network.question.loss
    unknown = batch.target_BK.isnan()
    assert unknown.any()
    torch.testing.assert_close(loss(torch.where(unknown, output + 5, output), truth), loss(output, truth))
    assert not torch.equal(loss(output + 5, truth), loss(output, truth))


def test_horizons_are_checked(inputs: SequenceInputs, build: Build) -> None:
    with pytest.raises(ValueError, match="must ascend"):
        build(inputs.schema, "task=survival", "task.horizons_days=[28,7]")
