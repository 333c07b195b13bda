"""Networks under test: small inputs, and parameters without a random generator."""

from collections.abc import Callable

import handmade
import pytest
import torch
from torch import Tensor, nn

from clm_dl.data.sequences.batch import EventBatch


@pytest.fixture
def schema() -> dict:
    return handmade.SCHEMA


@pytest.fixture
def make_batch() -> Callable[..., EventBatch]:
    return handmade.make_batch


@pytest.fixture
def fixed_init() -> Callable[[nn.Module], nn.Module]:
    """Parameters set to a formula, so that golden numbers do not hang on a generator or on an initialisation."""

    def apply(module: nn.Module) -> nn.Module:
        with torch.no_grad():
            for number, parameter in enumerate(module.parameters()):
                place = torch.arange(parameter.numel(), dtype=torch.float64)
                parameter.copy_((0.3 * torch.sin(1.7 * place + number)).reshape(parameter.shape))
        return module.eval()

    return apply


@pytest.fixture
def make_input() -> Callable[..., tuple[Tensor, Tensor, Tensor]]:
    """(x_BTD, mask_BT, time_BT): waves, the first row full, the others shorter, days that grow."""

    def make(num: int = 4, length: int = 12, size: int = 6) -> tuple[Tensor, Tensor, Tensor]:
        place = torch.arange(num * length * size, dtype=torch.float64)
        x_BTD = torch.sin(0.37 * place + 0.01 * place**1.5).reshape(num, length, size).float()
        length_B = torch.tensor([max(1, length - 3 * row) for row in range(num)])
        mask_BT = torch.arange(length) < length_B.unsqueeze(1)
        time_BT = (torch.arange(length, dtype=torch.float32) ** 1.3).expand(num, -1) * mask_BT
        return x_BTD * mask_BT.unsqueeze(-1), mask_BT, time_BT

    return make
