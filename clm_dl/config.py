"""Configuration: where the YAMLs are, one entry point for every command, and the only place that instantiates."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from pathlib import Path
from typing import Any

import hydra
import yaml
from hydra._internal.utils import get_args_parser
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, Quote, QuotedString, Sweep
from hydra.errors import HydraException, MissingConfigException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from omegaconf.resolvers import oc

from clm_dl.as_written import ids_as_written, runs_as_written
from clm_dl.classes import check, check_hydra, make, shipped
from clm_dl.errors import MissingExtra, UserError, nearest
from clm_dl.masking import masked, masked_config
from clm_dl.recipes import recipe_overrides
from clm_dl.trial_folder import trial_folder

_PACKAGED = Path(__file__).parent / "configs"  # inside the wheel
CONFIG_DIR = _PACKAGED if _PACKAGED.is_dir() else Path(__file__).parent.parent / "configs"
OWN_FOLDER = "CLM_CONFIG_DIR"  # names the folder of one's own options
LAUNCHERS = {"joblib": "joblib", "ray": "ray"}  # plugins of Hydra -> extras
FROM_OUTSIDE = ("data", "labels", "logger")  # groups whose values the environment may give in secret
# whole numbers, as the encoder's are
WHOLE = ("batch_size", "head_size", "bootstrap", "k", "max_epochs", "num_workers", "patience")


def compose(config_name: str, overrides: Sequence[str] = ()) -> DictConfig:
    """The configuration that a command line with `overrides` gives: for notebooks, tests and the Python API."""
    own = own_folder()
    given = command_line(config_name, overrides, own)
    config = _compose(config_name, given, own)
    _check_trusted(config, given)
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


def _check_trusted(config: DictConfig, overrides: Sequence[str]) -> None:
    """Raise ValueError where a file says what is trusted, and not whoever gives the `overrides`."""
    if config.get("trusted") and not any(text.lstrip("+").startswith("trusted=") for text in overrides):
        raise UserError(
            f"trusted={plain(config.trusted)} stands in a file of the configuration, and only the command line may "
            "say it: leave it out there"
        )


def _options(group: str, own: Path | None = None) -> list[str]:
    folders = [CONFIG_DIR, *([own] if own else [])]
    return sorted({path.stem for folder in folders for path in (folder / group).glob("*.yaml")})


# what `baseline: every` of train.yaml stands for, so that a baseline of one's own is a file and no line there
_every = {"defaults": [f"{name}@{name}" for name in _options("baseline")]}
ConfigStore.instance().store(group="baseline", name="every", node=_every)
OmegaConf.register_new_resolver("trial_folder", trial_folder, replace=True)


def _compose(config_name: str, overrides: Sequence[str], own: Path | None, *, with_hydra: bool = False) -> DictConfig:
    GlobalHydra.instance().clear()
    more = [] if own is None else [f"hydra.searchpath=[{quoted(f'file://{own}')}]"]
    with hydra.initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        try:
            return hydra.compose(config_name, overrides=[*overrides, *more], return_hydra_config=with_hydra)
        except MissingConfigException as error:
            plugin = (error.missing_cfg_file or "").removeprefix("hydra/launcher/")
            if plugin not in LAUNCHERS:
                raise
            extra = LAUNCHERS[plugin]
            raise MissingExtra(f"launcher={extra} needs an extra: pip install 'clm-dl[{extra}]'") from error


def compose_sweep(config_name: str, overrides: Sequence[str], own: Path | None) -> DictConfig:
    """What all trials of a sweep have in common, with Hydra's own group; `overrides`: those that are not swept."""
    return _compose(config_name, overrides, own, with_hydra=True)


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
    plain: Any = OmegaConf.to_container(_compose(config_name, choices, own, with_hydra=True), resolve=False)
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
    return [*overrides, *recipe_overrides(CONFIG_DIR, parsed, _options("experiment", own))]


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
    choices = []
    groups = {path.name for folder in (CONFIG_DIR, own) if folder for path in folder.iterdir() if path.is_dir()}
    for override in parsed:
        group = override.key_or_group
        if group not in groups or override.is_delete() or isinstance(override.value(), (dict, list)):
            continue
        if group == "baseline" and not override.package:
            raise UserError("baselines=[NAME, …] chooses baselines, baseline.NAME.OPTION=… sets an option of one")
        options = (
            [str(value) for value in override.sweep_string_iterator()]
            if override.is_sweep_override()
            else [str(override.value())]
        )
        for option in options:
            if option not in (known_options := _options(group, own)):
                raise UserError(
                    f"no {group}={option}{nearest(option, known_options)}; {group} can be {', '.join(known_options)}"
                )
            if own and (own / group / f"{option}.yaml").is_file() and option in _options(group):
                raise UserError(
                    f"{group}={option} is an option of clm_dl, and {own} has one of the same name: rename "
                    f"{own / group / option}.yaml"
                )
        package = f"@{override.package}" if override.package else ""
        choices.append(f"{'+' if override.is_add() else ''}{group}{package}={options[0]}")
    known, of_hydra = _known_values(config_name, tuple(choices), own)
    trusted: list[Any] = [one.value() for one in parsed if one.key_or_group == "trusted"]
    check_hydra(of_hydra, [str(name) for given in trusted if isinstance(given, list) for name in given])
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


Job = Callable[[DictConfig], Any]
Around = Callable[[list[str], Path | None], AbstractContextManager[list[str]]]  # a sweep: -> further overrides


