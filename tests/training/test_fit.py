"""Fitting a network, whatever the task: the best epoch is kept; schedule, clipping and precision are as asked for."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from sklearn.metrics import log_loss
from torch.optim.optimizer import register_optimizer_step_post_hook

from clm_dl.errors import UserError
from clm_dl.run import Run
from clm_dl.tasks.module import learning_rate_factor
from clm_dl.training.checkpoint import load_checkpoint, network_weights

PATIENCE = 1
SPOILT = ("baselines=none", "trainer.max_epochs=20", f"callbacks.patience={PATIENCE}", "bootstrap=10")
QUICK = ("baselines=none", "trainer.max_epochs=1", "trainer.log_every_n_steps=1", "bootstrap=10")


def curve(run: Run, name: str) -> np.ndarray:
    return run.history.loc[run.history["name"] == name, "value"].to_numpy()


@contextmanager
def optimizer_steps() -> Iterator[list[dict[str, Any]]]:
    """Every step of any optimiser: its learning rate, whether it is fused, and the norm of the gradients it went by."""
    steps: list[dict[str, Any]] = []

    def seen(optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
        gradients = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        group = {name: optimizer.param_groups[0][name] for name in ("lr", "fused")}
        steps.append({**group, "norm": float(torch.nn.utils.get_total_norm(gradients))})

    handle = register_optimizer_step_post_hook(seen)
    try:
        yield steps
    finally:
        handle.remove()


# --- the best epoch


@pytest.fixture(scope="module")
def low(train: Callable[..., Run]) -> Run:
    """Stopped early, by a learning rate that is too high, on a loss: the lower the better."""
    return train(*SPOILT, "task.optimizer.lr=0.05")


@pytest.fixture(scope="module")
def high(train_ranked: Callable[..., Run]) -> Run:
    """As `low`, on an accuracy: the higher the better."""
    return train_ranked(*SPOILT, "task.optimizer.lr=0.1")


@pytest.mark.parametrize(
    ("name", "monitor", "best"),
    [("low", "val/log_loss", np.argmin), ("high", "val/ndcg@10", np.argmax)],
    ids=["low", "high"],
)
def test_training_stops_when_nothing_gets_better_and_the_best_epoch_is_kept(
    name: str, monitor: str, best: Callable[[np.ndarray], int], request: pytest.FixtureRequest
) -> None:
    run: Run = request.getfixturevalue(name)
    values = curve(run, monitor)
    epoch = int(best(values))
    assert epoch > 0, f"the first epoch is the best of {values}, which shows nothing"
    assert len(values) == epoch + 1 + PATIENCE, values
    kept = run.checkpoint["state_dict"]
    for checkpoint, its_epoch, is_kept in (("best", epoch, True), ("last", len(values) - 1, False)):
        found = load_checkpoint(run.path / "checkpoints" / f"{checkpoint}.ckpt")
        assert found["epoch"] == its_epoch, checkpoint
        weights = network_weights(found)
        assert weights.keys() == kept.keys()
        assert all(torch.equal(kept[part], tensor) for part, tensor in weights.items()) == is_kept, checkpoint


def test_the_loss_of_the_best_epoch_is_that_of_its_scores_at_the_older_validation_cutoffs(low: Run) -> None:
    """Of all of them at once, each batch and each epoch apart; the newest cutoff is for calibration alone."""
    rows = low.scores[(low.scores["split"] == "val") & low.scores["label"].notna()]
    older = rows[rows["cutoff"] < rows["cutoff"].max()]
    assert 0 < len(older) < len(rows)
    assert curve(low, "val/log_loss").min() == pytest.approx(log_loss(older["label"], older["score_raw"]), abs=1e-5)


def test_the_accuracy_of_the_best_epoch_is_that_of_the_lists_of_validation(high: Run) -> None:
    """Over the whole catalogue, with the policy of the run."""
    found = high.metrics["split"]["val"]["overall"]["network"]
    best = curve(high, "val/ndcg@10").argmax()
    for metric in ("ndcg@10", "hr@10", "coverage@10"):
        assert curve(high, f"val/{metric}")[best] == pytest.approx(found[metric]["value"], rel=1e-5), metric


def test_processes_that_would_validate_nobody_are_refused(
    train: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pl.Trainer, "world_size", property(lambda trainer: 100_000))
    with pytest.raises(UserError, match=r"trainer\.devices: 100000 processes share \d+ snapshots for early stopping"):
        train("baselines=none")


# --- a step


def test_the_seed_decides_which_weights_training_begins_with(train_ranked: Callable[..., Run]) -> None:
    still = (*QUICK, "task.optimizer.lr=0.0", "trainer.limit_train_batches=1")
    one, same, other = (train_ranked(*still, f"seed={seed}").checkpoint["state_dict"] for seed in (0, 0, 1))
    for name in ("tower.table.id_ID", "context_map.weight"):
        assert torch.equal(one[name], same[name])
        assert not torch.equal(one[name], other[name])


@pytest.mark.parametrize("accumulated", [1, 2])
def test_the_learning_rate_moves_every_step_and_ends_with_training(
    train_ranked: Callable[..., Run], accumulated: int
) -> None:
    schedule = {"name": "cosine", "warmup": 0.25}
    options = [f"task.schedule.{name}={value}" for name, value in schedule.items()]
    options += ["trainer.max_epochs=2", f"trainer.accumulate_grad_batches={accumulated}", "task.optimizer.lr=0.01"]
    with optimizer_steps() as steps:
        train_ranked(*QUICK, *options)
    assert len(steps) > 6
    expected = [0.01 * learning_rate_factor(step, num_steps=len(steps), **schedule) for step in range(len(steps))]
    assert [step["lr"] for step in steps] == pytest.approx(expected)


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_gradients_are_clipped_to_the_norm_asked_for(train_ranked: Callable[..., Run], precision: str) -> None:
    options = (*QUICK, f"trainer.precision={precision}")
    with optimizer_steps() as steps:
        run = train_ranked(*options, "trainer.gradient_clip_val=0.02")
    assert all(step["fused"] for step in steps)
    before, norms = curve(run, "train/gradient_norm"), [step["norm"] for step in steps]
    assert len(before) == len(norms) > 4
    assert before.min() > 0.02
    assert norms == pytest.approx([0.02] * len(norms), rel=1e-3)
    with optimizer_steps() as steps:
        train_ranked(*options, "trainer.gradient_clip_val=null", "trainer.limit_train_batches=1")
    assert steps[0]["norm"] == pytest.approx(before[0], rel=1e-5)


def test_half_precision_trains_nearly_the_same_network(train: Callable[..., Run], run: Run) -> None:
    with optimizer_steps() as steps:
        half = train("trainer.precision=bf16-mixed", "baselines=none")
    assert all(step["fused"] for step in steps)
    assert max(step["norm"] for step in steps) < 1.001
    full = run.scores[run.scores["model"] == "network"].reset_index(drop=True)
    assert half.scores[["customer_id", "cutoff"]].equals(full[["customer_id", "cutoff"]])
    difference = (half.scores["score_raw"] - full["score_raw"]).abs()
    assert 1e-5 < difference.max() < 0.05
    tensors = half.checkpoint["state_dict"].values()
    assert {tensor.dtype for tensor in tensors if tensor.is_floating_point()} == {torch.float32}


def test_full_precision_has_a_fused_optimiser(train_ranked: Callable[..., Run]) -> None:
    with optimizer_steps() as steps:
        train_ranked(*QUICK, "trainer.limit_train_batches=1")
    assert [step["fused"] for step in steps] == [True]


def test_batches_of_few_shapes_train_on_every_target_too(train_ranked: Callable[..., Run]) -> None:
    run = train_ranked(*QUICK, "trainer.shapes=4")
    plain = train_ranked(*QUICK)
    padding = [float(curve(one, "train/padding_ratio")[0]) for one in (run, plain)]
    assert 1.0 <= padding[1] <= padding[0] < 2.0
    loss = [curve(one, "train/loss").mean() for one in (run, plain)]
    assert loss[0] == pytest.approx(loss[1], rel=0.05)
    assert set(run.scores["customer_id"]) == set(plain.scores["customer_id"])
