"""NextItemTask and NextOrderTask: every encoder learns a batch, targets as in plain Python, neither the future nor
batch-mates matter.
"""

import math
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
import torch
from clm_dl.experiment.ranked_fold import UNIT

from clm_dl.config import compose, plain
from clm_dl.data.open import open_store
from clm_dl.data.ranking.catalogue import Catalogue
from clm_dl.data.ranking.protocols import build_ranking
from clm_dl.data.sequences.batch import EventBatch
from clm_dl.data.store.store import EventStore
from clm_dl.run import Run
from clm_dl.tasks.recommend.inputs import RankingDataModule
from clm_dl.tasks.recommend.module import NextItemTask
from clm_dl.tasks.registry import TASKS
from clm_dl.training.fit import batch_options

ENCODERS = ["lstm", "gru", "rnn", "conv", "transformer", "mean", "sasrec", "esasrec", "hstu", "bert4rec"]
V = 60


@pytest.fixture(scope="module")
def stores(ranked_run: Run, tmp_path_factory: pytest.TempPathFactory) -> dict[str, EventStore]:
    """The ring's log for each task; of next_order the two lines of an order, a minute apart, are one token."""
    data, paths = ranked_run.config["data"], ranked_run.config["paths"]
    closed = open_store({**data, "close_orders": True}, {**paths, "data_dir": str(tmp_path_factory.mktemp("closed"))})
    assert closed.order_start.sum() == closed.num_events / 2
    return {"next_item": open_store(data, paths), "next_order": closed}


@cache
def settings_of(name: str, encoder: str = "gru") -> dict:
    sequence = {"next_item": "line", "next_order": "order"}[name]
    return plain(
        compose(
            "train",
            [
                "experiment=churn_events",
                "data=completejourney",
                f"task={name}",
                f"sequence={sequence}",
                "sequence.max_tokens=8",
                f"encoder={encoder}",
            ],
        )
    )


@pytest.fixture(scope="module")
def datamodule(stores: dict[str, EventStore]) -> Callable[[str], RankingDataModule]:
    made = {}

    def make(task: str) -> RankingDataModule:
        if task not in made:
            store = stores[task]
            ranking = build_ranking(store, protocol={"name": "leave_one_out"}, unit=UNIT[task])
            catalogue = Catalogue.from_store(store, ranking.training_rows)
            made[task] = RankingDataModule(store, ranking, catalogue, **batch_options(settings_of(task)))
        return made[task]

    return make


def build(data: RankingDataModule, name: str, encoder: str = "gru", **options: Any) -> NextItemTask:
    """A task without dropout; the encoder as configured, `options` in place of the task's own."""
    settings = settings_of(name, encoder)
    chosen = {**settings["encoder"], "dropout": 0.0}
    options = {"dropout": 0.0, "objective": "masked" if encoder == "bert4rec" else "next"} | options
    torch.manual_seed(0)
    task = TASKS[name](schema=data.schema, encoder=chosen, task=settings["task"] | options)
    assert isinstance(task, NextItemTask)
    task.load_catalogue(data.catalogue)
    return task


def ragged_batch(data: RankingDataModule) -> EventBatch:
    batch = data.dataset[data.ranking.select("train")[:24].tolist()]
    assert len(set(batch.length_B.tolist())) > 1
    return batch


@pytest.mark.parametrize("encoder", ENCODERS)
def test_every_encoder_as_configured_learns_a_batch(
    datamodule: Callable[[str], RankingDataModule], encoder: str
) -> None:
    data = datamodule("next_item")
    batch, task = ragged_batch(data), build(data, "next_item", encoder)
    optimizer, losses = torch.optim.AdamW(task.parameters(), lr=3e-3), []
    for step in range(25):
        optimizer.zero_grad()
        torch.manual_seed(step % 3)  # masked training hides one of three sets of tokens
        loss = task.batch_loss(batch)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[0] == pytest.approx(math.log(V), abs=0.25)
    assert losses[-1] < 0.8 * losses[0]
    assert all(parameter.grad is not None for parameter in task.parameters())


