"""Composing: where the YAMLs are, and the configuration that Hydra makes of overrides that were found to be right."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import hydra
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.types import Quote, QuotedString
from hydra.errors import MissingConfigException
from omegaconf import DictConfig, OmegaConf

from clm_dl.errors import MissingExtra, UserError
from clm_dl.trial_folder import trial_folder

_PACKAGED = Path(__file__).parent / "configs"  # inside the wheel
CONFIG_DIR = _PACKAGED if _PACKAGED.is_dir() else Path(__file__).parent.parent / "configs"
OWN_FOLDER = "CLM_CONFIG_DIR"  # names the folder of one's own options
LAUNCHERS = ("joblib", "ray")  # plugins of Hydra, each an extra of the same name


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


def options_of(group: str, own: Path | None = None) -> list[str]:
    """Names of the options of a group, the shipped ones and those in a folder of one's own; sorted."""
    folders = [CONFIG_DIR, *([own] if own else [])]
    return sorted({path.stem for folder in folders for path in (folder / group).glob("*.yaml")})


# what `baseline: every` of train.yaml stands for, so that a baseline of one's own is a file and no line there
_every = {name: OmegaConf.load(CONFIG_DIR / "baseline" / f"{name}.yaml") for name in options_of("baseline")}
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


def _values(config: Any, prefix: str = "") -> dict[str, Any]:
    """Every key of a plain nested mapping, dotted, with its value."""
    found: dict[str, Any] = {}
    for key, value in config.items() if isinstance(config, dict) else ():
        found |= {f"{prefix}{key!s}": value, **_values(value, f"{prefix}{key!s}.")}
    return found


@cache
def known_values(config_name: str, choices: tuple[str, ...], own: Path | None) -> tuple[dict[str, Any], Any]:
    """Keys and values before single values are overridden, and Hydra's own group."""
    plain: Any = OmegaConf.to_container(composed(config_name, choices, own, with_hydra=True), resolve=False)
    of_hydra = plain.pop("hydra")
    return _values(plain), of_hydra
