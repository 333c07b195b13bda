"""ChurnTask: every encoder learns a batch, what decays, what is noise, weights corrected for, losses not finite."""

import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from clm_dl.tasks.churn.module import ChurnTask
from sklearn.metrics import log_loss, roc_auc_score
from support import snapshots_of

from clm_dl.config import compose, plain
from clm_dl.data.open import open_store
from clm_dl.data.sequences.inputs import SequenceInputs
from clm_dl.nn import ENCODERS
from clm_dl.run import Run
from clm_dl.training.fit import build_datamodule


@pytest.fixture(scope="module")
def datamodule(run: Run) -> SequenceInputs:
    store = open_store(run.config["data"], run.config["paths"])
    return build_datamodule(
        run.config, store, snapshots_of(store, **run.config["snapshots"], labels=run.config["labels"])
    )


def build(datamodule: SequenceInputs, encoder: str, *overrides: str) -> ChurnTask:
    settings = plain(compose("train", [f"encoder={encoder}", *overrides]))
    torch.manual_seed(0)
    return ChurnTask(schema=datamodule.schema, encoder=settings["encoder"], task=settings["task"])


@pytest.mark.parametrize("encoder", ENCODERS)
def test_every_encoder_as_configured_learns_a_batch(datamodule: SequenceInputs, encoder: str) -> None:
    batch = next(iter(datamodule.train_loader()))
    task = build(datamodule, encoder, "task.dropout=0.0", "encoder.dropout=0.0")
    optimizer = torch.optim.AdamW(task.parameters(), lr=3e-3)
    losses = []
    for _ in range(15):
        optimizer.zero_grad()
        loss = task.loss(task(batch), batch)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[0] == pytest.approx(math.log(2), abs=0.25)
    assert losses[-1] < 0.9 * losses[0]


def test_every_pooling_learns_too(datamodule: SequenceInputs) -> None:
    batch = next(iter(datamodule.train_loader()))
    for pooling in ("last", "mean", "max", "attention"):
        task = build(datamodule, "gru", f"task.pooling={pooling}")
        task.loss(task(batch), batch).backward()
        assert all(parameter.grad is not None for parameter in task.parameters()), pooling


def test_matrices_decay_but_no_bias_no_norm_and_no_table(
    datamodule: SequenceInputs, fit: Callable[..., list[float]]
) -> None:
    batch, after = datamodule.dataset[np.flatnonzero(datamodule.snapshots.training)[:16]], []
    for decay in (0.0, 0.5):
        task = build(datamodule, "transformer", "task.optimizer.lr=0.1", f"task.optimizer.weight_decay={decay}")
        fit(task, [batch])
        after.append({name: parameter.detach() for name, parameter in task.named_parameters()})
    plain, decayed = after
    matrices = {name for name, tensor in plain.items() if tensor.ndim > 1 and not name.startswith("embedding.tables.")}
    assert {name for name in plain if not torch.equal(plain[name], decayed[name])} == matrices
    assert any("norm" in name for name in plain)
    assert len(plain) - len(matrices) > 10


def test_dropout_is_other_noise_each_epoch_and_for_each_seed(
    datamodule: SequenceInputs, fit: Callable[..., list[float]]
) -> None:
    """Of a network that does not learn the loss of a batch moves by the noise alone."""
    batch = datamodule.dataset[np.flatnonzero(datamodule.snapshots.training)[:16]]
    settings = plain(compose("train", ["encoder=gru", "task.optimizer.lr=0.0"]))

    def losses(seed: int = 0, **options: float) -> list[float]:
        torch.manual_seed(0)
        encoder, task = settings["encoder"] | options, settings["task"] | options
        return fit(ChurnTask(schema=datamodule.schema, encoder=encoder, task=task, seed=seed), [batch, batch], epochs=2)

    noisy = losses()
    assert len(set(noisy)) == 4
    assert losses() == noisy
    assert not set(losses(seed=1)) & set(noisy)
    assert len(set(losses(dropout=0.0))) == 1


def test_positive_weight_is_a_shift_of_the_logit_that_scores_do_not_have(datamodule: SequenceInputs) -> None:
    batch = next(iter(datamodule.train_loader()))
    task = build(datamodule, "gru", "task.positive_weight=4.0").eval()
    torch.testing.assert_close(task.logits(batch), task(batch) - math.log(4.0))
    with pytest.raises(ValueError, match="positive_weight must be > 0, got 0"):
        build(datamodule, "gru", "task.positive_weight=0")


def test_validation_is_of_all_batches_at_once_and_of_probabilities_without_the_weight(
    datamodule: SequenceInputs, validate: Callable[..., dict[str, float]]
) -> None:
    index = np.flatnonzero(datamodule.snapshots.early_stopping)
    parts = [datamodule.dataset[part] for part in (index[::6], index[1:60:6])]
    task = build(datamodule, "gru", "task.positive_weight=4.0", "task.label_smoothing=0.1").eval()
    with torch.no_grad():
        p = torch.cat([task.logits(batch) for batch in parts]).sigmoid().numpy()
    label = np.concatenate([batch.label_B for batch in parts])
    found = validate(task, parts)
    assert found["val/log_loss"] == pytest.approx(log_loss(label, p), rel=1e-5)
    assert found["val/auroc"] == pytest.approx(roc_auc_score(label, p), rel=1e-5)
    assert validate(task, parts) == found


def test_a_silence_longer_than_any_in_training_still_says_more(datamodule: SequenceInputs) -> None:
    batch, task = next(iter(datamodule.loader(datamodule.rows("val")))), build(datamodule, "gru").eval()
    edge = datamodule.schema["head"]["recency"]["edges"][-1]
    logits = []
    for recency in (edge, edge + 0.7):
        batch.recency_B = torch.full_like(batch.recency_B, recency)
        logits.append(task.logits(batch))
    assert ((logits[1] - logits[0]).abs() > 1e-4).all()


def test_weighted_and_unweighted_training_give_nearly_the_same_probabilities(train: Callable[..., Run]) -> None:
    mean = []
    for weight in (1.0, 6.0):
        found = train(
            f"task.positive_weight={weight}", "baselines=none", "trainer.max_epochs=3", "task.optimizer.lr=0.01"
        )
        mean.append(found.scores["score_raw"].mean())
    odds = [value / (1 - value) for value in mean]
    assert 0.05 < mean[0] < 0.6
    assert max(odds) / min(odds) < 1.5  # uncorrected, the odds would be six times too high


def test_a_loss_that_is_not_finite_from_the_first_batch_on_is_named_too(
    datamodule: SequenceInputs, fit: Callable[..., list[float]]
) -> None:
    batch, task = datamodule.dataset[np.flatnonzero(datamodule.snapshots.training)[:4]], build(datamodule, "gru")
    with torch.no_grad():
        next(task.head.parameters()).fill_(torch.nan)
    with pytest.raises(ValueError, match="not finite since batch 0 of epoch 0"):
        fit(task, [batch, batch])


def test_a_loss_that_is_not_finite_stops_and_names_the_batch(
    train: Callable[..., Run], shop_csv: Path, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=r"not finite since batch \d+ of epoch \d+: lower task\.optimizer\.lr"):
        train(
            "task.optimizer.lr=1e30",
            "baselines=none",
            "task.schedule.name=constant",
            f"paths.output_dir={tmp_path / 'nan'}",
        )
    status = json.loads((tmp_path / "nan" / "status.json").read_text())
    assert status["state"] == "failed"
    assert "not finite since batch" in status["reason"]
    assert not (tmp_path / "nan" / "metrics.json").exists()
