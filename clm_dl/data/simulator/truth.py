"""The true survival curve of simulated customers (order world): P(active through each horizon), given everything before
the cutoff.

Shapes: N snapshots, S horizons, P periods ahead, G points of the grid of moods.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from clm_dl.data.simulator.worlds import MEMORY, PERIOD, START, leave_chance
from clm_dl.data.snapshots.cutoffs import DAY
from clm_dl.data.snapshots.snapshots import Snapshots
from clm_dl.data.store.history import count_before
from clm_dl.data.store.store import EventStore
from clm_dl.errors import UserError

# moods lie within 1 / (1 − MEMORY); linear interpolation between these errs by less than 1e-6
GRID = np.linspace(-2.5, 2.5, 4001)


def true_survival(store: EventStore, snapshots: Snapshots, horizons_days: Sequence[float]) -> np.ndarray:
    """Float `[N, S]`: the chance that the last visit of all is at or after cutoff + horizon.

    Whoever stays is back within 28 days, so a silence of 28 days or more is leaving. The chance is exact but for
    interpolation: a posterior of having left already, then an expectation over the moods of the visits to come, each
    good or bad with equal chance.

    Raises:
        ValueError: another world, a cutoff or horizon that is not a midnight, or a silence of less than 28 days.
    """
    path = store.path / "truth.parquet"
    truth = pd.read_parquet(path) if path.is_file() else pd.DataFrame()
    if "leave" not in truth:
        raise UserError(
            f"the store {store.path} is not of the simulator's order world: only there the true time of leaving is "
            "known"
        )
    days = np.asarray(horizons_days, dtype=float)
    if snapshots.horizon_days < 2 * PERIOD or (days % 1).any() or ((snapshots.cutoff - START) % DAY).any():
        raise UserError(
            f"the true curve needs cutoffs at midnight, whole days and snapshots.horizon_days of at least {2 * PERIOD}"
        )
    offsets = np.searchsorted(truth["customer"], np.arange(store.num_customers + 1))
    row_N = (
        offsets[snapshots.customer]
        + count_before(offsets, truth["time"].to_numpy(), snapshots.customer, snapshots.cutoff)
        - 1
    )
    last, cutoff_N = truth.iloc[row_N], (snapshots.cutoff - START) // DAY
    leave_N = last["leave"].to_numpy()
    next_N = (last["time"].to_numpy() - START) // DAY // PERIOD + 1  # the period of the next visit, if there is one
    end_N = (next_N + 1) * PERIOD
    silent_N = np.clip(end_N - cutoff_N, 0, PERIOD) / PERIOD  # P(no visit before the cutoff | stays)
    stays_N = (1 - leave_N) * silent_N / (leave_N + (1 - leave_N) * silent_N)

    until_NS = cutoff_N[:, None] + days.astype(np.int64)
    ahead_NS = until_NS // PERIOD - next_N[:, None]  # periods from that of the next visit to that of the horizon
    visits_NP = _visits(leave_N, int(ahead_NS.max()) + 2)
    whole_NS = PERIOD - until_NS % PERIOD  # days left of the horizon's period, of a visit drawn evenly from all of it
    first_NS = (
        np.clip(end_N[:, None] - until_NS, 0, None)
        / np.clip(end_N - np.maximum(cutoff_N, end_N - PERIOD), 1, None)[:, None]
    )
    later_NS = np.where(ahead_NS == 0, first_NS, whole_NS / PERIOD)
    rows, place_NS = np.arange(len(row_N))[:, None], np.clip(ahead_NS, 0, None)
    reached_NS = later_NS * visits_NP[rows, place_NS] + (1 - later_NS) * visits_NP[rows, place_NS + 1]
    result: np.ndarray = stays_N[:, None] * np.where(ahead_NS < 0, 1.0, reached_NS)
    return result


def _visits(leave_N: np.ndarray, num_periods: int) -> np.ndarray:
    """`[N, P]`: P(a visit in the p-th period after the next visit's | stays); a visit is the last: `leave_N`."""
    mood_N = (np.log((1 - leave_N) / leave_N) - 2.0) / 1.5  # the inverse of leave_chance
    stays_G, chance_G = 1 - leave_chance(GRID), np.ones_like(GRID)
    columns = []
    for _ in range(num_periods):
        columns.append(_next_visit(chance_G, mood_N))
        chance_G = stays_G * _next_visit(chance_G, GRID)
    return np.stack(columns, axis=1)


def _next_visit(chance_G: np.ndarray, mood: np.ndarray) -> np.ndarray:
    """The expectation of a function of the mood, over the next visit of customers of `mood`."""
    good, bad = (np.interp(MEMORY * mood + sign, GRID, chance_G) for sign in (1.0, -1.0))
    return np.asarray((good + bad) / 2)
