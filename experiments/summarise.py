"""A study's runs → results.csv (one line a run and model) and the tables in its README, between the two result markers.

python experiments/summarise.py experiments/STUDY RUNS… [--pairs network:lightgbm …] [--peers FILE]

A pair MODEL:OTHER is a difference on test, MODEL alone a value; @PART behind it chooses a part of ranked runs (repeats,
new, cold_items, few_events). `network` stands for each network of the study. Runs of several data sets or questions get
a table each.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from clm_dl.evaluation.comparison import Group, group_runs, paired_difference
from clm_dl.evaluation.metric import NETWORK
from clm_dl.experiment.run_files import read_results, read_status
from clm_dl.visual.results import Results

METRICS = {
    "auroc": 4,
    "auprc": 3,
    "auprc_stay": 3,
    "log_loss": 4,
    "brier": 4,
    "ece": 4,
    "lift@10": 2,
}  # of churn, with their decimals
RECENT = "AUC, recently active"
KEYS = ("fingerprint", "data", "task", "encoder", "seed", "model", "seconds")
START, END = "<!-- results: made by experiments/summarise.py -->", "<!-- end of results -->"
Names = Mapping[tuple[Path, str], str]  # of the network of each run and question
Wanted = Mapping[str, tuple[str, ...]]  # title -> metric, part and split
SHOWN = {  # metrics whose differences are shown, where they are not the first two of the report
    "survival": ["c_index", "ibs", "log_loss"],
    "value": ["gini", "spearman", "decile_mape"],
}


def rows(runs: Sequence[Results], names: Names) -> pd.DataFrame:
    """One row a question of a run and model, with its figures on test."""
    found = []
    for run in runs:
        key = {"fingerprint": run.metrics["fingerprint"], "data": run.config["data"]["name"], "task": run.task.name}
        key |= {"encoder": names[run.path, run.task.name], "seed": run.config["seed"]}
        wanted = FIGURES.get(run.task.name, ranked if run.task.recommends else tabled)(run)
        for model in run.overall:
            row = {title: value(run, model, *where) for title, where in wanted.items()}
            found.append(key | {"model": model} | row | {"seconds": run.timing.get(NETWORK)})
    return pd.DataFrame(found).round(6)


def value(run: Results, model: str, metric: str, part: str = "overall", split: str = "test") -> float | None:
    """A figure of metrics.json; None where the run has none."""
    figure = run.metrics["split"][split].get(part, {}).get(model, {}).get(metric, {})
    return figure.get("value")


def tabled(run: Results) -> Wanted:
    """What the report's main table shows."""
    return {metric.name: (metric.name,) for metric in run.known.table}


def churn(run: Results) -> Wanted:
    """Figures of all test snapshots, and the AUC of the recently active."""
    return {name: (name,) for name in METRICS} | {RECENT: ("auroc", "recent")}


def survival(run: Results) -> Wanted:
    """Figures of the whole curve, then calibration error and AUC at each horizon."""
    each = [f"{metric}@{day:g}" for metric in ("ece", "auroc") for day in run.metrics["horizons_days"]]
    return {name: (name,) for name in ("c_index", "ibs", "log_loss", *each)}


def spend(run: Results) -> Wanted:
    """Order of the customers, amounts, and what only some models know: coverage of the interval, number of orders."""
    names = ("gini", "spearman", "decile_mape", "bias", "mae", "rmse", "coverage", "orders_mae", "orders_bias")
    return {name: (name,) for name in names}


def ranked(run: Results) -> Wanted:
    """NDCG on validation, by which a model is chosen; figures on test of all targets and of the parts."""
    k = run.metrics["k"]
    ndcg = f"ndcg@{k}"
    found = {f"{ndcg} validation": (ndcg, "overall", "val")}
    found |= {name: (name,) for name in (f"hr@{k}", ndcg, f"recall@{k}", "mrr", f"coverage@{k}")}
    found["auc cold items"] = ("auc", "cold_items")
    return found | {f"{ndcg} {part.replace('_', ' ')}": (ndcg, part) for part in ("repeats", "new", "few_events")}


FIGURES = {"churn": churn, "propensity": churn, "survival": survival, "value": spend}


def network_names(groups: Sequence[Group]) -> Names:
    """What each run's network is called: its encoder, and where several groups on the same snapshots share it, the
    sweep's folder too.
    """
    keys = [(group.fingerprint, str(group.runs[0].config["encoder"]["name"])) for group in groups]
    named = [
        key[1] + (f" {group.runs[0].path.parent.name}" if keys.count(key) > 1 else "")
        for group, key in zip(groups, keys, strict=True)
    ]
    named_groups = zip(groups, named, strict=True)
    return {(run.path, run.task.name): name for group, name in named_groups for run in group.runs}


def means(table: pd.DataFrame, first: Sequence[str]) -> list[str]:
    """Mean ± sd over seeds of every model, those of `first` on top; a figure that no model has is left out."""
    columns = [name for name in table.dropna(axis="columns", how="all") if name not in KEYS]
    networks = table[table["model"] == NETWORK].assign(model=lambda frame: frame["encoder"])
    others = table[table["model"] != NETWORK].drop_duplicates(["model", "seed"])
    on_top = others["model"].isin(first)
    lines = ["| model | seeds | " + " | ".join(columns) + " |", "|---" * (len(columns) + 2) + "|"]
    for name, part in pd.concat([others[on_top], networks, others[~on_top]]).groupby("model", sort=False):
        cells = []
        for metric in columns:
            digits, deviation = METRICS.get(metric, 4), part[metric].std(ddof=1)
            spread = f" ± {deviation:.{digits}f}" if deviation > 0 else ""
            cells.append(f"{part[metric].mean():.{digits}f}{spread}" if part[metric].notna().any() else "–")
        lines.append(f"| {name} | {len(part)} | " + " | ".join(cells) + " |")
    return lines


