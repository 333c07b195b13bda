"""The true survival curve: what simulated customers do, at cutoffs between and within periods, and what it refuses."""

import numpy as np
import pytest
from support import snapshots_of

from clm_dl.data.simulator.truth import true_survival
from clm_dl.data.simulator.worlds import START, oracle_probability, write_simulated
from clm_dl.tasks.survival.durations import lifetimes

DATA = {"name": "simulator", "world": "order", "num_customers": 20_000, "num_days": 448, "seed": 3}
HORIZONS = [0, 6, 14, 35, 70, 140]


def day(number: int) -> str:
    return str(np.datetime64(START, "us") + np.timedelta64(number, "D"))[:10]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return write_simulated(DATA, tmp_path_factory.mktemp("simulator") / "store")


@pytest.mark.parametrize("test", [266, 271])  # between two periods, and within one
def test_truth_is_calibrated_at_every_horizon(store, test):
    snapshots = snapshots_of(store, horizon_days=28, active_days=30, train=[day(112)], val=[day(168)], test=[day(test)])
    snapshots = snapshots.select(snapshots.split == "test")  # one cutoff, so that the snapshots are independent
    truth = true_survival(store, snapshots, HORIZONS)
    active = lifetimes(store, snapshots, {"name": "no_event"}).active(HORIZONS)
    assert not np.isnan(active).any()
    assert (np.diff(truth, axis=1) <= 1e-12).all()
    for chance, label in zip(truth.T, active.T, strict=True):
        for part in np.array_split(np.argsort(chance, kind="stable"), 6):
            deviation = np.sqrt((chance[part] * (1 - chance[part])).sum())
            assert abs((label[part] - chance[part]).sum()) <= 4 * deviation + 1e-6
    assert truth[:, 3].std() > 0.1


def test_truth_at_the_cutoff_is_that_of_the_next_28_days(store):
    snapshots = snapshots_of(store, horizon_days=28, active_days=14, train=[day(112)], val=[day(168)], test=[day(271)])
    np.testing.assert_allclose(
        true_survival(store, snapshots, [0])[:, 0], 1 - oracle_probability(store, snapshots), atol=1e-9
    )


def test_what_has_no_truth_is_refused(store, tmp_path):
    rule = {"train": [day(56)], "val": [day(112)], "test": [day(168)]}
    rfm = write_simulated(DATA | {"world": "rfm", "num_customers": 300}, tmp_path / "rfm")
    with pytest.raises(ValueError, match="not of the simulator's order world"):
        true_survival(rfm, snapshots_of(rfm, horizon_days=28, **rule), [0])
    with pytest.raises(ValueError, match="at least 28"):
        true_survival(store, snapshots_of(store, horizon_days=14, **rule), [0])
    with pytest.raises(ValueError, match="whole days"):
        true_survival(store, snapshots_of(store, horizon_days=28, **rule), [0.5])
