"""Classes that a configuration may name: those of the shipped options, and what the command line trusts; made here."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from importlib.metadata import metadata
from pathlib import Path
from typing import Any

from clm_dl.errors import MissingExtra, UserError

GROUPS = ("baseline", "data", "logger")  # whose options name classes; an experiment's file adds none
PACKAGES = ("clm_dl", "torch", "sklearn", "lightgbm", "imblearn", "pytorch_lightning")
TARGET = "_target_"
MOVED = {  # where classes lived that the config.yaml of an older run names
    "clm_dl.baselines.bayes_net": "clm_dl.baselines.tabular.bayes_net",
    "clm_dl.baselines.boosting": "clm_dl.baselines.tabular.boosting",
    "clm_dl.baselines.value": "clm_dl.baselines.tabular.regressor",
    "clm_dl.baselines.silence": "clm_dl.baselines.buy_till_you_die.estimators",
    **{
        f"clm_dl.baselines.{name}": f"clm_dl.baselines.recommenders.{name}"
        for name in ("content", "ease", "factors", "hybrid", "markov", "neighbours", "popularity", "two_stage")
    },
}
FORMER = frozenset(  # that an option named which the config.yaml of an older run still holds
    ("sklearn.neighbors.KNeighborsClassifier", "sklearn.neural_network.MLPClassifier")
)


@cache
def shipped(folder: Path) -> frozenset[str]:
    """Every class that an option in the configuration `folder` names or once named, of packages that clm_dl needs."""
    files = [path for group in GROUPS for path in (folder / group).glob("*.yaml")]
    named = {name for path in files for name in re.findall(rf"^\s*{TARGET}:\s*([\w.]+)", path.read_text(), re.M)}
    return frozenset(name for name in named if name.split(".")[0] in PACKAGES) | FORMER


def make(config: Any, known: Collection[str], trusted: Collection[str]) -> Any:
    """The object that a plain `config` describes: its `_target_`, a class, called with the other keys, made first.

    Args:
        known: full names of classes. trusted: packages, modules or full names of further ones.

    Raises:
        UserError: a name that is neither known nor trusted, which is then not even imported; or no class.
    """
    _check_known(config, known, trusted)
    return _made(config, known)


def check(config: Any, known: Collection[str], trusted: Collection[str], what: str) -> None:
    """Raise UserError where `make` would, as far as that is seen without making anything: what a logger makes may write
    into the folder of a run.
    """
    _check_known(config, known, trusted)
    if not isinstance(config, Mapping) or TARGET not in config:
        raise UserError(f"{what}: {config!r} names no class: give it a {TARGET}")
    name, options = _moved(config[TARGET]), {str(key): value for key, value in config.items() if key != TARGET}
    with _explained(name):
        inspect.signature(find_class(name, borrowed=name in known)).bind(**options)


def _check_known(config: Any, known: Collection[str], trusted: Collection[str]) -> None:
    if isinstance(trusted, str):
        raise UserError(f"trusted must be a list, got {trusted!r}: write trusted=[{trusted}]")
    if strangers := [name for name in _named(config) if not (name in known or covers(trusted, name))]:
        packages = ",".join(dict.fromkeys(name.split(".")[0] for name in strangers))
        raise UserError(
            f"the configuration names {', '.join(strangers)}, which no shipped option does: add trusted=[{packages}] "
            "to the command line if you trust it"
        )


def _named(config: Any) -> Iterator[str]:
    """The full name of every class in a plain configuration.

    Raises:
        UserError: a name or a key that would have to be worked out first.
    """
    if isinstance(config, Mapping):
        for key, value in config.items():
            if key == TARGET:
                if not isinstance(value, str) or not re.fullmatch(r"\w+(\.\w+)+", value):
                    raise UserError(f"{TARGET} must be the full name of a class, got {value!r}")
                yield _moved(value)
            elif re.fullmatch(r"_\w+_", str(key)):
                raise UserError(f"a configuration of a class has its arguments by name, got {key!r}: leave it out")
            else:
                yield from _named(value)
    elif isinstance(config, (list, tuple)):
        for value in config:
            yield from _named(value)


def covers(trusted: Collection[str], name: str) -> bool:
    """Whether `name` is one of the trusted packages, modules or full names, or lies in one."""
    return any(name == one or name.startswith(f"{one}.") for one in trusted)


def _moved(name: str) -> str:
    module, _, last = name.rpartition(".")
    return f"{MOVED.get(module, module)}.{last}"


def _made(config: Any, known: Collection[str]) -> Any:
    if isinstance(config, (list, tuple)):
        return [_made(value, known) for value in config]
    if not isinstance(config, Mapping):
        return config
    options = {str(key): _made(value, known) for key, value in config.items() if key != TARGET}
    if TARGET not in config:
        return options
    name = _moved(config[TARGET])
    with _explained(name):
        return find_class(name, borrowed=name in known)(**options)


@contextmanager
def _explained(name: str) -> Iterator[None]:
    """One sentence where the class of that name lacks a package, or has other arguments."""
    try:
        yield
    except TypeError as error:
        raise UserError(f"{name}: {error}: choose other options") from error
    except ModuleNotFoundError as error:
        if isinstance(error, MissingExtra):
            raise
        raise missing(name, error) from error


def find_class(name: str, *, borrowed: bool = False) -> type:
    """The class of this full name, imported; `borrowed`: its package may have it from another one."""
    module, _, last = name.rpartition(".")
    package = name.split(".")[0]
    found = getattr(importlib.import_module(module), last, None)
    if not isinstance(found, type) or not (borrowed or found.__module__.split(".")[0] == package):
        raise UserError(f"{name} is no class of {package}: name one in {TARGET}")
    return found


def missing(what: str, error: ImportError) -> MissingExtra:
    """The sentence for a package that is not installed, with the extra that brings it."""
    found = [one for one in extras() if one in f"{what} {error}".lower()]
    remedy = f"pip install 'clm-dl[{found[0]}]'" if found else "install it"
    return MissingExtra(f"{what} needs a package that is not installed ({str(error).splitlines()[0]}): {remedy}")


def extras() -> list[str]:
    """Names of the extras of clm-dl."""
    return metadata("clm-dl").get_all("Provides-Extra") or []
