"""RankingDataModule: every training event a target once, ids by code, a run applied to another log, and leakage by
permutation.
"""

import json

import numpy as np
import pandas as pd
import pytest
import torch

from clm_dl.data.ranking.catalogue import Catalogue
from clm_dl.data.ranking.protocols import build_ranking
from clm_dl.data.sequences.vocabulary import UNK, Vocabulary
from clm_dl.tasks.recommend.inputs import RankingDataModule

PROTOCOLS = {
    "leave_one_out": ({"name": "leave_one_out"}, None),
    "all": ({"name": "global_time"}, None),
    "last": ({"name": "global_time", "target": "last"}, None),
    "rolling": ({"name": "rolling"}, {"horizon_days": 20, "active_days": 60}),
}


@pytest.fixture(scope="module")
def log(small_log) -> pd.DataFrame:
    return small_log.rename(columns={"sku": "item"})


@pytest.fixture(scope="module")
def store(store_of, log):
    return store_of(log)


def module(store, name="leave_one_out", token="line", **options) -> RankingDataModule:
    protocol, rule = PROTOCOLS[name]
    ranking = build_ranking(store, protocol=protocol, unit=token, snapshots=rule)
    catalogue = Catalogue.from_store(store, ranking.training_rows, categorical=["dept"], numeric=["spend"])
    return RankingDataModule(
        store, ranking, catalogue, token=token, **{"max_tokens": 4, "max_tokens_per_batch": 64} | options
    )


def contents(loader):
    """{index: every tensor of that snapshot, real tokens only} of line tokens."""
    found = {}
    for batch in loader:
        for b, index in enumerate(batch.index_B.tolist()):
            length = int(batch.length_B[b])
            tokens = [
                batch.categorical["item"],
                batch.categorical["dept"],
                batch.gap_BT,
                batch.age_BT,
                batch.hour_BT,
                batch.time_BT,
            ]
            tokens += [*batch.numeric_BTF.unbind(-1)]
            heads = [batch.recency_B[b], batch.tenure_B[b], batch.label_B[b]]
            found[index] = torch.cat(
                [torch.stack([t[b, :length].double() for t in tokens]).flatten(), torch.stack(heads).double()]
            )
    return found


def assert_same(left, right):
    assert left.keys() == right.keys()
    assert left
    for index, value in left.items():
        assert torch.equal(value.nan_to_num(-9.0), right[index].nan_to_num(-9.0)), index


# --- loaders


@pytest.mark.parametrize("max_tokens", [2, 3, 4, 50])
@pytest.mark.parametrize("name", PROTOCOLS)
def test_every_training_event_but_the_first_is_a_target_once(store, name, max_tokens):
    data = module(store, name, max_tokens=max_tokens, categorical=["dept"])
    found = []
    for batch in data.train_loader():
        assert int(batch.length_B.min()) >= 2
        assert int(batch.length_B.max()) <= max_tokens
        customer = data.dataset.customer_N[batch.index_B]
        for b, length in enumerate(batch.length_B.tolist()):
            found += [(int(customer[b]), int(item) - 2) for item in batch.categorical["item"][b, 1:length]]
    ranking, item = data.ranking, store.column("item")
    wanted = [
        (customer, int(code))
        for customer, (start, stop) in enumerate(zip(store.offsets, ranking.training_stop, strict=False))
        for code in item[start + 1 : stop]
    ]
    assert sorted(found) == sorted(wanted)
    assert data.num_training == sum(len(batch) for batch in data.train_loader())


def test_order_windows_cover_the_same_orders(store):
    data = module(store, "all", token="order", max_tokens=3)
    snapshots, tokens = data.ranking.snapshots, 0
    for batch in data.train_loader():
        tokens += int((batch.length_B - 1).sum())
        assert batch.bags["item"][1][-1] == len(batch.bags["item"][0])
    train = data.ranking.select("train")
    orders = [store.order_start[snapshots.start[n] : snapshots.stop[n]].sum() - 1 for n in train]
    assert tokens == sum(orders)


@pytest.mark.parametrize("name", PROTOCOLS)
def test_validation_and_test_are_complete_and_end_with_the_history(store, name):
    data = module(store, name)
    item, snapshots = store.column("item"), data.ranking.snapshots
    assert data.snapshots is snapshots
    for split, loader in {"val": data.loader(data.rows("val")), "test": data.loader(data.rows("test"))}.items():
        batches = list(loader)
        index = torch.cat([batch.index_B for batch in batches]).numpy()
        assert np.array_equal(np.sort(index), data.ranking.select(split))
        last = torch.cat([b.categorical["item"][torch.arange(len(b)), b.length_B - 1] for b in batches]).numpy()
        assert np.array_equal(last, item[snapshots.stop[index] - 1] + 2)
        assert data.padding_ratio(split) >= 1.0
    assert sum(len(batch) for batch in data.predict_dataloader()) == len(snapshots)


# --- vocabulary and schema


def test_items_are_known_by_their_codes_and_others_fitted_on_training(store):
    data = module(store, vocabulary_max_size=2, exclude=["item", "discount"])
    assert data.vocabulary.fields["item"] == store.dictionary("item").tolist()
    assert len(data.vocabulary.fields["dept"]) == 2
    rows = np.asarray(store.column("dept"))[data.ranking.training_rows]
    assert data.vocabulary.fields["dept"][0] == store.dictionary("dept")[np.bincount(rows).argmax()]
    assert list(data.schema["numeric"]) == ["spend"]
    assert data.schema["items"] == data.catalogue.schema()
    assert json.loads(json.dumps(data.schema)) == data.schema
    assert not len(data.schema["known"])


