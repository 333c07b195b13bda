"""clm-prepare: log → event store, with the count of every row."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clm_dl.command import command
from clm_dl.config import plain
from clm_dl.errors import UserError

if TYPE_CHECKING:
    from omegaconf import DictConfig


@command("prepare")
def main(config: DictConfig) -> None:
    """Prepare the store of a data set, or say that it is up to date."""
    from clm_dl.data.log.counts import describe_counts
    from clm_dl.data.open import open_store
    from clm_dl.visual.facts import log_lines

    settings = plain(config)
    if settings["data"]["name"] == "table":
        raise UserError(
            "data=table has no events to prepare: train on it directly with clm-train experiment=churn_table"
        )
    said: list[str] = []
    store = open_store(settings["data"], settings["paths"], said.append)
    counts = describe_counts(store.counts)
    size = f"{store.num_customers:,} customers, {store.num_events:,} events"
    print(*(line for line in said if line != counts), counts, size, f"store: {store.path}", sep="\n")
    for line in log_lines(store.facts):
        print(line)


if __name__ == "__main__":
    main()
