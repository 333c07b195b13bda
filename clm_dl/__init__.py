"""clm_dl: deep learning over customer event sequences for customer lifecycle management."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

# Before torch starts OpenMP: threads that wait by spinning cost up to 20 times the CPU as soon as the cores are shared.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

if TYPE_CHECKING:
    from clm_dl.api import Churn, NextItem, Survival, Value
    from clm_dl.run import Run, load_run
    from clm_dl.sweep import Sweep, load_sweep

__version__ = "0.1.0"
__all__ = ["Churn", "NextItem", "Run", "Survival", "Sweep", "Value", "load_run", "load_sweep"]
_HOMES = {
    **dict.fromkeys(("Churn", "NextItem", "Survival", "Value"), "clm_dl.api"),
    **dict.fromkeys(("Run", "load_run"), "clm_dl.run"),
    **dict.fromkeys(("Sweep", "load_sweep"), "clm_dl.sweep"),
}


def __getattr__(name: str) -> Any:
    """Import the public names when they are first used: torch takes seconds, `import clm_dl` none."""
    if name not in _HOMES:
        raise AttributeError(f"module 'clm_dl' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
