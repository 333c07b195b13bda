"""Customer attributes as of a cutoff: the future of a column or of a dated table changes nothing before it."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import inputs_of, snapshots_of

from clm_dl.data.log.prepare import prepare_store
from clm_dl.data.snapshots.features import rfm_features
from clm_dl.data.store.attributes import attributes_at
from clm_dl.data.store.store import EventStore
from clm_dl.errors import UserError

DAY = 86_400_000_000
START = pd.Timestamp("2024-01-01")
DATES = {"horizon_days": 20, "train": ["2024-02-01", "2024-02-15"], "val": ["2024-03-10"], "test": ["2024-04-05"]}
ROLES = {"customer": "who", "time": "when"}


@pytest.fixture
def log() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"who": rng.integers(0, 25, 500), "day": rng.integers(0, 130, 500)})
    frame["when"] = START + pd.to_timedelta(frame.pop("day"), unit="D")
    return frame.assign(plan=rng.choice(["basic", "plus", None], 500), points=rng.random(500))


def seen(store: EventStore, split: str) -> tuple[pd.DataFrame, np.ndarray]:
    """What baselines and network see of the snapshots up to a split."""
    snapshots = snapshots_of(store, **DATES)
    chosen = np.isin(snapshots.split, ["train", "val", "test"][: ["train", "val", "test"].index(split) + 1])
    inputs = inputs_of(store, snapshots)
    statics = inputs.dataset[np.flatnonzero(chosen)].static_BS.numpy()
    features = rfm_features(store, snapshots).filter(like="static_")[chosen]
    return features.astype(object).where(features.notna(), "missing"), statics


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_the_future_of_an_attribute_changes_nothing_before_it(log: pd.DataFrame, split: str, tmp_path: Path) -> None:
    cutoff = pd.Timestamp({"train": "2024-02-15", "val": "2024-03-10", "test": "2024-04-05"}[split])
    later = (log["when"] >= cutoff).to_numpy()
    other = log.copy()
    other.loc[later, ["plan", "points"]] = (
        other.loc[later, ["plan", "points"]].sample(frac=1, random_state=1).to_numpy()
    )
    other.loc[later, "plan"] = other.loc[later, "plan"].replace({"basic": "left"})
    data = {"roles": ROLES, "static": ["plan", "points"]}
    both = [prepare_store({**data, "frame": one}, tmp_path / str(i)) for i, one in enumerate((log, other))]
    (features, statics), (features2, statics2) = (seen(store, split) for store in both)
    pd.testing.assert_frame_equal(features, features2)
    np.testing.assert_array_equal(statics, statics2)
    assert (both[0].static["plan"] != both[1].static["plan"]).any()
    before = prepare_store({**data, "frame": log}, tmp_path / "before", before=int(cutoff.value // 1000))
    wanted = attributes_at(both[0], np.arange(25), np.full(25, cutoff.value // 1000))[0]
    pd.testing.assert_frame_equal(before.static, wanted, check_dtype=False)


moment = st.integers(0, 6)
changes = st.lists(
    st.tuples(st.sampled_from("abc"), moment, st.sampled_from(["x", "y", None])), min_size=1, max_size=12
)


@settings(max_examples=6, deadline=None)
@given(rows=changes, cutoff=moment, dated=changes)
def test_the_last_value_before_the_cutoff_counts(rows: list, cutoff: int, dated: list) -> None:
    dated = list({(who, day): (who, day, value) for who, day, value in dated}.values())
    log = pd.DataFrame(rows, columns=["who", "when", "plan"]).assign(
        when=lambda f: START + pd.to_timedelta(f["when"], unit="D")
    )
    table = pd.DataFrame(dated, columns=["who", "valid_from", "tier"], dtype=object)
    table["valid_from"] = (START + pd.to_timedelta(table["valid_from"].astype(int), unit="D")).dt.strftime("%Y-%m-%d")
    data = {"frame": log, "roles": ROLES, "static": ["plan", "tier"]}
    with TemporaryDirectory() as folder:
        joins = [{"frame": table, "on": "who", "to": "customer"}]
        store = prepare_store({**data, "joins": joins}, Path(folder) / "store")
        customers = np.arange(store.num_customers)
        at = np.full(len(customers), (START.value // 1000) + cutoff * DAY)
        found, place = attributes_at(store, customers, at)
        for code, who in enumerate(store.customer_ids):
            known = [(day, value) for one, day, value in rows if one == who and day < cutoff and value]
            plan = max((value for day, value in known if day == max(known)[0]), default=None)
            tiers = [(day, value) for one, day, value in dated if one == who and day < cutoff]
            tier = max(tiers, key=lambda row: row[0])[1] if tiers else None
            row = found.iloc[place[code]]
            assert (row["plan"] if pd.notna(row["plan"]) else None) == plan
            assert (row["tier"] if pd.notna(row["tier"]) else None) == tier
    assert set(store.facts["known_as_of"]) == {"plan", "tier"}


def test_items_have_what_holds_at_the_time_of_a_line(tmp_path: Path) -> None:
    log = pd.DataFrame({"who": "a", "when": ["2024-01-01", "2024-01-05", "2024-01-09"], "sku": "s"})
    prices = pd.DataFrame(
        {
            "sku": ["s", "s", "t"],
            "price": [1.0, 2.0, 9.0],
            "brand": "b",
            "from": ["2024-01-05", "2024-01-07", "2024-01-01"],
        }
    )
    data = {"frame": log, "roles": {**ROLES, "item": "sku"}, "numeric": ["price"], "categorical": ["brand"]}
    join = {"frame": prices, "on": "sku", "columns": ["price", "brand"], "valid_from": "from"}
    store = prepare_store({**data, "joins": [join]}, tmp_path / "dated")
    np.testing.assert_array_equal(store.column("price"), np.array([np.nan, 1.0, 2.0], np.float32))
    assert "known_at_all_times" not in store.facts
    with pytest.raises(UserError, match="needs one row a key, or a column valid_from"):
        prepare_store({**data, "joins": [{**join, "valid_from": None}]}, tmp_path / "none")
    always = {**join, "frame": prices.drop_duplicates("sku"), "valid_from": None}
    store = prepare_store({**data, "joins": [always]}, tmp_path / "always")
    assert store.facts["known_at_all_times"] == ["brand", "price"]
    with pytest.raises(UserError, match="valid_from 'since' is not a column"):
        prepare_store({**data, "joins": [{**join, "valid_from": "since"}]}, tmp_path / "unknown")


@pytest.mark.parametrize("dates", [["20240102", "20240107"], ["02.01.2024", "27.01.2024"], [20240102, 20240107]])
def test_dates_of_a_table_are_read_as_they_are_written(tmp_path: Path, dates: list) -> None:
    log = pd.DataFrame(
        {"key": ["007", "007", "08"], "when": ["2024-01-01", "2024-01-05", "2024-01-05"], "item_key": "s"}
    )
    data = {"roles": {"customer": "key", "time": "when", "item": "item_key"}, "categorical": ["item_from", "line_key"]}
    items = pd.DataFrame({"item_key": "s", "since": dates, "item_from": ["a", "b"], "line_key": ["c", "d"]})
    people = pd.DataFrame({"key": "007", "since": dates, "customer_id": ["x", "y"], "time": ["v", "w"]})
    joins = [
        {"frame": items, "on": "item_key", "valid_from": "since"},
        {"frame": people, "on": "key", "to": "customer", "valid_from": "since"},
    ]
    store = prepare_store({**data, "frame": log, "joins": joins}, tmp_path / "store")
    for name, value in (("item_from", "a"), ("line_key", "c")):
        known = [None if code < 0 else store.dictionary(name)[code] for code in store.column(name)]
        assert known == [None, value, value]
    at = np.full(2, (pd.Timestamp("2024-01-05").value // 1000), np.int64)
    found, place = attributes_at(store, np.arange(2), at)
    assert found.iloc[place[0]].to_dict() == {"customer_id": "x", "time": "v"}
    assert found.iloc[place[1]].isna().all()


def test_ambiguous_dates_of_a_joined_table_are_settled_by_its_own_format(tmp_path: Path) -> None:
    log = pd.DataFrame({"who": ["a"] * 3, "when": ["2020-03-20", "2020-04-10", "2020-05-10"], "sku": ["x"] * 3})
    prices = pd.DataFrame({"sku": ["x", "x"], "from": ["01/03/2020", "05/04/2020"], "price": [1.0, 2.0]})
    log.to_csv(tmp_path / "log.csv", index=False)
    prices.to_csv(tmp_path / "prices.csv", index=False)
    join = {"path": str(tmp_path / "prices.csv"), "on": "sku", "columns": ["price"], "valid_from": "from"}
    data = {"path": str(tmp_path / "log.csv"), "roles": {"customer": "who", "time": "when", "item": "sku"}}
    data |= {"numeric": ["price"], "time_format": "%Y-%m-%d"}
    with pytest.raises(UserError, match=r"set time_format of the join in data\.joins='%d/%m/%Y'"):
        prepare_store({**data, "joins": [join]}, tmp_path / "none")
    for written, expected in {"%d/%m/%Y": [1.0, 2.0, 2.0], "%m/%d/%Y": [1.0, 1.0, 2.0]}.items():
        store = prepare_store({**data, "joins": [{**join, "time_format": written}]}, tmp_path / written[1])
        assert store.column("price").tolist() == expected


NEW = "2024-02-01"
LATER = {
    "valid_to": ["2024-03-01", None],
    "ValidTo": ["soon", None],
    "is_current": [0, 1],
    "end_date": [45_352, 45_400],
    "seen": pd.to_datetime(["2024-02-02", "2023-01-01"]),
    "renewal": ["01.03.2024", ""],
    "change": [20240301, 20230101],
}
KNOWN = {
    "age": [36, 45_352],
    "salary": [45_000, 61_000],
    "income": [2_050, 2_100],
    "birthday": ["1980-12-31", "1999-12-31"],
    "renewed": ["2024-01-01", None],
    "photo": ["a", "b"],
    "current_plan": ["a", "b"],
}


def test_what_a_dated_table_tells_of_later_is_left_out(tmp_path: Path) -> None:
    log = pd.DataFrame({"who": ["a", "a"], "when": ["2024-01-01", "2024-03-05"], "sku": "a"})
    table = pd.DataFrame({"who": "a", "valid_from": ["2024-01-01", NEW], **LATER, **KNOWN})
    join = {"frame": table, "on": "who", "to": "customer"}
    data = {"frame": log, "roles": ROLES, "joins": [join]}
    lines: list[str] = []
    store = prepare_store(data, tmp_path / "store", log=lines.append)
    assert list(store.static) == list(KNOWN)
    assert any(f"{', '.join(LATER)} left out" in line for line in lines)
    assert store.facts["left_out"] == sorted(LATER)
    with pytest.raises(
        UserError, match="column 'valid_to' of the pandas table tells of times after a row's valid_from"
    ):
        prepare_store({**data, "static": ["age", "valid_to"]}, tmp_path / "asked")
    roles = {**ROLES, "item": "sku"}
    items = {"frame": table.rename(columns={"who": "sku"}), "on": "sku"}
    with pytest.raises(UserError, match="which no cutoff may know"):
        prepare_store({**data, "roles": roles, "categorical": ["renewal"], "joins": [items]}, tmp_path / "items")
    named = [{**join, "columns": ["age", "valid_to"]}]
    store = prepare_store({**data, "joins": named}, tmp_path / "named", log=lines.append)
    assert list(store.static) == ["age", "valid_to"]
    assert any(line.startswith("WARNING") and "valid_to" in line for line in lines)
    assert store.facts["tells_later"] == ["valid_to"]