def chosen(table: pd.DataFrame) -> list[str]:
    """The model, and the network, that validation would choose; nothing where there are no figures on validation."""
    lines = []
    for metric in [name for name in table.dropna(axis="columns", how="all") if name.endswith("validation")]:
        mean = (
            table.assign(name=table["model"].where(table["model"] != NETWORK, table["encoder"]))
            .groupby(["model", "name"])[metric]
            .mean()
        )
        network = f"; of the networks alone: {mean[NETWORK].idxmax()}" if NETWORK in mean else ""
        lines += ["", f"Chosen by {metric}: {mean.idxmax()[1]}{network}."]
    return lines


def differences(groups: Sequence[Group], names: Names, pairs: Sequence[str]) -> list[str]:
    """The pairs, one line each and a line a network where `network` is meant; the groups scored the same snapshots."""
    task, tiles = groups[0].runs[0].task, groups[0].runs[0].known.tiles
    shown = SHOWN.get(task.name, [metric.name for metric in tiles[:2]] + ["auc"] * task.recommends)
    lines = ["", "Differences on test, paired over seeds and customers (1,000 resamples, 95 %):", ""]
    lines += ["| difference | " + " | ".join(shown) + " |", "|---" * (len(shown) + 1) + "|"]
    having = {model: group for group in reversed(groups) for model in group.runs[0].metrics["split"]["test"]["overall"]}
    for pair in pairs:
        models, _, part = pair.partition("@")
        one, _, two = models.partition(":")
        if {one, two} - {"", NETWORK, *having}:
            continue  # this study's other data have it
        for group in [group for group in groups if group.model == NETWORK] if one == NETWORK else [having[one]]:
            other = (group if two == NETWORK else having[two]) if two else None
            found = (
                paired_difference(replace(group, model=one), other, other_model=two or None, part=part or "overall")
                or {}
            )
            sign = "+" if two else ""
            cells = [
                "{value:{0}.4f} [{low:{0}.4f}, {high:{0}.4f}]".format(sign, **found[m]) if m in found else "–"
                for m in shown
            ]
            name = names[group.runs[0].path, task.name] if one == NETWORK else one
            name += f" − {two}" * bool(two) + f", {part.replace('_', ' ')}" * bool(part)
            lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return lines


def peer_rows(path: Path) -> list[dict[str, object]]:
    """Rows of other packages on the same split: JSON lines {"data", "model", "runs": [{"seed", metric: value, …}]}."""
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return [{"data": line["data"], "model": line["model"], **run} for line in lines for run in line["runs"]]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", type=Path)
    parser.add_argument("runs", type=Path, nargs="+", help="run directories, or folders above them")
    parser.add_argument("--pairs", nargs="*", default=[])
    parser.add_argument("--peers", type=Path, help="JSON lines of other packages")
    options = parser.parse_args(arguments)
    folders = [file.parent for path in options.runs for file in sorted(path.glob("**/status.json"))]
    folders = [folder for folder in folders if read_status(folder)["state"] == "finished"]
    runs = [results for folder in folders for results in read_results(folder)]
    groups = group_runs(runs)
    names = network_names(groups)
    own = rows(runs, names)
    table = pd.concat([own, pd.DataFrame(peer_rows(options.peers))]) if options.peers else own
    several = {name: own[name].nunique() > 1 for name in ("data", "task")}
    inner = ["fingerprint"] if several["task"] else ["fingerprint", "task"]
    table.drop(columns=inner).to_csv(options.study / "results.csv", index=False)
    lines: list[str] = []
    for fingerprint in dict.fromkeys(group.fingerprint for group in groups):
        here = [group for group in groups if group.fingerprint == fingerprint]
        data, task = here[0].runs[0].config["data"]["name"], here[0].runs[0].task.name
        titles = [title for name, title in (("data", data), ("task", task)) if several[name]]
        lines += ["", f"**{', '.join(titles)}**", ""] if titles else []
        part = table[table["fingerprint"].isin([fingerprint, np.nan]) & (table["data"] == data)]  # peers have none
        lines += means(part, ["repeat"] if task == "next_order" else [])
        lines += chosen(own[own["fingerprint"] == fingerprint])
        lines += differences(here, names, options.pairs) if options.pairs else []
    versions = json.loads((folders[0] / "versions.json").read_text())
    lines += ["", f"Machine: {versions['machine']}; torch {versions['torch']}"]
    seconds = own.loc[own["model"] == NETWORK, "seconds"]
    lines[-1] += f"; training took {seconds.min():.0f} to {seconds.max():.0f} s a network." if len(seconds) else "."
    readme = options.study / "README.md"
    text = readme.read_text()
    head, tail = text[: text.index(START) + len(START)], text[text.index(END, text.index(START)) :]
    found = "\n".join(lines)
    readme.write_text(f"{head}\n{found}\n{tail}")
    print(found)


if __name__ == "__main__":
    main()
