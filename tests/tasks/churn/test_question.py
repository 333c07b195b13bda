"""ChurnQuestion in a network: every encoder and pooling learns a batch; the weight of positives is corrected for."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from sklearn.metrics import log_loss, roc_auc_score

from clm_dl.data.sequences.inputs import SequenceInputs
from clm_dl.nn import ENCODERS
from clm_dl.run import Run
from clm_dl.tasks.network import SnapshotNetwork

Build = Callable[..., SnapshotNetwork]


@pytest.fixture(scope="module")
def inputs(shop_inputs: Callable[..., SequenceInputs]) -> SequenceInputs:
    return shop_inputs("task=churn")


@pytest.mark.parametrize("encoder", ENCODERS)
def test_every_encoder_as_configured_learns_a_batch(
    inputs: SequenceInputs, build: Build, learn: Callable[..., list[float]], encoder: str
) -> None:
    network = build(inputs.schema, f"encoder={encoder}", "task.dropout=0.0", "encoder.dropout=0.0")
    losses = learn(network, next(iter(inputs.train_loader())))
    assert losses[0] == pytest.approx(math.log(2), abs=0.25)
    assert losses[-1] < 0.9 * losses[0]


@pytest.mark.slow
def test_every_pooling_learns_too(inputs: SequenceInputs, build: Build) -> None:
    batch = next(iter(inputs.train_loader()))
    for pooling in ("last", "mean", "max", "attention"):
        network = build(inputs.schema, "encoder=gru", f"task.pooling={pooling}")
        network.batch_loss(batch).backward()
        assert all(parameter.grad is not None for parameter in network.parameters()), pooling


def test_positive_weight_is_a_shift_of_the_logit_that_scores_do_not_have(inputs: SequenceInputs, build: Build) -> None:
    batch = next(iter(inputs.train_loader()))
    network = build(inputs.schema, "encoder=gru", "task.positive_weight=4.0").eval()
    torch.testing.assert_close(network.answer("churn", batch), network(batch) - math.log(4.0))
    with pytest.raises(ValueError, match="positive_weight must be > 0, got 0"):
        build(inputs.schema, "encoder=gru", "task.positive_weight=0")


def test_validation_is_of_all_batches_at_once_and_of_probabilities_without_the_weight(
    inputs: SequenceInputs, build: Build, validate: Callable[..., dict[str, float]]
) -> None:
    index = inputs.rows("val")
    parts = [inputs.dataset[part] for part in (index[::6], index[1:60:6])]
    network = build(inputs.schema, "encoder=gru", "task.positive_weight=4.0", "task.label_smoothing=0.1").eval()
    with torch.no_grad():
        p = torch.cat([network.answer("churn", batch) for batch in parts]).sigmoid().numpy()
    label = np.concatenate([batch.label_B for batch in parts])
    found = validate(network, parts)
    assert found["val/log_loss"] == pytest.approx(log_loss(label, p), rel=1e-5)
    assert found["val/auroc"] == pytest.approx(roc_auc_score(label, p), rel=1e-5)
    assert validate(network, parts) == found


def test_a_silence_longer_than_any_in_training_still_says_more(inputs: SequenceInputs, build: Build) -> None:
    batch, network = next(iter(inputs.loader(inputs.rows("val")))), build(inputs.schema, "encoder=gru").eval()
    edge = inputs.schema["head"]["recency"]["edges"][-1]
    logits = []
    for recency in (edge, edge + 0.7):
        batch.recency_B = torch.full_like(batch.recency_B, recency)
        logits.append(network.answer("churn", batch))
    assert ((logits[1] - logits[0]).abs() > 1e-4).all()


@pytest.mark.slow
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
