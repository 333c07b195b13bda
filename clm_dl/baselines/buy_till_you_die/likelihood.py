"""Maximum likelihood of a few positive parameters: logs, analytic gradients, several starts, a sentence on failure."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from scipy.optimize import minimize

LIMIT = 7.0  # a log-parameter that ends here, in units of the data's mean time or amount, has run away
SCREENED = 4_000  # weighted rows on which the starts are compared
TOLERANCE = 1e-5  # largest slope of the mean log-likelihood, per log-parameter, at a maximum

# log-parameters [P] and the index of some rows -> log-likelihood [N] and its slopes in the log-parameters [P, N]
Likelihood = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]


class ConvergenceError(ValueError):
    """No maximum of the likelihood was found: which parameter ran away, or how steep the likelihood still is."""


def maximise(
    likelihood: Likelihood,
    weight: np.ndarray,
    *,
    names: Sequence[str],
    starts: Sequence[Sequence[float]],
    limits: bool = False,
) -> tuple[np.ndarray, float]:
    """The parameters `[P]` (not their logs) with the highest weighted log-likelihood, and that log-likelihood.

    The starts compete on an even sample of the rows; the best one goes on to all of them, in blocks, so that memory
    stays small.

    Args:
        weight: `[N]`, how many customers each row stands for.
        starts: log-parameters, each `[P]`.
        limits: accept a parameter at e^±7: the model without that part of it (no dropout, no heterogeneity).

    Raises:
        ConvergenceError: no start ended at a maximum, or a parameter ran away and `limits` is false.
    """
    everyone = np.arange(len(weight))
    few = everyone[:: max(1, len(weight) // SCREENED)]
    found = [_climb(likelihood, weight, few, np.asarray(start, dtype=float)) for start in starts]
    tried = sorted((answer for answer in found if np.isfinite(answer[1])), key=lambda answer: -answer[1])
    if not tried:
        raise ConvergenceError(
            f"the likelihood of {', '.join(names)} is not finite at any start, so check the units of the data"
        )
    theta, value, slope = _climb(likelihood, weight, everyone, tried[0][0])
    stuck = np.abs(theta) >= LIMIT - 1e-3
    if not np.isfinite(value) or np.abs(slope[~stuck]).max(initial=0.0) > TOLERANCE:
        raise ConvergenceError(
            f"the likelihood of {', '.join(names)} did not converge: its slope is {np.abs(slope).max():.1g} at "
            f"{', '.join(f'{number:.4g}' for number in np.exp(theta))}"
        )
    if stuck.any() and not limits:
        where = int(np.flatnonzero(stuck)[0])
        raise ConvergenceError(
            f"the likelihood has no maximum: {names[where]} runs to {'infinity' if theta[where] > 0 else 'zero'}, so "
            "the data do not tell this model's parameters apart (too few customers, or no spread among them); "
            "limits=True accepts that"
        )
    return np.exp(theta), value


def _climb(
    likelihood: Likelihood, weight: np.ndarray, rows: np.ndarray, start: np.ndarray
) -> tuple[np.ndarray, float, np.ndarray]:
    """Log-parameters, log-likelihood, and the slopes of its mean, where the climb ends."""
    total = float(weight[rows].sum())
    blocks = np.array_split(rows, max(1, len(rows) // 20_000))

    def objective(theta: np.ndarray) -> tuple[float, np.ndarray]:
        value, slope = 0.0, np.zeros(len(theta))
        for block in blocks:
            value_N, slope_PN = likelihood(theta, block)
            value += float(value_N @ weight[block])
            slope += slope_PN @ weight[block]
        return -value / total, -slope / total

    bounds = [(-LIMIT, LIMIT)] * len(start)
    options = {"maxiter": 500, "maxcor": 20, "ftol": 1e-15, "gtol": 1e-9}
    with np.errstate(over="ignore", invalid="ignore"):
        answer = minimize(objective, start, jac=True, method="L-BFGS-B", bounds=bounds, options=options)
    return answer.x, -float(answer.fun) * total, np.asarray(answer.jac)
