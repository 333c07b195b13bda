"""Settings of an experiment: the checks that need no data, and which baselines were chosen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from clm_dl.baselines.tabular.classifier import build_baseline
from clm_dl.baselines.tabular.regressor import build_value_baseline
from clm_dl.config import build
from clm_dl.errors import UserError, choice, nearest
from clm_dl.evaluation.bootstrap import METRICS
from clm_dl.evaluation.splits import NETWORK
from clm_dl.tasks.multitask.module import questions
from clm_dl.tasks.recommend.ranks import REPEATS
from clm_dl.tasks.survival.lifetimes import check_horizons
from clm_dl.tasks.survival.metrics import metric_names
from clm_dl.tasks.value.metrics import METRICS as VALUE_METRICS
from clm_dl.tasks.value.module import check_value_options

RANKED = ("next_item", "next_order")  # tasks that answer with a ranked list
RANKED_METRICS = ("ndcg", "hr", "recall", "precision", "map", "mrr", "coverage")


def check(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings with the task's objective filled in, after the checks that need no data."""
    seed, task = settings["seed"], settings["task"]["name"]
    if not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed < 2**32:
        raise UserError(f"seed must be an integer from 0 to 2^32 − 1, got {seed!r}")
    check_numbers(settings)
    if task not in RANKED:
        if settings["data"]["name"] == "table" and task != "churn":
            raise UserError(f"data=table has no time, so it answers task=churn alone, got task={task}")
        for name in questions(settings["task"]):
            check_question(of_question(settings, name))
    check_pretraining(settings)
    known = known_metrics(settings)
    settings["objective"] = settings["objective"] or {
        "pretrain": "loss",
        "value": "gini",
        **dict.fromkeys(RANKED, f"ndcg@{settings['k']}"),
    }.get(questions(settings["task"])[0], "log_loss")
    if settings["objective"] not in known:
        raise UserError(
            f"objective must be one of {', '.join(known)}, got "
            f"{settings['objective']!r}{nearest(settings['objective'], known)}"
        )
    if task in RANKED:
        choice(settings["policy"]["repeats"], REPEATS, "policy.repeats")
        if settings["snapshots"].get("folds", 1) > 1:
            raise UserError(
                f"task={task} has a single fold, got snapshots.folds={settings['snapshots']['folds']}: set "
                "snapshots.folds=1"
            )
    baseline_settings(settings)  # a name that answers none of the questions is refused
    for name in questions(settings["task"]):
        _check_baselines(of_question(settings, name))
    if settings["ckpt"] and settings["snapshots"].get("folds", 1) > 1:
        raise UserError(
            f"ckpt resumes one network, got snapshots.folds={settings['snapshots']['folds']}: set snapshots.folds=1"
        )
    if settings["encoder"]["name"] == "none":
        for name in questions(settings["task"]):
            if not baseline_settings(of_question(settings, name))["baselines"]:
                what = f"nothing that answers {name}" if name != task else "nothing to train"
                raise UserError(
                    f"encoder=none and baselines={settings['baselines']} leave {what}: choose an encoder or a baseline"
                )
    if settings["encoder"]["name"] == "none" and settings["ckpt"]:
        raise UserError(
            "ckpt resumes a network, but encoder=none trains no network: choose the encoder of the checkpoint"
        )
    return settings


def check_numbers(settings: Mapping[str, Any]) -> None:
    """Raise ValueError for a number that no run can be made with."""
    epochs, lr = settings["trainer"]["max_epochs"], settings["task"].get("optimizer", {}).get("lr", 0.0)
    if not isinstance(settings["bootstrap"], int) or settings["bootstrap"] < 1:
        raise UserError(
            f"bootstrap is the number of resamples and must be an integer ≥ 1, got {settings['bootstrap']!r}"
        )
    if not 0 <= settings["threshold"] <= 1:
        raise UserError(f"threshold is a probability and must be in [0, 1], got {settings['threshold']}")
    if epochs is not None and epochs != -1 and epochs < 1:
        raise UserError(f"trainer.max_epochs must be ≥ 1, or -1 to train until the callbacks stop it, got {epochs}")
    if not lr >= 0:
        raise UserError(f"task.optimizer.lr must be ≥ 0, got {lr}")
    for group in ("task", "encoder"):
        if not 0 <= (share := settings[group].get("dropout", 0.0)) < 1:
            raise UserError(f"{group}.dropout is a share and must be in [0, 1), got {share}")
        for name in ("size", "hidden_size"):
            width = settings[group].get(name)
            if width is not None and (not isinstance(width, int) or width < 1):
                raise UserError(f"{group}.{name} is a width and must be an integer ≥ 1, got {width!r}")


def known_metrics(settings: Mapping[str, Any]) -> list[str]:
    """The metrics of the task, of a multi-task run those of its first question, any of which a sweep may optimise."""
    settings = of_question(settings, questions(settings["task"])[0])
    task = settings["task"]["name"]
    if task in RANKED:
        return [name if name == "mrr" else f"{name}@{settings['k']}" for name in RANKED_METRICS]
    if task == "pretrain":
        return ["loss"]
    if task == "value":
        return [name for name in VALUE_METRICS if not name.endswith("bias") and name not in ("coverage", "width")]
    return list(metric_names(settings["task"]["horizons_days"])) if task == "survival" else list(METRICS)


