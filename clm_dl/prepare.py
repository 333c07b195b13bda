"""clm-prepare: log → event store, with the count of every row."""

from __future__ import annotations

from omegaconf import DictConfig

from clm_dl.config import command, plain
from clm_dl.data.log.prepare import describe_counts
from clm_dl.data.open import open_store
from clm_dl.errors import UserError


@command("prepare")
def main(config: DictConfig) -> None:
    """Prepare the store of a data set, or say that it is up to date."""
    settings = plain(config)
    if settings["data"]["name"] == "table":
        raise UserError(
            "data=table has no events to prepare: train on it directly with clm-train experiment=churn_table"
        )
    store = open_store(settings["data"], settings["paths"])
    print(
        f"{describe_counts(store.counts)}\n{store.num_customers:,} customers, {store.num_events:,} events\nstore: "
        f"{store.path}"
    )


if __name__ == "__main__":
    main()
