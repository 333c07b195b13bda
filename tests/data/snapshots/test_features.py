"""Features: golden values by hand, plain Python on random logs, and no trace of the future or of other customers."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from support import rule

from clm_dl.data.snapshots.cutoffs import DAY
from clm_dl.data.snapshots.features import rfm_features
from clm_dl.data.snapshots.scoring import scoring_snapshots
from clm_dl.data.snapshots.snapshots import Snapshots
from clm_dl.data.store.files import write_store
from clm_dl.data.store.store import EventStore, Field

FIELDS = [Field("item", "categorical", "item"), Field("amount", "numeric", "amount"), Field("quantity", "numeric")]


def make_store(
    path: Path, frame: pd.DataFrame, *, fields: list[Field] = FIELDS, static: pd.DataFrame | None = None
) -> EventStore:
    """From columns customer (0, 1, …), day, and one for each field (codes of items i0 … i9)."""
    frame = frame.sort_values(["customer", "day"], kind="stable")
    num = int(frame["customer"].max()) + 1
    return write_store(
        path,
        customer_ids=np.arange(num),
        offsets=np.concatenate([[0], np.cumsum(np.bincount(frame["customer"], minlength=num))]),
        time=np.rint(frame["day"].to_numpy() * DAY).astype(np.int64),
        columns={field.name: frame[field.name].to_numpy() for field in fields},
        fields=fields,
        dictionaries={"item": np.array([f"i{i}" for i in range(10)])},
        end=300 * DAY,
        fingerprint="test",
        static=static,
    )


def features(store: EventStore, day: float, **options) -> pd.DataFrame:
    snapshots, _ = scoring_snapshots(store, round(day * DAY), rule())
    return rfm_features(store, snapshots, **options)


def random_log(seed: int = 0, num: int = 600) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "customer": rng.integers(0, 25, num),
            "day": rng.integers(0, 200, num) + rng.choice([0.0, 0.25], num),
            "item": rng.integers(-1, 10, num),
            "amount": np.where(rng.random(num) < 0.1, np.nan, np.round(rng.gamma(2, 10, num), 2)).astype(np.float32),
            "quantity": rng.integers(-2, 5, num).astype(np.float32),
        }
    )


def test_golden_values(tmp_path: Path) -> None:
    """Four orders on days 0 (a Thursday), 10 (Sunday), 16 (Saturday) and 46 (Monday), the first of two lines; cutoff
    day 50.
    """
    log = pd.DataFrame(
        {
            "customer": 0,
            "day": [0, 0, 10, 16, 46, 60],
            "item": [3, 4, 3, -1, 5, 6],
            "amount": [1.5, 2.0, 4.0, np.nan, 8.0, 99.0],
            "quantity": [1, 1, 2, 3, 4, 99],
        }
    )
    golden = {
        "recency": 4,
        "tenure": 50,
        "orders": 4,
        "lines": 5,
        "lines_per_order": 1.25,
        "gap_mean": 46 / 3,
        "gap_sd": np.std([10, 6, 30], ddof=1),
        "gap_last": 30,
        "recency_to_gap": 4 / (46 / 3),
        "rate": 4 / 50,
        "weekend": 2 / 4,
        "orders_7d": 1,
        "orders_14d": 1,
        "orders_28d": 1,
        "orders_56d": 4,
        "orders_91d": 4,
        "trend": np.log(2 / 4),
        "spend": 15.5,
        "spend_per_order": 3.875,
        "spend_7d": 8,
        "spend_14d": 8,
        "spend_28d": 8,
        "spend_56d": 15.5,
        "spend_91d": 15.5,
        "total_quantity": 11,
        "distinct_item": 3,
    }
    found = features(make_store(tmp_path / "s", log), 50)
    assert found.columns.tolist() == list(golden)
    np.testing.assert_allclose(found.iloc[0].to_numpy(), list(golden.values()), rtol=1e-6)


def reference(lines: pd.DataFrame, cutoff: float) -> dict[str, float]:
    lines = lines[lines["day"] < cutoff]
    orders = np.array(sorted(set(lines["day"])))
    gaps = np.diff(orders)
    values = {
        "recency": cutoff - orders[-1],
        "tenure": cutoff - orders[0],
        "orders": len(orders),
        "lines": len(lines),
        "gap_mean": gaps.mean() if len(gaps) else np.nan,
        "gap_sd": gaps.std(ddof=1) if len(gaps) > 1 else np.nan,
        "gap_last": gaps[-1] if len(gaps) else np.nan,
        "spend": lines["amount"].sum(),
        "spend_per_order": lines["amount"].sum() / len(orders),
        "total_quantity": lines["quantity"].sum(),
        "distinct_item": lines["item"][lines["item"] >= 0].nunique(),
    }
    for days in (7, 14, 28, 56, 91):
        values[f"orders_{days}d"] = (orders >= cutoff - days).sum()
        values[f"spend_{days}d"] = lines["amount"][lines["day"] >= cutoff - days].sum()
    return values


@pytest.mark.parametrize("cutoff", [1.0, 40.25, 150.0])
def test_equal_plain_python(tmp_path: Path, cutoff: float) -> None:
    log = random_log()
    store = make_store(tmp_path / "s", log)
    snapshots, _ = scoring_snapshots(store, round(cutoff * DAY), rule())
    found = rfm_features(store, snapshots)
    expected = pd.DataFrame([reference(log[log["customer"] == customer], cutoff) for customer in snapshots.customer])
    np.testing.assert_allclose(found[expected.columns], expected.astype(float), rtol=1e-5, atol=1e-4)


def test_the_future_and_other_customers_leave_no_trace(tmp_path: Path) -> None:
    """Bit-equal after everything at or after the cutoff, and every other customer's amounts, were replaced."""
    log, other = random_log(0), random_log(1)
    before = log["day"] < 100
    mixed = pd.concat([log[before], other[other["day"] >= 100]], ignore_index=True)
    mixed.loc[mixed["customer"] != 7, "amount"] *= 1.37
    found, changed = (features(make_store(tmp_path / name, table), 100) for name, table in (("a", log), ("b", mixed)))
    free_of_amounts = [name for name in found if not name.startswith("spend")]
    pd.testing.assert_frame_equal(found[free_of_amounts], changed[free_of_amounts], check_exact=True)
    assert not found["spend"].equals(changed["spend"])
    pd.testing.assert_series_equal(found.loc[7], changed.loc[7], check_exact=True)


