"""What makes a trial this trial: its settings, without what bears on no result."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from clm_dl.evaluation.comparison import flat_settings
from clm_dl.experiment.migrate import current_config

ASIDE = {"paths", "logger", "trusted", "overwrite", "ckpt", "sweep", "study"}
ASIDE_WITHIN = {"trainer.enable_progress_bar", "data.data_dir", "data.memory_limit"}
Settings = dict[str, str]


def settings_of(config: Mapping[str, Any]) -> Settings:
    """What makes a trial this trial: every key of its saved configuration that bears on the results, dotted."""
    flat = flat_settings({key: value for key, value in config.items() if key not in ASIDE})
    return {key: value for key, value in flat.items() if key not in ASIDE_WITHIN}


def saved_settings(folder: Path) -> Settings | None:
    """The settings of the trial in `folder`; None where there is none that can be read."""
    try:
        text = (folder / "config.yaml").read_text(encoding="utf-8")
        return settings_of(current_config(yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))))
    except (OSError, ValueError, KeyError, AttributeError, TypeError, yaml.YAMLError):
        return None
