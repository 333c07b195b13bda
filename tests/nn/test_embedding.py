"""Event embedding and head features: scaling, missing values, bags, calendar, unknown values."""

import math

import pytest
import torch
from torch.nn import functional as F
from torch.testing import assert_close

from clm_dl.nn.embedding import EventEmbedding, RobustScale, calendar_table, embedding_size, signed_log1p
from clm_dl.nn.embedding_bag import bag_mean
from clm_dl.nn.heads import HeadFeatures, PiecewiseLinear


def test_robust_scale_clips_and_centres_what_is_missing():
    scale = RobustScale([{"center": 2.0, "scale": 4.0}, {"center": 1.0, "scale": 0.0}])
    value = torch.tensor([[6.0, 1.5], [math.nan, math.nan], [math.inf, -math.inf], [1e9, -1e9]])
    assert_close(scale(value), torch.tensor([[1.0, 0.5], [0.0, 0.0], [5.0, -5.0], [5.0, -5.0]]))


def test_signed_log1p_is_odd():
    assert_close(signed_log1p(torch.tensor([math.e - 1, 1 - math.e, 0.0])), torch.tensor([1.0, -1.0, 0.0]))


def test_width_follows_the_rule_or_the_given_size(schema):
    assert [embedding_size(n, largest=32) for n in (2, 10, 68_509)] == [3, 6, 32]
    assert EventEmbedding(schema, sizes={"type": 7}, numeric_size=3).output_size == 3 + 7 + embedding_size(
        5, largest=32
    )


def test_calendar_is_a_circle_that_tells_all_values_apart():
    for name in ("hour", "weekday", "month"):
        table = calendar_table(name)
        distance = torch.cdist(table, table)
        assert_close(distance[0, 1], distance[0, -1])  # the last value is as near to the first as the second
        assert (distance + torch.eye(len(table))).min() > 0.3


def test_missing_number_differs_from_the_centre(schema, make_batch):
    embedding, batch = EventEmbedding(schema).eval(), make_batch()
    batch.numeric_BTF[:, 0, 0] = math.exp(2.0) - 1  # the centre of `amount`
    centre = embedding(batch)
    batch.numeric_BTF[:, 0, 0] = math.nan
    missing = embedding(batch)
    assert missing.isfinite().all()
    assert (missing[:, 0] - centre[:, 0]).abs().max() > 1e-3
    assert torch.equal(missing[:, 1:], centre[:, 1:])


def test_bag_is_the_mean_over_the_lines_of_an_event(schema, make_batch):
    embedding, batch = EventEmbedding(schema | {"bags": True}).eval(), make_batch(num=3, length=4, bags=True)
    x_ND = embedding(batch).flatten(0, 1)
    values, offset = batch.bags["dept.name"]
    table = embedding.tables[1]
    for event in range(12):
        lines = values[offset[event] : offset[event + 1]]
        expected = table[lines].mean(0) if len(lines) else torch.zeros(table.shape[1])
        assert_close(x_ND[event, -table.shape[1] :], expected)


def test_bag_mean_and_its_gradient_are_those_of_embedding_bag():
    generator = torch.Generator().manual_seed(0)
    offset_N = torch.tensor([0, 0, 3, 3, 10, 40, 40])  # empty bags first, between and last
    ids_L, weight_ND = torch.randint(1, 9, (40,), generator=generator), torch.randn(6, 5, generator=generator)
    mine, theirs = (torch.randn(12, 5, generator=torch.Generator().manual_seed(1)).requires_grad_() for _ in range(2))
    mean_ND = bag_mean(mine, ids_L, offset_N)
    expected_ND = F.embedding_bag(ids_L, theirs, offset_N, mode="mean", include_last_offset=True)
    assert_close(mean_ND, expected_ND)
    (mean_ND * weight_ND).sum().backward()
    (expected_ND * weight_ND).sum().backward()
    assert_close(mine.grad, theirs.grad)


def test_unknown_rate_replaces_known_values_in_training_only(schema, make_batch):
    embedding = EventEmbedding(schema, unknown_rate=0.5)
    ids = torch.tensor([0, 1, 2]).repeat(2_000)
    dropped = embedding.drop_words(ids)
    assert dropped[ids == 0].unique().tolist() == [0]
    assert dropped[ids == 1].unique().tolist() == [1]
    assert (dropped[ids == 2] == 1).float().mean() == pytest.approx(0.5, abs=0.05)
    assert torch.equal(embedding.eval().drop_words(ids), ids)


