"""Configurations of older runs in the keys of today."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def current_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration of a run of any version, as this version would have saved it."""
    config = dict(config)
    config.setdefault("profit", {"benefit": 10.0, "cost": 1.0})  # it was the same for every run
    if isinstance(config.get("snapshots"), Mapping):  # a survival run kept what follows from its horizons
        config["snapshots"] = {key: value for key, value in config["snapshots"].items() if key != "follow_days"}
    if isinstance(config.get("task"), Mapping):  # a pass read all, an epoch was a pass
        before = {"cutoffs_per_customer": None, "steps_per_epoch": None, "passes_per_epoch": 0.0}
        config["task"] = before | config["task"]
    if isinstance(config.get("data"), Mapping) and "dedupe" in config["data"]:  # of an event log; it was not listed
        config["data"] = {"calendar": None} | config["data"]
    return config
