"""Configuration: where the YAMLs are, what a command line means, and the only place that instantiates."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import hydra
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, Glob, Override, Quote, QuotedString, Sweep
from hydra.errors import HydraException, MissingConfigException
from omegaconf import DictConfig, OmegaConf
from omegaconf.resolvers import oc

from clm_dl.as_written import ids_as_written, runs_as_written
from clm_dl.classes import check, make, shipped
from clm_dl.errors import MissingExtra, UserError, nearest
from clm_dl.hydra_group import ALONE, check_hydra_group
from clm_dl.masking import masked_config
from clm_dl.recipes import recipe_overrides
from clm_dl.trial_folder import trial_folder

_PACKAGED = Path(__file__).parent / "configs"  # inside the wheel
CONFIG_DIR = _PACKAGED if _PACKAGED.is_dir() else Path(__file__).parent.parent / "configs"
OWN_FOLDER = "CLM_CONFIG_DIR"  # names the folder of one's own options
LAUNCHERS = ("joblib", "ray")  # plugins of Hydra, each an extra of the same name
FROM_OUTSIDE = ("data", "labels", "logger")  # groups whose values the environment may give in secret
# whole numbers, as the encoder's are
WHOLE = ("batch_size", "head_size", "bootstrap", "k", "max_epochs", "num_workers", "patience")


def compose(config_name: str, overrides: Sequence[str] = ()) -> DictConfig:
    """The configuration that a command line with `overrides` gives: for notebooks, tests and the Python API."""
    own = own_folder()
    given = command_line(config_name, overrides, own)
    config = composed(config_name, given, own)
    check_alone(config, given)
    if config_name == "train":
        check_new_folder(config, given)
    return config


def default_folder() -> Path:
    """Where one's own options lie unless something else is said: `configs` here, but never beside those of clm_dl."""
    here = Path("configs")
    return Path("own_configs") if here.is_dir() and here.samefile(CONFIG_DIR) else here


def own_folder(given: str | None = None) -> Path | None:
    """The folder with options of one's own beside the shipped ones: `given` by --config-dir, else named by
    CLM_CONFIG_DIR, else the default one where it is there.

    Raises:
        ValueError: what is named is no folder.
    """
    named = given or os.environ.get(OWN_FOLDER)
    folder = Path(named or default_folder()).expanduser().absolute()
    if named and not folder.is_dir():
        raise UserError(
            f"{'--config-dir' if given else OWN_FOLDER} names {folder}, which is no folder: give that of your options, "
            "such as the one that clm-init printed"
        )
    return folder if folder.is_dir() and not folder.samefile(CONFIG_DIR) else None


def check_alone(config: DictConfig, overrides: Sequence[str]) -> None:
    """Raise ValueError where a file says what only whoever gives the `overrides` may."""
    for key in ALONE:
        if config.get(key) and not any(text.lstrip("+").startswith(f"{key}=") for text in overrides):
            raise UserError(
                f"{key}={plain(config[key])} stands in a file of the configuration, and only the command line may say "
                "it: leave it out there"
            )


def check_new_folder(config: DictConfig, overrides: Sequence[str]) -> None:
    """Raise UserError where a file gives a run a folder that holds anything, which the run might clear."""
    named = any(text.lstrip("+").startswith("paths.output_dir=") for text in overrides)
    unread: Any = OmegaConf.to_container(config.paths, resolve=False)
    usual, _ = _known_values("train", (), None)
    if named or unread["output_dir"] == usual["paths.output_dir"]:
        return
    folder = Path(str(config.paths.output_dir))
    if folder.is_dir() and (held := sorted(path.name for path in folder.iterdir())):
        raise UserError(
            f"{folder} holds files ({held[0]}, …), and only the command line may name such a folder for a run: write "
            f"paths.output_dir={folder} there, or leave it out of your file"
        )


def check_search(config: Any) -> None:
    """Raise UserError where the parameters of a search, in Hydra's group `config`, say it."""
    for key in config.sweeper.get("params") or ():
        if (name := str(key).lstrip("+")) in ALONE:
            raise UserError(f"{name} is no parameter of a search: say it on the command line")


def _options(group: str, own: Path | None = None) -> list[str]:
    folders = [CONFIG_DIR, *([own] if own else [])]
    return sorted({path.stem for folder in folders for path in (folder / group).glob("*.yaml")})


# what `baseline: every` of train.yaml stands for, so that a baseline of one's own is a file and no line there
_every = {name: OmegaConf.load(CONFIG_DIR / "baseline" / f"{name}.yaml") for name in _options("baseline")}
ConfigStore.instance().store(group="baseline", name="every", node=_every)
OmegaConf.register_new_resolver("trial_folder", trial_folder, replace=True)


