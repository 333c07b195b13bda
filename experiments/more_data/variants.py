"""Overrides of the study's variants: more of the same data, denser cutoffs or copied customers of Complete Journey.

python experiments/more_data/variants.py VARIANT FOLDER    prints the overrides, one a line; FOLDER takes the copied log
"""

from __future__ import annotations

import sys
from pathlib import Path

import pandas as pd

from clm_dl.data.log.files import find_files

EVERY_DAYS = {"weekly": 7, "3_daily": 3, "daily": 1}  # the recipe has a training cutoff every 14 days
COPIED = ("transactions", "demographics")  # tables that name customers


def overrides(variant: str, folder: Path) -> list[str]:
    """What `clm-train` is told of a variant: two_weekly (the recipe as it is), weekly, 3_daily, daily, copies."""
    if variant in EVERY_DAYS:
        days = pd.date_range("2017-03-26", "2017-08-27", freq=f"{EVERY_DAYS[variant]}D").strftime("%Y-%m-%d")
        return [f"snapshots.train=[{','.join(days)}]"]
    if variant == "copies":
        log, demographics = (copied(name, folder) for name in COPIED)
        products = "{path: 'completejourney:products', on: product_id, columns: [department, product_category, "
        products += "product_type], to: item}"
        return [
            f"data.path={log}",
            f"data.joins=[{products}, {{path: '{demographics}', on: household_id, columns: null, to: customer}}]",
        ]
    assert variant == "two_weekly", variant
    return []


def copied(name: str, folder: Path) -> Path:
    """The table of the data package with every household twice, the second time under a new id."""
    path = folder / f"{name}_copies.parquet"
    if not path.exists():
        table = pd.read_parquet(find_files(f"completejourney:{name}", "")[0])
        other = table.assign(household_id=table["household_id"].astype(int) + 1_000_000)
        if "basket_id" in other:
            other["basket_id"] = other["basket_id"].astype(int) + 10**12
        folder.mkdir(parents=True, exist_ok=True)
        pd.concat([table, other]).to_parquet(path)
    return path


if __name__ == "__main__":
    for line in overrides(sys.argv[1], Path(sys.argv[2])):
        print(line)
