"""What contacting the highest scored earns.

Shapes: K points of the curve.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from clm_dl.evaluation.ranked import Ranking, divide
from clm_dl.tasks.churn.scores import ScoreTable

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class ProfitCurve:
    """Profit per snapshot when the top `fraction` is contacted: both [K]; `best` is the index of the maximum."""

    fraction: Floats
    profit: Floats

    @property
    def best(self) -> int:
        return int(np.argmax(self.profit)) if len(self.profit) else 0

    def at(self, fraction: float) -> float:
        return float(np.interp(fraction, self.fraction, self.profit))


def expected_profit_curve(
    label: ArrayLike, score: ArrayLike, *, benefit: float, cost: float, points: int = 201
) -> ProfitCurve:
    """Profit of contacting the top fraction: `benefit` for every positive reached, `cost` for every contact, per
    snapshot scored.

    The curve starts at 0 (contact nobody), so its maximum is never negative. Ties are expected values.
    """
    fraction_K, total = np.linspace(0, 1, points), len(np.asarray(label))
    reached_K = Ranking(label, score)(tops=fraction_K.tolist()).top[0]
    return ProfitCurve(fraction_K, divide(benefit * reached_K - cost * fraction_K * total, np.full(points, total)))


def profit_by_model(test: ScoreTable, val: ScoreTable, *, benefit: float, cost: float) -> dict[str, Any]:
    """Per model: the share to contact, chosen on validation, its profit a test snapshot, and the best in hindsight."""
    models = {}
    for name, score_N in test.score.items():
        curve = expected_profit_curve(test.label, score_N, benefit=benefit, cost=cost)
        found = {"best_fraction": float(curve.fraction[curve.best]), "best_profit": float(curve.profit[curve.best])}
        if name in val.score and len(val):
            before = expected_profit_curve(val.label, val.score[name], benefit=benefit, cost=cost)
            fraction = float(before.fraction[before.best])
            found |= {"fraction": fraction, "profit": curve.at(fraction)}
        models[name] = found
    return {"benefit": benefit, "cost": cost, "models": models}
