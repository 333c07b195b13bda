"""Settings of a run: every group of train.yaml typed once, chosen baselines made, and the checks that need no data."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from clm_dl.baselines.spec import Spec
from clm_dl.config import build
from clm_dl.data.log.interchange import spell_out
from clm_dl.data.log.shapes import check_shapes
from clm_dl.data.sequences.options import SequenceOptions, VocabularyOptions
from clm_dl.data.snapshots.rule import SnapshotRule
from clm_dl.errors import UserError, choice, nearest
from clm_dl.experiment.checks import check_shape, check_together, check_top
from clm_dl.options import parse
from clm_dl.tasks.base import Task
from clm_dl.tasks.registry import TASKS
from clm_dl.tasks.settings import ProfitOptions, Settings
from clm_dl.training.options import CallbackOptions, TrainerOptions, TrainingOptions

LAST = 1000  # place of a baseline that names none
TABLE = "table"  # the data set without time
OWN_KEYS = ("name", "task", "place", "sees", "columns", "max_rows")  # of a baseline; the others are its class's


@dataclass(frozen=True)
class Plan:
    """What a run is to do.

    Attributes:
        config: resolved, as it is saved. folder: the run directory. data, paths: their groups.
        init: a pretrained run to start from. resamples: of the intervals.
        overwrite: the folder may hold a finished run, which this one replaces.
    """

    config: dict[str, Any]
    task: Task
    training: TrainingOptions
    folder: Path
    data: Mapping[str, Any]
    paths: Mapping[str, Any]
    init: str | None
    resamples: int
    seed: int
    overwrite: bool

    @property
    def settings(self) -> Settings:
        return self.task.settings

    @property
    def is_table(self) -> bool:
        """Whether the data are a table of customers without time."""
        return bool(self.data["name"] == TABLE)

    @property
    def resumes_in_place(self) -> bool:
        """Whether the checkpoint to go on from lies in the run's own folder."""
        checkpoint = self.training.checkpoint
        return bool(checkpoint) and self.folder.resolve() in Path(str(checkpoint)).resolve().parents

    @property
    def folds(self) -> int:
        rule = self.settings.rule
        return 1 if rule is None else rule.folds


def read_plan(config: Mapping[str, Any]) -> Plan:
    """The plan of a resolved configuration of train.yaml, with the task's objective filled in.

    Raises:
        ValueError: one sentence for the first setting that is wrong or does not go together with another.
    """
    check_shape(config)
    check_shapes(config["data"])
    config = {**config, "data": spell_out(config["data"])}
    check_top(config)
    task = read_task(config)
    config["data"] = _with_tie(config["data"], task)
    config["objective"] = config["objective"] or task.questions[0].objective
    choice(config["objective"], task.questions[0].metrics().objectives, "objective")
    check_together(config, task)
    trainer = parse(TrainerOptions, config["trainer"], "trainer", strict=False)
    training = TrainingOptions(
        trainer={key: value for key, value in config["trainer"].items() if key not in ("compile", "shapes")},
        compile=trainer.compile,
        shapes=trainer.shapes,
        callbacks=parse(CallbackOptions, config["callbacks"], "callbacks"),
        loggers=config["logger"],
        seed=config["seed"],
        checkpoint=config["ckpt"],
        trusted=tuple(config["trusted"]),
    )
    return Plan(
        config=config,
        task=task,
        training=training,
        folder=Path(config["paths"]["output_dir"]),
        data=config["data"],
        paths=config["paths"],
        init=config["init"],
        resamples=config["bootstrap"],
        seed=config["seed"],
        overwrite=bool(config["overwrite"]),
    )


def _with_tie(data: Mapping[str, Any], task: Task) -> dict[str, Any]:
    """The group `data` with what orders lines of one customer and time: values, but never in a ranked task."""
    if "tie" not in data:
        return dict(data)
    ranks = task.questions[0].recommends
    if ranks and data["tie"] == "sort":
        raise UserError(
            f"data.tie=sort puts lines of one time in the order of their items, which task={task.name} would learn as "
            "what customers do: leave it out, or set file or seeded"
        )
    return {**data, "tie": data["tie"] or ("auto" if ranks else "sort")}


