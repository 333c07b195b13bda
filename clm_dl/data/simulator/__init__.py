"""Simulated logs whose truth is known."""

from clm_dl.data.simulator.worlds import Simulation, ensure_simulated, simulate

__all__ = ["Simulation", "ensure_simulated", "simulate"]
