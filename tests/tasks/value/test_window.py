"""Targets: spend and orders of the label window by hand and by a loop over the log, half-open, censored if not over."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from support import rule, snapshots_of

from clm_dl.data.log.prepare import prepare_store
from clm_dl.data.open import open_store
from clm_dl.data.snapshots.cutoffs import DAY
from clm_dl.data.snapshots.scoring import scoring_snapshots
from clm_dl.data.store.files import write_store
from clm_dl.data.store.store import Field
from clm_dl.run import Run
from clm_dl.tasks.value.window import window_orders, window_spend

LINES = [  # customer, time, amount: powers of two, so that a sum tells its parts
    ("ann", "2021-01-01 12:00", 1024.0),
    ("ann", "2021-01-10 23:59:59.999999", 512.0),
    ("ann", "2021-01-11", 1.0),  # the first cutoff
    ("ann", "2021-01-13 23:59:59.999999", 2.0),
    ("ann", "2021-01-14", 4.0),  # three days of gap are over
    ("ann", "2021-01-17 12:00", 8.0),
    ("ann", "2021-01-17 12:00", 16.0),  # one order with the line before
    ("ann", "2021-01-20 23:59:59.999999", 32.0),
    ("ann", "2021-01-21", 64.0),  # the window is over
    ("bob", "2021-01-02", 1.0),
    ("bob", "2021-01-15", None),
    ("bob", "2021-01-24", 2.0),
    ("bob", "2021-01-31", 4.0),
    ("bob", "2021-02-10", 8.0),  # the end of the data
    ("cid", "2021-01-03", 1.0),
]


@pytest.mark.parametrize(
    ("gap", "horizon", "spend", "orders"),  # days; of ann, bob and cid at each of the three cutoffs
    [
        (0, 10, [[63, 0, 0], [64, 2, 0], [0, 4, 0]], [[5, 1, 0], [1, 1, 0], [0, 1, 0]]),
        (3, 7, [[60, 0, 0], [0, 2, 0], [0, 0, 0]], [[3, 1, 0], [0, 1, 0], [0, 0, 0]]),
    ],
)
def test_windows_by_hand(tmp_path: Path, gap: int, horizon: int, spend: list, orders: list) -> None:
    """What happens at cutoff + gap is in the window, at cutoff + gap + horizon not any more."""
    frame = pd.DataFrame(LINES, columns=["cust", "ts", "spend"])
    roles = {"customer": "cust", "time": "ts", "amount": "spend"}
    store = prepare_store({"frame": frame, "roles": roles, "end": "2021-02-10"}, tmp_path / "store")
    dates = {"train": ["2021-01-11"], "val": ["2021-01-21"], "test": ["2021-01-31"]}
    snapshots = snapshots_of(store, horizon_days=horizon, gap_days=gap, **dates)
    assert window_spend(store, snapshots).reshape(3, 3).tolist() == spend
    assert window_orders(store, snapshots).reshape(3, 3).tolist() == orders


@pytest.mark.parametrize("gap_days", [0, 7])
def test_equal_to_a_loop_over_the_log(run: Run, shop_log: pd.DataFrame, gap_days: int) -> None:
    store = open_store(run.config["data"], run.config["paths"])
    snapshots = snapshots_of(store, **{**run.config["snapshots"], "gap_days": gap_days})
    spend, orders = window_spend(store, snapshots), window_orders(store, snapshots)
    assert not np.isnan(spend).any()
    ids, cutoffs = store.customer_ids[snapshots.customer], pd.to_datetime(snapshots.cutoff, unit="us")
    for row in np.random.default_rng(0).choice(len(snapshots), 60, replace=False):
        opened = cutoffs[row] + pd.Timedelta(days=gap_days)
        lines = shop_log[shop_log["cust"].astype(str) == str(ids[row])]
        lines = lines[(lines["ts"] >= opened) & (lines["ts"] < opened + pd.Timedelta(days=snapshots.horizon_days))]
        assert spend[row] == pytest.approx(lines["spend"].sum(), abs=1e-4)
        assert orders[row] == lines["ts"].nunique()


def test_the_window_of_a_daily_log_is_half_open_and_known_once_the_data_ends_with_it(tmp_path: Path) -> None:
    second = [32, 33, 39, 40]  # day of the second order of four customers; the window is [33, 40)
    for end, known in ((40 * DAY, True), (40 * DAY - 1, False)):
        store = write_store(
            tmp_path / str(known),
            customer_ids=np.arange(4),
            offsets=np.arange(0, 9, 2),
            time=np.array([[0, day] for day in second]).ravel() * DAY,
            columns={"amount": np.full(8, 2.5)},
            fields=[Field("amount", "numeric", "amount")],
            dictionaries={},
            end=end,
            fingerprint="test",
        )
        snapshots, _ = scoring_snapshots(store, 30 * DAY, rule(horizon_days=7, gap_days=3))
        orders = np.array([0, 1, 1, 0]) if known else np.full(4, np.nan)
        np.testing.assert_array_equal(window_orders(store, snapshots), orders)
        np.testing.assert_array_equal(window_spend(store, snapshots), 2.5 * orders)


def test_a_window_that_is_not_over_is_censored(run: Run) -> None:
    store = open_store(run.config["data"], run.config["paths"])
    snapshots = snapshots_of(store, **run.config["snapshots"])
    moved = snapshots.select(np.arange(4))
    last = store.end - int((snapshots.gap_days + snapshots.horizon_days) * DAY)  # the latest whose window is over
    moved.cutoff[:3] = [store.end - 1, last + 1, last]
    assert np.isnan(window_spend(store, moved)).tolist() == [True, True, False, False]
    assert np.isnan(window_orders(store, moved)).tolist() == [True, True, False, False]


def test_returns_are_refused_or_ignored_and_amounts_are_needed(
    run: Run, shop_log: pd.DataFrame, tmp_path: Path
) -> None:
    returned = shop_log.copy()
    returned.loc[returned.index[:50], "spend"] = -5.0
    returned.to_csv(tmp_path / "returned.csv", index=False)
    returned.assign(spend=returned["spend"].clip(lower=0)).to_csv(tmp_path / "zeroed.csv", index=False)
    shop_log.to_csv(tmp_path / "clean.csv", index=False)
    settings = run.config

    def store_of(name: str, **roles: str | None):
        data = {**settings["data"], "path": str(tmp_path / name)}
        return open_store(
            {**data, "roles": {**data["roles"], **roles}}, {**settings["paths"], "data_dir": str(tmp_path)}
        )

    store = store_of("returned.csv")
    snapshots = snapshots_of(store, **settings["snapshots"])
    with pytest.raises(ValueError, match=r"50 lines have an amount below 0.*set task\.returns=ignore") as raised:
        window_spend(store, snapshots)
    assert "\n" not in str(raised.value)
    zeroed, clean = store_of("zeroed.csv"), store_of("clean.csv")
    found = window_spend(store, snapshots, returns="ignore")
    np.testing.assert_array_equal(found, window_spend(zeroed, snapshots_of(zeroed, **settings["snapshots"])))
    assert found.sum() < window_spend(clean, snapshots_of(clean, **settings["snapshots"])).sum()
    with pytest.raises(ValueError, match=r"task\.returns must be one of refuse, ignore, got 'net'"):
        window_spend(store, snapshots, returns="net")
    bare = store_of("clean.csv", amount=None)
    with pytest.raises(ValueError, match=r"no data\.roles\.amount"):
        window_spend(bare, snapshots_of(bare, **settings["snapshots"]))
