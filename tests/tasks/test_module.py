"""SequenceTask: learning-rate schedules, what decays, what is noise, and losses that are not finite."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pytorch_lightning.plugins.precision import MixedPrecision
from torch.optim.optimizer import register_optimizer_step_post_hook

from clm_dl.data.sequences.inputs import SequenceInputs
from clm_dl.run import Run
from clm_dl.tasks.module import learning_rate_factor
from clm_dl.tasks.network import SequenceNetwork


def curve(name: str, *, num_steps: int = 100, warmup: float = 0.1) -> np.ndarray:
    return np.array(
        [learning_rate_factor(step, num_steps=num_steps, name=name, warmup=warmup) for step in range(num_steps + 1)]
    )


@pytest.mark.parametrize("name", ["constant", "cosine", "one_cycle"])
def test_warms_up_to_the_peak_and_never_exceeds_it(name: str) -> None:
    factor = curve(name)
    assert (np.diff(factor[:10]) > 0).all()
    assert factor.max() == factor[9] == factor[10] == 1.0
    assert factor.min() >= 0


def test_cosine_falls_to_zero_and_halves_midway() -> None:
    factor = curve("cosine")
    assert (np.diff(factor[10:]) < 0).all()
    assert factor[55] == pytest.approx(0.5)
    assert factor[100] == pytest.approx(0.0, abs=1e-12)


def test_one_cycle_begins_at_a_twentyfifth_and_ends_at_a_ten_thousandth() -> None:
    factor = curve("one_cycle", num_steps=1000)
    assert factor[0] == pytest.approx(0.04, abs=0.01)
    assert factor[1000] == pytest.approx(1e-4)


def test_constant_stays() -> None:
    assert (curve("constant")[10:] == 1.0).all()


def test_steps_beyond_the_last_and_runs_of_one_step() -> None:
    assert learning_rate_factor(150, num_steps=100, name="cosine", warmup=0.1) == 0.0
    assert learning_rate_factor(0, num_steps=1, name="cosine", warmup=0.0) == 1.0


def test_an_unknown_name_is_one_sentence(build: Callable[..., SequenceNetwork]) -> None:
    with pytest.raises(ValueError, match="must be constant, cosine or one_cycle, got 'linear'"):
        build({}, "task.schedule.name=linear")


@pytest.fixture(scope="module")
def inputs(shop_inputs: Callable[..., SequenceInputs]) -> SequenceInputs:
    return shop_inputs("task=churn")


def test_matrices_decay_but_no_bias_no_norm_and_no_table(
    inputs: SequenceInputs, build: Callable[..., SequenceNetwork], fit: Callable[..., list[float]]
) -> None:
    batch, after = inputs.dataset[inputs.rows("train")[:16]], []
    for decay in (0.0, 0.5):
        options = ("task.optimizer.lr=0.1", f"task.optimizer.weight_decay={decay}")
        network = build(inputs.schema, "encoder=transformer", *options)
        fit(network, [batch])
        after.append({name: parameter.detach() for name, parameter in network.named_parameters()})
    plain, decayed = after
    matrices = {name for name, tensor in plain.items() if tensor.ndim > 1 and not name.startswith("embedding.tables.")}
    assert {name for name in plain if not torch.equal(plain[name], decayed[name])} == matrices
    assert any("norm" in name for name in plain)
    assert len(plain) - len(matrices) > 10


def test_dropout_is_other_noise_each_epoch_and_for_each_seed(
    inputs: SequenceInputs, build: Callable[..., SequenceNetwork], fit: Callable[..., list[float]]
) -> None:
    """Of a network that does not learn the loss of a batch moves by the noise alone."""
    batch = inputs.dataset[inputs.rows("train")[:16]]

    def losses(*options: str) -> list[float]:
        return fit(build(inputs.schema, "encoder=gru", "task.optimizer.lr=0.0", *options), [batch, batch], epochs=2)

    noisy = losses()
    assert len(set(noisy)) == 4
    assert losses() == noisy
    assert not set(losses("seed=1")) & set(noisy)
    assert len(set(losses("encoder.dropout=0.0", "task.dropout=0.0"))) == 1


@pytest.mark.parametrize("clip", [0.02, None])
def test_fp16_has_a_fused_optimiser_where_nothing_is_clipped(
    inputs: SequenceInputs, build: Callable[..., SequenceNetwork], fit: Callable[..., list[float]], clip: float | None
) -> None:
    """Its loss is scaled up, and gradients are clipped once they are scaled back: a fused optimiser does that later."""
    seen: list[tuple[bool, float]] = []

    def step(optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
        gradients = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        seen.append((optimizer.param_groups[0]["fused"], float(torch.nn.utils.get_total_norm(gradients))))

    batch, network = inputs.dataset[inputs.rows("train")[:16]], build(inputs.schema, "encoder=mean")
    handle = register_optimizer_step_post_hook(step)
    try:
        fit(network, [batch] * 2, plugins=[MixedPrecision("16-mixed", "cpu")], gradient_clip_val=clip)
    finally:
        handle.remove()
    assert [fused for fused, _ in seen] == [clip is None] * 2
    if clip:
        assert [norm for _, norm in seen] == pytest.approx([clip] * 2, rel=1e-2)


def test_a_loss_that_is_not_finite_from_the_first_batch_on_is_named_too(
    inputs: SequenceInputs, build: Callable[..., SequenceNetwork], fit: Callable[..., list[float]]
) -> None:
    batch, network = inputs.dataset[inputs.rows("train")[:4]], build(inputs.schema, "encoder=gru")
    with torch.no_grad():
        next(network.head.parameters()).fill_(torch.nan)
    with pytest.raises(ValueError, match="not finite since batch 0 of epoch 0"):
        fit(network, [batch, batch])


def test_a_loss_that_is_not_finite_stops_and_names_the_batch(train: Callable[..., Run], tmp_path: Path) -> None:
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