def composed(config_name: str, overrides: Sequence[str], own: Path | None, *, with_hydra: bool = False) -> DictConfig:
    """The configuration of `overrides` that were found to be right, `with_hydra`: with Hydra's own group."""
    GlobalHydra.instance().clear()
    more = [] if own is None else [f"hydra.searchpath=[{quoted(f'file://{own}')}]"]
    with hydra.initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        try:
            return hydra.compose(config_name, overrides=[*overrides, *more], return_hydra_config=with_hydra)
        except MissingConfigException as error:
            plugin = (error.missing_cfg_file or "").removeprefix("hydra/launcher/")
            if plugin not in LAUNCHERS:
                raise
            raise MissingExtra(f"launcher={plugin} needs an extra: pip install 'clm-dl[{plugin}]'") from error


def quoted(text: str) -> str:
    """A text as a value of an override, whatever letters it has."""
    return QuotedString(text, Quote.single).with_quotes()


def plain(config: Any) -> Any:
    """A configuration as plain dicts and lists, interpolations resolved."""
    return OmegaConf.to_container(config, resolve=True) if OmegaConf.is_config(config) else config


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


def _values(config: Any, prefix: str = "") -> dict[str, Any]:
    """Every key of a plain nested mapping, dotted, with its value."""
    found: dict[str, Any] = {}
    for key, value in config.items() if isinstance(config, dict) else ():
        found |= {f"{prefix}{key!s}": value, **_values(value, f"{prefix}{key!s}.")}
    return found


@cache
def _known_values(config_name: str, choices: tuple[str, ...], own: Path | None) -> tuple[dict[str, Any], Any]:
    """Keys and values before single values are overridden, and Hydra's own group."""
    plain: Any = OmegaConf.to_container(composed(config_name, choices, own, with_hydra=True), resolve=False)
    of_hydra = plain.pop("hydra")
    return _values(plain), of_hydra


def _check_type(key: str, default: Any, value: Any) -> None:
    """Raise ValueError where a number or a switch is overridden by something else."""
    if value is None or key == "trainer.devices" or (isinstance(value, str) and "${" in value):
        return
    if isinstance(default, bool):
        if not isinstance(value, bool):
            raise UserError(f"{key} must be true or false, got {value!r}")
    elif isinstance(default, (int, float)) and (isinstance(value, bool) or not isinstance(value, (int, float))):
        raise UserError(f"{key} must be a number, got {value!r}")
    elif (
        isinstance(default, int)
        and isinstance(value, float)
        and (key.startswith("encoder.") or key.rpartition(".")[2] in WHOLE)
    ):
        raise UserError(f"{key} must be a whole number, got {value!r}")


def command_line(config_name: str, overrides: Sequence[str], own: Path | None = None) -> list[str]:
    """The overrides, found to be right, and those of the recipe that they mean (`recipes.recipe_overrides`)."""
    overrides = check_overrides(config_name, overrides, own)
    if config_name != "train":
        return overrides
    parsed = OverridesParser.create().parse_overrides(overrides)
    recipe = recipe_overrides(CONFIG_DIR, parsed, _options("experiment", own))
    if recipe and own:  # it may be one's own
        _check_files(config_name, [*parsed, *OverridesParser.create().parse_overrides(recipe)], own)
    return [*overrides, *recipe]


def check_overrides(config_name: str, overrides: Sequence[str], own: Path | None = None) -> list[str]:
    """The overrides, with `labels=FILE` spelt out, after every key and group option was found to exist.

    Raises:
        ValueError: one sentence that names the nearest valid key or option.
    """
    overrides = _file_to_look_at(overrides) if config_name == "init" else overrides
    overrides = [runs_as_written(ids_as_written(text)) for given in overrides for text in _labels_from_file(given)]
    try:
        parsed = OverridesParser.create().parse_overrides(list(overrides))
    except HydraException as error:
        raise UserError(
            f"cannot read the override {str(error).splitlines()[0]!r}: write key=value, and quote values with special "
            "characters"
        ) from error
    groups = {path.name for folder in (CONFIG_DIR, own) if folder for path in folder.iterdir() if path.is_dir()}
    for override in parsed:
        group = override.key_or_group
        if not _chooses(override, own):
            continue
        if isinstance(override.value(), list):
            raise UserError(f"{group} is one option, got {override.get_value_element_as_str()}: write {group}=NAME")
        if group == "baseline" and not override.package:
            raise UserError("baselines=[NAME, …] chooses baselines, baseline.NAME.OPTION=… sets an option of one")
        for option in _chosen(override):
            if option not in (known_options := _options(group, own)):
                raise UserError(
                    f"no {group}={option}{nearest(option, known_options)}; {group} can be {', '.join(known_options)}"
                )
            if own and (own / group / f"{option}.yaml").is_file() and option in _options(group):
                raise UserError(
                    f"{group}={option} is an option of clm_dl, and {own} has one of the same name: rename "
                    f"{own / group / option}.yaml"
                )
    if own:
        if (own / "baseline" / "every.yaml").exists():
            raise UserError(f"baseline/every in {own} would take the place of all baselines: rename it")
        _check_files(config_name, parsed, own)
    known, _ = _known_values(config_name, tuple(options[0] for options in _choices(parsed, own)), own)
    for override in parsed:
        key = override.key_or_group
        is_group = key in groups or "/" in key or "@" in key
        is_change = not (override.is_add() or override.is_force_add() or override.is_delete())
        if is_change and not (is_group or key.startswith("hydra.") or key in known):
            raise UserError(f"no key {key!r} in the configuration{nearest(key, [*known, *groups])}")
        if is_change and key in known and not is_group:
            given = override.value()
            for value in given.list if isinstance(given, ChoiceSweep) else [given]:
                if not isinstance(value, (dict, list, Sweep)):
                    _check_type(key, known[key], value.text if isinstance(value, QuotedString) else value)
    return overrides


