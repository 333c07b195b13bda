"""Overrides: what a command line means, found to be right before anything runs."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, Glob, Override, QuotedString, Sweep
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf

from clm_dl.as_written import ids_as_written, runs_as_written
from clm_dl.composing import CONFIG_DIR, known_values, options_of, plain, quoted
from clm_dl.errors import MissingExtra, UserError, nearest
from clm_dl.hydra_group import ALONE, check_hydra_group
from clm_dl.recipes import recipe_overrides

# whole numbers, as the encoder's are
WHOLE = ("batch_size", "head_size", "bootstrap", "k", "max_epochs", "num_workers", "patience")


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
    usual, _ = known_values("train", (), None)
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
    recipe = recipe_overrides(CONFIG_DIR, parsed, options_of("experiment", own))
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
            if option not in (known_options := options_of(group, own)):
                raise UserError(
                    f"no {group}={option}{nearest(option, known_options)}; {group} can be {', '.join(known_options)}"
                )
            if own and (own / group / f"{option}.yaml").is_file() and option in options_of(group):
                raise UserError(
                    f"{group}={option} is an option of clm_dl, and {own} has one of the same name: rename "
                    f"{own / group / option}.yaml"
                )
    if own:
        if (own / "baseline" / "every.yaml").exists():
            raise UserError(f"baseline/every in {own} would take the place of all baselines: rename it")
        _check_files(config_name, parsed, own)
    known, _ = known_values(config_name, tuple(options[0] for options in _choices(parsed, own)), own)
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
    _, given = known_values(config_name, choices, own)
    shipped_ones = tuple(one for one in choices if not (own / f"{one.lstrip('+').replace('=', '/')}.yaml").is_file())
    _, usual = known_values(config_name, shipped_ones, None)
    check_hydra_group(given, usual, choices=choices, variants=_variants(config_name), trusted=trusted)


@cache
def _variants(config_name: str) -> dict[str, list[Any]]:
    """What shipped options make of Hydra's launcher and sweeper."""
    if config_name != "train":
        return {}
    searches = [known_values(config_name, (f"hparams_search={one}",), None)[1] for one in options_of("hparams_search")]
    launchers = []
    for one in options_of("launcher"):
        with suppress(MissingExtra):  # then no file can name it either
            launchers.append(known_values(config_name, (f"launcher={one}",), None)[1]["launcher"])
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