def test_residual_starts_at_nothing_and_adds_the_last_input(datamodule: Callable[[str], RankingDataModule]) -> None:
    data = datamodule("next_item")
    batch, task = ragged_batch(data), build(data, "next_item", residual=True)
    plain = build(data, "next_item", residual=False)
    torch.testing.assert_close(task.embed(batch), plain.embed(batch))
    assert task.residual is not None
    with torch.no_grad():
        task.residual.fill_(0.5)
    last = torch.arange(len(batch.length_B)), batch.length_B - 1
    torch.testing.assert_close(task.embed(batch) - plain.embed(batch), 0.5 * task.tokens(batch)[last])


def test_orders_and_context_learn_a_batch(datamodule: Callable[[str], RankingDataModule]) -> None:
    for name, context in (("next_item", True), ("next_order", True), ("next_order", False)):
        data = datamodule(name)
        batch, task = ragged_batch(data), build(data, name, context=context)
        optimizer, losses = torch.optim.AdamW(task.parameters(), lr=1e-2), []
        for _ in range(20):
            optimizer.zero_grad()
            loss = task.batch_loss(batch)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        assert losses[0] == pytest.approx(math.log(V), abs=0.25)
        assert losses[-1] < 0.9 * losses[0]


def test_matrices_decay_but_no_bias_no_norm_and_no_table(
    datamodule: Callable[[str], RankingDataModule], fit: Callable[..., list[float]]
) -> None:
    data, after = datamodule("next_item"), []
    for decay in (0.0, 0.5):
        optimizer = {"lr": 0.1, "weight_decay": decay}
        task = build(data, "next_item", "sasrec", context=True, tower={"output": "separate"}, optimizer=optimizer)
        fit(task, [ragged_batch(data)])
        after.append({name: parameter.detach() for name, parameter in task.named_parameters()})
    plain, decayed = after
    tables = ("tower.", "context.tables.")
    matrices = {name for name, tensor in plain.items() if tensor.ndim > 1 and not name.startswith(tables)}
    assert {name for name in plain if not torch.equal(plain[name], decayed[name])} == matrices
    assert "context_map.weight" in matrices
    left_alone = {"context_map.bias", "residual", "context.tables.0", "tower.table.id_ID", "tower.output_table.id_ID"}
    assert left_alone <= set(plain) - matrices


# --- targets


def test_targets_of_lines_are_the_next_known_items(datamodule: Callable[[str], RankingDataModule]) -> None:
    data = datamodule("next_item")
    batch, task = ragged_batch(data), build(data, "next_item")
    ids_BT = batch.categorical["item"].clone()
    ids_BT[0, 1], ids_BT[1, 0] = 1, 1  # unknown: no target, whatever it is an input of
    batch = replace(batch, categorical={**batch.categorical, "item": ids_BT})
    expected = []
    for b, row in enumerate(ids_BT.tolist()):
        for t in range(int(batch.length_B[b]) - 1):  # neither the last token nor padding has a next one
            if row[t + 1] > 1:
                expected.append((b * ids_BT.shape[1] + t, row[t + 1]))
    place_M, item_M = task.targets(batch)
    assert list(zip(place_M.tolist(), item_M.tolist(), strict=True)) == expected


def test_targets_of_orders_are_the_distinct_items_of_the_next(datamodule: Callable[[str], RankingDataModule]) -> None:
    data = datamodule("next_order")
    batch, task = ragged_batch(data), build(data, "next_order")
    with torch.no_grad():
        task.tower.table.id_ID.mul_(50)  # so that no two targets lose the same
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
    place_M, item_M = task.targets(batch)
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
        for parameter in task.tower.parameters():
            parameter.mul_(50.0)
    h_PD = task.eval().encode(task.tokens(batch), batch.mask_BT, batch.time_BT).flatten(0, 1)[place_M]
    loss_M = torch.nn.functional.cross_entropy(task.tower.logits(h_PD), item_M - 2, reduction="none")
    mean = sum(w * loss for w, loss in zip(weight, loss_M.tolist(), strict=True)) / sum(weight)
    assert abs(mean - loss_M.mean().item()) > 0.01
    assert task.batch_loss(batch).item() == pytest.approx(mean, rel=1e-5)