def check_question(settings: dict[str, Any]) -> None:
    """Raise ValueError where task and labels do not ask the same question; the horizons of survival enter the
    snapshots' rule.
    """
    task, labels = settings["task"]["name"], settings["labels"]["name"]
    if task == "churn" and labels == "event":
        raise UserError("labels=event says whether something happened, which is no churn: set task=propensity")
    if task == "propensity" and labels not in ("event", "given", "churn_event"):
        raise UserError(
            f"task=propensity asks whether something happens, got labels={labels}: choose labels=event or give "
            "labels=FILE"
        )
    if task == "value":
        if labels != "no_event":
            raise UserError(
                f"task=value forecasts the spend of the label window, got labels={labels}: set labels=no_event"
            )
        if settings["imbalance"] != "none":
            raise UserError(
                f"task=value has no classes to balance, got imbalance={settings['imbalance']}: set imbalance=none"
            )
        check_value_options(settings["task"])
    if task == "survival":
        horizons = settings["task"]["horizons_days"]
        check_horizons(horizons)
        settings["snapshots"]["follow_days"] = horizons[-1]


def check_pretraining(settings: dict[str, Any]) -> None:
    """Raise ValueError where `init`, `encoder.frozen` or the task of pretraining do not go together with the rest."""
    task, encoder = settings["task"]["name"], settings["encoder"]
    if task == "pretrain":
        settings["sequence"]["features"] = False  # no head that they could enter
        if settings["snapshots"]["folds"] > 1:
            raise UserError(
                f"task=pretrain has a single fold, got snapshots.folds={settings['snapshots']['folds']}: set "
                "snapshots.folds=1"
            )
        if encoder["name"] == "none":
            raise UserError("task=pretrain trains an encoder, got encoder=none: choose one")
    if task == "pretrain" or task in RANKED or settings["data"]["name"] == "table":
        for key, value in {"init": settings["init"], "encoder.frozen": encoder["frozen"]}.items():
            if value:
                raise UserError(
                    f"{key} is for tasks that answer per snapshot from a sequence, got {key}={value} with task={task}"
                )


def of_question(settings: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The settings of one question of a multi-task run alone, with those of its baselines that answer it; else as they
    are.
    """
    if settings["task"]["name"] == name:
        return dict(settings)
    chosen = settings["baselines"]
    if not (isinstance(chosen, str) or chosen is None):
        chosen = [other for other in chosen if name in settings["baseline"].get(other, {}).get("task", [name])]
    return {**settings, "task": {**settings["task"], "name": name}, "baselines": chosen}


def build_recommender(config: Mapping[str, Any], settings: Mapping[str, Any]) -> Any:
    """The recommender or hybrid of a baseline's configuration, with the run's seed where it draws anything."""
    model = build(
        {key: value for key, value in config.items() if key not in ("name", "task")}, trusted=settings["trusted"]
    )
    if hasattr(model, "seed"):
        model.seed = settings["seed"]
    return model


def _check_baselines(settings: Mapping[str, Any]) -> None:
    """Raise ValueError for a wrong option of a chosen baseline."""
    task, chosen = settings["task"]["name"], baseline_settings(settings)
    for config in chosen["baselines"]:
        if task in RANKED:
            _check_recommender(
                config, settings, {other["name"] for other in chosen["baselines"] if "members" not in other}
            )
        elif task == "value":
            build_value_baseline(config, **{key: chosen[key] for key in ("seed", "impute", "trusted")})
        else:
            build_baseline(config, **{key: chosen[key] for key in ("seed", "impute", "imbalance", "trusted")})


def _check_recommender(config: Mapping[str, Any], settings: Mapping[str, Any], single: set[str]) -> None:
    """Raise ValueError for a wrong option, or a hybrid one of whose members the run lacks; `single` are its baselines
    but the hybrids.
    """
    build_recommender(config, settings)
    if "members" in config:
        known = [*[NETWORK] * (settings["encoder"]["name"] != "none"), *sorted(single)]
        members = known if config["members"] is None else config["members"]
        if not members or set(members) - set(known):
            raise UserError(
                f"the baseline {config['name']} combines {', '.join(members) or 'other models'}, but the run has "
                f"{', '.join(known) or 'none'}: add what is missing to baselines"
            )


def baseline_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The chosen baselines' configurations, with how to impute, balance and seed them; `all` are those that answer the
    task.
    """
    task, chosen = settings["task"]["name"], settings["baselines"]
    asked = set(questions(settings["task"]))
    known = {name: config for name, config in settings["baseline"].items() if asked & set(config.get("task", asked))}
    if not settings["init"]:
        known = {name: config for name, config in known.items() if "embedding" not in config.get("sees", [])}
    if settings["encoder"]["name"] == "none":
        known = {name: config for name, config in known.items() if "network" not in (config.get("members") or [])}
    names = (
        list(known)
        if chosen == "all"
        else []
        if chosen in ("none", None)
        else [chosen]
        if isinstance(chosen, str)
        else list(chosen)
    )
    for name in names:
        if name not in known:
            other = ""
            if name in settings["baseline"]:
                config = settings["baseline"][name]
                sees = asked & set(config["task"]) and "embedding" in config.get("sees", [])
                other = (
                    f": {name} sees the vectors of init=RUN"
                    if sees
                    else f": {name} answers {', '.join(config['task'])}"
                )
            raise UserError(
                f"no baseline {name!r} of task {task}{other or nearest(name, known)}; there are {', '.join(known)}"
            )
    return {
        "baselines": [known[name] for name in names],
        **{key: settings[key] for key in ("seed", "impute", "imbalance", "trusted")},
    }
