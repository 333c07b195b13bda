"""EventBatch: every tensor against a plain-Python loop over snapshots; padding and batch-mates change nothing."""

import numpy as np
import pandas as pd
import pytest
import torch
from support import options, snapshots_of
from torch.nn import functional as F

from clm_dl.data.sequences.batch import EventDataset
from clm_dl.data.sequences.options import VocabularyOptions
from clm_dl.data.sequences.tokens import Sequences
from clm_dl.data.sequences.vocabulary import Vocabulary

MAX_TOKENS = 6


@pytest.fixture(scope="module", params=["order", "line"])
def case(request, small_store):
    snapshots = snapshots_of(small_store, horizon_days=20, every_days=10)
    tokens = Sequences.from_store(small_store, token=request.param)
    chosen, rows = options(VocabularyOptions, "vocabulary/default", min_count=3), np.ones(small_store.num_events, bool)
    vocabulary = Vocabulary.fit(small_store, tokens.categorical, rows=rows, options=chosen)
    rng = np.random.default_rng(0)
    static = rng.normal(size=(small_store.num_customers, 2)).astype(np.float32)
    known = rng.normal(size=(len(snapshots), 1)).astype(np.float32)
    return (
        EventDataset(
            tokens,
            vocabulary,
            snapshots,
            max_tokens=MAX_TOKENS,
            static_US=static,
            static_N=snapshots.customer,
            known_NK=known,
        ),
        tokens,
        vocabulary,
        snapshots,
    )


def test_batch_equals_reference(case):
    dataset, tokens, vocabulary, snapshots = case
    index = np.random.default_rng(1).permutation(len(snapshots))[:40]
    batch = dataset[index]
    first, last = tokens.token_range(snapshots)
    assert batch.mask_BT.shape == (40, MAX_TOKENS)
    lookups = {name: vocabulary.lookup(name, tokens.store.dictionary(name)) for name in tokens.categorical}
    for b, n in enumerate(index):
        window = np.arange(max(first[n], last[n] - MAX_TOKENS), last[n])
        size = len(window)
        assert batch.length_B[b] == size
        assert batch.mask_BT[b].tolist() == [True] * size + [False] * (MAX_TOKENS - size)
        when = pd.to_datetime(tokens.time[window], unit="us")
        for name, values in {
            "numeric_BTF": tokens.values[window],
            "gap_BT": tokens.gap[window],
            "age_BT": tokens.age[window],
            "hour_BT": when.hour,
            "weekday_BT": when.day_of_week,
            "month_BT": when.month - 1,
            "time_BT": ((when - when[0]) / pd.Timedelta(days=1)).to_numpy(np.float32),
        }.items():
            got = getattr(batch, name)[b]
            np.testing.assert_array_equal(got[:size], np.asarray(values), err_msg=name)
            assert not got[size:].any(), f"{name} must be 0 at padding"
        history = tokens.time[first[n] : last[n]]
        np.testing.assert_allclose(
            batch.recency_B[b], np.log1p((snapshots.cutoff[n] - history[-1]) / 86400e6), rtol=1e-6
        )
        np.testing.assert_allclose(batch.tenure_B[b], np.log1p((snapshots.cutoff[n] - history[0]) / 86400e6), rtol=1e-6)
        for name, lookup in lookups.items():
            lines = [lookup[tokens.store.column(name)[tokens.rows[t] : tokens.rows[t + 1]]].tolist() for t in window]
            if tokens.token == "order":
                ids, offset = batch.bags[name]
                got = [
                    ids[offset[b * MAX_TOKENS + t] : offset[b * MAX_TOKENS + t + 1]].tolist() for t in range(MAX_TOKENS)
                ]
                assert got == lines + [[]] * (MAX_TOKENS - size)
            else:
                assert batch.categorical[name][b].tolist() == [line[0] for line in lines] + [0] * (MAX_TOKENS - size)
    np.testing.assert_array_equal(batch.index_B, index)
    np.testing.assert_array_equal(batch.label_B, snapshots.label[index].astype(np.float32))
    np.testing.assert_array_equal(batch.static_BS, dataset.static_US[snapshots.customer[index]])
    np.testing.assert_array_equal(batch.known_BK, dataset.known_NK[index])


def test_batch_mates_change_nothing(case):
    dataset, *_ = case
    shortest, longest = int(dataset.lengths[:-1].argmin()), int(dataset.lengths.argmax())
    alone, together = dataset[[shortest]], dataset[[longest, shortest]]
    size = alone.mask_BT.shape[1]
    assert size < together.mask_BT.shape[1]
    for name in ("numeric_BTF", "gap_BT", "age_BT", "hour_BT", "time_BT"):
        assert torch.equal(getattr(alone, name)[0].nan_to_num(-1), getattr(together, name)[1, :size].nan_to_num(-1))
    if alone.bags:
        table = torch.arange(100.0)[:, None]
        means = [
            F.embedding_bag(*[b.bags["dept"][0], table, b.bags["dept"][1]], mode="mean", include_last_offset=True)
            for b in (alone, together)
        ]
        assert torch.equal(means[0], means[1].view(2, -1, 1)[1, :size])


def test_moving_a_batch_keeps_it(case):
    dataset, *_ = case
    batch = dataset[np.arange(5)]
    moved = batch.to("cpu")
    assert torch.equal(moved.gap_BT, batch.gap_BT)
    assert moved.bags.keys() == batch.bags.keys()
    assert moved.categorical.keys() == batch.categorical.keys()
    assert len(moved) == 5
    assert dataset[np.arange(5)].to("meta").mask_BT.device.type == "meta"


def test_empty_history_is_refused(small_store):
    snapshots = snapshots_of(small_store, horizon_days=20, every_days=10)
    object.__setattr__(snapshots, "stop", snapshots.start)
    tokens = Sequences.from_store(small_store, categorical=[])
    with pytest.raises(ValueError, match="no event before their cutoff"):
        EventDataset(
            tokens,
            Vocabulary({}),
            snapshots,
            max_tokens=4,
            static_US=np.zeros((30, 0), np.float32),
            static_N=np.zeros(1, np.int64),
            known_NK=np.zeros((0, 0), np.float32),
        )
