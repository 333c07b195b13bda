"""RecommendNetwork: every encoder learns a batch, targets as in plain Python, neither the future nor batch-mates
matter.
"""

import math
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
import torch

from clm_dl.config import compose, plain
from clm_dl.data.open import open_store
from clm_dl.data.sequences.batch import EventBatch
from clm_dl.data.store.store import EventStore
from clm_dl.experiment.settings import read_task
from clm_dl.run import Run
from clm_dl.tasks.recommend.inputs import RankingInputs
from clm_dl.tasks.recommend.network import RecommendNetwork

ENCODERS = ["lstm", "gru", "rnn", "conv", "transformer", "mean", "sasrec", "esasrec", "hstu", "bert4rec"]
V = 60
Inputs = Callable[[str], RankingInputs]


@pytest.fixture(scope="module")
def stores(ranked_run: Run, tmp_path_factory: pytest.TempPathFactory) -> dict[str, EventStore]:
    """The ring's log for each task; of next_order the two lines of an order, a minute apart, are one token."""
    data, paths = ranked_run.config["data"], ranked_run.config["paths"]
    closed = open_store({**data, "close_orders": True}, {**paths, "data_dir": str(tmp_path_factory.mktemp("closed"))})
    assert closed.order_start.sum() == closed.num_events / 2
    return {"next_item": open_store(data, paths), "next_order": closed}


@cache
def settings_of(name: str, encoder: str = "gru") -> dict:
    token = {"next_item": "line", "next_order": "order"}[name]
    words = [
        "experiment=churn_events",
        "data=completejourney",
        f"task={name}",
        f"sequence={token}",
        "sequence.max_tokens=8",
    ]
    return plain(compose("train", [*words, "protocol=leave_one_out", f"encoder={encoder}", "baselines=none"]))


@pytest.fixture(scope="module")
def inputs(stores: dict[str, EventStore]) -> Inputs:
    @cache
    def make(name: str) -> RankingInputs:
        task = read_task(settings_of(name))
        made = task.inputs(task.cases(stores[name]))
        assert isinstance(made, RankingInputs)
        return made

    return make


def build(data: RankingInputs, name: str, encoder: str = "gru", **options: Any) -> RecommendNetwork:
    """A network without dropout that knows the catalogue; the encoder as configured, `options` in place of the task's
    own.
    """
    settings = settings_of(name, encoder)
    options = {"dropout": 0.0, "objective": "masked" if encoder == "bert4rec" else "next"} | options
    options = {"tower": settings["task"]["tower"] | options.pop("tower", {})} | options
    changed = {"encoder": settings["encoder"] | {"dropout": 0.0}, "task": settings["task"] | options}
    task = read_task(settings | changed)
    torch.manual_seed(0)
    network = task.network(data.schema)
    assert isinstance(network, RecommendNetwork)
    task.prepare(network, data)
    return network


def ragged_batch(data: RankingInputs) -> EventBatch:
    batch = data.dataset[data.cases.ranking.select("train")[:24].tolist()]
    assert len(set(batch.length_B.tolist())) > 1
    return batch


@pytest.mark.parametrize("encoder", ENCODERS)
def test_every_encoder_as_configured_learns_a_batch(
    inputs: Inputs, learn: Callable[..., list[float]], encoder: str
) -> None:
    data = inputs("next_item")
    network = build(data, "next_item", encoder)
    losses = learn(network, ragged_batch(data), steps=25, draws=3)  # masked training hides one of three sets of tokens
    assert losses[0] == pytest.approx(math.log(V), abs=0.25)
    assert losses[-1] < 0.8 * losses[0]
    assert all(parameter.grad is not None for parameter in network.parameters())


def test_residual_starts_at_nothing_and_adds_the_last_input(inputs: Inputs) -> None:
    data = inputs("next_item")
    batch, network = ragged_batch(data), build(data, "next_item", residual=True)
    plain = build(data, "next_item", residual=False)
    torch.testing.assert_close(network.embed(batch), plain.embed(batch))
    assert network.residual is not None
    with torch.no_grad():
        network.residual.fill_(0.5)
    last = torch.arange(len(batch.length_B)), batch.length_B - 1
    torch.testing.assert_close(network.embed(batch) - plain.embed(batch), 0.5 * network.tokens(batch)[last])


def test_orders_and_context_learn_a_batch(inputs: Inputs, learn: Callable[..., list[float]]) -> None:
    for name, context in (("next_item", True), ("next_order", True), ("next_order", False)):
        data = inputs(name)
        losses = learn(build(data, name, context=context), ragged_batch(data), steps=20, lr=1e-2)
        assert losses[0] == pytest.approx(math.log(V), abs=0.25)
        assert losses[-1] < 0.9 * losses[0]


