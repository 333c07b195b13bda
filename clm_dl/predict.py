"""clm-predict: run directory + log → one score a customer, or a ranked list of items a customer (Parquet)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from clm_dl.command import command
from clm_dl.config import plain
from clm_dl.errors import UserError

if TYPE_CHECKING:
    from omegaconf import DictConfig


@command("predict")
def main(config: DictConfig) -> None:
    """Answer for everyone with an event before the cutoff; nothing at or after the cutoff is read."""
    from clm_dl.experiment.inference import counted_lists, predict
    from clm_dl.experiment.output import check_output, read_by, write_table
    from clm_dl.experiment.run_files import read_trained

    trained = read_trained(Path(config.run), plain(config.trusted))
    output = check_output(config.output, reads=read_by(trained.config, config.input), overwrite=config.overwrite)
    name, recommends = trained.task.name, trained.task.questions[0].recommends
    options = {key: plain(config[key]) for key in ("k", "customers", "where") if config[key] is not None}
    shared: Any = {"cutoff": config.cutoff, "model": config.model, "data": plain(config.data), "log": print}
    if recommends:
        if config.recalibrate:
            raise UserError(f"recalibrate is for probabilities, and {config.run} recommends: leave it out")
        table, asked = counted_lists(trained, config.input, **shared, **options)
        served = table["customer_id"].nunique()
        said = f"{served:,} customers, {len(table):,} recommendations"
        if served < asked:
            print(f"note: {asked - served:,} of {asked:,} customers have no list: nothing is left to recommend to them")
        if trained.network is not None and len(table) and not table["nearest"].any():
            print(
                "note: no item of these histories is in the run's catalogue; are their ids written as those it was "
                "trained on?"
            )
    else:
        if options:
            raise UserError(
                f"{next(iter(options))} is for runs that recommend, and {config.run} answers {name}: leave it out"
            )
        table = predict(trained, config.input, recalibrate=config.recalibrate, **shared)
        # a survival run has a row a horizon
        customers = table.groupby("customer_id", sort=False)["in_population"].first()
        said = f"{len(customers):,} customers scored, {int(customers.sum()):,} in the population of the run"
    write_table(table, output)
    print(f"{said}: {config.output}")


if __name__ == "__main__":
    main()
