"""Buy-till-you-die models: customers buy at a rate of their own until they leave unseen; what a purchase is worth."""

from clm_dl.baselines.buy_till_you_die.gamma_gamma import GammaGamma
from clm_dl.baselines.buy_till_you_die.likelihood import ConvergenceError
from clm_dl.baselines.buy_till_you_die.models import BetaGeo, ModifiedBetaGeo, ParetoNBD

__all__ = ["BetaGeo", "ConvergenceError", "GammaGamma", "ModifiedBetaGeo", "ParetoNBD"]