def test_a_mixture_of_cutoffs_equals_one_at_a_time(tmp_path: Path) -> None:
    store = make_store(tmp_path / "s", random_log())
    parts = [scoring_snapshots(store, day * DAY, rule())[0] for day in (50, 120)]
    names = ("customer", "cutoff", "split", "label", "start", "stop", "recent")
    both = Snapshots(
        **{name: np.concatenate([getattr(part, name) for part in parts]) for name in names}, horizon_days=28, gap_days=0
    )
    together = rfm_features(store, both)
    pd.testing.assert_frame_equal(
        together, pd.concat([rfm_features(store, part) for part in parts], ignore_index=True), check_exact=True
    )


def test_without_amount_and_item_only_behaviour_is_left(tmp_path: Path) -> None:
    found = features(make_store(tmp_path / "s", random_log(), fields=[]), 100, windows_days=(28,))
    assert not [name for name in found if name.startswith(("spend", "total", "distinct"))]
    assert [name for name in found if name.startswith("orders_")] == ["orders_28d"]
    assert found["orders"].notna().all()


def test_static_attributes_keep_their_gaps(tmp_path: Path) -> None:
    static = pd.DataFrame({"age": ["19-24", None, "65+"], "children": [1.0, 2.0, np.nan]})
    log = pd.DataFrame({"customer": [0, 1, 2], "day": [5, 60, 7], "item": 1, "amount": 1.0, "quantity": 1.0})
    found = features(make_store(tmp_path / "s", log, static=static), 50)  # customer 1 is not there yet
    assert found["static_age"].tolist() == ["19-24", "65+"]
    assert found["static_children"].dtype == np.float32
    assert found["static_children"].isna().tolist() == [False, True]
    later = features(make_store(tmp_path / "t", log, static=static), 70)
    assert later["static_age"].isna().tolist() == [False, True, False]