def test_a_log_of_times_only_still_embeds(schema, make_batch):
    batch = make_batch()
    batch.numeric_BTF, batch.categorical = batch.numeric_BTF[..., :0], {}
    embedding = EventEmbedding({**schema, "categorical": {}, "numeric": {}}, calendar=[], numeric_size=4)
    assert embedding(batch).shape == (16, 10, 4)


@pytest.mark.parametrize("options", [{"sizes": {"dept": 3}}, {"calendar": ["minute"]}])
def test_wrong_options_are_named(schema, options):
    with pytest.raises(ValueError, match=r"'dept'|'minute'"):
        EventEmbedding(schema, **options)


def test_head_features_scale_and_flag(schema, make_batch):
    batch = make_batch(num=2)
    batch.recency_B, batch.tenure_B = torch.tensor([3.0, 2.0]), torch.tensor([4.0, 5.0])
    batch.static_BS, batch.known_BK = torch.tensor([[5.0], [math.nan]]), torch.tensor([[1.0], [2.0]])
    features = HeadFeatures(schema)
    #                            recency tenure income holidays flags
    expected = torch.tensor([[1.0, 0.0, 1.0, 1.0, 0.0, 0.0], [0.0, 1.0, 0.0, 2.0, 1.0, 0.0]])
    assert_close(features(batch), expected)
    assert features.output_size == 6


def test_head_features_without_static_or_known(schema, make_batch):
    head = {name: schema["head"][name] for name in ("recency", "tenure")}
    features = HeadFeatures({**schema, "head": head, "known": {}})
    assert features(make_batch()).shape == (16, features.output_size) == (16, 2)


def test_what_grows_with_the_log_does_not_go_beyond_what_training_saw(schema, make_batch):
    batch = make_batch(num=4)
    batch.known_BK = torch.tensor([[1.0], [2.0], [9.0], [math.nan]])
    head = {name: schema["head"][name] for name in ("recency", "tenure")}
    extra_BE = HeadFeatures(
        {**schema, "head": head, "known": {"orders": {"center": 1.0, "scale": 2.0, "edges": [1.0, 2.0, 3.0]}}}
    )(batch)
    assert_close(extra_BE[:, 2], torch.tensor([0.0, 0.5, 1.0, 0.0]))  # 9 counts as 3, the largest that training saw
    assert_close(extra_BE[:, 3], torch.tensor([0.0, 0.0, 0.0, 1.0]))
    assert_close(extra_BE[:, 4:], torch.tensor([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 0.0]]))


@pytest.mark.parametrize("bounded", [True, False])
def test_recency_goes_on_beyond_training_unless_it_is_bounded_and_tenure_never_does(schema, make_batch, bounded):
    scale = {"center": 2.0, "scale": 1.0, "edges": [1.0, 2.0, 3.0]}
    head = {"recency": scale, "tenure": scale}
    features = HeadFeatures({**schema, "head": head, "known": {}}, bounded_recency=bounded)
    batch = make_batch(num=4)
    batch.recency_B = batch.tenure_B = torch.tensor([0.5, 1.0, 3.0, 4.5])
    recency_B4, tenure_B4 = features(batch)[:, [0, 2, 3]], features(batch)[:, [1, 4, 5]]  # scaled, and its two bins
    within = torch.tensor([[-1.0, 0.0, 0.0], [-1.0, 0.0, 0.0], [1.0, 1.0, 1.0], [1.0, 1.0, 1.0]])
    beyond = torch.tensor([[-1.5, -0.5, 0.0], [-1.0, 0.0, 0.0], [1.0, 1.0, 1.0], [2.5, 1.0, 2.5]])
    assert_close(tenure_B4, within)
    assert_close(recency_B4, within if bounded else beyond)


def test_piecewise_linear_fills_the_bins_a_number_has_passed() -> None:
    encode = PiecewiseLinear([[0.0, 1.0, 3.0], [], [10.0, 20.0]])
    value_BE = torch.tensor([[2.0, 7.0, 5.0], [-1.0, 7.0, 15.0], [9.0, 7.0, float("nan")]])
    # the only bin of the last number is open on both sides, the first number's on the outer sides
    expected = torch.tensor([[1.0, 0.5, -0.5], [-1.0, 0.0, 0.5], [1.0, 4.0, 0.0]])
    torch.testing.assert_close(encode(value_BE), expected)
    assert encode.output_size == 3
