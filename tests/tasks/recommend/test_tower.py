"""The item tower: id and content in one vector, cold items, tied and separate output, cosine, state on disk."""

import io
import math

import pytest
import torch
from torch.nn import functional as F
from torch.testing import assert_close

from clm_dl.nn.embedding import signed_log1p
from clm_dl.tasks.recommend.losses import build_ranking_loss
from clm_dl.tasks.recommend.tower import ItemTower

V, D = 40, 8
BARE = {"num_items": V, "categorical": {}, "numeric": {}, "vector_size": 0}
RICH = {
    "num_items": V,
    "categorical": {"dept.name": 4, "brand": 7},
    "numeric": {"price": {"center": 1.0, "scale": 2.0}},
    "vector_size": 5,
}


def make_tower(items: dict = RICH, *, cold: int = 6, **options: object) -> ItemTower:
    """The first `cold` items were never bought in training; code and number of every third item are unknown."""
    torch.manual_seed(0)
    tower = ItemTower(items, size=D, **options)
    place_V = torch.arange(V)
    unknown_V = place_V % 3 == 0
    tower.load_catalogue(
        torch.where(place_V < cold, 0, place_V + 1),
        {name: torch.where(unknown_V, -1, place_V % count).int() for name, count in items["categorical"].items()},
        torch.where(unknown_V, math.nan, place_V.float()).unsqueeze(1)[:, : len(items["numeric"])],
        torch.sin(torch.arange(V * items["vector_size"]).float()).view(V, -1) * 30.0,
    )
    return tower


def test_without_content_the_output_is_the_table_itself():
    tower = make_tower(BARE, cold=0)
    assert tower.vectors().data_ptr() == tower.table.id_ID[2:].data_ptr()
    ids_BT = torch.tensor([[2, 5], [41, 0]])
    assert torch.equal(tower.input(ids_BT)[0, 1], tower.vectors()[3])
    assert torch.equal(tower.input(ids_BT)[1], torch.stack([tower.vectors()[39], torch.zeros(D)]))
    assert torch.equal(tower.vectors(ids_BT[0]), tower.vectors()[[0, 3]])


def test_content_is_the_sum_of_its_parts():
    tower = make_tower().eval()
    item = 8  # known: codes 8 % 4 and 8 % 7
    category, dense = tower.table.category, tower.table.dense
    number = (signed_log1p(torch.tensor(8.0)) - 1.0) / 2.0
    vector_VE = torch.sin(torch.arange(V * 5).float()).view(V, -1)
    vector_E = vector_VE[item] / vector_VE.square().sum(1).mean().sqrt()  # the scale of the vectors does not matter
    expected_D = (
        tower.table.id_ID[item + 2]
        + category[1 + 0]
        + category[5 + 1 + 1]
        + dense @ torch.cat([number.view(1), vector_E])
    )
    assert_close(tower.vectors()[item], expected_D)
    assert_close(tower.input(torch.tensor([item + 2]))[0], expected_D)
    vector_E = vector_VE[9] / vector_VE.square().sum(1).mean().sqrt()
    unknown_D = tower.table.id_ID[9 + 2] + category[0] + category[5] + dense[:, 1:] @ vector_E
    assert_close(tower.vectors()[9], unknown_D)


def test_items_without_a_vector_do_not_move_the_scale_of_the_others():
    items = {**BARE, "vector_size": 5}
    towers = [make_tower(items, cold=0) for _ in range(2)]  # equal but for the catalogue
    few_V = torch.arange(V) % 4 == 0
    vector_VE = torch.sin(torch.arange(V * 5.0)).view(V, 5)
    vector_VE = 3.0 * vector_VE / vector_VE.norm(dim=1, keepdim=True)
    for tower, known_VE in zip(towers, (vector_VE, vector_VE * few_V[:, None]), strict=True):
        tower.load_catalogue(torch.ones(V), {}, torch.zeros(V, 0), known_VE)
    every_VD, few_VD = (tower.eval().vectors() for tower in towers)
    assert_close(few_VD[few_V], every_VD[few_V])
    assert not torch.allclose(few_VD[~few_V], every_VD[~few_V])


@pytest.mark.parametrize("items", [BARE, RICH], ids=["bare", "rich"])
def test_vectors_do_not_depend_on_what_else_is_asked_for(items):
    tower = make_tower(items).eval()
    few_BT, many_BT = torch.arange(2, 12).view(2, 5), torch.arange(2, V + 2).repeat(3, 2)
    assert_close(tower.input(many_BT)[0, :10].view(2, 5, D), tower.input(few_BT))
    assert_close(tower.input(many_BT)[1, :V], tower.vectors())
    assert_close(tower.vectors(few_BT[1]), tower.vectors()[5:10])