def read_task(config: Mapping[str, Any]) -> Task:
    """The task of a resolved configuration, whether of a new run or of a finished one."""
    name, data = config["task"]["name"], config["data"]
    if name not in TASKS:
        raise UserError(f"no task {name!r}{nearest(name, TASKS)}; there are {', '.join(TASKS)}")
    rule = None if data["name"] == TABLE else parse(SnapshotRule, config["snapshots"], "snapshots")
    specs = chosen_baselines(config, asked=TASKS[name].asked(config["task"]))
    if rule is None and data["network"]:  # the network of a table is an estimator, too
        specs = (_spec({**data["network"], "task": [name]}, config["trusted"]), *specs)
    settings = Settings(
        task=config["task"],
        encoder=config["encoder"],
        sequence=parse(SequenceOptions, config["sequence"], "sequence"),
        vocabulary=parse(VocabularyOptions, config["vocabulary"], "vocabulary"),
        rule=rule,
        labels=config["labels"],
        protocol=config["protocol"],
        policy=config["policy"],
        calendar=data.get("calendar"),
        log=data["name"],
        timezone=data.get("timezone") or "UTC",
        k=config["k"],
        seed=config["seed"],
        threshold=config["threshold"],
        profit=parse(ProfitOptions, config["profit"], "profit"),
        impute=config["impute"],
        imbalance=config["imbalance"],
        specs=specs,
        named=config["baselines"] != "all",
    )
    task = TASKS[name](settings)
    task.check()
    return task


def chosen_baselines(config: Mapping[str, Any], *, asked: tuple[str, ...]) -> tuple[Spec, ...]:
    """The chosen baselines, hybrids last; `all` are those that answer one of the questions `asked`.

    Raises:
        ValueError: an unknown name, or an option that its class refuses.
    """
    chosen, group = config["baselines"], config["baseline"]
    group = dict(sorted(group.items(), key=lambda item: item[1].get("place", LAST)))
    known = {name: one for name, one in group.items() if set(asked) & set(one["task"])}
    if not config["init"]:
        known = {name: one for name, one in known.items() if "embedding" not in one.get("sees", [])}
    if config["encoder"]["name"] == "none":
        known = {name: one for name, one in known.items() if "network" not in (one.get("members") or [])}
    names = [chosen] if isinstance(chosen, str) and chosen not in ("all", "none") else chosen
    names = list(known) if chosen == "all" else [] if chosen in ("none", None) else list(names)
    for name in names:
        if name not in known:
            hint = nearest(name, known)
            if name in group:
                sees = set(asked) & set(group[name]["task"]) and "embedding" in group[name].get("sees", [])
                hint = (
                    f": {name} sees the vectors of init=RUN"
                    if sees
                    else f": {name} answers {', '.join(group[name]['task'])}"
                )
            raise UserError(
                f"no baseline {name!r} of task {config['task']['name']}{hint}; there are {', '.join(known)}"
            )
    specs = [_spec(group[name], config["trusted"]) for name in names]
    return tuple(sorted(specs, key=lambda spec: spec.is_hybrid))  # hybrids combine what stands before them


def _spec(group: Mapping[str, Any], trusted: list[str]) -> Spec:
    options = {key: value for key, value in group.items() if key not in OWN_KEYS}
    make: Callable[[], Any] = partial(build, options, trusted=trusted)
    made = make()
    if hasattr(made, "_parameter_constraints"):  # scikit-learn's own check, which its fit would make
        try:
            made._validate_params()
        except ValueError as error:
            raise UserError(f"baseline.{group['name']}: {str(error).splitlines()[0]}") from error
    members = group.get("members", ())
    return Spec(
        name=group["name"],
        make=make,
        answers=tuple(group["task"]),
        sees=tuple(group.get("sees", ("features",))),
        columns=None if group.get("columns") is None else tuple(group["columns"]),
        max_rows=group.get("max_rows"),
        members=None if members is None else tuple(members),
        options=group,
    )
