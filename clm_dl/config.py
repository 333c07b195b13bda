"""Configuration: as notebooks and the API ask for it, as a run keeps it, and the only place that instantiates."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.resolvers import oc

from clm_dl.classes import check, make, shipped
from clm_dl.composing import CONFIG_DIR, composed, own_folder, plain
from clm_dl.masking import masked_config
from clm_dl.overrides import check_alone, check_new_folder, command_line

FROM_OUTSIDE = ("data", "labels", "logger")  # groups whose values the environment may give in secret


def compose(config_name: str, overrides: Sequence[str] = ()) -> DictConfig:
    """The configuration that a command line with `overrides` gives: for notebooks, tests and the Python API."""
    own = own_folder()
    given = command_line(config_name, overrides, own)
    config = composed(config_name, given, own)
    check_alone(config, given)
    if config_name == "train":
        check_new_folder(config, given)
    return config


def as_saved(config: DictConfig, worked_out: Mapping[str, Any]) -> dict[str, Any]:
    """What a run keeps of `config`: what was `worked_out` of it, passwords masked, and in the groups that say where
    data are, how they are labelled and who is told, `${oc.env:NAME}` for what the environment gave.
    """
    resolved = plain(config)
    unread = OmegaConf.merge(config, {"paths": resolved["paths"]})  # folders are no secret
    OmegaConf.register_new_resolver("oc.env", _name_of_variable, replace=True)
    try:
        named = plain(unread)
    finally:
        OmegaConf.register_new_resolver("oc.env", oc.env, replace=True)
    outside = {name: _as_named(worked_out[name], resolved[name], named[name]) for name in FROM_OUTSIDE}
    kept: dict[str, Any] = masked_config({**worked_out, **outside, "trusted": []})
    return kept


def _name_of_variable(name: str, *default: Any) -> str:
    return f"${{oc.env:{','.join([name, *map(str, default)])}}}"


def _as_named(value: Any, resolved: Any, named: Any) -> Any:
    """`value` with every text that is as it was `resolved` as it is `named`."""
    if isinstance(value, dict) and isinstance(resolved, dict):
        return {key: _as_named(one, resolved.get(key), named.get(key)) for key, one in value.items()}
    if value == resolved and isinstance(value, list):
        return [_as_named(*three) for three in zip(value, resolved, named, strict=True)]
    return named if value == resolved and isinstance(value, str) else value


def build(config: Mapping[str, Any], *, trusted: Collection[str] = ()) -> Any:
    """An object of the class `config["_target_"]` with the other keys as arguments.

    Args:
        trusted: from the command line: packages, modules or full names of classes beside those of shipped options.

    Raises:
        ValueError: the configuration names any other class, or what is no class.
    """
    return make(plain(config), shipped(CONFIG_DIR), trusted)


def check_class(config: Any, what: str, *, trusted: Collection[str] = ()) -> None:
    """Raise UserError where `build` would, as far as that is seen without making anything."""
    check(plain(config), shipped(CONFIG_DIR), trusted, what)
