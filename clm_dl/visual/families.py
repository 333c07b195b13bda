"""What is shown of a run, by family of tasks: churn has AUC and friends, survival the C-index, value the Gini …"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from clm_dl.evaluation.splits import NETWORK
from clm_dl.tasks.churn import facts as facts_churn
from clm_dl.tasks.pretrain import facts as facts_pretrain
from clm_dl.tasks.recommend import facts as facts_ranked
from clm_dl.tasks.survival import facts as facts_survival
from clm_dl.tasks.value import facts as facts_value

if TYPE_CHECKING:
    from clm_dl.run import Run

Metrics = Mapping[str, Any]  # a run's metrics.json


@dataclass(frozen=True)
class Family:
    """Columns and parts of the tables of one family of tasks.

    Attributes:
        name: churn (propensity, too), survival, value, ranked or pretrain.
        main: the metric that orders the models and is compared between runs.
        columns: metric -> title in the main tables; `more`: the same for the metrics that are a click away.
        tiles: metrics on top of the report.
        headline: metrics whose paired difference stands under the comparison; `differences`: those in the report.
        parts: part of a split in metrics.json -> what it holds, the whole first.
        watched: the metric of calibration that a backtest watches; empty where there is no backtest.
        side_by_side: whether the parts are columns of one table of the main metric, or a table each.
        count: the sentence that says how much was scored in a split.
        setup, limits: how the run was made, and what its figures can and cannot say: title -> lines of Markdown.
    """

    name: str
    main: str
    columns: dict[str, str]
    more: dict[str, str]
    tiles: tuple[str, ...]
    headline: tuple[str, ...]
    differences: tuple[str, ...]
    parts: Mapping[str, str]
    side_by_side: bool
    count: Callable[[Metrics, str], str]
    setup: Callable[[Metrics, Mapping[str, Any]], dict[str, list[str]]]
    limits: Callable[[Metrics], dict[str, list[str]]]
    watched: str = ""

    @property
    def title(self) -> str:
        """Title of the main metric."""
        return self.columns[self.main]

    def ordered(self, models: Mapping[str, Any]) -> list[str]:
        """The network, then the others from the highest main metric down."""
        return sorted(models, key=lambda name: (name != NETWORK, -(models[name][self.main]["value"] or 0.0), name))

    def filled(self, split: Mapping[str, Any]) -> dict[str, str]:
        """The parts of metrics["split"][…] that hold models, with their titles."""
        return {part: title for part, title in self.parts.items() if split.get(part)}

    def present(self, columns: Mapping[str, str], models: Mapping[str, Any]) -> dict[str, str]:
        """The columns that any of the models has."""
        return {metric: title for metric, title in columns.items() if any(metric in found for found in models.values())}


CHURN = Family(
    name="churn",
    main="auroc",
    columns={"auroc": "AUC", "auprc": "PR-AUC", "log_loss": "log loss", "ece": "ECE", "lift@10": "lift@10 %"},
    more={
        "auprc_stay": "PR-AUC of staying",
        "brier": "Brier",
        "recall@10": "recall@10 %",
        "accuracy": "accuracy",
        "f1": "F1",
    },
    tiles=("auroc", "log_loss", "lift@10"),
    headline=("auroc", "log_loss"),
    differences=("auroc", "auprc", "log_loss", "lift@10"),
    parts={"overall": "all snapshots", "recent": "recently active only"},
    side_by_side=False,
    count=facts_churn.count,
    setup=facts_churn.setup,
    limits=facts_churn.limits,
    watched="ece",
)


VALUE = Family(
    name="value",
    main="gini",
    columns={"gini": "Gini", "spearman": "Spearman", "decile_mape": "decile MAPE", "bias": "bias"},
    more={
        "mae": "MAE",
        "rmse": "RMSE",
        "coverage": "coverage",
        "width": "width of the interval",
        "orders_mae": "MAE of orders",
        "orders_bias": "bias of orders",
    },
    tiles=("gini", "decile_mape", "bias"),
    headline=("gini", "decile_mape"),
    differences=("gini", "spearman", "decile_mape"),
    parts={"overall": "all snapshots", "recent": "recently active only"},
    side_by_side=False,
    count=facts_value.count,
    setup=facts_value.setup,
    limits=facts_value.limits,
    watched="decile_mape",
)


@cache
def ranked(k: int) -> Family:
    """The family of ranked tasks with lists of `k` items."""
    return Family(
        name="ranked",
        main=f"ndcg@{k}",
        columns={
            f"hr@{k}": f"HR@{k}",
            f"ndcg@{k}": f"NDCG@{k}",
            "mrr": "MRR",
            f"recall@{k}": f"recall@{k}",
            f"coverage@{k}": f"coverage@{k}",
        },
        more={
            f"precision@{k}": f"precision@{k}",
            f"map@{k}": f"MAP@{k}",
            "auc": "AUC",
            "hit@1": "hit@1",
            "ece@1": "ECE@1",
            f"novelty@{k}": f"novelty@{k}, bits",
            f"diversity@{k}": f"diversity@{k}",
            f"popularity@{k}": f"popularity@{k}",
            f"repeat_ratio@{k}": f"repeats@{k}",
        },
        tiles=(f"ndcg@{k}", f"hr@{k}", f"coverage@{k}"),
        headline=(f"ndcg@{k}", f"hr@{k}"),
        differences=(f"ndcg@{k}", f"hr@{k}", "mrr"),
        parts={
            "overall": "all items",
            "repeats": "repeats",
            "new": "new to the customer",
            "cold_items": "cold items",
            "few_events": "few events",
        },
        side_by_side=True,
        count=facts_ranked.count,
        setup=facts_ranked.setup,
        limits=facts_ranked.limits,
    )


@cache
def survival(horizons_days: tuple[float, ...]) -> Family:
    """The family of survival runs with these horizons."""
    each = {"auroc": "AUC", "ece": "ECE", "brier": "Brier", "log_loss": "log loss"}
    return Family(
        name="survival",
        main="c_index",
        columns={"c_index": "C-index", "ibs": "integrated Brier", "log_loss": "log loss", "ece": "ECE, worst"},
        more={
            f"{metric}@{days:g}": f"{title}, {days:g} days" for metric, title in each.items() for days in horizons_days
        },
        tiles=("c_index", "ibs", "ece"),
        headline=("c_index", "ibs"),
        differences=("c_index", "ibs", "log_loss", "ece"),
        parts={"overall": "all snapshots", "recent": "recently active only"},
        side_by_side=False,
        count=facts_survival.count,
        setup=facts_survival.setup,
        limits=facts_survival.limits,
    )


@cache
def pretrain(fields: tuple[str, ...]) -> Family:
    """The family of pretraining runs whose objective has these fields."""
    return Family(
        name="pretrain",
        main="loss",
        columns={"loss": "loss / floor"} | {f"loss@{name}": name for name in fields[:4]},
        more={f"loss@{name}": name for name in fields[4:]},
        tiles=("loss",),
        headline=("loss",),
        differences=("loss", *(f"loss@{name}" for name in fields[:4])),
        parts={"overall": "customers kept out"},
        side_by_side=False,
        count=facts_pretrain.count,
        setup=facts_pretrain.setup,
        limits=facts_pretrain.limits,
    )


def family(metrics: Metrics) -> Family:
    """The family of a run, by its metrics.json; of a multi-task run that of its first question."""
    metrics = by_question(metrics)[0]
    if metrics["task"] == "survival":
        return survival(tuple(metrics["horizons_days"]))
    if metrics["task"] == "value":
        return VALUE
    if metrics["task"] == "pretrain":
        return pretrain(tuple(metrics["fields"]))
    return CHURN if metrics["task"] in ("churn", "propensity") else ranked(metrics["k"])


def by_question(metrics: Metrics) -> list[Metrics]:
    """The metrics of each question of a multi-task run, else of the run itself."""
    return list(metrics["tasks"].values()) if "tasks" in metrics else [metrics]


def by_family(runs: Iterable[Run]) -> list[tuple[Family, list[Run]]]:
    """Runs of one family together, in the order given: only they have figures in common. Of a multi-task run each
    question is one.
    """
    found: dict[str, tuple[Family, list[Run]]] = {}
    for question in (question for run in runs for question in run.questions):
        shown = family(question.metrics)
        found.setdefault(shown.main, (shown, []))[1].append(question)
    return list(found.values())
