"""Console commands: Hydra around a function of a configuration; a user's error is one sentence, a sweep goes on."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import hydra
import yaml
from hydra._internal.utils import get_args_parser
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from clm_dl.composing import own_folder
from clm_dl.config import CONFIG_DIR, plain
from clm_dl.errors import UserError
from clm_dl.masking import masked
from clm_dl.overrides import check_alone, check_search, command_line

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
    check_search(hydra_config)
    check_alone(config, hydra_config.overrides.task)
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
