"""Unlabelled snapshots: one a customer, up to the last training cutoff; later events change nothing; who validates is
not trained on.
"""

import numpy as np
import pandas as pd
import pytest
import torch
from support import inputs_of, snapshots_of

from clm_dl.data.zone import UTC
from clm_dl.tasks.pretrain.histories import unlabelled_snapshots

RULE = {
    "horizon_days": 20,
    "active_days": 30,
    "train": ["2020-03-01", "2020-03-11"],
    "val": ["2020-04-05"],
    "test": ["2020-05-10"],
}
CUTOFF = pd.Timestamp("2020-03-11")


def unlabelled(store, held_out=0.4, **rule):
    return unlabelled_snapshots(store, snapshots_of(store, **{**RULE, **rule}), held_out=held_out)


def test_everyone_once_whatever_the_population_rule(small_log, small_store):
    labelled = snapshots_of(small_store, **RULE)
    assert labelled.last_training_cutoff == UTC.parse("2020-03-11")
    snapshots = unlabelled(small_store)
    before = small_log[small_log["ts"] < CUTOFF].groupby("cust").size()
    assert (
        dict(zip(small_store.customer_ids[snapshots.customer], snapshots.stop - snapshots.start, strict=True))
        == before.to_dict()
    )
    assert (snapshots.cutoff == UTC.parse("2020-03-11")).all()
    assert snapshots.split.tolist() == sorted(snapshots.split.tolist(), key=["train", "val", "test"].index)
    count = pd.Series(snapshots.split).value_counts()
    assert count["train"] > count["val"] + count["test"]
    more = unlabelled(small_store, held_out=0.6)
    kept = [set(found.customer[found.split == "train"]) for found in (snapshots, more)]
    assert kept[1] < kept[0]


@pytest.mark.parametrize("held_out", [0.0, 0.01, 1.0])
def test_a_share_that_leaves_a_split_empty_is_refused(small_store, held_out):
    with pytest.raises(ValueError, match=r"task\.held_out=.* leaves none for"):
        unlabelled(small_store, held_out=held_out)


def test_customers_that_validate_at_the_training_cutoffs_are_not_trained_on(small_store):
    rule = {"val": "auto", "val_customers": 0.3}
    labelled = snapshots_of(small_store, **{**RULE, **rule})
    apart = set(labelled.customer[labelled.split == "val"])
    assert len(apart) > 3
    trained = [
        set(found.customer[found.split == "train"])
        for found in (unlabelled(small_store, 0.1, **rule), unlabelled(small_store, 0.1))
    ]
    assert not apart & trained[0]
    assert apart & trained[1]


@pytest.mark.parametrize("token", ["order", "line"])
def test_what_comes_from_the_last_training_cutoff_on_changes_nothing(small_log, store_of, token):
    late = (small_log["ts"] >= CUTOFF).to_numpy()
    assert late.sum() > 100
    changed = small_log.copy()
    rng = np.random.default_rng(0)
    changed.loc[late, "spend"] = 1e6
    changed.loc[late, "sku"] = rng.permutation(changed.loc[late, "sku"].to_numpy())
    changed.loc[late, "ts"] = changed.loc[late, "ts"] + pd.Timedelta(hours=1)
    read = []
    for log in (small_log, changed):
        store = store_of(log)
        read.append(inputs_of(store, unlabelled(store), token=token, batch_size=8))
    one, other = read
    assert one.schema == other.schema
    assert one.vocabulary == other.vocabulary
    everyone = np.arange(len(one.snapshots))
    for left, right in zip(one.loader(everyone), other.loader(everyone), strict=True):
        assert left.mask_BT.equal(right.mask_BT)
        torch.testing.assert_close(left.numeric_BTF, right.numeric_BTF, rtol=0, atol=0, equal_nan=True)
        for name, (ids, offsets) in left.bags.items():
            assert ids.equal(right.bags[name][0])
            assert offsets.equal(right.bags[name][1])
        for name, ids in left.categorical.items():
            assert ids.equal(right.categorical[name])
