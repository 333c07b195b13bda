"""Dropout: the rate, the expectation, the gradient, the residual stream, and silence in evaluation."""

import pytest
import torch
from torch.testing import assert_close

from clm_dl.nn.dropout import Dropout, dropout_noise


@pytest.mark.parametrize("rate", [0.1, 0.2, 0.5, 0.9])
def test_noise_is_zero_at_its_rate_and_one_on_average(rate):
    torch.manual_seed(0)
    noise = dropout_noise(torch.empty(300, 1_001), rate)
    assert (noise == 0).float().mean().item() == pytest.approx(rate, abs=0.004)
    assert noise.mean().item() == pytest.approx(1.0, abs=0.02)
    assert len(noise.unique()) == 2
    halves = (noise[:, :500] == 0).float() - rate, (noise[:, 500:1_000] == 0).float() - rate
    for shift in range(4):  # neighbours share a draw of 64 bits and are independent all the same
        assert (
            abs(
                (halves[0][:, : 500 - shift] * halves[0][:, shift:]).mean().item()
                - (rate * (1 - rate) if shift == 0 else 0.0)
            )
            < 0.004
        )
    assert abs((halves[0] * halves[1]).mean().item()) < 0.004


def test_value_gradient_and_residual():
    dropout, residual = Dropout(0.3), torch.ones(50, 7)
    x = torch.full((50, 7), 2.0, requires_grad=True)
    torch.manual_seed(0)
    alone = dropout(x)
    torch.manual_seed(0)
    added = dropout(x, residual)
    assert_close(added, alone + residual)
    added.sum().backward()
    assert_close(x.grad, alone.detach() / 2.0)
    assert 0 < (alone == 0).float().mean() < 0.6


def test_silent_in_evaluation_and_at_its_ends():
    x, residual = torch.randn(5, 3), torch.randn(5, 3)
    assert torch.equal(Dropout(0.3).eval()(x, residual), residual + x)
    assert torch.equal(Dropout(0.0)(x), x)
    assert torch.equal(Dropout(1.0)(x), torch.zeros(5, 3))
