"""Orders whose lines differ in time: one order with the time of its last line; ids that are used again; lines without
an order.
"""

import itertools
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clm_dl.data.log.prepare import prepare_store
from clm_dl.data.ranking.protocols import build_ranking
from clm_dl.data.store.store import EventStore

ROLES = {"customer": "cust", "time": "when", "order": "basket", "item": "sku"}
MINUTE = 60_000_000


def store_of(path: Path, rows: list[tuple], said: list[str] | None = None, **options) -> EventStore:
    frame = pd.DataFrame(rows, columns=["cust", "basket", "when", "sku"])
    frame["when"] = pd.to_datetime(frame["when"], format="mixed", utc=True)
    return prepare_store(
        {"frame": frame, "roles": ROLES, "close_orders": True, **options},
        path,
        log=said.append if said is not None else lambda line: None,
    )


def orders(store: EventStore) -> list[tuple[str, str]]:
    """(time, items) of each order, in store order."""
    edges = np.append(np.flatnonzero(store.order_start), store.num_events)
    time = pd.to_datetime(np.asarray(store.time), unit="us")
    item = store.dictionary("item")[store.column("item")]
    return [
        (time[start].strftime("%m-%d %H:%M"), "".join(sorted(item[start:stop])))
        for start, stop in itertools.pairwise(edges)
    ]


def test_an_order_has_the_time_of_its_last_line(tmp_path: Path) -> None:
    rows = [
        ("a", "1", "2024-01-01 10:00", "x"),
        ("a", "2", "2024-01-01 10:01", "z"),
        ("a", "1", "2024-01-01 10:02", "y"),
        ("a", None, "2024-01-01 10:03", "p"),
        ("a", None, "2024-01-01 10:04", "q"),
        ("b", "1", "2024-01-01 09:00", "r"),
        ("a", "1", "2024-01-09 00:30", "v"),
        ("a", "1", "2024-01-08 23:50", "u"),
    ]
    said: list[str] = []
    store = store_of(tmp_path / "store", rows, said)
    assert orders(store) == [
        ("01-01 10:01", "z"),
        ("01-01 10:02", "xy"),  # though order 2 lies between its lines
        ("01-01 10:03", "p"),  # without an order: what shares the time
        ("01-01 10:04", "q"),
        ("01-09 00:30", "uv"),  # the same id a week later is another order
        ("01-01 09:00", "r"),
    ]
    assert "orders: 1 have lines at several times, which take the time of the last one" in said


def test_by_default_times_stay_and_it_is_said(tmp_path: Path) -> None:
    rows = [("a", "1", "2024-01-01 10:00", "x"), ("a", "1", "2024-01-01 10:02", "y")]
    said: list[str] = []
    assert orders(store_of(tmp_path / "store", rows, said, close_orders=False)) == [
        ("01-01 10:00", "x"),
        ("01-01 10:02", "y"),
    ]
    assert [
        line
        for line in said
        if line.startswith("orders: 1 have lines at several times, which count apart; data.close_orders=true")
    ]


def test_orders_of_one_time_are_left_as_they_are(tmp_path: Path) -> None:
    rows = [
        ("a", "1", "2024-01-01 10:00", "x"),
        ("a", "1", "2024-01-01 10:00", "y"),
        ("a", "2", "2024-01-02 10:00", "z"),
    ]
    said: list[str] = []
    assert orders(store_of(tmp_path / "store", rows, said)) == [("01-01 10:00", "xy"), ("01-02 10:00", "z")]
    assert not [line for line in said if line.startswith("orders")]


@settings(max_examples=8, deadline=None)
@given(
    lines=st.lists(
        st.tuples(st.sampled_from("ab"), st.sampled_from("123"), st.integers(0, 6 * 1440)), min_size=1, max_size=12
    )
)
def test_equals_plain_python(tmp_path_factory: pytest.TempPathFactory, lines: list[tuple[str, str, int]]) -> None:
    start = pd.Timestamp("2024-01-01", tz="UTC")
    rows = [
        (cust, basket, str(start + pd.Timedelta(minutes=at)), f"{place:02}")
        for place, (cust, basket, at) in enumerate(lines)
    ]
    store = store_of(tmp_path_factory.mktemp("orders") / "store", rows)
    expected = {}
    for key in {(cust, basket) for cust, basket, _ in lines}:
        visit: list[int] = []
        for place in sorted(
            (place for place, line in enumerate(lines) if line[:2] == key), key=lambda place: lines[place][2]
        ):
            if visit and lines[place][2] - lines[visit[-1]][2] > 1440:
                expected |= dict.fromkeys(visit, lines[visit[-1]][2])
                visit = []
            visit.append(place)
        expected |= dict.fromkeys(visit, lines[visit[-1]][2])
    item = [int(name) for name in store.dictionary("item")[store.column("item")]]
    assert dict(zip(item, ((np.asarray(store.time) - start.value // 1000) // MINUTE).tolist(), strict=True)) == expected


def test_the_next_order_is_asked_for_whole(tmp_path: Path) -> None:
    rows = [
        ("a", f"b{day}", f"2024-01-{day:02} 10:{minute:02}", f"i{day}{minute}")
        for day in (1, 2, 3, 4)
        for minute in (0, 1, 2)
    ]
    store = store_of(tmp_path / "store", rows)
    ranking = build_ranking(store, protocol={"name": "leave_one_out"}, unit="order")
    (test,) = ranking.select("test")
    wanted = ranking.targets[ranking.target_offsets[test] : ranking.target_offsets[test + 1]]
    assert sorted(store.dictionary("item")[wanted]) == ["i40", "i41", "i42"]
    assert ranking.snapshots.stop[test] - ranking.snapshots.start[test] == 9
