"""RankingInputs: every training event a target once, ids by code, a run applied to another log, and leakage by
permutation.
"""

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from support import options, rule, task_of

from clm_dl.data.ranking.catalogue import Catalogue
from clm_dl.data.ranking.protocols import build_ranking
from clm_dl.data.ranking.ranking import Ranking
from clm_dl.data.sequences.options import BatchOptions, SequenceOptions, VocabularyOptions
from clm_dl.data.sequences.vocabulary import UNK, Vocabulary
from clm_dl.data.store.store import EventStore
from clm_dl.tasks.recommend.cases import RankedCases
from clm_dl.tasks.recommend.inputs import RankingInputs
from clm_dl.tasks.recommend.ranks import seen_items

PROTOCOLS: dict[str, tuple[dict[str, Any], Any]] = {
    "leave_one_out": ({"name": "leave_one_out"}, None),
    "all": ({"name": "global_time"}, None),
    "last": ({"name": "global_time", "target": "last"}, None),
    "rolling": ({"name": "rolling"}, rule(horizon_days=20, active_days=60)),
}


@pytest.fixture(scope="module")
def log(small_log) -> pd.DataFrame:
    return small_log.rename(columns={"sku": "item"})


@pytest.fixture(scope="module")
def store(store_of, log):
    return store_of(log)


def inputs_of_ranking(ranking: Ranking, token: str = "line", max_size: int | None = None, **sequence) -> RankingInputs:
    """Its batches, of histories of at most 4 tokens; every value of the vocabulary is kept."""
    store, snapshots = ranking.store, ranking.snapshots
    catalogue = Catalogue.from_store(store, ranking.training_rows, categorical=["dept"], numeric=["spend"])
    seen = seen_items(store.column("item"), snapshots.start, snapshots.stop)
    cases = RankedCases(store, snapshots, ranking=ranking, catalogue=catalogue, seen=seen, unit="line")
    read = {"token": token, "max_tokens": 4, "features": False, "exclude": []} | sequence
    return RankingInputs(
        cases,
        sequence=options(SequenceOptions, "sequence/order", **read),
        batches=BatchOptions(batch_size=None, max_tokens_per_batch=64, num_workers=0, seed=0),
        vocabulary=options(VocabularyOptions, "vocabulary/default", min_count=1, max_size=max_size),
    )


def inputs(store: EventStore, name: str = "leave_one_out", token: str = "line", **changes) -> RankingInputs:
    protocol, windows = PROTOCOLS[name]
    return inputs_of_ranking(build_ranking(store, protocol=protocol, unit=token, rule=windows), token, **changes)


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
    data = inputs(store, name, max_tokens=max_tokens, categorical=["dept"])
    found = []
    for batch in data.train_loader():
        assert int(batch.length_B.min()) >= 2
        assert int(batch.length_B.max()) <= max_tokens
        customer = np.searchsorted(store.offsets, data.dataset.start_N[batch.index_B].numpy(), side="right") - 1
        for b, length in enumerate(batch.length_B.tolist()):
            found += [(int(customer[b]), int(item) - 2) for item in batch.categorical["item"][b, 1:length]]
    ranking, item = data.cases.ranking, store.column("item")
    wanted = [
        (customer, int(code))
        for customer, (start, stop) in enumerate(zip(store.offsets, ranking.training_stop, strict=False))
        for code in item[start + 1 : stop]
    ]
    assert sorted(found) == sorted(wanted)
    assert data.num_training == sum(len(batch) for batch in data.train_loader())


def test_order_windows_cover_the_same_orders(store):
    data = inputs(store, "all", token="order", max_tokens=3)
    snapshots, tokens = data.cases.ranking.snapshots, 0
    for batch in data.train_loader():
        tokens += int((batch.length_B - 1).sum())
        assert batch.bags["item"][1][-1] == len(batch.bags["item"][0])
    train = data.cases.ranking.select("train")
    orders = [store.order_start[snapshots.start[n] : snapshots.stop[n]].sum() - 1 for n in train]
    assert tokens == sum(orders)


@pytest.mark.parametrize("name", PROTOCOLS)
def test_validation_and_test_are_complete_and_end_with_the_history(store, name):
    data = inputs(store, name)
    item, snapshots = store.column("item"), data.cases.ranking.snapshots
    assert data.snapshots is snapshots
    for split in ("val", "test"):
        loader = data.loader(data.rows(split))
        batches = list(loader)
        index = torch.cat([batch.index_B for batch in batches]).numpy()
        assert np.array_equal(np.sort(index), data.cases.ranking.select(split))
        last = torch.cat([b.categorical["item"][torch.arange(len(b)), b.length_B - 1] for b in batches]).numpy()
        assert np.array_equal(last, item[snapshots.stop[index] - 1] + 2)
        assert loader.sampler.padding_ratio() >= 1.0


# --- vocabulary and schema


