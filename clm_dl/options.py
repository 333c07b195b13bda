"""Options: a group of the configuration as a dataclass, typed and checked once."""

from __future__ import annotations

import math
import types
from collections import abc
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass
from functools import cache
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from clm_dl.errors import UserError, nearest

T = TypeVar("T")
WORDS = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}
LARGEST = 2**53  # of whole numbers: as many digits as every format keeps


@dataclass(frozen=True)
class Within:
    """The values that a number may have; written as `Annotated[float, Within(0, 1, below=True)]`.

    Attributes:
        above, below: `low` and `high` themselves are too little and too much.
    """

    low: float = -math.inf
    high: float = math.inf
    above: bool = False
    below: bool = False

    def check(self, value: float, name: str) -> None:
        """Raise UserError where `value` lies outside."""
        low = value > self.low if self.above else value >= self.low
        high = value < self.high if self.below else value <= self.high
        if low and high:
            return
        if math.inf in (-self.low, self.high):
            at_least = math.isfinite(self.low)
            sign = (">" if self.above else "≥") if at_least else ("<" if self.below else "≤")
            raise UserError(f"{name} must be {sign} {self.low if at_least else self.high:,}, got {value}")
        first, last = "(" if self.above else "[", ")" if self.below else "]"
        raise UserError(f"{name} must be in {first}{self.low:,}, {self.high:,}{last}, got {value}")


Width = Annotated[int, Within(1, 2**16)]
Share = Annotated[float, Within(0, 1, below=True)]


def parse(cls: type[T], group: Mapping[str, Any], name: str, *, strict: bool = True) -> T:
    """The mapping `group` as the dataclass `cls`; lists become tuples, mappings of a dataclass field dataclasses.

    Args:
        name: of the group, for the sentences; none of keys at the top. strict: refuse keys that `cls` lacks; false
            passes over them, for the files of other versions.

    Raises:
        UserError: an unknown key, one that is missing, or a value of another type.
    """
    if not isinstance(group, Mapping):
        raise UserError(f"{name} must be a group of settings, got {group!r}")
    types_ = _types(cls)  # type: ignore[arg-type]
    if strict and (unknown := [key for key in group if key not in types_]):
        raise UserError(f"no key {f'{name}.{unknown[0]}'!r} in the configuration{nearest(str(unknown[0]), types_)}")
    values, prefix = {}, f"{name}." if name else ""
    for field in fields(cls):  # type: ignore[arg-type]
        if field.name in group:
            values[field.name] = convert(group[field.name], types_[field.name], f"{prefix}{field.name}", strict)
        elif field.default is MISSING and field.default_factory is MISSING:
            raise UserError(f"{prefix}{field.name} is not set: write {prefix}{field.name}=…")
    return cls(**values)


@cache
def _types(cls: Any) -> dict[str, Any]:
    return get_type_hints(cls, include_extras=True)


def convert(value: Any, kind: Any, name: str, strict: bool = True) -> Any:
    """`value` as `kind`: a plain type, Literal, X | None, tuple[X, …] or a dataclass; unchanged for any other.

    Raises:
        UserError: it is none, or outside the limits of an `Annotated` kind.
    """
    origin, args = get_origin(kind), get_args(kind)
    if origin is Annotated:
        found = convert(value, args[0], name, strict)
        for limit in args[1:] if found is not None else ():
            limit.check(found, name)
        return found
    if origin in (Union, types.UnionType):
        if value is None and type(None) in args:
            return None
        others = [arg for arg in args if arg is not type(None)]
        if len(others) > 1:
            return value  # told apart by whoever reads it
        return convert(value, others[0], name, strict)
    if origin is Literal:
        if value not in args:
            raise UserError(
                f"{name} must be one of {', '.join(map(str, args))}, got {value!r}{nearest(str(value), args)}"
            )
        return value
    if origin is tuple:
        if isinstance(value, str) or not isinstance(value, (list, tuple)):
            raise UserError(f"{name} must be a list, got {value!r}: write {name}=[{value}]")
        return tuple(convert(part, args[0], name, strict) for part in value)
    if origin is abc.Mapping and not isinstance(value, Mapping):
        raise UserError(f"{name} must be a group of settings, got {value!r}")
    if is_dataclass(kind):
        return parse(kind, value, name, strict=strict)  # type: ignore[arg-type]
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return value
    if kind in WORDS and (not isinstance(value, kind) or (kind is not bool and isinstance(value, bool))):
        raise UserError(f"{name} must be {WORDS[kind]}, got {value!r}")
    if kind is float and not math.isfinite(value):
        raise UserError(f"{name} must be a finite number, got {value}")
    if kind is int and not -LARGEST <= value <= LARGEST:
        raise UserError(f"{name} must lie between −2^53 and 2^53, got {value}")
    return value