def test_a_run_applied_to_another_log(store, store_of, log):
    """Items that the catalogue lacks are UNK; codes of the other store do not matter."""
    trained = module(store)
    vocabulary = Vocabulary.from_json(json.loads(json.dumps(trained.vocabulary.to_json())))
    other = log[log["item"] != "i0"].replace({"item": {"i3": "a new one"}})
    other_store = store_of(other)
    ranking = build_ranking(other_store, protocol={"name": "leave_one_out"}, unit="line")
    data = RankingDataModule(
        other_store,
        ranking,
        trained.catalogue,
        token="line",
        max_tokens=4,
        vocabulary=vocabulary,
        schema=trained.schema,
    )
    names = other_store.dictionary("item")[np.asarray(other_store.column("item"))]
    expected = np.where(names == "a new one", UNK, trained.catalogue.lookup(names) + 2)
    assert np.array_equal(data.dataset.ids["item"][:-1].numpy(), expected)
    assert (expected == UNK).any()
    assert data.schema == trained.schema


# --- leakage by permutation


def scrambled(log: pd.DataFrame, later: np.ndarray, *, times: bool) -> pd.DataFrame:
    """The log in store order with the values of some rows permuted; `times`: those rows also happen later."""
    frame = log.sort_values(["cust", "ts"], kind="stable").reset_index(drop=True)
    order = np.random.default_rng(3).permutation(int(later.sum()))
    columns = ["item", "dept", "spend", "discount"]
    frame.loc[later, columns] = frame.loc[later, columns].to_numpy()[order]
    if times:
        frame.loc[later, "ts"] += pd.Timedelta(days=11)
    return frame.astype({"spend": float, "discount": float})


@pytest.mark.parametrize("name", PROTOCOLS)
def test_what_is_not_trained_on_changes_nothing_that_is_fitted_or_learnt(store, store_of, log, name):
    left = module(store, name)
    changed = store_of(scrambled(log, ~left.ranking.training_rows, times=False))
    assert not np.array_equal(changed.column("item"), store.column("item"))
    right = module(changed, name)
    assert left.vocabulary == right.vocabulary
    assert left.schema == right.schema
    assert np.array_equal(left.catalogue.count, right.catalogue.count)
    assert_same(contents(left.train_loader()), contents(right.train_loader()))
    if name in ("leave_one_out", "all"):  # of the others, some histories go on into the window
        assert_same(contents(left.loader(left.rows("val"))), contents(right.loader(right.rows("val"))))


@pytest.mark.parametrize("split", ["val", "test"])
def test_a_positional_history_does_not_see_the_time_of_its_target(store, store_of, log, split):
    """Everything from the target on happens eleven days later and is permuted: not even recency tells."""
    left = module(store)
    snapshots, index = left.ranking.snapshots, left.ranking.select(split)
    later = np.zeros(store.num_events, bool)
    for n in index:
        later[snapshots.stop[n] : store.offsets[snapshots.customer[n] + 1]] = True
    right = module(store_of(scrambled(log, later, times=True)))
    customers = [data.ranking.snapshots.customer[data.ranking.select(split)] for data in (left, right)]
    assert sorted(customers[0]) == sorted(customers[1])
    found = []
    for data in (left, right):  # the moved cutoffs may sort the snapshots in another way
        of = data.ranking.snapshots.customer
        loader = data.loader(data.rows("val")) if split == "val" else data.loader(data.rows("test"))
        found.append({int(of[n]): value for n, value in contents(loader).items()})
    assert_same(*found)


def test_what_precedes_the_target_does_change_its_history(store, store_of, log):
    left = module(store)
    right = module(store_of(scrambled(log, left.ranking.training_rows, times=False)))
    assert any(
        not torch.equal(a.nan_to_num(-9.0), b.nan_to_num(-9.0))
        for a, b in zip(
            contents(left.loader(left.rows("test"))).values(),
            contents(right.loader(right.rows("test"))).values(),
            strict=True,
        )
    )


# --- bad input


def test_one_token_predicts_nothing(store, store_of):
    with pytest.raises(ValueError, match=r"sequence.max_tokens must be at least 2"):
        module(store, max_tokens=1)
    days = pd.to_datetime(["2020-01-01", "2020-01-04", "2020-01-06"])
    single = store_of(pd.DataFrame({"cust": "a", "ts": days, "item": list("xyz"), "dept": "d", "spend": 1.0}))
    ranking = build_ranking(
        single, protocol={"name": "global_time", "val": "2020-01-03", "test": "2020-01-05"}, unit="line"
    )
    with pytest.raises(ValueError, match="no customer has two training lines"):
        RankingDataModule(single, ranking, Catalogue.from_store(single, ranking.training_rows), token="line")


def test_order_tokens_do_not_fit_histories_of_lines(store_of):
    """Four lines of one order, the last two left out: an order token would hold its own target."""
    store = store_of(
        pd.DataFrame({"cust": "a", "ts": pd.Timestamp("2020-01-01"), "item": list("wxyz"), "dept": "d", "spend": 1.0})
    )
    ranking = build_ranking(store, protocol={"name": "leave_one_out"}, unit="line")
    with pytest.raises(ValueError, match=r"reaches over the end of a history .* set sequence.token=line"):
        RankingDataModule(store, ranking, Catalogue.from_store(store, ranking.training_rows), token="order")