@pytest.mark.parametrize("items", [BARE, RICH], ids=["bare", "rich"])
def test_cold_items_have_the_id_vector_of_the_unknown(items):
    tower = make_tower(items).eval()
    with torch.no_grad():
        before_VD = tower.vectors()
        tower.table.id_ID[1] += 1.0
        moved_VD = tower.vectors() - before_VD
    assert_close(moved_VD[:6], torch.ones(6, D))
    assert (moved_VD[6:] == 0).all()
    distinct = len(before_VD[:6].unique(dim=0))
    assert distinct == (6 if items is RICH else 1)  # content tells them apart


def test_training_softmax_leaves_out_cold_items_that_content_can_rank():
    tower, ids_P = make_tower(), torch.tensor([8, 41])
    vectors_WD, place_P = tower.candidates(ids_P)
    assert vectors_WD.shape == (34, D)
    assert_close(vectors_WD[place_P], tower.vectors(ids_P))
    tower.eval()
    vectors_VD, code_P = tower.candidates(ids_P)
    assert_close(vectors_VD, tower.vectors())
    assert code_P.tolist() == [6, 39]
    assert make_tower(BARE).candidates(ids_P)[0].shape == (
        V,
        D,
    )  # without content the loss teaches how rare a new item is


@pytest.mark.parametrize("name", ["id_dropout", "content_dropout"])
def test_dropout_leaves_the_content_or_the_id(name):
    tower = make_tower(cold=0, **{name: 0.25})
    whole_VD, id_VD = tower.eval().vectors(), tower.table.id_ID[2:]
    expected_VD = whole_VD - id_VD if name == "id_dropout" else id_VD  # UNK's vector starts at zero
    share = 0.0
    for _ in range(20):
        dropped_VD = tower.train().vectors()
        changed_V = (dropped_VD - whole_VD).abs().amax(1) > 1e-7
        assert_close(dropped_VD[changed_V], expected_VD[changed_V])
        share += changed_V.float().mean().item() / 20
    assert share == pytest.approx(0.25, abs=0.05)
    ids = torch.arange(2, V + 2)
    assert not torch.equal(tower.input(ids), tower.input(ids))  # and on the input side


def test_cosine_and_temperature():
    tower, h_PD = make_tower(similarity="cosine", temperature=0.1).eval(), torch.randn(3, D)
    expected_PV = (
        F.cosine_similarity(h_PD.unsqueeze(1), tower._rows(tower.output_table, None).unsqueeze(0), dim=-1) / 0.1
    )
    assert_close(tower.logits(h_PD), expected_PV)
    assert_close(tower.logits(h_PD, torch.tensor([4, 9])), expected_PV[:, [2, 7]])
    assert_close(tower.similarity(h_PD, tower.vectors()), expected_PV)
    assert_close(make_tower(temperature=2.0).eval().logits(h_PD), make_tower().eval().logits(h_PD) / 2.0)


@pytest.mark.parametrize("items", [BARE, RICH], ids=["bare", "rich"])
@pytest.mark.parametrize("output", ["tied", "separate"])
def test_every_parameter_gets_a_gradient(items, output):
    tower = make_tower(items, output=output)
    ids_BT = torch.randint(8, V + 2, (4, 5), generator=torch.Generator().manual_seed(0))
    h_PD = tower.input(ids_BT).flatten(0, 1).cumsum(0)
    build_ranking_loss({"name": "softmax"})(h_PD[:-1], ids_BT.flatten()[1:], tower).backward()
    for name, parameter in tower.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().max() > 0, name
    assert len(list(tower.parameters())) == (1 if items is BARE else 3) * (1 if output == "tied" else 2)
    assert (tower.table.id_ID.grad[0] == 0).all()  # PAD


def test_state_holds_the_catalogue():
    tower, file = make_tower(), io.BytesIO()
    torch.save(tower.state_dict(), file)
    file.seek(0)
    other = ItemTower(RICH, size=D)
    other.load_state_dict(torch.load(file, weights_only=True))
    assert torch.equal(other.eval().vectors(), tower.eval().vectors())
    assert other.num_cold == 6
    assert torch.equal(other.train().candidates(torch.tensor([9]))[1], tower.train().candidates(torch.tensor([9]))[1])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"output": "shared"}, "item output must be one of tied, separate"),
        ({"similarity": "euclid"}, "item similarity must be one of dot, cosine"),
        ({"id_dropout": 2.0}, "item id_dropout is a share of the items and must be in"),
        ({"temperature": 0.0}, "item temperature must be > 0, got 0.0"),
    ],
)
def test_wrong_options_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        ItemTower(BARE, size=D, **options)
