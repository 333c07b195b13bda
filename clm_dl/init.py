"""clm-init: a look at a file, and the configuration that makes a data set and an experiment of it."""

from __future__ import annotations

import os
import re
import shlex
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import QuotedString
from omegaconf import OmegaConf

from clm_dl.command import command
from clm_dl.composing import default_folder
from clm_dl.config import CONFIG_DIR, plain
from clm_dl.errors import UserError
from clm_dl.masking import masked

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from clm_dl.data.look.look import Look


@command("init")
def main(config: DictConfig) -> None:
    """Print what a file holds and what its columns may be; write the guess as options of one's own."""
    from clm_dl.data.look.lines import tell
    from clm_dl.data.look.look import look_at
    from clm_dl.data.look.presets import presets
    from clm_dl.experiment.output import check_output, signed
    from clm_dl.writing import replacing

    settings = plain(config)
    data, given = settings["data"], given_of(unresolved(HydraConfig.get().overrides.task))
    if not data["path"]:
        raise UserError("which file? write clm-init FILE, such as clm-init my.csv")
    folder = Path(config.output or default_folder())
    check_name(str(config.name), folder)
    path = given.pop("data.path", data["path"])
    if masked(path) != path:
        raise UserError(
            "a password is not written into a file: leave it to the environment, data.path='${oc.env:NAME}'"
        )
    with tempfile.TemporaryDirectory() as temporary:
        of_data = {key: data_value(data, key) for key in given if key.startswith("data.")}
        look = look_at(data, of_data, Path(temporary))
    for line in tell(look):
        print(line)
    said = {
        group: {key: one for key, one in given.items() if key.startswith(group)} for group in ("data.", "snapshots.")
    }
    place = path if "${" in path or not Path(path).expanduser().exists() else os.path.abspath(Path(path).expanduser())
    texts = presets(look, config.name, said["data."], said["snapshots."], place)
    for name in texts:
        check_output(folder / name, reads=[data["path"]], formats=(".yaml",), overwrite=config.overwrite)
    for name, text in texts.items():
        with replacing(folder / name) as unfinished:
            unfinished.write_text(signed(text), encoding="utf-8")
    print(f"written:    {', '.join(str(folder / name) for name in texts)}")
    for line in next_lines(look, config.name, folder):
        print(line)


def unresolved(overrides: Any) -> list[str]:
    """A command line as it was written: `${oc.env:NAME}` is not looked up."""
    written: Any = OmegaConf.to_container(overrides, resolve=False)
    return [str(text) for text in written]


def given_of(overrides: Iterable[str]) -> dict[str, Any]:
    """Keys of a command line with their values as they are written; a mapping's keys one by one."""
    found: dict[str, Any] = {}
    for override in OverridesParser.create().parse_overrides(list(overrides)):
        found |= _spread(override.key_or_group, _unquoted(override.value()))
    return {key: value for key, value in found.items() if key.startswith(("data.", "snapshots."))}


def _spread(key: str, value: Any) -> dict[str, Any]:
    if key == "data.roles" and isinstance(value, dict):
        return {f"{key}.{role}": column for role, column in value.items()}
    return {key: value}


def _unquoted(value: Any) -> Any:
    if isinstance(value, dict):
        return {_unquoted(key): _unquoted(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_unquoted(one) for one in value]
    return value.text if isinstance(value, QuotedString) else value


def data_value(data: Mapping[str, Any], key: str) -> Any:
    """The value of a dotted key of `data`, resolved."""
    value: Any = {"data": data}
    for part in key.split("."):
        value = value[part]
    return value


def check_name(name: str, folder: Path) -> None:
    """Raise ValueError where files of this name cannot be options of one's own in `folder`."""
    if not re.fullmatch("[A-Za-z0-9][A-Za-z0-9_-]*", name):
        raise UserError(f"name={name} becomes the name of files and options: use letters, digits, - and _")
    for group in ("data", "experiment"):
        if (CONFIG_DIR / group / f"{name}.yaml").exists():
            raise UserError(f"name={name} is taken: {group}={name} is an option of clm_dl; choose another one")
    if folder.is_dir() and folder.samefile(CONFIG_DIR):
        raise UserError(f"output={folder} holds the options of clm_dl itself: choose a folder of your own")


def next_lines(look: Look, name: str, folder: Path) -> Iterable[str]:
    """The commands that train on what was found."""
    line = f"clm-train experiment={name} --config-dir {shlex.quote(str(folder))}"
    yield f"next:       {line}"
    if look.log is None:
        return
    roles = look.log.guess.roles
    if "amount" in roles:
        yield f"also:       {line} task=value{' task.returns=ignore' if look.log.returns else ''}"
    if "item" in roles:
        yield f"also:       {line} task=next_item"


if __name__ == "__main__":
    main()
