"""Sequences: order and line tokens against a plain pandas reference."""

import numpy as np
import pandas as pd
import pytest
from support import options, snapshots_of

from clm_dl.data.sequences.options import VocabularyOptions
from clm_dl.data.sequences.tokens import Sequences
from clm_dl.data.sequences.vocabulary import Vocabulary


@pytest.fixture(scope="module")
def orders(small_log):
    """One row an order, in store order; what pandas says."""
    log = small_log.sort_values(["cust", "ts"], kind="stable")
    groups = log.groupby(["cust", "ts"], sort=True)
    table = groups.agg(
        spend=("spend", lambda v: v.sum(min_count=1)),
        discount=("discount", lambda v: v.sum(min_count=1)),
        num_lines=("sku", "size"),
        sku=("sku", list),
    ).reset_index()
    days = table.groupby("cust")["ts"]
    table["gap"] = np.log1p(days.diff().dt.total_seconds().fillna(0) / 86400)
    table["age"] = np.log1p((table["ts"] - days.transform("min")).dt.total_seconds() / 86400)
    return table


def test_order_tokens(small_store, orders):
    tokens = Sequences.from_store(small_store)
    assert tokens.numeric == ["spend", "discount", "num_lines"]
    assert tokens.categorical == ["sku", "dept"]
    np.testing.assert_allclose(
        tokens.values, orders[["spend", "discount", "num_lines"]].to_numpy(np.float32), rtol=1e-6
    )
    assert np.isnan(tokens.values[:, 1]).any()
    np.testing.assert_array_equal(tokens.time, orders["ts"].astype("datetime64[us]").astype(np.int64))
    np.testing.assert_allclose(tokens.gap, orders["gap"], rtol=1e-6)
    np.testing.assert_allclose(tokens.age, orders["age"], rtol=1e-6)
    assert tokens.num_tokens < small_store.num_events


@pytest.mark.parametrize("max_lines", [None, 2, 1])
def test_bags_keep_the_first_lines(small_store, orders, max_lines):
    tokens = Sequences.from_store(small_store, max_lines=max_lines)
    chosen = options(VocabularyOptions, "vocabulary/default", min_count=1)
    vocabulary = Vocabulary.fit(small_store, ["sku"], rows=np.ones(small_store.num_events, bool), options=chosen)
    ids = tokens.ids("sku", vocabulary.lookup("sku", small_store.dictionary("sku")))
    bags = [[vocabulary.fields["sku"][i - 2] for i in part] for part in np.split(ids, tokens.line_offsets[1:-1])]
    assert bags == [values[:max_lines] for values in orders["sku"]]
    assert tokens.values[:, 2].tolist() == orders["num_lines"].tolist(), "num_lines counts the lines that were cut, too"


def test_line_tokens(small_store):
    tokens = Sequences.from_store(small_store, token="line", exclude=["sku", "discount"])
    assert (tokens.categorical, tokens.numeric) == (["dept"], ["spend"])
    np.testing.assert_array_equal(tokens.values[:, 0], small_store.column("spend"))
    np.testing.assert_array_equal(tokens.time, small_store.time)


def test_token_range_ends_at_the_cutoff(small_store):
    snapshots = snapshots_of(small_store, horizon_days=20, every_days=10)
    for token in ("order", "line"):
        tokens = Sequences.from_store(small_store, token=token)
        first, last = tokens.token_range(snapshots)
        assert (tokens.time[last - 1] < snapshots.cutoff).all()
        inside = last < np.searchsorted(tokens.rows, small_store.offsets[snapshots.customer + 1])
        assert (tokens.time[last[inside]] >= snapshots.cutoff[inside]).all()
        assert (first == np.searchsorted(tokens.rows, small_store.offsets[snapshots.customer])).all()


def test_visible_rows_are_the_histories(small_store):
    snapshots = snapshots_of(small_store, horizon_days=20, every_days=10)
    chosen = snapshots.select(snapshots.training)
    expected = np.zeros(small_store.num_events, bool)
    for start, stop in zip(chosen.start, chosen.stop, strict=True):
        expected[start:stop] = True
    np.testing.assert_array_equal(Sequences.from_store(small_store).visible_rows(chosen), expected)
    assert pd.Series(expected).value_counts().min() > 20


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"token": "basket"}, "order or line"),
        ({"categorical": ["colour"]}, "no field 'colour'"),
        ({"categorical": ["spend"]}, "is numeric"),
        ({"exclude": ["colour"]}, "no field 'colour'"),
        ({"max_lines": 0}, "at least 1"),
    ],
)
def test_bad_arguments(small_store, arguments, message):
    with pytest.raises(ValueError, match=message):
        Sequences.from_store(small_store, **arguments)
