"""Presets: what a look at a file found, as commented YAML: a data set and the experiments on it."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from clm_dl.data.look.lines import period
from clm_dl.data.look.log import LogLook
from clm_dl.data.look.look import Look
from clm_dl.data.look.table import TableGuess

PLAIN = r"[A-Za-z][A-Za-z0-9_-]*"
WORDS = ("yes", "no", "on", "off", "true", "false", "null", "y", "n")  # YAML's own
PACKAGE = "# @package _global_"


def presets(look: Look, name: str, given: Mapping[str, Any], snapshots: Mapping[str, Any], path: str) -> dict[str, str]:
    """File below the folder of options → its text.

    Args:
        given: dotted keys of `data` that the command line says, as it says them. snapshots: the same of `snapshots`.
        path: of the file.
    """
    if look.log is not None:
        return {
            f"data/{name}.yaml": _data(look, look.log, name, given, path),
            f"experiment/{name}.yaml": _experiment(look.log, name, snapshots),
            **_ranked(look.log, name, snapshots),
        }
    assert look.table is not None
    return {
        f"data/{name}.yaml": _table(look, look.table, given, path),
        f"experiment/{name}.yaml": _text(
            PACKAGE,
            f"# clm-train experiment={name}: churn_table on data={name}.",
            "defaults:",
            "  - churn_table",
            f"  - override /data: {name}",
        ),
    }


def value(given: Any) -> str:
    """A value in YAML on one line."""
    if isinstance(given, Mapping):
        return "{" + ", ".join(f"{value(key)}: {value(one)}" for key, one in given.items()) + "}"
    if isinstance(given, (list, tuple)):
        return "[" + ", ".join(value(one) for one in given) + "]"
    if isinstance(given, str):
        plain = re.fullmatch(PLAIN, given) and given.lower() not in WORDS
        return given if plain else yaml.dump(given, default_style='"', allow_unicode=True, width=math.inf).strip()
    return json.dumps(given)


def _text(*lines: str) -> str:
    return "\n".join(line for line in lines if line) + "\n"


def _key(key: str, given: Any, comment: str = "", indent: str = "") -> str:
    return f"{indent}{key}: {value(given)}" + (f"  # {_comment(comment)}" if comment else "")


def _comment(text: str) -> str:
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())


def _others(given: Mapping[str, Any]) -> list[str]:
    """Keys of the command line that are no guess."""
    guessed = ("data.roles", "data.categorical", "data.numeric", "data.path", "data.label", "data.positive")
    return [_key(key.removeprefix("data."), one) for key, one in given.items() if not key.startswith(guessed)]


def _data(look: Look, log: LogLook, name: str, given: Mapping[str, Any], path: str) -> str:
    roles, why = log.guess.roles, log.guess.why
    others = {role: log.guess.others.get(role) or [] for role in roles}
    told = {role: why[role] + (f"; or {', '.join(others[role])}" if others[role] else "") for role in roles}
    rest = {key: one for key, one in log.data.items() if key not in ("roles", "categorical", "numeric")}
    bad = sum(log.reasons.values())
    comments = {
        "max_quarantined": f"{bad:,} lines cannot be kept ({', '.join(log.reasons)})",
        "end": "later lines are strays",
        "columns": "there is no header",
    }
    left_out = [f"#   {_comment(column)}: {_comment(reason)}" for column, reason in log.uses.left_out.items()]
    return _text(
        f"# {look.rows:,} lines of {log.customers:,} customers, {period(log)}. Here is what differs from data=events.",
        "defaults: [events, _self_]",
        _key("name", name),
        _key("path", path),
        "roles:",
        *(_key(role, column, told[role], "  ") for role, column in roles.items()),
        _key("categorical", log.uses.categorical) if log.uses.categorical else "",
        _key("numeric", log.uses.numeric) if log.uses.numeric else "",
        *(_key(key, one, comments.get(key, "")) for key, one in rest.items() if f"data.{key}" not in given),
        *_others(given),
        *(["# left out:", *left_out] if left_out else []),
    )


def _table(look: Look, table: TableGuess, given: Mapping[str, Any], path: str) -> str:
    left_out = [f"{column}: {reason}" for column, reason in table.exclude.items()]
    lists = [_key(key, given[f"data.{key}"]) for key in ("categorical", "numeric") if f"data.{key}" in given]
    return _text(
        f"# {look.rows:,} rows, one a customer. Here is what differs from data=table.",
        "defaults: [table, _self_]",
        _key("path", path),
        *(["roles:", _key("customer", table.customer, indent="  ")] if table.customer else []),
        _key("label", table.label, table.why),
        _key("positive", table.positive) if table.positive is not None else "",
        *lists,
        _key("exclude", list(table.exclude), "; ".join(left_out)) if table.exclude else "",
        *_others(given),
    )


def _experiment(log: LogLook, name: str, given: Mapping[str, Any]) -> str:
    return _text(
        PACKAGE,
        f"# clm-train experiment={name}: the recipe of churn_events on data={name}; task=value, survival, … as well.",
        "defaults:",
        "  - churn_events",
        f"  - override /data: {name}",
        *_snapshots(log, given),
    )


def _ranked(log: LogLook, name: str, given: Mapping[str, Any]) -> dict[str, str]:
    """What experiment=NAME means with a task that has a recipe of its own."""
    if "item" not in log.guess.roles:
        return {}
    return {
        f"experiment/{task}_{name}.yaml": _text(
            PACKAGE,
            f"# clm-train experiment={name} task={task}: the recipe of {task}_events on data={name}.",
            "defaults:",
            f"  - {task}_events",
            f"  - override /data: {name}",
            *_snapshots(log, given),
        )
        for task in ("next_item", "next_order")
    }


def _snapshots(log: LogLook, given: Mapping[str, Any]) -> Sequence[str]:
    found = log.suggestion
    keys: dict[str, Any] = {"horizon_days": _number(found.horizon_days), "active_days": _number(found.active_days)}
    keys |= {"every_days": _number(found.every_days)}
    keys |= {"val_customers": found.val_customers} if found.val_customers else {}
    keys |= {key.removeprefix("snapshots."): one for key, one in given.items()}
    why = {} if "snapshots.horizon_days" in given else {"horizon_days": found.why}
    return ["snapshots:", *(_key(key, one, why.get(key, ""), "  ") for key, one in keys.items())]


def _number(days: float) -> float:
    return int(days) if float(days).is_integer() else float(days)
