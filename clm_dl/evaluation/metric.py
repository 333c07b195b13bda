"""Metric: one figure of a model, said once; objectives, directions, tables, tiles, tags and verdicts follow from it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

Figure = Mapping[str, float | None]  # {"value", "low", "high"}
UNDEFINED: Figure = {"value": None, "low": None, "high": None}
NETWORK = "network"
ONE_SEED = "with this seed"  # of a verdict whose interval says nothing of others


@dataclass(frozen=True)
class Metric:
    """A figure of a model.

    Attributes:
        name: in metrics.json. title: for people.
        better: which direction is; "neither" describes and does not judge.
        digits: decimals that it is shown with.
        shown: where: "main" (orders the models, one a task) and "tile" on top of the report and in the main table;
            "table" there; "more" a click away; "file" in metrics.json alone.
        paired: whether its differences between models stand in the report, of those in the main table.
        distance: whether it is a mean of absolute errors of groups, which noise makes larger, see `bootstrap`.
    """

    name: str
    title: str
    better: Literal["high", "low", "neither"] = "high"
    digits: int = 3
    shown: Literal["main", "tile", "table", "more", "file"] = "more"
    paired: bool = True
    distance: bool = False

    def best(self, values: Iterable[float | None]) -> float | None:
        """The best of the values that are defined; None where there are none, or no best."""
        known = [value for value in values if value is not None]
        if not known or self.better == "neither":
            return None
        return min(known) if self.better == "low" else max(known)

    def verdict(self, difference: Figure) -> str:
        """better, worse or a tie: whether the interval of a difference excludes 0."""
        low, high = difference["low"], difference["high"]
        if low is None or high is None:
            return "undefined"
        if low <= 0 <= high:
            return "a tie"
        return "better" if (low > 0) != (self.better == "low") else "worse"

    def told(self, difference: Figure, *, seeds: int = 1) -> str:
        """The verdict in words: the interval of a single seed covers the draw of customers, not that of seeds."""
        verdict = self.verdict(difference)
        return f"{verdict} {ONE_SEED}" if seeds == 1 and verdict in ("better", "worse") else verdict

    def badness(self, value: float | None) -> float:
        """For sorting, the best first: undefined is worst."""
        if value is None or math.isnan(value):
            return math.inf
        return value if self.better == "low" else -value


class Metrics:
    """The metrics of a task in the order of their columns; exactly one of them is the main one."""

    def __init__(self, metrics: Iterable[Metric]) -> None:
        self._by_name = {metric.name: metric for metric in metrics}
        [self.main] = [metric for metric in self if metric.shown == "main"]

    def __iter__(self) -> Iterator[Metric]:
        return iter(self._by_name.values())

    def __getitem__(self, name: str) -> Metric:
        return self._by_name[name]

    @property
    def table(self) -> list[Metric]:
        """Columns of the main tables."""
        return [metric for metric in self if metric.shown in ("main", "tile", "table")]

    @property
    def more(self) -> list[Metric]:
        """Columns a click away."""
        return [metric for metric in self if metric.shown == "more"]

    @property
    def tiles(self) -> list[Metric]:
        """On top of the report, the main one first; the first two judge a difference in words."""
        return [self.main, *(metric for metric in self if metric.shown == "tile")]

    @property
    def paired(self) -> list[Metric]:
        """Whose differences stand in the report, the main one first."""
        return sorted((metric for metric in self.table if metric.paired), key=lambda metric: metric is not self.main)

    @property
    def objectives(self) -> list[str]:
        """Names of those that a sweep may optimise."""
        return [metric.name for metric in self if metric.better != "neither"]

    @property
    def distances(self) -> frozenset[str]:
        """Names of those that noise makes larger."""
        return frozenset(metric.name for metric in self if metric.distance)

    def ordered(self, models: Mapping[str, Any]) -> list[str]:
        """The network, then the other models from the best main metric on."""

        def place(name: str) -> tuple[bool, float, str]:
            value = models[name][self.main.name]["value"]
            return name != NETWORK, self.main.badness(value), name

        return sorted(models, key=place)
