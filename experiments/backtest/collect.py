"""backtest.json of several runs → a CSV, a figure for each data set, and the tables of a study's README.md.

python experiments/backtest/collect.py FOLDER_OF_RUNS… [--study FOLDER] [--csv NAME] (each folder of runs holds the
seeds of one data set)
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from clm_dl.visual.families import CHURN, VALUE

from clm_dl.experiment.run_files import BACKTEST
from clm_dl.run import Run, load_run
from clm_dl.visual.drift import drift_figure

START, END = "<!-- results: made by experiments/backtest/collect.py -->", "<!-- end of results -->"
MODELS = ("network", "recalibrated")
SHOWN = {"churn": ("auroc", "log_loss", "ece"), "value": ("gini", "spearman", "decile_mape", "coverage")}


def rows(run: Run, found: dict[str, Any]) -> list[dict[str, Any]]:
    """One row a cutoff and model."""
    figures = found["metrics"]["split"]["test"]["per_cutoff"]
    return [
        {
            "data": run.config["data"]["name"],
            "seed": run.config["seed"],
            **{name: at[name] for name in ("cutoff", "days", "snapshots", "rate", "recalibrated_on")},
            "model": model,
            **{name: figures[at["cutoff"]][model][name]["value"] for name in SHOWN[found["task"]]},
            "bias": at["bias"][model],
            "psi_score": at["psi"]["score"],
            "warned": found["warning"] is not None,
        }
        for at in found["cutoffs"]
        for model in MODELS
    ]


def markdown(table: pd.DataFrame) -> str:
    """A table a data set: mean ± sd over seeds, frozen / recalibrated."""
    lines: list[str] = []
    for data, part in table.groupby("data", sort=False):
        lines += [
            "",
            f"**{data}**, {part['seed'].nunique()} seeds, warned {part.groupby('seed')['warned'].first().sum()} times",
            "",
        ]
        shown = VALUE if "gini" in part else CHURN
        titles = ["cutoff", "days", "mean label" if shown is VALUE else "rate", shown.title]
        titles += [f"{name} {kind}" for name in (shown.columns[shown.watched], "bias") for kind in ("frozen", "recal.")]
        titles += ["coverage frozen", "coverage recal."] if shown is VALUE else []
        lines += [
            "| " + " | ".join([*titles, "recalibrated on", "PSI of scores"]) + " |",
            "|---" * (len(titles) + 2) + "|",
        ]
        for cutoff, at in part.groupby("cutoff"):
            of = {model: at[at["model"] == model] for model in MODELS}

            def cell(model: str, name: str, form: str, of: dict[str, pd.DataFrame] = of) -> str:
                values = of[model][name]
                spread = f" ± {values.std(ddof=1):{form.replace('+', '')}}" if len(values) > 1 else ""
                return f"{values.mean():{form}}{spread}"

            first = at.iloc[0]
            cells = [str(cutoff), f"{first['days']:.0f}", f"{first['rate']:.3f}", cell("network", shown.main, ".4f")]
            cells += [cell(model, shown.watched, ".4f") for model in MODELS] + [
                cell(model, "bias", "+.1%") for model in MODELS
            ]
            cells += [cell(model, "coverage", ".1%") for model in MODELS if shown is VALUE]
            cells += [
                first["recalibrated_on"] if isinstance(first["recalibrated_on"], str) else "not yet",
                f"{at['psi_score'].mean():.2f}",
            ]
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument(
        "--study", type=Path, default=Path(__file__).parent, help="folder of results.csv, the figures and README.md"
    )
    parser.add_argument("--csv", default="results.csv", help="file of the study that takes a row a cutoff and model")
    options = parser.parse_args(arguments)
    found: list[dict[str, Any]] = []
    for folder in options.folders:
        runs = [load_run(file.parent) for file in sorted(folder.glob(f"*/{BACKTEST}"))]
        for run in runs:
            found += rows(run, json.loads((run.path / BACKTEST).read_text()))
        shown = json.loads((runs[0].path / BACKTEST).read_text())  # its intervals are those of one seed
        drift_figure(shown).savefig(options.study / f"{runs[0].config['data']['name']}.png")
    table = pd.DataFrame(found).round(6)
    table.to_csv(options.study / options.csv, index=False)
    readme = options.study / "README.md"
    text = readme.read_text()
    readme.write_text(
        f"{text[: text.index(START) + len(START)]}\n{markdown(table)}\n{text[text.index(END, text.index(START)) :]}"
    )
    print(markdown(table))


if __name__ == "__main__":
    main()
