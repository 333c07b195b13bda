"""SnapshotRule: the group `snapshots`: who is asked, when, and for which label window."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from clm_dl.errors import UserError

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

    horizon_days: float
    gap_days: float
    every_days: float
    active_days: float | None
    recent_days: float | None
    val_customers: float
    folds: int
    train: Dates
    val: Dates
    test: Dates
    label_share: float
    label_seed: int

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

    @property
    def recency_days(self) -> float:
        """Who was active in the last so many days is `recent`."""
        return self.horizon_days if self.recent_days is None else self.recent_days