def test_masked_training_always_hides_the_last_token(datamodule: Callable[[str], RankingDataModule]) -> None:
    """It is what scoring asks for; so a history of one token has a loss whatever is drawn."""
    data = datamodule("next_item")
    task, batch = build(data, "next_item", "bert4rec"), data.dataset[data.ranking.select("train")[:1].tolist()]
    tokens = ("numeric_BTF", "gap_BT", "age_BT", "hour_BT", "weekday_BT", "month_BT", "time_BT", "mask_BT")
    first = {name: getattr(batch, name)[:, :1] for name in tokens}
    first |= {"categorical": {name: ids_BT[:, :1] for name, ids_BT in batch.categorical.items()}}
    batch = replace(batch, length_B=torch.ones_like(batch.length_B), **first)
    for seed in range(8):
        torch.manual_seed(seed)
        assert task.batch_loss(batch).item() == pytest.approx(math.log(V), abs=0.25)


def test_padding_changes_nothing(datamodule: Callable[[str], RankingDataModule]) -> None:
    data = datamodule("next_item")
    batch = ragged_batch(data)
    garbled = {name: torch.where(batch.mask_BT, ids, 7) for name, ids in batch.categorical.items()}
    for encoder in ENCODERS:
        task = build(data, "next_item", encoder).eval()
        losses = []
        for other in (batch, replace(batch, categorical=garbled)):
            torch.manual_seed(0)
            losses.append(task.batch_loss(other))
        torch.testing.assert_close(losses[0], losses[1])


# --- what a vector may depend on


def test_the_mask_takes_the_oldest_place_of_a_full_history(datamodule: Callable[[str], RankingDataModule]) -> None:
    """There are as many places as tokens: of eight the first goes, and the newest is still read; fewer are all read."""
    data = datamodule("next_item")
    task, batch = build(data, "next_item", "bert4rec").eval(), ragged_batch(data)
    full_B = batch.length_B == 8
    assert 0 < full_B.sum() < len(batch)
    before_BD, row_B = task.embed(batch), torch.arange(len(batch))
    for place_B, read_B in ((torch.zeros_like(row_B), ~full_B), (batch.length_B - 1, torch.ones_like(full_B))):
        ids_BT = batch.categorical["item"].clone()
        ids_BT[row_B, place_B] = 2 + (ids_BT[row_B, place_B] - 1) % V  # the next item of the ring
        after_BD = task.embed(replace(batch, categorical={**batch.categorical, "item": ids_BT}))
        assert torch.equal((after_BD - before_BD).abs().amax(1) > 1e-6, read_B)


@pytest.mark.parametrize("encoder", ENCODERS)
def test_batch_mates_change_nothing(datamodule: Callable[[str], RankingDataModule], encoder: str) -> None:
    data = datamodule("next_item")
    task = build(data, "next_item", encoder, context=True).eval()
    index = data.ranking.select("test")[:6]
    together = task.embed(data.dataset[index.tolist()])
    for row, one in enumerate(index.tolist()):
        torch.testing.assert_close(task.embed(data.dataset[[one]])[0], together[row], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["next_item", "next_order"])
def test_a_position_does_not_see_what_comes_after_it(datamodule: Callable[[str], RankingDataModule], name: str) -> None:
    data = datamodule(name)
    batch = ragged_batch(data)
    for encoder in ("gru", "sasrec", "esasrec", "hstu"):
        task = build(data, name, encoder, context=True).eval()
        x_BTD = task.tokens(batch)
        changed = x_BTD.clone()
        changed[:, 4:] = torch.randn(changed[:, 4:].shape)
        one, two = (task.encode(x, batch.mask_BT, batch.time_BT) for x in (x_BTD, changed))
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
        ("next_order", {"encoder": "bert4rec"}, "task.objective=masked hides lines, got task=next_order"),
        ("next_item", {"loss": {"name": "softmx"}}, "ranking loss must be one of softmax, .*, got 'softmx'"),
        ("next_item", {"tower": {"output": "tide"}}, "item output must be one of tied, separate, got 'tide'"),
    ],
)
def test_options_that_cannot_be(
    datamodule: Callable[[str], RankingDataModule], name: str, options: dict, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        build(datamodule(name), name, **options)


def test_tokens_of_another_kind_are_refused(datamodule: Callable[[str], RankingDataModule]) -> None:
    with pytest.raises(ValueError, match=r"task=next_order reads orders, got sequence\.token=line: set sequence=order"):
        build(datamodule("next_item"), "next_order")
    with pytest.raises(ValueError, match=r"task=next_item reads lines, got sequence\.token=order: set sequence=line"):
        build(datamodule("next_order"), "next_item")