def test_items_are_known_by_their_codes_and_others_fitted_on_training(store):
    data = inputs(store, max_size=2, exclude=["item", "discount"])
    assert data.vocabulary.fields["item"] == store.dictionary("item").tolist()
    assert len(data.vocabulary.fields["dept"]) == 2
    rows = np.asarray(store.column("dept"))[data.cases.ranking.training_rows]
    assert data.vocabulary.fields["dept"][0] == store.dictionary("dept")[np.bincount(rows).argmax()]
    assert list(data.schema["numeric"]) == ["spend"]
    assert data.schema["items"] == data.cases.catalogue.schema()
    assert json.loads(json.dumps(data.schema)) == data.schema
    assert not len(data.schema["known"])


def test_a_run_applied_to_another_log(store, store_of, log):
    """Items that the catalogue lacks are UNK; codes of the other store do not matter."""
    trained = inputs(store)
    vocabulary = Vocabulary.from_json(json.loads(json.dumps(trained.vocabulary.to_json())))
    other = log[log["item"] != "i0"].replace({"item": {"i3": "a new one"}})
    other_store, task = store_of(other), task_of("task=next_item", "sequence=line")
    task.catalogue = trained.cases.catalogue
    cases = task.cases_at(other_store, int(np.max(other_store.time)) + 1)
    data = task.inputs(cases, vocabulary=vocabulary, schema=trained.schema)
    assert sum(len(batch) for batch in data.loader(np.arange(len(cases)))) == len(cases)
    names = other_store.dictionary("item")[np.asarray(other_store.column("item"))]
    expected = np.where(names == "a new one", UNK, trained.cases.catalogue.lookup(names) + 2)
    assert np.array_equal(data.dataset.ids["item"][:-1].numpy(), expected)
    assert (expected == UNK).any()
    offsets, items = cases.seen
    for n, (start, stop) in enumerate(zip(cases.snapshots.start, cases.snapshots.stop, strict=True)):
        assert items[offsets[n] : offsets[n + 1]].tolist() == sorted(set(expected[start:stop] - 2) - {UNK - 2})
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
    left = inputs(store, name)
    changed = store_of(scrambled(log, ~left.cases.ranking.training_rows, times=False))
    assert not np.array_equal(changed.column("item"), store.column("item"))
    right = inputs(changed, name)
    assert left.vocabulary == right.vocabulary
    assert left.schema == right.schema
    assert np.array_equal(left.cases.catalogue.count, right.cases.catalogue.count)
    assert_same(contents(left.train_loader()), contents(right.train_loader()))
    if name in ("leave_one_out", "all"):  # of the others, some histories go on into the window
        assert_same(contents(left.loader(left.rows("val"))), contents(right.loader(right.rows("val"))))


@pytest.mark.parametrize("split", ["val", "test"])
def test_a_positional_history_does_not_see_the_time_of_its_target(store, store_of, log, split):
    """Everything from the target on happens eleven days later and is permuted: not even recency tells."""
    left = inputs(store)
    snapshots, index = left.cases.ranking.snapshots, left.cases.ranking.select(split)
    later = np.zeros(store.num_events, bool)
    for n in index:
        later[snapshots.stop[n] : store.offsets[snapshots.customer[n] + 1]] = True
    right = inputs(store_of(scrambled(log, later, times=True), end="2020-08-01"))
    customers = [data.cases.ranking.snapshots.customer[data.cases.ranking.select(split)] for data in (left, right)]
    assert sorted(customers[0]) == sorted(customers[1])
    found = []
    for data in (left, right):  # the moved cutoffs may sort the snapshots in another way
        of = data.cases.ranking.snapshots.customer
        found.append({int(of[n]): value for n, value in contents(data.loader(data.rows(split))).items()})
    assert_same(*found)


def test_what_precedes_the_target_does_change_its_history(store, store_of, log):
    left = inputs(store)
    right = inputs(store_of(scrambled(log, left.cases.ranking.training_rows, times=False)))
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
    days = pd.to_datetime(["2020-01-01", "2020-01-04", "2020-01-06"])
    single = store_of(pd.DataFrame({"cust": "a", "ts": days, "item": list("xyz"), "dept": "d", "spend": 1.0}))
    ranking = build_ranking(
        single, protocol={"name": "global_time", "val": "2020-01-03", "test": "2020-01-05"}, unit="line"
    )
    with pytest.raises(ValueError, match="no customer has two training lines"):
        inputs_of_ranking(ranking)


def test_order_tokens_do_not_fit_histories_of_lines(store_of):
    """Four lines of one order, the last two left out: an order token would hold its own target."""
    store = store_of(
        pd.DataFrame({"cust": "a", "ts": pd.Timestamp("2020-01-01"), "item": list("wxyz"), "dept": "d", "spend": 1.0})
    )
    ranking = build_ranking(store, protocol={"name": "leave_one_out"}, unit="line")
    with pytest.raises(ValueError, match=r"reaches over the end of a history .* set sequence.token=line"):
        inputs_of_ranking(ranking, "order")