def command(
    config_name: str, *, trial: Job | None = None, sweep: Around | None = None
) -> Callable[[Job], Callable[[], Any]]:
    """Make `function(config)` a console command: Hydra's overrides and sweeps; a user's error is one sentence and exit
    code 2.

    `HYDRA_FULL_ERROR=1` shows the traceback instead.

    Args:
        trial: stands for `function` in a sweep, and keeps its errors to itself. sweep: what is done around one.
    """

    def decorate(function: Job) -> Callable[[], Any]:
        def job(config: DictConfig) -> Any:
            if logging.getLogger().level == logging.INFO:  # Hydra's own; hydra.verbose=true asks for more
                logging.getLogger().setLevel(logging.WARNING)  # libraries tell what they load when they are imported
            if trial and HydraConfig.get().mode == RunMode.MULTIRUN:
                return trial(config)
            try:
                check_job(config)
                return function(config)
            except (UserError, OSError) as error:
                if os.environ.get("HYDRA_FULL_ERROR") == "1":
                    raise
                _fail(error)
            except Exception as error:
                if os.environ.get("HYDRA_FULL_ERROR") == "1" or not (runs := _unsealed(config)):
                    raise  # a fault of ours
                said = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
                _fail(
                    UserError(
                        f"what run {runs[0]} holds cannot be read ({said}): it has no manifest.json, so its files may "
                        "be damaged unseen; take them from a copy of the run, or train it again"
                    )
                )

        job.__module__, job.__doc__ = function.__module__, function.__doc__
        run = hydra.main(version_base="1.3", config_path=str(CONFIG_DIR), config_name=config_name)(job)

        def main() -> Any:
            logging.setLogRecordFactory(_masked_record)  # Hydra's launcher logs the overrides of every job
            try:
                flags, overrides, own = _read_argv(sys.argv[1:])
                completes = bool({"-sc", "--shell-completion"} & set(flags))  # its words are no overrides
                overrides = overrides if completes else command_line(config_name, overrides, own)
                sweeps = sweep is not None and _is_sweep(flags, overrides)
                with sweep(overrides, own) if sweep and sweeps else nullcontext([]) as further:
                    sys.argv[1:] = [*overrides, *further, *flags]  # in this order: --info would take what follows it
                    return run()
            except KeyboardInterrupt:
                print("error: interrupted with Ctrl-C", file=sys.stderr)
                raise SystemExit(130) from None
            except (UserError, OSError, HydraException, OmegaConfBaseException, yaml.YAMLError) as error:
                _fail(error)
            finally:
                logging.setLogRecordFactory(logging.LogRecord)

        return main

    return decorate


def _unsealed(config: DictConfig) -> list[str]:
    """The finished runs that a command reads and that have no manifest.json, by which damage would be found."""
    given = plain(config.get("run") or config.get("runs") or [])
    folders = [Path(str(one)) for one in (given if isinstance(given, list) else [given])]
    inside = [folder for path in folders for folder in (path, *(file.parent for file in path.glob("*/status.json")))]
    return [str(path) for path in inside if (path / "status.json").is_file() and not (path / "manifest.json").is_file()]


def _read_argv(words: Sequence[str]) -> tuple[list[str], list[str], Path | None]:
    """Hydra's flags with their values, the overrides, and the folder of one's own options, which becomes a flag."""
    args, _ = get_args_parser().parse_known_intermixed_args(list(words))
    if args.experimental_rerun is not None:
        raise UserError("--experimental-rerun would run what is in its file: leave it out, and write the overrides")
    commands = ("run", "multirun", "cfg", "info", "shell_completion")
    if len(given := [f"--{name.replace('_', '-')}" for name in commands if getattr(args, name)]) > 1:
        raise UserError(f"{' and '.join(given)} do not go together: choose one")
    if args.resolve and not (args.cfg or args.help):
        raise UserError("--resolve goes with --cfg: write --cfg job --resolve")
    if args.shell_completion and len(args.overrides) != 1:
        raise UserError("--shell-completion wants to know what to do: write -sc install=bash, or uninstall=bash")
    flags, overrides = [], list(args.overrides)
    for word in words:  # in their order
        if overrides and word == overrides[0]:
            overrides.pop(0)
        else:
            flags.append(word)
    own = own_folder(args.config_dir)
    if own is not None and args.config_dir is None:
        flags += ["--config-dir", str(own)]
    return flags, args.overrides, own


def check_job(config: DictConfig) -> None:
    """Raise UserError where the `config` of a job cannot be begun with, whatever its command."""
    hydra_config = HydraConfig.get()
    if any(key.lstrip("+") == "trusted" for key in hydra_config.sweeper.get("params") or ()):
        raise UserError("trusted is no parameter of a search: say it on the command line")
    _check_trusted(config, hydra_config.overrides.task)
    if missing := OmegaConf.missing_keys(config):
        raise UserError(f"{min(missing)} is not set: write {min(missing)}=…")


def _is_sweep(flags: Sequence[str], overrides: Sequence[str]) -> bool:
    return any(flag == "-m" or flag.startswith("--mul") for flag in flags) or "hydra.mode=MULTIRUN" in overrides


def _masked_record(*args: Any, **kwargs: Any) -> logging.LogRecord:
    record = logging.LogRecord(*args, **kwargs)
    record.msg, record.args = masked(record.getMessage()), ()
    return record


def _fail(error: BaseException) -> None:
    sentence = masked(" ".join(str(error).split())) or type(error).__name__
    print(f"error: {sentence}", file=sys.stderr)
    raise SystemExit(2) from error
