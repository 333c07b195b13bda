"""clm-embed: run directory + log → one vector a customer, and of runs that recommend one an item (Parquet)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from clm_dl.config import command, plain

if TYPE_CHECKING:
    from omegaconf import DictConfig


@command("embed")
def main(config: DictConfig) -> None:
    """Embed everyone with an event before the cutoff; `item_output`: a file for the items' vectors."""
    from clm_dl.experiment.inference import embed, item_vectors
    from clm_dl.experiment.run_files import read_trained, write_parquet

    trained = read_trained(Path(config.run), plain(config.trusted))
    items = None if config.item_output is None else item_vectors(trained)
    table = embed(trained, config.input, cutoff=config.cutoff)
    write_parquet(table, config.output)
    print(f"{len(table):,} customers, {table.shape[1] - 2} dimensions: {config.output}")
    if items is not None:
        write_parquet(items, config.item_output)
        print(f"{len(items):,} items: {config.item_output}")


if __name__ == "__main__":
    main()
