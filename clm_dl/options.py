"""Options: a group of the configuration as a dataclass, typed and checked once."""

from __future__ import annotations

import types
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from clm_dl.errors import UserError, nearest

T = TypeVar("T")
WORDS = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}


def parse(cls: type[T], group: Mapping[str, Any], name: str, *, strict: bool = True) -> T:
    """The mapping `group` as the dataclass `cls`; lists become tuples, mappings of a dataclass field dataclasses.

    Args:
        name: of the group, for the sentences. strict: refuse keys that `cls` lacks; false passes over them, for the
            files of other versions.

    Raises:
        UserError: an unknown key, one that is missing, or a value of another type.
    """
    if not isinstance(group, Mapping):
        raise UserError(f"{name} must be a group of settings, got {group!r}")
    types_ = _types(cls)  # type: ignore[arg-type]
    if strict and (unknown := [key for key in group if key not in types_]):
        raise UserError(f"no key {f'{name}.{unknown[0]}'!r} in the configuration{nearest(str(unknown[0]), types_)}")
    values = {}
    for field in fields(cls):  # type: ignore[arg-type]
        if field.name in group:
            values[field.name] = _convert(group[field.name], types_[field.name], f"{name}.{field.name}", strict)
        elif field.default is MISSING and field.default_factory is MISSING:
            raise UserError(f"{name}.{field.name} is not set: write {name}.{field.name}=…")
    return cls(**values)


@cache
def _types(cls: Any) -> dict[str, Any]:
    return get_type_hints(cls)


def _convert(value: Any, kind: Any, name: str, strict: bool) -> Any:
    """`value` as `kind`: a plain type, Literal, X | None, tuple[X, …] or a dataclass; unchanged for any other."""
    origin, args = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        if value is None and type(None) in args:
            return None
        others = [arg for arg in args if arg is not type(None)]
        if len(others) > 1:
            return value  # told apart by whoever reads it
        return _convert(value, others[0], name, strict)
    if origin is Literal:
        if value not in args:
            raise UserError(
                f"{name} must be one of {', '.join(map(str, args))}, got {value!r}{nearest(str(value), args)}"
            )
        return value
    if origin is tuple:
        if isinstance(value, str) or not isinstance(value, (list, tuple)):
            raise UserError(f"{name} must be a list, got {value!r}: write {name}=[{value}]")
        return tuple(_convert(part, args[0], name, strict) for part in value)
    if is_dataclass(kind):
        return parse(kind, value, name, strict=strict)  # type: ignore[arg-type]
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return value
    if kind in WORDS and (not isinstance(value, kind) or (kind is not bool and isinstance(value, bool))):
        raise UserError(f"{name} must be {WORDS[kind]}, got {value!r}")
    return value
