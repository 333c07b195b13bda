"""backtest.json of several runs → a CSV, a figure for each data set, and the tables of a study's README.md.

python experiments/backtest/collect.py FOLDER_OF_RUNS… [--study FOLDER] [--csv NAME] (each folder of runs holds the
seeds of one data set)
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from clm_dl.experiment.run_files import BACKTEST, read_results
from clm_dl.visual.drift import drift_figure
from clm_dl.visual.results import Results

START, END = "<!-- results: made by experiments/backtest/collect.py -->", "<!-- end of results -->"
MODELS = ("network", "recalibrated")
SHOWN = {"churn": ("auroc", "log_loss", "ece"), "value": ("gini", "spearman", "decile_mape", "coverage")}


def rows(run: Results) -> list[dict[str, Any]]:
    """One row a cutoff and model."""
    found = run.backtest
    assert found is not None
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


def markdown(table: pd.DataFrame, shown: Mapping[str, Results]) -> str:
    """A table a data set: mean ± sd over seeds, frozen / recalibrated; `shown` is a run of each."""
    lines: list[str] = []
    for data, part in table.groupby("data", sort=False):
        lines += [
            "",
            f"**{data}**, {part['seed'].nunique()} seeds, warned {part.groupby('seed')['warned'].first().sum()} times",
            "",
        ]
        run = shown[str(data)]
        main, (watched, *further) = run.known.main, run.task.watched
        titles = ["cutoff", "days", run.pages.rate, main.title]
        pairs = {watched: run.known[watched].title, "bias": "bias"} | {name: run.known[name].title for name in further}
        titles += [f"{title} {kind}" for title in pairs.values() for kind in ("frozen", "recal.")]
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
            cells = [str(cutoff), f"{first['days']:.0f}", f"{first['rate']:.3f}", cell("network", main.name, ".4f")]
            forms = {watched: ".4f", "bias": "+.1%"}
            cells += [cell(model, name, forms.get(name, ".1%")) for name in pairs for model in MODELS]
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
    shown: dict[str, Results] = {}
    for folder in options.folders:
        runs = [results for file in sorted(folder.glob(f"*/{BACKTEST}")) for results in read_results(file.parent)]
        found += [row for run in runs for row in rows(run)]
        data = str(runs[0].config["data"]["name"])
        shown[data] = runs[0]
        drift_figure(runs[0]).savefig(options.study / f"{data}.png")  # its intervals are those of one seed
    table = pd.DataFrame(found).round(6)
    table.to_csv(options.study / options.csv, index=False)
    readme = options.study / "README.md"
    text, lines = readme.read_text(), markdown(table, shown)
    head, tail = text[: text.index(START) + len(START)], text[text.index(END, text.index(START)) :]
    readme.write_text(f"{head}\n{lines}\n{tail}")
    print(lines)


if __name__ == "__main__":
    main()
