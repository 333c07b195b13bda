"""The Python API: fit, predict, recommend, embed, save from a table; the same configurations and run underneath."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from clm_dl.config import compose, plain
from clm_dl.errors import UserError, nearest
from clm_dl.experiment.experiment import run_experiment
from clm_dl.run import Run


class Churn:
    """P(no event in the next `horizon_days`) for every customer of an event log.

    Args:
        encoder: an option of the config group `encoder` (lstm, gru, rnn, conv, transformer, mean, none).
        horizon_days, gap_days: the label window is [cutoff + gap, cutoff + gap + horizon).
        active_days: population rule, an event in the N days before the cutoff; None scores everyone.
        seed: of everything random.
        overrides: further Hydra overrides, e.g. `["trainer.max_epochs=3", "baselines=[logistic]"]`.

    Example:
        >>> run = Churn(encoder="lstm", horizon_days=28).fit(events, customer="household_id", time="ts", amount="spend")
        >>> run.metrics["split"]["test"]["overall"]["network"]["auroc"]
        >>> run.predict(events, cutoff="2017-12-01")
    """

    def __init__(
        self,
        encoder: str = "lstm",
        horizon_days: float = 28,
        *,
        gap_days: float = 0,
        active_days: float | None = None,
        seed: int = 0,
        overrides: Sequence[str] = (),
    ):
        self.config = compose(
            "train",
            [
                "experiment=churn_events",
                f"encoder={encoder}",
                f"snapshots.horizon_days={horizon_days}",
                f"snapshots.gap_days={gap_days}",
                f"snapshots.active_days={'null' if active_days is None else active_days}",
                f"seed={seed}",
                *overrides,
            ],
        )

    def fit(
        self,
        events: Any,
        *,
        customer: str,
        time: str,
        categorical: Sequence[str] = (),
        numeric: Sequence[str] = (),
        output_dir: str | Path | None = None,
        **roles: str,
    ) -> Run:
        """Train on a log and compare with every baseline.

        Args:
            events: pandas, Polars or Arrow table with one row an event, or the path of a CSV or Parquet file.
            customer, time: columns that play these roles; further roles by name (item, order, event_type, amount, …).
            categorical, numeric: further columns for the network.
            output_dir: the run directory; None for a new one under runs/.

        Raises:
            ValueError: bad input, in one sentence.
        """
        return _fit(
            self.config.copy(), events, {"customer": customer, "time": time, **roles}, categorical, numeric, output_dir
        )


class Survival(Churn):
    """When every customer of an event log leaves: P(active through each horizon) and the expected remaining lifetime.

    A customer leaves at the last event before `silence_days` without any, counted from the cutoff on.

    Args:
        horizons_days: ascending days after the cutoff; 0 is "has not left at the cutoff". The last one and the silence
            must fit several times into the log: after training, after validation and after test.
        encoder, active_days, seed, overrides: as in `Churn`.

    Example:
        >>> run = Survival(horizons_days=[0, 28, 56], silence_days=28).fit(events, customer="household_id", time="ts")
        >>> run.metrics["split"]["test"]["overall"]["network"]["c_index"]
        >>> run.predict(events, cutoff="2017-12-01")  # a row a customer and horizon, and remaining_days
    """

    def __init__(
        self,
        encoder: str = "lstm",
        horizons_days: Sequence[float] = (0, 28, 56),
        *,
        silence_days: float = 28,
        active_days: float | None = None,
        seed: int = 0,
        overrides: Sequence[str] = (),
    ):
        question = ["task=survival", f"task.horizons_days={list(horizons_days)}"]
        super().__init__(encoder, silence_days, active_days=active_days, seed=seed, overrides=[*question, *overrides])


class Value(Churn):
    """What every customer of an event log spends in the next `horizon_days`: mean, median, interval, and the number of
    orders.

    Args:
        horizon_days, gap_days, encoder, active_days, seed, overrides: as in `Churn`.

    Example:
        >>> run = Value(horizon_days=91).fit(events, customer="household_id", time="ts", amount="spend")
        >>> run.metrics["split"]["test"]["overall"]["network"]["gini"]
        >>> run.predict(events, cutoff="2017-12-01")  # score is money; low and high hold it for 9 of 10 customers
    """

    def __init__(
        self,
        encoder: str = "lstm",
        horizon_days: float = 91,
        *,
        gap_days: float = 0,
        active_days: float | None = None,
        seed: int = 0,
        overrides: Sequence[str] = (),
    ):
        options: dict[str, Any] = {"gap_days": gap_days, "active_days": active_days, "seed": seed}
        super().__init__(encoder, horizon_days, **options, overrides=["task=value", *overrides])


class NextItem:
    """The items that every customer of an event log takes next, ranked over all items of the log.

    Args:
        encoder: an option of the config group `encoder` (lstm, gru, sasrec, esasrec, hstu, …, none).
        protocol: leave_one_out (a customer's last two events are validation and test), global_time, or rolling.
        repeats: remove = what a customer has had already is not recommended; allow = it may be.
        seed, overrides: as in `Churn`, e.g. `overrides=["k=20", "task.loss.name=gbce", "baselines=[popular,ease]"]`.

    Example:
        >>> run = NextItem(encoder="lstm").fit(events, customer="household_id", time="ts", item="sku")
        >>> run.metrics["split"]["test"]["overall"]["network"]["ndcg@10"]
        >>> run.recommend(new_events, k=5, cutoff="2017-12-01")  # of customers never seen, too
    """

    def __init__(
        self,
        encoder: str = "lstm",
        protocol: str = "leave_one_out",
        *,
        repeats: str = "remove",
        seed: int = 0,
        overrides: Sequence[str] = (),
    ):
        if repeats not in ("remove", "allow"):
            raise UserError(f"repeats must be remove or allow, got {repeats!r}")
        self.config = compose(
            "train",
            [
                "experiment=next_item_events",
                f"encoder={encoder}",
                f"protocol={protocol}",
                f"policy.repeats={repeats}",
                f"seed={seed}",
                *overrides,
            ],
        )

    def fit(
        self,
        events: Any,
        *,
        customer: str,
        time: str,
        item: str,
        categorical: Sequence[str] = (),
        numeric: Sequence[str] = (),
        content: Sequence[str] = (),
        output_dir: str | Path | None = None,
        **roles: str,
    ) -> Run:
        """Train on a log and compare with every recommender.

        Args:
            item: the column to recommend from; `order`, `amount`, … by name. All else as in `Churn.fit`.
            content: those of the `categorical` and `numeric` columns that belong to the item (a department, a price):
                they tell apart items that training never saw, and `run.recommend(where={column: value})` filters by the
                categorical ones.

        Raises:
            ValueError: bad input, in one sentence.
        """
        config, given = self.config.copy(), [*categorical, *numeric]
        if unknown := [name for name in content if name not in given]:
            raise UserError(
                f"content names the column {unknown[0]!r}{nearest(unknown[0], given)}: name it in categorical or "
                "numeric, too"
            )
        config.task.content.categorical = [name for name in content if name in categorical]
        config.task.content.numeric = [name for name in content if name in numeric]
        return _fit(
            config,
            events,
            {"customer": customer, "time": time, "item": item, **roles},
            categorical,
            numeric,
            output_dir,
        )


def _fit(
    config: DictConfig,
    events: Any,
    roles: Mapping[str, str],
    categorical: Sequence[str],
    numeric: Sequence[str],
    output_dir: str | Path | None,
) -> Run:
    """Run the experiment `config` on a table or a path whose columns play `roles`; `config` is changed."""
    OmegaConf.set_struct(config, True)
    known = set(config.data.roles)
    if unknown := set(roles) - known:
        raise UserError(f"no role {sorted(unknown)[0]!r}; roles are {', '.join(sorted(map(str, known)))}")
    config.data.roles.update(roles)
    config.data.categorical, config.data.numeric = list(categorical), list(numeric)
    if output_dir is not None:
        config.paths.output_dir = str(output_dir)
    trusted = plain(config.trusted)
    if isinstance(events, (str, Path)):
        config.data.path = str(events)
        return Run(run_experiment(config), trusted)
    return Run(run_experiment(config, frame=events), trusted)