def test_matrices_decay_but_no_bias_no_norm_and_no_table(inputs: Inputs, fit: Callable[..., list[float]]) -> None:
    data, after = inputs("next_item"), []
    for decay in (0.0, 0.5):
        optimizer = {"lr": 0.1, "weight_decay": decay}
        network = build(data, "next_item", "sasrec", context=True, tower={"output": "separate"}, optimizer=optimizer)
        fit(network, [ragged_batch(data)])
        after.append({name: parameter.detach() for name, parameter in network.named_parameters()})
    plain, decayed = after
    tables = ("tower.", "context.tables.")
    matrices = {name for name, tensor in plain.items() if tensor.ndim > 1 and not name.startswith(tables)}
    assert {name for name in plain if not torch.equal(plain[name], decayed[name])} == matrices
    assert "context_map.weight" in matrices
    left_alone = {"context_map.bias", "residual", "context.tables.0", "tower.table.id_ID", "tower.output_table.id_ID"}
    assert left_alone <= set(plain) - matrices


# --- targets


def test_targets_of_lines_are_the_next_known_items(inputs: Inputs) -> None:
    data = inputs("next_item")
    batch, network = ragged_batch(data), build(data, "next_item")
    ids_BT = batch.categorical["item"].clone()
    ids_BT[0, 1], ids_BT[1, 0] = 1, 1  # unknown: no target, whatever it is an input of
    batch = replace(batch, categorical={**batch.categorical, "item": ids_BT})
    expected = []
    for b, row in enumerate(ids_BT.tolist()):
        for t in range(int(batch.length_B[b]) - 1):  # neither the last token nor padding has a next one
            if row[t + 1] > 1:
                expected.append((b * ids_BT.shape[1] + t, row[t + 1]))
    place_M, item_M, *_ = network.targets(batch)
    assert list(zip(place_M.tolist(), item_M.tolist(), strict=True)) == expected


def test_targets_of_orders_are_the_distinct_items_of_the_next(inputs: Inputs) -> None:
    data = inputs("next_order")
    batch, network = ragged_batch(data), build(data, "next_order")
    with torch.no_grad():
        network.tower.table.id_ID.mul_(50)  # so that no two targets lose the same
    ids_L, offset_N = batch.bags["item"][0].clone(), batch.bags["item"][1]
    first_O = offset_N[:-1][offset_N.diff() > 0]  # of each order; the others are padding
    ids_L[first_O[1::3]] = 1  # an unknown item in every third order, the second of the first customer among them
    ids_L[first_O[2::3] + 1] = ids_L[first_O[2::3]]  # the same item twice in the order after it
    batch = replace(batch, bags={**batch.bags, "item": (ids_L, offset_N)})
    num_tokens, expected = batch.mask_BT.shape[1], set()
    for b in range(len(batch)):
        for t in range(int(batch.length_B[b]) - 1):
            place = b * num_tokens + t
            order = ids_L[int(offset_N[place + 1]) : int(offset_N[place + 2])].tolist()
            expected |= {(place, item) for item in order if item > 1}
    place_Q, item_M, _, row_M = network.targets(batch)
    place_M = place_Q[row_M]
    found = list(zip(place_M.tolist(), item_M.tolist(), strict=True))
    assert len(found) == len(set(found)) == len(expected)
    assert set(found) == expected
    assert 1 < len(found) / len({place for place, _ in found}) < 2
    weight = [
        1 / sum(place == other for other, _ in found) for place, _ in found
    ]  # every order counts as much as any other
    assert sum(weight) == pytest.approx(len({place for place, _ in found}))
    assert set(weight) == {0.5, 1.0}
    with (
        torch.no_grad()
    ):  # vectors as after training: with those of its start every loss is log V, whatever the weights
        for parameter in network.tower.parameters():
            parameter.mul_(50.0)
    h_PD = network.eval().encode(network.tokens(batch), batch.mask_BT, batch.time_BT).flatten(0, 1)[place_M]
    loss_M = torch.nn.functional.cross_entropy(network.tower.logits(h_PD), item_M - 2, reduction="none")
    mean = sum(w * loss for w, loss in zip(weight, loss_M.tolist(), strict=True)) / sum(weight)
    assert abs(mean - loss_M.mean().item()) > 0.01
    assert network.batch_loss(batch).item() == pytest.approx(mean, rel=1e-5)


