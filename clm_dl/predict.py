"""clm-predict: run directory + log → one score a customer, or a ranked list of items a customer (Parquet)."""

from __future__ import annotations

from omegaconf import DictConfig

from clm_dl.config import command, plain
from clm_dl.data.tables import write_parquet
from clm_dl.errors import UserError
from clm_dl.experiment.settings import RANKED
from clm_dl.run import load_run


@command("predict")
def main(config: DictConfig) -> None:
    """Answer for everyone with an event before the cutoff; nothing at or after the cutoff is read."""
    run = load_run(config.run)
    options = {key: plain(config[key]) for key in ("k", "customers", "where", "model") if config[key] is not None}
    if run.config["task"]["name"] in RANKED:
        if config.recalibrate:
            raise UserError(f"recalibrate is for probabilities, and {config.run} recommends: leave it out")
        table = run.recommend(config.input, cutoff=config.cutoff, **options)
        said = f"{table['customer_id'].nunique():,} customers, {len(table):,} recommendations"
        if len(table) and not table["nearest"].any():
            print(
                "note: no item of these histories is in the run's catalogue; are their ids written as those it was "
                "trained on?"
            )
    else:
        if options:
            raise UserError(
                f"{next(iter(options))} is for runs that recommend, and {config.run} answers "
                f"{run.config['task']['name']}: leave it out"
            )
        table = run.predict(config.input, cutoff=config.cutoff, recalibrate=config.recalibrate)
        # a survival run has a row a horizon
        customers = table.groupby("customer_id", sort=False)["in_population"].first()
        said = f"{len(customers):,} customers scored, {int(customers.sum()):,} in the population of the run"
    write_parquet(table, config.output)
    print(f"{said}: {config.output}")


if __name__ == "__main__":
    main()
