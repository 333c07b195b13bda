"""SnapshotRule: the group `snapshots`: who is asked, when, and for which label window."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Any

from clm_dl.data.zone import Zone
from clm_dl.errors import UserError
from clm_dl.options import Within

Days = Annotated[float, Within(high=100_000)]
Dates = str | tuple[Any, ...] | None  # "auto" or dates


@dataclass(frozen=True)
class SnapshotRule:
    """Which snapshots there are; days may be fractions. The defaults stand in configs/snapshots/events.yaml.

    Attributes:
        horizon_days, gap_days: the label window is [cutoff + gap, cutoff + gap + horizon).
        every_days: step of the grid of `auto` cutoffs.
        active_days: population rule, an event in [cutoff − N, cutoff); None = everyone with an event before the cutoff.
        recent_days: of the `recent` flag; None = the horizon.
        val_customers: share of the customers kept out of training and scored at the training cutoffs; then there are no
            validation cutoffs.
        folds: rolling-origin folds. train, val, test: dates, or "auto".
        label_share: share of the customers whose labels training may see; the training snapshots of the others are left
            out. label_seed: of the choice of these customers.
    """

    horizon_days: Days
    gap_days: Days
    every_days: Days
    active_days: Days | None
    recent_days: Days | None
    val_customers: float
    folds: Annotated[int, Within(high=1000)]
    train: Dates
    val: Dates
    test: Dates
    label_share: float
    label_seed: Annotated[int, Within(0)]

    def __post_init__(self) -> None:
        for name in ("horizon_days", "every_days", "active_days", "recent_days"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise UserError(f"snapshots.{name} must be > 0 days, got {value}")
        if not self.gap_days >= 0:
            raise UserError(f"snapshots.gap_days must be ≥ 0, got {self.gap_days}")
        if not 0 <= self.val_customers < 1:
            raise UserError(
                f"snapshots.val_customers is a share of the customers and must be in [0, 1), got {self.val_customers}"
            )
        if not self.folds >= 1:
            raise UserError(f"snapshots.folds must be ≥ 1, got {self.folds}")
        if not 0 < self.label_share <= 1:
            raise UserError(f"snapshots.label_share must be above 0 and at most 1, got {self.label_share}")

    def check_dates(self, zone: Zone) -> None:
        """Raise UserError where listed cutoffs are no dates, or those of a later split do not come later."""
        named: dict[str, list[int]] = {}
        for split in ("train", "val", "test"):
            dates = getattr(self, split)
            if isinstance(dates, str) and dates == "auto":
                continue
            if not isinstance(dates, (tuple, list)):
                raise UserError(f"snapshots.{split} must be auto or a list of dates, got {dates!r}")
            if not dates and not (split == "val" and self.val_customers):
                raise UserError(f"snapshots.{split} has no dates, so give auto or at least one date")
            named[split] = [zone.parse(date, f"a date of snapshots.{split}") for date in dates]
        given = [split for split, moments in named.items() if moments]
        for early, late in pairwise(given):
            if max(named[early]) >= min(named[late]):
                raise UserError(
                    f"splits overlap: the last date of snapshots.{early}, {zone.iso(max(named[early]))}, does not lie "
                    f"before the first of snapshots.{late}, {zone.iso(min(named[late]))}"
                )

    @property
    def recency_days(self) -> float:
        """Who was active in the last so many days is `recent`."""
        return self.horizon_days if self.recent_days is None else self.recent_days
