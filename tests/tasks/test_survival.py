"""SurvivalTask: every encoder learns a batch, curves never rise, only what was followed has a loss."""

import math

import pytest
import torch
from clm_dl.tasks.survival.module import SurvivalTask
from support import snapshots_of

from clm_dl.config import compose, plain
from clm_dl.data.open import open_store
from clm_dl.data.sequences.inputs import SequenceInputs
from clm_dl.nn import ENCODERS
from clm_dl.run import Run
from clm_dl.tasks.survival.durations import lifetimes
from clm_dl.training.fit import build_datamodule

HORIZONS = [0, 14, 28, 56]


@pytest.fixture(scope="module")
def datamodule(run: Run) -> SequenceInputs:
    store = open_store(run.config["data"], run.config["paths"])
    snapshots = snapshots_of(store, **run.config["snapshots"], labels=run.config["labels"])
    targets = lifetimes(store, snapshots, run.config["labels"]).intervals(HORIZONS)
    return build_datamodule(run.config, store, snapshots, targets)


def build(datamodule: SequenceInputs, encoder: str, *overrides: str) -> SurvivalTask:
    settings = plain(
        compose("train", ["task=survival", f"encoder={encoder}", f"task.horizons_days={HORIZONS}", *overrides])
    )
    torch.manual_seed(0)
    return SurvivalTask(schema=datamodule.schema, encoder=settings["encoder"], task=settings["task"])


@pytest.mark.parametrize("encoder", ENCODERS)
def test_every_encoder_learns_a_batch(datamodule: SequenceInputs, encoder: str) -> None:
    batch = next(iter(datamodule.train_loader()))
    task = build(datamodule, encoder, "task.dropout=0.0", "encoder.dropout=0.0")
    optimizer = torch.optim.AdamW(task.parameters(), lr=3e-3)
    losses = []
    for _ in range(15):
        optimizer.zero_grad()
        loss = task.batch_loss(batch)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    intervals = (~batch.target_BK.isnan()).sum() / (~batch.target_BK.isnan()).any(dim=1).sum()
    assert losses[0] == pytest.approx(float(intervals) * math.log(2), rel=0.35)  # hazards of a half
    assert losses[-1] < 0.8 * losses[0]
    curve = task.eval().active(batch)
    assert curve.shape == (len(batch), len(HORIZONS))
    assert (curve.diff(dim=1) <= 0).all()


def test_batches_carry_the_targets_of_their_own_snapshots(datamodule: SequenceInputs) -> None:
    for batch in datamodule.predict_dataloader():
        torch.testing.assert_close(batch.target_BK, datamodule.dataset.target_NK[batch.index_B], equal_nan=True)


def test_unfollowed_intervals_change_nothing(datamodule: SequenceInputs) -> None:
    batch = next(iter(datamodule.train_loader()))
    task = build(datamodule, "gru").eval()
    output = task(batch).detach()
    unknown = batch.target_BK.isnan()
    assert unknown.any()
    torch.testing.assert_close(task.loss(torch.where(unknown, output + 5, output), batch), task.loss(output, batch))
    assert not torch.equal(task.loss(output + 5, batch), task.loss(output, batch))


def test_horizons_are_checked(datamodule: SequenceInputs) -> None:
    with pytest.raises(ValueError, match="must ascend"):
        build(datamodule, "gru", "task.horizons_days=[28,7]")
