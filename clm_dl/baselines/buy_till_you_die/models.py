"""Buy till you die: customers buy at a rate of their own until they leave unseen: BG/NBD, MBG/NBD, Pareto/NBD."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.special import betaln, digamma, expit, gammaln, hyp2f1

from clm_dl.baselines.buy_till_you_die.gamma_gamma import GammaGamma
from clm_dl.baselines.buy_till_you_die.likelihood import ConvergenceError
from clm_dl.baselines.buy_till_you_die.purchase_model import PurchaseModel
from clm_dl.errors import UserError

__all__ = ["BetaGeo", "ConvergenceError", "GammaGamma", "ModifiedBetaGeo", "ParetoNBD"]


class BetaGeo(PurchaseModel):
    """BG/NBD: rate ~ Gamma(r, alpha); after each repeat purchase one leaves with chance p ~ Beta(a, b).

    Fader, Hardie, Lee (2005), "Counting your customers" the easy way, Marketing Science 24(2).
    """

    names = ("r", "alpha", "a", "b")
    starts = ((-0.7, -0.7, -0.7, 0.5), (0.0, 0.0, 0.0, 0.0), (-1.0, -2.0, -2.0, 1.0), (1.0, 0.0, -1.0, 2.0))
    r_: float
    alpha_: float
    a_: float
    b_: float
    at_first = 0  # 1: one may leave after the first purchase, too

    def _likelihood(
        self, theta: np.ndarray, x: np.ndarray, t_x: np.ndarray, T: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        r, alpha, a, b = np.exp(theta)
        stays = b + x + self.at_first  # of the Beta posterior of whoever is alive
        alive, left = self._parts(np.exp(theta), x, t_x, T)
        value = gammaln(r + x) - gammaln(r) + r * theta[1] + betaln(a, stays) - betaln(a, b) + np.logaddexp(alive, left)
        p_alive = expit(alive - left)
        p_left = 1 - p_alive
        slope = [
            r * (digamma(r + x) - digamma(r) + theta[1] - p_alive * np.log(alpha + T) - p_left * np.log(alpha + t_x)),
            r - alpha * (r + x) * (p_alive / (alpha + T) + p_left / (alpha + t_x)),
            a * (digamma(a + b) - digamma(a + stays)) + p_left,
            b
            * (
                digamma(stays)
                - digamma(a + stays)
                - digamma(b)
                + digamma(a + b)
                - p_left / np.where(p_left > 0, stays - 1, 1.0)
            ),
        ]
        return value, np.stack(slope)

    def _log_odds(self, x: np.ndarray, t_x: np.ndarray, T: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return self._parts((self.r_, self.alpha_, self.a_, self.b_), x, t_x, T)

    def _parts(self, parameters: Any, x: np.ndarray, t_x: np.ndarray, T: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        r, alpha, a, b = parameters
        before = b + x + self.at_first - 1  # B(a + 1, before) / B(a, before + 1) = a / before
        could_leave = (x > 0) | bool(self.at_first)
        left = np.log(a) - np.log(np.where(could_leave, before, 1.0)) - (r + x) * np.log(alpha + t_x)
        return -(r + x) * np.log(alpha + T), np.where(could_leave, left, -np.inf)

    def _purchases_alive(self, horizon: np.ndarray, x: np.ndarray, T: np.ndarray) -> np.ndarray:
        a = self.a_ if abs(self.a_ - 1) > 1e-6 else 1 + 1e-6  # 0/0 at 1, smooth around it
        stays, shape = self.b_ + x + self.at_first, self.r_ + x
        log_shrink = np.log(self.alpha_ + T) - np.log(self.alpha_ + T + horizon)
        total = a + stays - 1
        total = np.where(np.abs(total) > 1e-7, total, 1e-7)  # 0 · ∞ at 0
        # Euler's transformation of the published form, where that one's series would be long or overflow
        euler = shape > a - 1
        first, second = np.where(euler, total - shape, shape), np.where(euler, a - 1, stays)
        series = hyp2f1(first, second, total, -np.expm1(log_shrink))
        purchases = np.asarray(total / (a - 1) * (1 - np.exp(np.where(euler, a - 1, shape) * log_shrink) * series))
        if not np.isfinite(purchases).all():
            raise UserError(
                f"a horizon of {horizon.max():g} is too long for histories of {T.min():g} to {T.max():g}: give a "
                "shorter one"
            )
        return purchases


class ModifiedBetaGeo(BetaGeo):
    """MBG/NBD: as BG/NBD, but one may leave after the first purchase, so that single buyers need not stay for ever.

    Batislam, Denizel, Filiztekin (2007), Empirical validation and comparison of models for customer base analysis, IJRM
    24(3).
    """

    at_first = 1


class ParetoNBD(PurchaseModel):
    """Pareto/NBD: rate ~ Gamma(r, alpha); one leaves at any time, at a rate ~ Gamma(s, beta).

    Schmittlein, Morrison, Colombo (1987); Fader, Hardie (2005), A note on deriving the Pareto/NBD model. The integral
    over the time of leaving is taken by Gauss-Legendre quadrature on a log scale, where the integrand is smooth,
    instead of as a difference of two hypergeometric functions, which cancels.
    """

    r_: float
    alpha_: float
    s_: float
    beta_: float
    names = ("r", "alpha", "s", "beta")
    starts = ((-0.5, -0.7, -0.5, -0.7), (0.0, 0.0, 0.0, 0.0), (-1.0, -2.0, -1.0, 1.0), (1.0, 1.0, -1.0, -1.0))

    def _likelihood(
        self, theta: np.ndarray, x: np.ndarray, t_x: np.ndarray, T: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        r, alpha, s, beta = np.exp(theta)
        alive, left, means = self._parts(np.exp(theta), x, t_x, T)
        value = gammaln(r + x) - gammaln(r) + r * theta[1] + s * theta[3] + np.logaddexp(alive, left)
        p_alive = expit(alive - left)
        p_left = 1 - p_alive
        log_alpha, over_alpha, log_beta, over_beta = means
        slope = [
            r * (digamma(r + x) - digamma(r) + theta[1] - p_alive * np.log(alpha + T) - p_left * log_alpha),
            r - alpha * (r + x) * (p_alive / (alpha + T) + p_left * over_alpha),
            s * (theta[3] - p_alive * np.log(beta + T) - p_left * log_beta) + p_left,
            s - beta * (p_alive * s / (beta + T) + p_left * (s + 1) * over_beta),
        ]
        return value, np.stack(slope)

    def _log_odds(self, x: np.ndarray, t_x: np.ndarray, T: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        shape = np.broadcast_shapes(x.shape, T.shape)
        flat = [np.broadcast_to(values, shape).ravel() for values in (x, t_x, T)]
        alive, left, _ = self._parts((self.r_, self.alpha_, self.s_, self.beta_), *flat)
        return alive.reshape(shape), left.reshape(shape)

    @staticmethod
    def _parts(
        parameters: Any, x: np.ndarray, t_x: np.ndarray, T: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, tuple[np.ndarray, ...]]:
        """As `_log_odds`; and means over the time u of leaving: of log(alpha + u), 1 / (alpha + u), same of beta."""
        r, alpha, s, beta = parameters
        low = min(alpha, beta)
        drop = 36.0  # beyond the u where one factor has fallen by e^−36 there is nothing
        reach = (alpha + t_x) * np.expm1(np.minimum(drop / (r + x), 50.0))
        reach = np.minimum(reach, (beta + t_x) * np.expm1(min(drop / s, 50.0)))
        width = np.log1p(np.minimum(T - t_x, reach) / (low + t_x))
        rise = np.exp(width[:, None] * NODES) * (low + t_x)[:, None]  # low + u, [N, nodes]
        log_low = np.log(low + t_x)[:, None] + width[:, None] * NODES
        high = rise + (max(alpha, beta) - low)
        log_high = np.log(high)
        a_u, b_u, log_a, log_b = (rise, high, log_low, log_high) if alpha <= beta else (high, rise, log_high, log_low)
        log_f = log_low - (r + x)[:, None] * log_a - (s + 1) * log_b
        top = log_f.max(axis=1, keepdims=True)
        f = np.exp(log_f - top) * WEIGHTS
        total = f.sum(axis=1)
        with np.errstate(divide="ignore"):
            left = np.log(s) + np.log(width) + top[:, 0] + np.log(total)  # −inf where T = t_x
        means = tuple(np.einsum("ij,ij->i", f, values) / total for values in (log_a, 1 / a_u, log_b, 1 / b_u))
        return -(r + x) * np.log(alpha + T) - s * np.log(beta + T), left, means

    def _purchases_alive(self, horizon: np.ndarray, x: np.ndarray, T: np.ndarray) -> np.ndarray:
        log_growth = np.log1p(horizon / (self.beta_ + T))
        power = self.s_ - 1
        integral = log_growth if abs(power) < 1e-9 else -np.expm1(-power * log_growth) / power
        return np.asarray((self.r_ + x) * (self.beta_ + T) / (self.alpha_ + T) * integral)


_points, _weights = np.polynomial.legendre.leggauss(32)
NODES, WEIGHTS = (_points + 1) / 2, _weights / 2  # on [0, 1]
