"""Targets: spend and orders of the label window equal a loop over the log, half-open, censored where the window is not
over.
"""

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from clm_dl.data.open import open_store
from clm_dl.data.snapshots.snapshots import build_snapshots
from clm_dl.run import Run
from clm_dl.tasks.value.window import window_orders, window_spend


@pytest.mark.parametrize("gap_days", [0, 7])
def test_equal_to_a_loop_over_the_log(run: Run, shop_log: pd.DataFrame, gap_days: int) -> None:
    store = open_store(run.config["data"], run.config["paths"])
    snapshots = build_snapshots(store, **{**run.config["snapshots"], "gap_days": gap_days})
    spend, orders = window_spend(store, snapshots), window_orders(store, snapshots)
    assert not np.isnan(spend).any()
    ids, cutoffs = store.customer_ids[snapshots.customer], pd.to_datetime(snapshots.cutoff, unit="us")
    for row in np.random.default_rng(0).choice(len(snapshots), 60, replace=False):
        opened = cutoffs[row] + pd.Timedelta(days=gap_days)
        lines = shop_log[shop_log["cust"].astype(str) == str(ids[row])]
        lines = lines[(lines["ts"] >= opened) & (lines["ts"] < opened + pd.Timedelta(days=snapshots.horizon_days))]
        assert spend[row] == pytest.approx(lines["spend"].sum(), abs=1e-4)
        assert orders[row] == lines["ts"].nunique()


def test_a_window_that_is_not_over_is_censored(run: Run) -> None:
    store = open_store(run.config["data"], run.config["paths"])
    snapshots = build_snapshots(store, **run.config["snapshots"])
    moved = snapshots.select(np.arange(4))
    moved.cutoff[:2] = store.end - 1
    assert np.isnan(window_spend(store, moved)).tolist() == [True, True, False, False]
    assert np.isnan(window_orders(store, moved)).tolist() == [True, True, False, False]


def test_returns_are_refused_or_ignored_and_amounts_are_needed(
    train: Callable[..., Run], shop_log: pd.DataFrame, tmp_path
) -> None:
    returned = shop_log.copy()
    returned.loc[returned.index[:50], "spend"] = -5.0
    returned.to_csv(tmp_path / "returned.csv", index=False)
    shop_log.to_csv(tmp_path / "clean.csv", index=False)
    settings = train("encoder=none", "baselines=[base_rate]", "bootstrap=5").config

    def store_of(name: str, **roles: str | None):
        data = {**settings["data"], "path": str(tmp_path / name)}
        return open_store(
            {**data, "roles": {**data["roles"], **roles}}, {**settings["paths"], "data_dir": str(tmp_path)}
        )

    store = store_of("returned.csv")
    snapshots = build_snapshots(store, **settings["snapshots"])
    with pytest.raises(ValueError, match=r"50 lines have an amount below 0.*set task\.returns=ignore") as raised:
        window_spend(store, snapshots)
    assert "\n" not in str(raised.value)
    clean = store_of("clean.csv")
    assert (
        window_spend(store, snapshots, returns="ignore")
        <= window_spend(clean, build_snapshots(clean, **settings["snapshots"]))
    ).all()
    with pytest.raises(ValueError, match=r"task\.returns must be one of refuse, ignore, got 'net'"):
        window_spend(store, snapshots, returns="net")
    bare = store_of("clean.csv", amount=None)
    with pytest.raises(ValueError, match=r"no data\.roles\.amount"):
        window_spend(bare, build_snapshots(bare, **settings["snapshots"]))
