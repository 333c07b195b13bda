"""ValueTask: every encoder learns a batch, forecasts are ordered and ≥ 0, only matured windows have a loss."""

import numpy as np
import pytest
import torch
from clm_dl.experiment.value_fold import value_scales
from clm_dl.tasks.value.module import HIGH, LOW, MEDIAN, ORDERS, ValueTask
from support import snapshots_of

from clm_dl.config import compose, plain
from clm_dl.data.open import open_store
from clm_dl.data.sequences.inputs import SequenceInputs
from clm_dl.nn import ENCODERS
from clm_dl.run import Run
from clm_dl.tasks.value.window import window_orders, window_spend
from clm_dl.training.fit import build_datamodule


@pytest.fixture(scope="module")
def datamodule(run: Run) -> SequenceInputs:
    store = open_store(run.config["data"], run.config["paths"])
    snapshots = snapshots_of(store, **run.config["snapshots"], labels=run.config["labels"])
    value = np.column_stack([window_spend(store, snapshots), window_orders(store, snapshots)])
    datamodule = build_datamodule(run.config, store, snapshots, value)
    datamodule.schema["value"] = value_scales(value[snapshots.training])
    return datamodule


def build(datamodule: SequenceInputs, encoder: str, *overrides: str) -> ValueTask:
    settings = plain(compose("train", ["experiment=churn_events", "task=value", f"encoder={encoder}", *overrides]))
    torch.manual_seed(0)
    return ValueTask(schema=datamodule.schema, encoder=settings["encoder"], task=settings["task"])


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
    assert losses[-1] < losses[0] - 0.1
    assert all(parameter.grad is not None for parameter in task.parameters())
    forecast = task.eval().forecast(batch)
    assert forecast.shape == (len(batch), 5)
    assert (forecast >= 0).all()
    assert (forecast[:, LOW] <= forecast[:, MEDIAN]).all()
    assert (forecast[:, MEDIAN] <= forecast[:, HIGH]).all()


def test_a_silence_longer_than_any_in_training_is_worth_what_the_longest_was(datamodule: SequenceInputs) -> None:
    batch, task = next(iter(datamodule.loader(datamodule.rows("val")))), build(datamodule, "gru").eval()
    edges = datamodule.schema["head"]["recency"]["edges"]
    forecasts = []
    for recency in (edges[-1], edges[-1] + 0.7, edges[0]):
        batch.recency_B = torch.full_like(batch.recency_B, recency)
        forecasts.append(task.forecast(batch))
    longest, longer, shortest = forecasts
    assert torch.equal(longer, longest)
    assert not torch.equal(shortest, longest)


def test_an_untrained_network_says_what_training_had_on_average(datamodule: SequenceInputs) -> None:
    batch = next(iter(datamodule.loader(datamodule.rows("val"))))
    forecast = build(datamodule, "gru").eval().forecast(batch)
    assert float(forecast[:, ORDERS].detach().mean()) == pytest.approx(datamodule.schema["value"]["orders"], rel=0.2)


def test_censored_snapshots_change_nothing(datamodule: SequenceInputs) -> None:
    batch = next(iter(datamodule.train_loader()))
    task = build(datamodule, "gru").eval()
    output = task(batch).detach()
    batch.target_BK[:3] = torch.nan
    moved = output.clone()
    moved[:3] += 5
    torch.testing.assert_close(task.loss(moved, batch), task.loss(output, batch))
    assert not torch.equal(task.loss(output + 5, batch), task.loss(output, batch))


@pytest.mark.parametrize(
    ("option", "message"), [("task.coverage=1.5", "task.coverage must lie"), ("task.orders_weight=-1", "must be ≥ 0")]
)
def test_options_are_checked(datamodule: SequenceInputs, option: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build(datamodule, "gru", option)
