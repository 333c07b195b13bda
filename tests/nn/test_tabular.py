"""The tabular network: members that share weights and differ, bins by column, no batch-mates, and what it can learn."""

import pytest
import torch
from torch.testing import assert_close

from clm_dl.nn.tabular import EnsembleLinear, TabularNetwork

EDGES = [[-1.0, 0.0, 1.0], [0.0, 1.0], [5.0], []]  # of a number, a flag, a constant, and a column of nothing
SIZES = {"num_members": 3, "hidden_size": 8, "num_layers": 2, "dropout": 0.0}


@pytest.fixture
def network() -> TabularNetwork:
    torch.manual_seed(0)
    return TabularNetwork(EDGES, **SIZES).eval()


def rows(num: int = 5) -> torch.Tensor:
    return torch.randn(num, len(EDGES), generator=torch.Generator().manual_seed(1))


def test_a_member_is_a_linear_map_with_scales_of_its_own():
    torch.manual_seed(0)
    layer = EnsembleLinear(4, 2, num_members=3, scale_KI=torch.randn(3, 4))
    with torch.no_grad():
        layer.scale_KD.normal_()
        layer.bias_KD.normal_()
    x_BKI = torch.randn(5, 3, 4)
    for member in range(3):
        weight_DI = layer.scale_KD[member, :, None] * layer.weight_DI * layer.scale_KI[member]
        expected_BD = x_BKI[:, member] @ weight_DI.T + layer.bias_KD[member]
        assert_close(layer(x_BKI)[:, member], expected_BD)


def test_every_member_answers_in_its_own_way(network):
    logit_BK = network(rows())
    assert logit_BK.shape == (5, 3)
    assert (logit_BK.std(1) > 0).all()


def test_a_member_scales_all_bins_of_a_column_alike(network):
    first = network.layers[0].scale_KI
    assert network.bins.column_P.tolist() == [0, 0, 1]
    assert torch.equal(first[:, 0], first[:, 1])
    assert not torch.equal(first[:, 0], first[:, 2])


def test_every_parameter_gets_a_gradient(network):
    network(rows()).square().sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().sum() > 0, name


def test_rows_do_not_see_each_other(network):
    x_BF, order = rows(), torch.tensor([3, 1, 4, 0, 2])
    assert_close(network(x_BF[order]), network(x_BF)[order])
    assert_close(network(x_BF[2:3]), network(x_BF)[2:3])


def test_a_constant_column_and_one_of_nothing_change_nothing(network):
    x_BF = rows()
    other_BF = x_BF.clone()
    other_BF[:, 2:] += 100.0
    assert torch.equal(network(x_BF), network(other_BF))


def test_far_values_stay_within_a_bin_of_the_edges(network):
    x_BF, far_BF = torch.zeros(2, len(EDGES)), torch.zeros(2, len(EDGES))
    x_BF[:, 0], far_BF[:, 0] = torch.tensor([-2.0, 2.0]), torch.tensor([-1e9, 1e9])
    assert torch.equal(network(x_BF), network(far_BF))


def test_the_order_of_columns_is_a_matter_of_the_weights_alone():
    """A network of the columns the other way round, with its weights moved along, says the same."""
    torch.manual_seed(0)
    network, turned = (TabularNetwork(edges, **SIZES).eval() for edges in (EDGES[:2], EDGES[1::-1]))
    state = network.state_dict()
    for name in ("layers.0.weight_DI", "layers.0.scale_KI"):
        state[name] = state[name][:, [2, 0, 1]]
    turned.load_state_dict(state | {key: value for key, value in turned.state_dict().items() if key.startswith("bins")})
    assert_close(turned(rows()[:, [1, 0]]), network(rows()[:, :2]))


def test_a_network_without_any_column_says_the_rate_of_each_member():
    network = TabularNetwork([[], [1.0]], **SIZES)
    logit_BK = network(torch.zeros(4, 2))
    assert logit_BK.isfinite().all()
    assert torch.equal(logit_BK[0], logit_BK[3])
