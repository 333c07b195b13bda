"""clm_dl: deep learning over customer event sequences for customer lifecycle management."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from clm_dl.api import Churn
    from clm_dl.run import Run, load_run

__version__ = "0.1.0"
__all__ = ["Churn", "Run", "load_run"]
_HOMES = {"Churn": "clm_dl.api", "Run": "clm_dl.run", "load_run": "clm_dl.run"}


def __getattr__(name: str) -> Any:
    """Import the public names when they are first used: torch takes seconds, `import clm_dl` none."""
    if name not in _HOMES:
        raise AttributeError(f"module 'clm_dl' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
