"""clm-predict: run directory + log → one score a customer (Parquet)."""

from __future__ import annotations

from omegaconf import DictConfig

from clm_dl.config import command
from clm_dl.run import load_run
from clm_dl.tables import write_parquet


@command("predict")
def main(config: DictConfig) -> None:
    """Score everyone with an event before the cutoff; nothing at or after the cutoff is read."""
    table = load_run(config.run).predict(config.input, cutoff=config.cutoff)
    write_parquet(table, config.output)
    print(f"{len(table):,} customers scored, {int(table['in_population'].sum()):,} in the population of the run: {config.output}")


if __name__ == "__main__":
    main()
