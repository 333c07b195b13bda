"""clm-embed: run directory + log → one vector a customer (Parquet)."""

from __future__ import annotations

from omegaconf import DictConfig

from clm_dl.config import command
from clm_dl.run import load_run
from clm_dl.tables import write_parquet


@command("embed")
def main(config: DictConfig) -> None:
    """Embed everyone with an event before the cutoff."""
    table = load_run(config.run).embed(config.input, cutoff=config.cutoff)
    write_parquet(table, config.output)
    print(f"{len(table):,} customers, {table.shape[1] - 2} dimensions: {config.output}")


if __name__ == "__main__":
    main()
