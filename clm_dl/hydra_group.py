"""What a file of one's own may say of Hydra itself: how many trials run at once, and what is swept. The rest is said by
whoever starts the command, since Hydra writes, empties, imports and calls what its group names.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from clm_dl.classes import TARGET, covers
from clm_dl.errors import UserError

ALONE = ("trusted", "overwrite", "ckpt")  # keys by which a file could run code, or have a finished run replaced
MADE = ("launcher", "sweeper", "callbacks")  # objects, which may be of a class that the command line trusts


def check_hydra_group(
    given: Mapping[str, Any],
    shipped: Mapping[str, Any],
    *,
    choices: Collection[str],
    variants: Mapping[str, Collection[Mapping[str, Any]]],
    trusted: Collection[str],
) -> None:
    """Raise UserError where a file says more of Hydra than it may.

    Args:
        given: Hydra's group, plain and unresolved, composed of the `choices` alone. shipped: the same of the shipped
            options among them. variants: key -> what shipped options make of it, of which a file may change numbers.
        trusted: by the command line: classes of which a file may name a launcher, a sweeper or callbacks.
    """
    for key in (given.get("sweeper") or {}).get("params") or ():
        if re.split(r"[./@]", str(key).lstrip("+~"))[0] in ("hydra", *ALONE):
            raise UserError(f"{key} is no parameter of a search: say it on the command line")
    for key in sorted({*given, *shipped} - {"runtime", "searchpath"}):  # Hydra sets these anew
        one, usual = given.get(key), shipped.get(key)
        if key == "overrides":
            one, usual = (one or {}).get("task"), list(choices)  # a file's would stand before them
        elif key == "job":
            one, usual = ({**value, "override_dirname": None} if value else value for value in (one, usual))
        elif key == "sweeper":
            one, usual = (_without_params(value) for value in (one, usual))
        allowed = one == usual or (key in MADE and _is_trusted(one, trusted))
        if not allowed and not any(_is_like(one, _without_params(other)) for other in variants.get(key, ())):
            path = f"hydra.{'.'.join(_first_change(one, usual, (key,)))}"
            raise UserError(
                f"a file of the configuration sets {path}, which only the command line may: leave it out there; a "
                "launcher, sweeper or callback of your own needs trusted=[PACKAGE]"
            )


def _without_params(value: Any) -> Any:
    return {**value, "params": None} if isinstance(value, Mapping) and "params" in value else value


def _is_like(one: Any, other: Any) -> bool:
    """Whether they are the same but for numbers."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(_is_like(value, other[key]) for key, value in one.items())
    return bool(one == other) or all(isinstance(value, (int, float)) for value in (one, other))


def _first_change(one: Any, other: Any, above: tuple[str, ...]) -> tuple[str, ...]:
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        for key in [*one, *other]:
            if one.get(key) != other.get(key):
                return _first_change(one.get(key), other.get(key), (*above, str(key)))
    return above


def _is_trusted(value: Any, trusted: Collection[str]) -> bool:
    """Whether the command line trusts every class that is named, and nothing leads elsewhere."""
    leaves = list(_leaves(value))
    named = [str(one) for key, one in leaves if key == TARGET]
    return (
        bool(named) and all(covers(trusted, name) for name in named) and not any("${" in str(one) for _, one in leaves)
    )


def _leaves(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for name, one in value.items():
            yield from _leaves(one, str(name))
    elif isinstance(value, (list, tuple)):
        for one in value:
            yield from _leaves(one, key)
    else:
        yield key, value
