"""Ties: a drawn order that no engine, no row order and no other line decides; counts; what sorts them is noticed."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clm_dl.data.log import engine
from clm_dl.data.log.prepare import prepare_store
from clm_dl.data.log.ties import TIES, count_ties
from clm_dl.data.store.store import EventStore

ROLES = {"customer": "who", "time": "when", "item": "sku"}


def log(num: int = 400, seed: int = 0) -> pd.DataFrame:
    """Five items a day, drawn at random, in the order of the draw."""
    rng = np.random.default_rng(seed)
    rows = [
        (f"c{c}", f"2024-01-{d + 1:02d}", f"s{i:02d}")
        for c in range(num // 20)
        for d in range(4)
        for i in rng.choice(30, 5, replace=False)
    ]
    return pd.DataFrame(rows, columns=["who", "when", "sku"])


def lines(store: EventStore) -> list[tuple[str, int, str]]:
    who = np.repeat(store.customer_ids, np.diff(store.offsets))
    sku = store.dictionary("item")[store.column("item")]
    return list(zip(who.tolist(), np.asarray(store.time).tolist(), sku.tolist(), strict=True))


row = st.tuples(
    st.sampled_from("ab"),
    st.integers(1, 2),
    st.sampled_from("xyz"),
    st.sampled_from([1.0, 2.0, None]),
    st.sampled_from(["o1", "o2", None]),
)


@settings(max_examples=3, deadline=None)
@given(rows=st.lists(row, min_size=4, max_size=14), data=st.data(), batch=st.integers(1, 5))
def test_the_draw_depends_on_seed_and_values_alone(rows: list, data: st.DataObject, batch: int) -> None:
    frame = pd.DataFrame(rows, columns=["who", "when", "sku", "price", "basket"])
    frame["when"] = "2024-01-0" + frame["when"].astype(str)
    other = frame.iloc[data.draw(st.permutations(range(len(frame))))]
    more = pd.concat([other, pd.DataFrame([("A", "2024-01-01", "w", 3.0, "o3")], columns=frame.columns)])
    options = {"roles": {**ROLES, "order": "basket"}, "numeric": ["price"], "tie": "seeded"}
    found = []
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        for number, one in enumerate((frame, other, more)):
            patch.setattr(engine, "BATCH_ROWS", [1 << 17, batch, batch][number])
            store = prepare_store({**options, "frame": one}, Path(folder) / str(number))
            price = np.nan_to_num(store.column("price"), nan=-1).tolist()
            rest = [(*line, value) for line, value in zip(lines(store), price, strict=True) if line[0] != "A"]
            found.append(rest)
            pieces = int(np.sum(store.order_start))
            assert pieces == len(one.drop_duplicates(["who", "when", "basket"]))
    assert found[0] == found[1] == found[2]


def test_a_draw_favours_no_item_and_follows_its_seed(tmp_path: Path) -> None:
    frame = log(2000)
    draws = [
        prepare_store({"frame": frame, "roles": ROLES, "tie": "seeded", "tie_seed": seed}, tmp_path / str(seed))
        for seed in (0, 1)
    ]
    assert lines(draws[0]) != lines(draws[1])
    assert (
        sorted(lines(draws[0]))
        == sorted(lines(draws[1]))
        == sorted(lines(prepare_store({"frame": frame, "roles": ROLES}, tmp_path / "sort")))
    )
    item = np.asarray(draws[0].column("item")).reshape(-1, 5)
    place = [np.argsort(np.argsort(item, axis=1), axis=1)[:, i].mean() for i in range(5)]
    assert np.abs(np.array(place) - 2).max() < 0.2  # each place is as often the lowest item as the highest


def test_auto_keeps_the_file_s_order_unless_items_sort_it(tmp_path: Path) -> None:
    frame, said = log(), []
    store = prepare_store({"frame": frame, "roles": ROLES, "tie": "auto"}, tmp_path / "file")
    assert store.facts["ties"]["order"] == "file"
    assert [line[2] for line in lines(store) if line[0] == "c3"] == frame.loc[frame["who"] == "c3", "sku"].tolist()
    for number, by in enumerate(([True, True], [True, False])):
        ordered = frame.sort_values(["when", "sku"], ascending=by)
        store = prepare_store(
            {"frame": ordered, "roles": ROLES, "tie": "auto"}, tmp_path / str(number), log=said.append
        )
        assert store.facts["ties"]["order"] == "seeded"
        assert sum("the file sorts lines of one time by item" in line for line in said) == number + 1
        assert lines(store) == lines(
            prepare_store({"frame": frame, "roles": ROLES, "tie": "seeded"}, tmp_path / "seeded")
        )


def test_a_database_has_no_order_so_it_is_drawn(tmp_path: Path) -> None:
    import sqlite3

    with sqlite3.connect(tmp_path / "log.db") as connection:
        log().to_sql("events", connection, index=False)
    data = {"path": f"sqlite:///{tmp_path}/log.db", "table": "events", "roles": ROLES}
    store = prepare_store({**data, "tie": "auto"}, tmp_path / "store")
    assert store.facts["ties"]["order"] == "seeded"
    assert lines(store) == lines(prepare_store({"frame": log(), "roles": ROLES, "tie": "seeded"}, tmp_path / "frame"))


def test_lines_of_one_order_stay_together_in_a_shuffled_file(tmp_path: Path) -> None:
    frame = log().assign(basket=lambda f: f["who"] + f["when"] + np.where(np.arange(len(f)) % 2, "x", "y"))
    frame = frame.sample(frac=1, random_state=0)
    store = prepare_store({"frame": frame, "roles": {**ROLES, "order": "basket"}, "tie": "file"}, tmp_path / "store")
    assert int(np.sum(store.order_start)) == frame["basket"].nunique()


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), max_size=12))
def test_the_share_of_tied_lines(rows: list[tuple[int, int]]) -> None:
    rows = sorted(rows)
    offsets = np.searchsorted([who for who, _ in rows], np.arange(5))
    time = np.array([at for _, at in rows], np.int64)
    expected = sum(rows.count(one) > 1 for one in rows) / max(len(rows), 1)
    assert count_ties(offsets, time, None, []).share == pytest.approx(expected)


def test_numbers_sort_as_numbers_too() -> None:
    items = [str(number) for number in range(40)]
    codes = np.argsort(np.argsort(items))[np.arange(40)]  # of texts sorted as text, in the order of the numbers
    ties = count_ties(np.array([0, 40]), np.zeros(40, np.int64), codes, sorted(items))
    assert ties.by_item
    assert ties.share == 1.0


@pytest.mark.parametrize("tie", TIES)
def test_repeats_are_counted_in_every_order_of_ties(tmp_path: Path, tie: str) -> None:
    rows = [("a", "2024-01-01", item) for item in "xyxyzx"] + [("b", "2024-01-02", "x"), ("b", "2024-01-02", "x")]
    frame = pd.DataFrame(rows, columns=["who", "when", "sku"])
    store = prepare_store({"frame": frame, "roles": ROLES, "tie": tie}, tmp_path / "store")
    assert store.counts["repeats"] == 4