def test_masked_training_always_hides_the_last_token(inputs: Inputs) -> None:
    """It is what scoring asks for; so a history of one token has a loss whatever is drawn."""
    data = inputs("next_item")
    network, batch = build(data, "next_item", "bert4rec"), data.dataset[data.cases.ranking.select("train")[:1].tolist()]
    tokens = ("numeric_BTF", "gap_BT", "age_BT", "hour_BT", "weekday_BT", "month_BT", "time_BT", "mask_BT")
    first = {name: getattr(batch, name)[:, :1] for name in tokens}
    first |= {"categorical": {name: ids_BT[:, :1] for name, ids_BT in batch.categorical.items()}}
    batch = replace(batch, length_B=torch.ones_like(batch.length_B), **first)
    for seed in range(8):
        torch.manual_seed(seed)
        assert network.batch_loss(batch).item() == pytest.approx(math.log(V), abs=0.25)


def test_padding_changes_nothing(inputs: Inputs) -> None:
    data = inputs("next_item")
    batch = ragged_batch(data)
    garbled = {name: torch.where(batch.mask_BT, ids, 7) for name, ids in batch.categorical.items()}
    for encoder in ENCODERS:
        network = build(data, "next_item", encoder).eval()
        losses = []
        for other in (batch, replace(batch, categorical=garbled)):
            torch.manual_seed(0)
            losses.append(network.batch_loss(other))
        torch.testing.assert_close(losses[0], losses[1])


# --- what a vector may depend on


def test_the_mask_takes_the_oldest_place_of_a_full_history(inputs: Inputs) -> None:
    """There are as many places as tokens: of eight the first goes, and the newest is still read; fewer are all read."""
    data = inputs("next_item")
    network, batch = build(data, "next_item", "bert4rec").eval(), ragged_batch(data)
    full_B = batch.length_B == 8
    assert 0 < full_B.sum() < len(batch)
    before_BD, row_B = network.embed(batch), torch.arange(len(batch))
    for place_B, read_B in ((torch.zeros_like(row_B), ~full_B), (batch.length_B - 1, torch.ones_like(full_B))):
        ids_BT = batch.categorical["item"].clone()
        ids_BT[row_B, place_B] = 2 + (ids_BT[row_B, place_B] - 1) % V  # the next item of the ring
        after_BD = network.embed(replace(batch, categorical={**batch.categorical, "item": ids_BT}))
        assert torch.equal((after_BD - before_BD).abs().amax(1) > 1e-6, read_B)


@pytest.mark.parametrize("encoder", ENCODERS)
def test_batch_mates_change_nothing(inputs: Inputs, encoder: str) -> None:
    data = inputs("next_item")
    network = build(data, "next_item", encoder, context=True).eval()
    index = data.cases.ranking.select("test")[:6]
    together = network.embed(data.dataset[index.tolist()])
    for row, one in enumerate(index.tolist()):
        torch.testing.assert_close(network.embed(data.dataset[[one]])[0], together[row], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["next_item", "next_order"])
def test_a_position_does_not_see_what_comes_after_it(inputs: Inputs, name: str) -> None:
    data = inputs(name)
    batch = ragged_batch(data)
    for encoder in ("gru", "sasrec", "esasrec", "hstu"):
        network = build(data, name, encoder, context=True).eval()
        x_BTD = network.tokens(batch)
        changed = x_BTD.clone()
        changed[:, 4:] = torch.randn(changed[:, 4:].shape)
        one, two = (network.encode(x, batch.mask_BT, batch.time_BT) for x in (x_BTD, changed))
        torch.testing.assert_close(one[:, :4], two[:, :4])
        assert not torch.allclose(one[:, 4], two[:, 4])


# --- what cannot be


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("next_item", {"objective": "nxt"}, "task.objective must be next or masked, got 'nxt'"),
        (
            "next_item",
            {"objective": "masked"},
            "task.objective=masked needs an encoder with causal=false, got encoder=gru",
        ),
        (
            "next_item",
            {"encoder": "bert4rec", "objective": "next"},
            "task.objective=next needs an encoder with causal=true",
        ),
        ("next_order", {"encoder": "bert4rec"}, "task.objective=masked hides lines, got tokens that are orders"),
        ("next_item", {"loss": {"name": "softmx"}}, "ranking loss must be one of softmax, .*, got 'softmx'"),
        ("next_item", {"tower": {"output": "tide"}}, "item output must be one of tied, separate, got 'tide'"),
    ],
)
def test_options_that_cannot_be(inputs: Inputs, name: str, options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build(inputs(name), name, **options)


def test_tokens_of_another_kind_are_refused(inputs: Inputs) -> None:
    with pytest.raises(ValueError, match=r"task=next_order reads orders, got sequence\.token=line: set sequence=order"):
        build(inputs("next_item"), "next_order")
    with pytest.raises(ValueError, match=r"task=next_item reads lines, got sequence\.token=order: set sequence=line"):
        build(inputs("next_order"), "next_item")
