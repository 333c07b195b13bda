"""Correction: a line from raw answers to what came true, chosen on older cutoffs, shrunk by how many stand behind it.

It is a line on the scale of a link, link(answer) = slope · link(raw) + intercept: of logits (Platt), of logs of money.
What is fitted at one cutoff holds the season of that cutoff, too, and a season may be over when the answer is wanted.
So raw, intercept alone and the whole line are each fitted at older validation cutoffs and judged at the next one. Of
what is chosen, a change of the size that seasons make is mostly left out, a larger one is taken for a fault of the
model. Validation by customers at the training cutoffs holds no season that training has not seen: nothing is shrunk.

Shapes: N snapshots.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clm_dl.errors import UserError

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
KINDS = ("raw", "intercept", "line")
# how far seasons are taken to move, by choice and not by a fit, the level (in logits or logs) and the log slope
LEVEL, SLOPE = 0.3, 0.15
FLATTEST = 0.05  # slope whose logarithm is taken at least


@dataclass(frozen=True)
class Line:
    """link(answer) = slope · link(raw) + intercept."""

    slope: float = 1.0
    intercept: float = 0.0

    def __call__(self, x_N: Floats) -> Floats:
        return self.slope * x_N + self.intercept

    def shrunk(self, center: float, cutoffs: int) -> Line:
        """Towards raw: level (at `center`, the mean of link(raw)) and log slope d to d³ / (d² + s² / cutoffs)."""
        level, slope = float(self.slope * center + self.intercept - center), float(np.log(max(self.slope, FLATTEST)))
        level *= level**2 / (level**2 + LEVEL**2 / cutoffs)
        slope = float(np.exp(slope * slope**2 / (slope**2 + SLOPE**2 / cutoffs)))
        return Line(slope, center + level - slope * center)


@dataclass(frozen=True)
class Correction:
    """A chosen line; `judged`: cutoffs that it was chosen on, `cutoffs`: those that it is shrunk by, 0 = not shrunk."""

    line: Line
    kind: str
    judged: int
    cutoffs: int

    def told(self, whole: str) -> str:
        """In words; `whole`: what the line with slope and intercept is called."""
        name = {"raw": "raw", "intercept": "intercept alone", "line": whole}[self.kind]
        where = f"chosen on {self.judged} older cutoff{'s' * (self.judged > 1)}" if self.judged else "not chosen"
        if self.kind == "raw":
            return f"{name}, {where}"
        line = f"slope {self.line.slope:.2f}, intercept {self.line.intercept:+.2f}"
        behind = f", shrunk towards raw: {self.cutoffs} validation cutoff{'s' * (self.cutoffs > 1)}" * bool(
            self.cutoffs
        )
        return f"{name} ({line}), {where}{behind}"


def corrected(
    fit: Callable[[str, Bools], Line],
    loss: Callable[[Line, Bools], float],
    x_N: Floats,
    *,
    cutoff_N: NDArray[np.int64],
    newest_N: Bools,
) -> Correction:
    """The correction of link(raw) `x_N` of validation snapshots whose outcome is known.

    Args:
        fit: the line of a kind on the rows of a mask; ValueError where nothing can be fitted. loss: of a line there.
        newest_N: the rows to fit on: of the newest cutoff, or all where validation is customers at many cutoffs.
    """
    cutoffs = np.unique(cutoff_N)
    pooled = len(np.unique(cutoff_N[newest_N])) > 1

    def line(kind: str, rows_N: Bools, behind: int) -> Line:
        found = fit(kind, rows_N)
        return found if kind == "raw" or pooled else found.shrunk(float(x_N[rows_N].mean()), behind)

    total, judged = dict.fromkeys(KINDS, 0.0), 0
    for place in range(1, len(cutoffs)):
        before = cutoff_N < cutoffs[place] if pooled else cutoff_N == cutoffs[place - 1]
        try:
            lines = {kind: line(kind, before, place) for kind in KINDS}
        except UserError:  # one class only, or nothing spent: that cutoff says nothing
            continue
        judged += 1
        for kind in KINDS:
            total[kind] += loss(lines[kind], cutoff_N == cutoffs[place])
    kind = min(KINDS, key=lambda name: total[name]) if judged else "line"
    fit("line", newest_N)  # what cannot be fitted is an error, whatever was chosen
    return Correction(line(kind, newest_N, len(cutoffs)), kind, judged, 0 if pooled else len(cutoffs))
