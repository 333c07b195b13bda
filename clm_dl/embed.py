"""clm-embed: run directory + log → one vector a customer, and of ranked runs one an item (Parquet)."""

from __future__ import annotations

from omegaconf import DictConfig

from clm_dl.config import command
from clm_dl.data.tables import write_parquet
from clm_dl.recommending import item_vectors
from clm_dl.run import load_run


@command("embed")
def main(config: DictConfig) -> None:
    """Embed everyone with an event before the cutoff; `item_output` names the file of the items' vectors, in the same
    space.
    """
    run = load_run(config.run)
    items = None if config.item_output is None else item_vectors(run)
    table = run.embed(config.input, cutoff=config.cutoff)
    write_parquet(table, config.output)
    print(f"{len(table):,} customers, {table.shape[1] - 2} dimensions: {config.output}")
    if items is not None:
        write_parquet(items, config.item_output)
        print(f"{len(items):,} items: {config.item_output}")


if __name__ == "__main__":
    main()
