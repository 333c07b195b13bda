"""Runs of the study → results.csv and the table in README.md, a row a variant.

python experiments/more_data/collect.py FOLDER…    runs VARIANT_SEED in each, named after the recipe: passes or steps
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pandas as pd

from clm_dl.experiment.run_files import read_config

HERE = Path(__file__).parent
START, END = "<!-- results: made by experiments/more_data/collect.py -->", "<!-- end of results -->"
VARIANTS = {"two_weekly": 1, "weekly": 2, "3_daily": 4, "daily": 14, "copies": 1}  # cutoffs, of the recipe's


def rows(folder: Path) -> list[dict[str, object]]:
    """One row a run and model, with its figures on test."""
    found = []
    for path in sorted(folder.glob("*/metrics.json")):
        metrics, seed = json.loads(path.read_text()), read_config(path.parent)["seed"]
        key = {"recipe": folder.name, "variant": path.parent.name.removesuffix(f"_{seed}"), "seed": seed}
        key["snapshots"] = metrics["data"]["snapshots"]["train"]
        for model, figures in metrics["split"]["test"]["overall"].items():
            found.append(key | {"model": model} | {name: figures[name]["value"] for name in ("auroc", "log_loss")})
    return found


def markdown(table: pd.DataFrame) -> str:
    """AUC and log loss of the network under each recipe and of the baselines, mean over the seeds."""
    name = table["recipe"].where(table["model"] == "network", "") + " " + table["model"]
    table = table.assign(model=name.str.strip())
    lines = []
    for metric in ("auroc", "log_loss"):
        mean = table.pivot_table(index="variant", columns="model", values=metric, aggfunc=["mean", "count"])
        models = sorted(mean["mean"], reverse=True)
        lines += ["", f"| {metric} | cutoffs | training snapshots | " + " | ".join(models) + " |"]
        lines += ["|---" * (len(models) + 3) + "|"]
        for variant, times in VARIANTS.items():
            cells = [
                f"{mean['mean'][model][variant]:.4f} ({mean['count'][model][variant]:.0f})"
                if mean["count"][model].get(variant, 0) > 0
                else "–"
                for model in models
            ]
            number = table.loc[table["variant"] == variant, "snapshots"].max()
            lines.append(f"| {variant} | {times} × | {number:,} | " + " | ".join(cells) + " |")
    return "\n".join([*lines[1:], "", "In brackets: seeds."])


if __name__ == "__main__":
    found = pd.DataFrame([row for folder in sys.argv[1:] for row in rows(Path(folder))]).round(6)
    found.to_csv(HERE / "results.csv", index=False)
    page = HERE / "README.md"
    before, rest = page.read_text().split(START)
    page.write_text(f"{before}{START}\n{markdown(found)}\n{END}{rest.split(END)[1]}")
