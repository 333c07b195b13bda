"""Gaps between a customer's active days, and the horizon that they suggest.

The rule: the round number of days next to the 80th percentile of the gaps between a customer's active days, so that
four of five who come back do so within it, and at most a sixth of the log, so that training, validation and test
cutoffs fit under `auto`; of these the nearest one where every split has customers who stay and customers who leave.
`active_days` is two to four times it: enough to hold the 90th percentile of the gaps.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np

from clm_dl.data.snapshots.cutoffs import SPLITS, cutoff_grid, split_cutoffs, to_us
from clm_dl.data.zone import DAY, Zone
from clm_dl.errors import UserError

ROUND = (1, 2, 3, 5, 7, 10, 14, 21, 28, 42, 56, 91, 126, 182, 273, 364, 546, 728)
SHORT = (1 / 24, 1 / 12, 1 / 8, 1 / 4, 1 / 2)  # of a log that is over within days
PART = 6  # a horizon is at most this part of the log
QUANTILES = (0.25, 0.5, 0.75, 0.8, 0.9, 0.95)
SECOND = 1_000_000
MOST = 8  # cutoffs of a split that are looked at
FEWEST = 30  # of the rarer class in each split; a figure of less says nothing
RARE = 0.03  # share of the rarer class in training that is wanted


@dataclass(frozen=True)
class Days:
    """The days (or hours, of a short log) with events of each customer: ascending within a customer.

    Attributes:
        customer: int64 `[N]`, from 0, ascending. time: int64 `[N]`, microseconds UTC. first, end: of the log.
        zone: of days. whole: times are days without hours.
    """

    customer: np.ndarray
    time: np.ndarray
    first: int
    end: int
    zone: Zone
    whole: bool

    @property
    def gaps(self) -> np.ndarray:
        """Days from each active day of a customer to the next."""
        same = self.customer[1:] == self.customer[:-1]
        return np.diff(self.time)[same] / DAY

    @property
    def span(self) -> float:
        return (self.end - self.first) / DAY


@dataclass(frozen=True)
class Suggestion:
    """horizon_days, every_days, active_days: of `snapshots`. val_customers: above 0 where no validation cutoff fits.

    churn: share that leaves in each split that has cutoffs. why: in words. fits: whether every split has both classes.
    """

    horizon_days: float
    every_days: float
    active_days: float
    val_customers: float
    churn: dict[str, float]
    why: str
    fits: bool


def suggest(days: Days) -> Suggestion:
    """Horizon and population by the rule above."""
    gaps = days.gaps
    wanted = float(np.quantile(gaps, 0.8)) if len(gaps) else days.span / PART
    longest = days.span / PART
    round_days = [*(() if days.whole else SHORT), *ROUND] if days.span < 2 * PART else list(ROUND)
    fitting = [one for one in round_days if one <= longest] or [round_days[0]]
    near = sorted(fitting, key=lambda one: abs(np.log(one / max(wanted, 1 / 24))))
    far = float(np.quantile(gaps, 0.9)) if len(gaps) else 0.0
    good: list[tuple[Suggestion, float]] = []
    for kept_out, horizon in product((0.0, 0.1), near):
        if (one := _tried(days, horizon, far, kept_out)) is not None:
            good.append(one)
            if one[1] >= 1:
                break
    best = good[-1] if good and good[-1][1] >= 1 else max(good, key=lambda one: one[1], default=None)
    if best is None:
        horizon = near[0]
        return Suggestion(horizon, step(horizon), 3 * horizon, 0.0, {}, "the log is too short for any", False)
    found, enough = best
    why = f"80 % of the gaps are at most {wanted:.3g} days"
    if not len(gaps):
        why = "nobody has come back yet"
    elif wanted > longest:
        why += f", and {days.span:.0f} days of log hold train, validation and test cutoffs of at most {longest:.0f}"
    elif found.horizon_days != near[0]:
        why += f", and with {near[0]:g} days some split has too few who leave or too few who stay"
    return Suggestion(**{**found.__dict__, "why": why, "fits": enough > 0})


def step(horizon: float) -> float:
    """Days from cutoff to cutoff: about half a horizon, in weeks where it has some, so that weekdays stay."""
    if horizon >= 14:
        return 7 * (horizon // 14)
    return horizon // 2 if horizon >= 2 else horizon if horizon == 1 else horizon / 2


def _tried(days: Days, horizon: float, far: float, kept_out: float) -> tuple[Suggestion, float] | None:
    """A horizon with how good it is, 1 or more where every split has enough of both classes; None where none fits."""
    active = horizon * float(np.clip(np.ceil(far / horizon), 2, 4))
    every = step(horizon)
    span = to_us(horizon)
    splits = ("train", "test") if kept_out else SPLITS
    try:
        grid = cutoff_grid(days.first, days.end, span=span, every=to_us(every), zone=days.zone)
        lists = dict.fromkeys(SPLITS, "auto")
        cutoffs = split_cutoffs(grid, lists, first=days.first, end=days.end, span=span, splits=splits, zone=days.zone)
    except UserError:
        return None
    churn, worth = {}, []
    for split in splits:
        some = cutoffs[split][:: -(-len(cutoffs[split]) // MOST)]
        asked, left = _count(days, some, span, to_us(active))
        if not asked:
            return None
        churn[split], rare = left / asked, min(left, asked - left)
        worth.append(min(rare / FEWEST, rare / asked / RARE))
    return Suggestion(horizon, every, active, kept_out, churn, "", True), min(worth)


def _count(days: Days, cutoffs: np.ndarray, span: int, active: int) -> tuple[int, int]:
    """Snapshots at the cutoffs, and those of them without an event in the window of `span` behind."""
    asked = left = 0
    stride = int(days.end - days.first) // SECOND + 2  # seconds, so that customers × time is no more than an int64
    key = days.customer * stride + np.maximum(days.time - days.first, 0) // SECOND
    start = np.arange(int(days.customer[-1]) + 1, dtype=np.int64) * stride
    for cutoff in cutoffs:
        at = start + (int(cutoff) - days.first) // SECOND
        here = np.searchsorted(key, at)
        since = np.searchsorted(key, np.maximum(at - active // SECOND, start))
        after = np.searchsorted(key, np.minimum(at + span // SECOND, start + stride - 1))
        in_population = here > since
        asked += int(in_population.sum())
        left += int((in_population & (after == here)).sum())
    return asked, left
