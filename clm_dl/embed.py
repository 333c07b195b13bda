"""clm-embed: run directory + log → one vector a customer, and of runs that recommend one an item (Parquet)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from clm_dl.command import command
from clm_dl.config import plain
from clm_dl.errors import UserError

if TYPE_CHECKING:
    from omegaconf import DictConfig


@command("embed")
def main(config: DictConfig) -> None:
    """Embed everyone with an event before the cutoff; `item_output`: a file for the items' vectors."""
    from clm_dl.experiment.inference import embed, item_vectors
    from clm_dl.experiment.output import check_output, read_by, write_table
    from clm_dl.experiment.run_files import read_trained

    trained = read_trained(Path(config.run), plain(config.trusted))
    known: Any = {"reads": read_by(trained.config, config.input), "overwrite": config.overwrite}
    output = check_output(config.output, **known)
    item_output = None if config.item_output is None else check_output(config.item_output, "item_output", **known)
    if item_output is not None and item_output.resolve() == output.resolve():
        raise UserError(f"output and item_output are one file, {output}: choose another for the items")
    items = None if item_output is None else item_vectors(trained)
    table = embed(trained, config.input, cutoff=config.cutoff, data=plain(config.data), log=print)
    write_table(table, output)
    print(f"{len(table):,} customers, {table.shape[1] - 2} dimensions: {config.output}")
    if items is not None and item_output is not None:
        write_table(items, item_output)
        print(f"{len(items):,} items: {config.item_output}")


if __name__ == "__main__":
    main()