def _chooses(override: Override, own: Path | None) -> bool:
    """Whether it chooses options of a group, which is a folder."""
    is_group = any((folder / override.key_or_group).is_dir() for folder in (CONFIG_DIR, own) if folder)
    return is_group and not override.is_delete() and not isinstance(override.value(), dict)


def _chosen(override: Override) -> list[str]:
    if isinstance(override.value(), Glob):
        key = override.key_or_group
        raise UserError(f"{key}=glob(…) chooses by pattern: write the names, {key}=one,another")
    if override.is_sweep_override():
        return [str(value) for value in override.sweep_string_iterator()]
    return [str(override.value())]


def _choices(parsed: Sequence[Override], own: Path | None) -> list[list[str]]:
    """The options that overrides choose, each as an override; several of what is swept."""
    found = []
    for override in (one for one in parsed if _chooses(one, own)):
        key = f"{'+' if override.is_add() else ''}{override.key_or_group}"
        package = f"@{override.package}" if override.package else ""
        found.append([f"{key}{package}={option}" for option in _chosen(override)])
    return found


def _check_files(config_name: str, parsed: Sequence[Override], own: Path) -> None:
    """Raise UserError where chosen options of one's own, in any trial of a sweep, say more of Hydra than a file may."""
    named: list[Any] = [one.value() for one in parsed if one.key_or_group == "trusted"]
    trusted = [str(name) for given in named if isinstance(given, list) for name in given]
    choices = _choices(parsed, own)
    first = [options[0] for options in choices]
    for place, options in enumerate(choices or [[]]):
        for option in options or [""]:
            _check_file(config_name, tuple(filter(None, (*first[:place], option, *first[place + 1 :]))), own, trusted)


def _check_file(config_name: str, choices: tuple[str, ...], own: Path, trusted: Collection[str]) -> None:
    _, given = _known_values(config_name, choices, own)
    shipped_ones = tuple(one for one in choices if not (own / f"{one.lstrip('+').replace('=', '/')}.yaml").is_file())
    _, usual = _known_values(config_name, shipped_ones, None)
    check_hydra_group(given, usual, choices=choices, variants=_variants(config_name), trusted=trusted)


@cache
def _variants(config_name: str) -> dict[str, list[Any]]:
    """What shipped options make of Hydra's launcher and sweeper."""
    if config_name != "train":
        return {}
    searches = [_known_values(config_name, (f"hparams_search={one}",), None)[1] for one in _options("hparams_search")]
    launchers = []
    for one in _options("launcher"):
        with suppress(MissingExtra):  # then no file can name it either
            launchers.append(_known_values(config_name, (f"launcher={one}",), None)[1]["launcher"])
    return {"sweeper": [one["sweeper"] for one in searches], "launcher": launchers}


def _labels_from_file(text: str) -> list[str]:
    if text.startswith("labels=") and text.endswith((".csv", ".parquet")):
        return ["labels=given", f"labels.path={text.removeprefix('labels=')}"]
    return [text]


def _file_to_look_at(words: Sequence[str]) -> list[str]:
    """The words of clm-init, with the file that stands there without a key as `data.path`."""
    files = [word for word in words if Path(word).exists() or "=" not in word.lstrip("~+")]
    if len(files) > 1:
        raise UserError(f"clm-init looks at one file, got {', '.join(files)}: write clm-init FILE")
    return [f"data.path={quoted(word)}" if word in files else word for word in words]
