"""The space of a search: values given with commas are a grid, an interval, a range and choice(…) are drawn from."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any, TypeGuard

from hydra.core.override_parser.types import ChoiceSweep, IntervalSweep, Override, RangeSweep

from clm_dl.errors import UserError
from clm_dl.masking import masked

DIGITS = 6  # of a drawn number, which stands in the name of its trial's folder


@dataclass(frozen=True)
class Interval:
    """All numbers from `low` to `high`, of whole ones both ends too; `log`: equal ratios are equally likely."""

    low: float
    high: float
    log: bool
    whole: bool

    def at(self, share: float) -> str:
        """The value so far, from 0 to 1, into the interval."""
        if self.whole:
            low, high = self.low - 0.5, self.high + 0.5
            return self.text(math.floor(_between(low, high, share, self.log) + 0.5))
        return self.text(_between(self.low, self.high, share, self.log))

    def text(self, value: float) -> str:
        """The value as it is written in an override."""
        within = min(max(value, self.low), self.high)
        if self.whole:
            return str(int(within))
        return repr(min(max(float(f"{within:.{DIGITS}g}"), self.low), self.high))

    def holds(self, text: Any) -> bool:
        """Whether it is a value of this axis, as it is written."""
        try:
            return self.text(float(text)) == text
        except (ValueError, TypeError, OverflowError):
            return False


@dataclass(frozen=True)
class Values:
    """Some values, as they are written in an override; `ordered`: neighbours are alike."""

    texts: tuple[str, ...]
    ordered: bool

    def at(self, share: float) -> str:
        """The value so far, from 0 to 1, into the list."""
        return self.texts[min(int(share * len(self.texts)), len(self.texts) - 1)]

    def holds(self, text: Any) -> bool:
        """Whether it is a value of this axis, as it is written."""
        return text in self.texts


Axis = Interval | Values


@dataclass(frozen=True)
class Space:
    """Everything that a line says of its trials, by the key of the override.

    Attributes:
        fixed: the same in all trials. grid: every value, with every one of the others. drawn: a value a trial.
    """

    fixed: Mapping[str, str]
    grid: Mapping[str, tuple[str, ...]]
    drawn: Mapping[str, Axis]

    @property
    def points(self) -> list[dict[str, str]]:
        """The grid, the last axis running fastest; one point where there is none."""
        return [dict(zip(self.grid, values, strict=True)) for values in product(*self.grid.values())]

    def job(self, number: int, drawn: Mapping[str, str]) -> list[str]:
        """The overrides of a trial; trials take the points in turn, so that a longer search begins with a shorter."""
        points = self.points
        return [f"{key}={value}" for key, value in {**self.fixed, **points[number % len(points)], **drawn}.items()]


def read_space(overrides: Iterable[Override], *, draws: bool = True) -> Space:
    """The space of parsed overrides, of which a later one takes the place of an earlier one of its key.

    Args:
        draws: without, all that can be enumerated is a grid, as Hydra itself has it.

    Raises:
        UserError: an axis without a value, or which cannot be drawn from.
    """
    last = {one.get_key_element(): one for one in overrides if not one.is_hydra_override()}
    fixed: dict[str, str] = {}
    grid: dict[str, tuple[str, ...]] = {}
    drawn: dict[str, Axis] = {}
    for key, override in last.items():
        value = override.value()
        if not override.is_sweep_override():
            fixed[key] = override.get_value_element_as_str()
        elif isinstance(value, IntervalSweep):
            if not draws:
                raise UserError(
                    f"{key} is an interval, from which hparams_search=sobol and hparams_search=optuna draw: choose one "
                    f"of them, or write {key}=…,…"
                )
            drawn[key] = _interval(key, value)
        elif not (draws and _is_drawn(value)):
            grid[key] = _texts(key, override)
        elif value.shuffle or value.tags:
            raise UserError(f"{key}: shuffle(…) and tag(…) mean nothing to a search that draws: leave them out")
        elif any(masked(text) != text for text in _texts(key, override)):
            raise UserError(f"{key}: what is drawn is written down, passwords are not: write ${{oc.env:NAME}} for them")
        else:
            drawn[key] = Values(_texts(key, override), ordered=isinstance(value, RangeSweep))
    return Space(fixed, grid, drawn)


def _is_drawn(value: object) -> TypeGuard[RangeSweep | ChoiceSweep]:
    return isinstance(value, RangeSweep) or (isinstance(value, ChoiceSweep) and not value.simple_form)


def _texts(key: str, override: Override) -> tuple[str, ...]:
    if not (found := tuple(dict.fromkeys(override.sweep_string_iterator()))):
        raise UserError(f"{key} has no value to choose from: give it some")
    return found


def _interval(key: str, given: IntervalSweep) -> Interval:
    low, high, log = given.start, given.end, "log" in given.tags
    assert low is not None
    assert high is not None
    if more := sorted(given.tags - {"log"}):
        raise UserError(f"{key}: no tag {more[0]!r} of an interval: write tag(log, interval(…)), or leave it out")
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise UserError(f"{key} must be an interval from a smaller to a larger number, got interval({low}, {high})")
    if log and low <= 0:
        raise UserError(f"{key}: the logarithm of an interval must begin above 0, got {low}")
    return Interval(low, high, log, whole=isinstance(low, int) and isinstance(high, int))


def _between(low: float, high: float, share: float, log: bool) -> float:
    return float(low * (high / low) ** share if log else low + share * (high - low))
