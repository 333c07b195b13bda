"""Ranking losses against closed forms: blocks equal the whole, samples correct to the whole, hits take no part."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.testing import assert_close

from clm_dl.tasks.recommend import losses
from clm_dl.tasks.recommend.losses import RANKING_LOSSES, build_ranking_loss
from clm_dl.tasks.recommend.tower import ItemTower

V, D, P = 60, 8, 37
ITEMS = {"num_items": V, "categorical": {}, "numeric": {}, "vector_size": 0}


@pytest.fixture
def tower() -> ItemTower:
    torch.manual_seed(0)
    tower = ItemTower(ITEMS, size=D)
    with torch.no_grad():
        tower.table.id_ID *= 30.0
    tower.load_catalogue(torch.arange(V) + 1, {}, torch.zeros(V, 0), torch.zeros(V, 0))
    return tower


def make_states(num: int = P) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(num, D, generator=generator).requires_grad_(), torch.randint(
        2, V + 2, (num,), generator=generator
    )


def value_and_gradients(loss: Tensor, *inputs: Tensor) -> tuple[Tensor, ...]:
    return (loss.detach(), *torch.autograd.grad(3.0 * loss, inputs))


@pytest.mark.parametrize("chunk", [None, 1, 7, P, 1_000])
def test_softmax_in_blocks_is_the_cross_entropy(tower, chunk):
    h_PD, item_P = make_states()
    ours = build_ranking_loss({"name": "softmax", "chunk": chunk})(h_PD, item_P, tower)
    full = F.cross_entropy(tower.logits(h_PD), item_P - 2)
    inputs = (h_PD, tower.table.id_ID)
    assert_close(value_and_gradients(ours, *inputs), value_and_gradients(full, *inputs), atol=1e-5, rtol=1e-5)
    with torch.no_grad():
        assert_close(build_ranking_loss({"name": "softmax", "chunk": chunk})(h_PD, item_P, tower), full)


@pytest.mark.parametrize("name", RANKING_LOSSES)
def test_a_state_with_many_targets_is_that_state_repeated(tower, name):
    h_QD, item_P = make_states()
    h_QD = h_QD[:9].detach().requires_grad_()
    row_P = torch.arange(P) // 5  # state 8 has no target
    weight_P = torch.linspace(0.0, 2.0, P)  # the first takes no part
    loss, inputs = build_ranking_loss({"name": name}), (h_QD, tower.table.id_ID)
    results = []
    for states, rows in ((h_QD, row_P), (h_QD[row_P], None)):
        torch.manual_seed(2)
        results.append(value_and_gradients(loss(states, item_P, tower, weight_P, rows), *inputs))
    assert_close(*results, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", RANKING_LOSSES)
def test_weights_are_shares(tower, name):
    h_PD, item_P = make_states()
    loss, values = build_ranking_loss({"name": name}), []
    for weight_P in (None, torch.full((P,), 4.0), F.one_hot(torch.tensor(3), P).float()):
        torch.manual_seed(2)
        values.append(loss(h_PD, item_P, tower, weight_P))
    assert_close(values[1], values[0])
    if name != "in_batch":  # whose sample is the other targets
        torch.manual_seed(2)
        assert_close(loss(h_PD[3:4], item_P[3:4], tower), values[2])


def test_softmax_stays_finite_where_an_exponential_would_not(tower):
    h_PD, item_P = make_states()
    loss = build_ranking_loss({"name": "softmax"})(1e3 * h_PD, item_P, tower)
    assert_close(loss, F.cross_entropy(tower.logits(1e3 * h_PD), item_P - 2))
    assert torch.autograd.grad(loss, h_PD)[0].isfinite().all()


@pytest.mark.parametrize("name", ["softmax", "sampled_softmax", "in_batch"])
def test_first_loss_is_the_log_of_the_catalogue(name):
    torch.manual_seed(0)
    h_PD, item_P = make_states(500)
    loss = build_ranking_loss({"name": name})(h_PD, item_P, ItemTower(ITEMS, size=D))
    assert loss.item() == pytest.approx(math.log(V), abs=0.05)


def test_sampled_softmax_by_hand():
    positive_P, negative_PK = torch.tensor([1.0, 2.0]), torch.tensor([[0.5, 1.0, -1.0], [0.0, 2.0, 3.0]])
    expected_K, hit_PK = torch.tensor([2.0, 0.5, 0.1]), torch.tensor([[False, True, False], [False, False, False]])
    loss_P = losses.sampled_cross_entropy(positive_P, negative_PK, expected_K, hit_PK)
    first = math.log(math.e + math.exp(0.5) / 2.0 + math.exp(-1.0) / 0.1) - 1.0  # the hit takes no part
    second = math.log(math.exp(2.0) + 1.0 / 2.0 + math.exp(2.0) / 0.5 + math.exp(3.0) / 0.1) - 2.0
    assert_close(loss_P, torch.tensor([first, second]))


def test_sampled_softmax_over_every_item_once_is_the_softmax(tower):
    h_PD, item_P = make_states()
    logit_PV, hit_PV = tower.logits(h_PD), F.one_hot(item_P - 2, V).bool()
    loss_P = losses.sampled_cross_entropy(logit_PV[hit_PV], logit_PV, torch.ones(V), hit_PV)
    assert_close(loss_P, F.cross_entropy(logit_PV, item_P - 2, reduction="none"))


@pytest.mark.parametrize(
    "config", [{"popularity_power": 0.0}, {"popularity_power": 1.0}, {"logq": False, "popularity_power": 1.0}]
)
def test_logq_makes_the_sample_stand_for_the_catalogue(tower, config):
    h_PD, item_P = make_states()
    full = F.cross_entropy(tower.logits(h_PD), item_P - 2).item()
    sampled = build_ranking_loss({"name": "sampled_softmax", "num_negatives": 50_000, **config})(
        h_PD, item_P, tower
    ).item()
    if config.get("logq", True):
        assert sampled == pytest.approx(full, abs=0.02)
    else:
        assert abs(sampled - full) > 1.0


def test_in_batch_with_the_whole_catalogue_mixed_in_is_the_softmax(tower):
    h_PD, item_P = make_states()
    loss = build_ranking_loss({"name": "in_batch", "mixed": 50_000})(h_PD, item_P, tower)
    assert_close(loss, F.cross_entropy(tower.logits(h_PD), item_P - 2), atol=1e-5, rtol=0)


def test_in_batch_where_every_item_is_a_target_is_the_softmax(tower):
    """What is bound to be among the targets stands for itself alone, however few items are mixed in."""
    item_P = torch.arange(2, V + 2).repeat(1_000)
    h_PD = make_states(V)[0].detach().repeat(1_000, 1)
    loss = build_ranking_loss({"name": "in_batch", "mixed": 1})(h_PD, item_P, tower)
    assert_close(loss, F.cross_entropy(tower.logits(h_PD), item_P - 2), atol=1e-4, rtol=0)


def test_draw_follows_popularity_and_leaves_out_what_was_never_bought(tower):
    count_V = torch.arange(V) % 4
    tower.load_catalogue(count_V, {}, torch.zeros(V, 0), torch.zeros(V, 0))
    ids_K, expected_K = losses._draw(tower, 60_000, 1.0)
    drawn_V = torch.bincount(ids_K - 2, minlength=V)
    assert (drawn_V[count_V == 0] == 0).all()
    assert_close(drawn_V.float(), 60_000 * count_V / count_V.sum(), atol=120.0, rtol=0)
    assert_close(expected_K, 60_000 * count_V[ids_K - 2] / count_V.sum())


@pytest.mark.parametrize(("t", "beta"), [(0.0, 1.0), (1.0, 0.1), (0.5, 0.55)])
def test_gbce_is_its_closed_form(t, beta):
    assert losses.gbce_beta(10, 101, t) == pytest.approx(beta)  # α (t (1 − 1/α) + 1/α) with α = 10 / 100
    positive_P, negative_PK = torch.tensor([2.0, -3.0]), torch.tensor([[0.5, -1.0], [4.0, 0.0]])
    hit_PK = torch.tensor([[False, False], [True, False]])
    loss_P = losses.generalised_binary_cross_entropy(positive_P, negative_PK, hit_PK, beta=beta)
    negative = -torch.log(1 - negative_PK.double().sigmoid()).masked_fill(hit_PK, 0.0).sum(1)
    assert_close(loss_P.double(), -torch.log(positive_P.double().sigmoid() ** beta) + negative)
    extreme_P = losses.generalised_binary_cross_entropy(
        torch.tensor([-200.0]), torch.tensor([[200.0]]), hit_PK[:1, :1], beta=beta
    )
    assert_close(extreme_P, torch.tensor([200.0 * beta + 200.0]))  # float32 is enough


@pytest.mark.parametrize("name", ["gbce", "bpr"])
def test_negatives_are_uniform_however_popular_an_item_is(tower, name):
    """One item has nearly all lines of training and the highest score: a draw by popularity would hold nothing else."""
    h_PD, num = torch.ones(4, D), 40_000
    item_P = torch.tensor([4, 20, 21, 50])
    tower.load_catalogue(torch.where(torch.arange(V) == 7, 1_000_000, 1), {}, torch.zeros(V, 0), torch.zeros(V, 0))
    with torch.no_grad():
        tower.table.id_ID[7 + 2] = 1.0
        loss = build_ranking_loss({"name": name, "num_negatives": num})(h_PD, item_P, tower).item()
        logit_PV, target_PV = tower.logits(h_PD), F.one_hot(item_P - 2, V).bool()
    positive_P1 = logit_PV[target_PV][:, None]
    if name == "gbce":  # with more negatives than items β is 1
        each_PV = F.softplus(logit_PV).masked_fill(target_PV, 0.0)
        expected = (F.softplus(-positive_P1[:, 0]) + num * each_PV.mean(1)).mean().item()
    else:
        expected = F.softplus(logit_PV - positive_P1)[~target_PV].mean().item()
    assert loss == pytest.approx(expected, rel=0.03)


def test_bpr_is_the_mean_over_negatives_that_are_not_the_target(tower, monkeypatch):
    h_PD, item_P = make_states(2)
    ids_K = torch.tensor([int(item_P[0]), 5, 9])
    monkeypatch.setattr(losses, "_draw", lambda *_: (ids_K, torch.ones(3)))
    logit_PV = tower.logits(h_PD)
    expected = []
    for row in range(2):
        others = [item for item in ids_K.tolist() if item != item_P[row]]
        expected.append(
            torch.stack(
                [-F.logsigmoid(logit_PV[row, item_P[row] - 2] - logit_PV[row, item - 2]) for item in others]
            ).mean()
        )
    assert_close(build_ranking_loss({"name": "bpr"})(h_PD, item_P, tower), torch.stack(expected).mean())


@pytest.mark.parametrize("name", RANKING_LOSSES)
@pytest.mark.parametrize("similarity", ["dot", "cosine"])
def test_every_loss_learns_to_rank_the_targets_first(name, similarity):
    torch.manual_seed(0)
    tower = ItemTower(ITEMS, size=D, similarity=similarity, temperature=0.1 if similarity == "cosine" else 1.0)
    h_PD, item_P = make_states(6)
    item_P = torch.arange(2, 62, 10)
    loss, optimizer = build_ranking_loss({"name": name}), torch.optim.Adam([h_PD, *tower.parameters()], lr=0.05)
    for _ in range(60):
        optimizer.zero_grad()
        loss(h_PD, item_P, tower).backward()
        optimizer.step()
    assert tower.logits(h_PD).argmax(1).tolist() == (item_P - 2).tolist()


@pytest.mark.parametrize("name", RANKING_LOSSES)
def test_bfloat16_autocast_is_near_and_float32(tower, name):
    h_PD, item_P = make_states()
    loss, values = build_ranking_loss({"name": name}), []
    for enabled in (False, True):
        torch.manual_seed(2)
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            values.append(value_and_gradients(loss(h_PD, item_P, tower), h_PD, tower.table.id_ID))
    assert values[1][0].dtype == torch.float32
    for exact, near in zip(*values, strict=True):
        assert_close(near, exact, atol=0.02 * exact.abs().max().item(), rtol=0)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"name": "sofmax"}, "ranking loss must be one of softmax, sampled_softmax, in_batch, gbce, bpr, got 'sofmax'"),
        ({"name": "gbce", "num_negative": 3}, "ranking loss gbce has no option 'num_negative'; nearest: num_negatives"),
        ({"name": "softmax", "weight_P": 3}, "ranking loss softmax has no option 'weight_P'"),
    ],
)
def test_wrong_options_are_named(config, message):
    with pytest.raises(ValueError, match=message):
        build_ranking_loss(config)


def test_a_sample_needs_a_negative(tower):
    with pytest.raises(ValueError, match="num_negatives must be at least 1, got 0"):
        build_ranking_loss({"name": "bpr", "num_negatives": 0})(*make_states(), tower)


def test_gbce_wants_a_share_and_takes_a_catalogue_of_one():
    with pytest.raises(ValueError, match=r"t of the gBCE loss must be in \[0, 1\], got 2"):
        losses.gbce_beta(10, 101, 2.0)
    assert losses.gbce_beta(1, 1, 0.75) == 1.0
