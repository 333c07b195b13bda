"""A study's runs → results.csv (one line a run and model) and the tables in its README, between the two result markers.

python experiments/summarise.py experiments/STUDY RUNS… [--pairs network:lightgbm …] [--peers FILE]

A pair MODEL:OTHER is a difference on test, MODEL alone a value; @PART behind it chooses a part of ranked runs (repeats,
new, cold_items, few_events). `network` stands for each network of the study. Runs of several data sets get a table
each.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd
from clm_dl.evaluation.splits import NETWORK

from clm_dl.evaluation.comparison import Group, group_runs, paired_difference
from clm_dl.run import Run, load_run

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
KEYS = ("data", "encoder", "seed", "model", "seconds")
START, END = "<!-- results: made by experiments/summarise.py -->", "<!-- end of results -->"


def results(runs: Sequence[Run], names: Mapping[Path, str]) -> pd.DataFrame:
    """One row a run and model, with its figures on test."""
    rows = []
    for run in runs:
        seconds = json.loads((run.path / "timing.json").read_text()).get(NETWORK)
        for model in run.metrics["split"]["test"]["overall"]:
            row = {
                "data": run.config["data"]["name"],
                "encoder": names[run.path],
                "seed": run.config["seed"],
                "model": model,
            }
            rows.append(row | FIGURES.get(run.metrics["task"], ranked)(run, model) | {"seconds": seconds})
    return pd.DataFrame(rows).round(6)


def churn(run: Run, model: str) -> dict[str, float]:
    """Figures of all test snapshots, and the AUC of the recently active."""
    test = run.metrics["split"]["test"]
    return {name: test["overall"][model][name]["value"] for name in METRICS} | {
        RECENT: test["recent"][model]["auroc"]["value"]
    }


def survival(run: Run, model: str) -> dict[str, float | None]:
    """Figures of the whole curve, then calibration error and AUC at each horizon."""
    test, days = run.metrics["split"]["test"]["overall"][model], run.metrics["horizons_days"]
    each = [f"{metric}@{day:g}" for metric in ("ece", "auroc") for day in days]
    return {name: test[name]["value"] for name in ("c_index", "ibs", "log_loss", *each)}


def ranked(run: Run, model: str) -> dict[str, float | None]:
    """NDCG on validation, by which a model is chosen; figures on test of all targets and of the parts."""
    ndcg, split = f"ndcg@{run.metrics['k']}", run.metrics["split"]
    overall = [
        ndcg.replace("ndcg", "hr"),
        ndcg,
        ndcg.replace("ndcg", "recall"),
        "mrr",
        ndcg.replace("ndcg", "coverage"),
    ]
    wanted = [
        ("val", "overall", ndcg),
        *[("test", "overall", metric) for metric in overall],
        ("test", "cold_items", "auc"),
    ]
    wanted += [("test", part, ndcg) for part in ("repeats", "new", "few_events")]
    return {
        " ".join([metric, *["validation"] * (of == "val"), *[part.replace("_", " ")] * (part != "overall")]): split[of][
            part
        ]
        .get(model, {})
        .get(metric, {})
        .get("value")
        for of, part, metric in wanted
    }


def value(run: Run, model: str) -> dict[str, float | None]:
    """Order of the customers, amounts, and what only some models know: coverage of the interval, number of orders."""
    test = run.metrics["split"]["test"]["overall"][model]
    names = ("gini", "spearman", "decile_mape", "bias", "mae", "rmse", "coverage", "orders_mae", "orders_bias")
    return {name: test[name]["value"] for name in names}


FIGURES = {"churn": churn, "survival": survival, "value": value}
SHOWN = {
    "churn": ["auroc", "log_loss"],
    "survival": ["c_index", "ibs", "log_loss"],
    "value": ["gini", "spearman", "decile_mape"],
}  # metrics whose differences are shown


def network_names(groups: Sequence[Group]) -> dict[Path, str]:
    """What each run's network is called: its encoder, and where several groups on the same snapshots share it, the
    sweep's folder too.
    """
    keys = [(group.fingerprint, str(group.runs[0].config["encoder"]["name"])) for group in groups]
    named = [
        key[1] + (f" {group.runs[0].path.parent.name}" if keys.count(key) > 1 else "")
        for group, key in zip(groups, keys, strict=True)
    ]
    return {run.path: name for group, name in zip(groups, named, strict=True) for run in group.runs}


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
    for metric in [name for name in table if name.endswith("validation")]:
        mean = (
            table.assign(name=table["model"].where(table["model"] != NETWORK, table["encoder"]))
            .groupby(["model", "name"])[metric]
            .mean()
        )
        network = f"; of the networks alone: {mean[NETWORK].idxmax()}" if NETWORK in mean else ""
        lines += ["", f"Chosen by {metric}: {mean.idxmax()[1]}{network}."]
    return lines


def differences(groups: Sequence[Group], names: Mapping[Path, str], pairs: Sequence[str]) -> list[str]:
    """The pairs, one line each and a line a network where `network` is meant; the groups scored the same snapshots."""
    metrics = groups[0].runs[0].metrics
    shown = SHOWN.get(metrics["task"]) or [f"ndcg@{metrics['k']}", f"hr@{metrics['k']}", "auc"]
    lines = ["", "Differences on test, paired over seeds and customers (1,000 resamples, 95 %):", ""]
    lines += ["| difference | " + " | ".join(shown) + " |", "|---" * (len(shown) + 1) + "|"]
    having = {model: group for group in reversed(groups) for model in group.runs[0].metrics["split"]["test"]["overall"]}
    for pair in pairs:
        models, _, part = pair.partition("@")
        one, _, two = models.partition(":")
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
            name = names[group.runs[0].path] if one == NETWORK else one
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
    runs = [load_run(file.parent) for path in options.runs for file in sorted(path.glob("**/status.json"))]
    runs = [run for run in runs if run.status["state"] == "finished"]
    groups = group_runs(runs)
    names = network_names(groups)
    own = results(runs, names)
    table = pd.concat([own, pd.DataFrame(peer_rows(options.peers))]) if options.peers else own
    table.to_csv(options.study / "results.csv", index=False)
    lines: list[str] = []
    for fingerprint in dict.fromkeys(group.fingerprint for group in groups):
        here = [group for group in groups if group.fingerprint == fingerprint]
        data, task = here[0].runs[0].config["data"]["name"], here[0].runs[0].metrics["task"]
        lines += ["", f"**{data}**", ""] if own["data"].nunique() > 1 else []
        lines += means(table[table["data"] == data], ["repeat"] if task == "next_order" else []) + chosen(
            own[own["data"] == data]
        )
        lines += differences(here, names, options.pairs) if options.pairs else []
    versions, seconds = (
        json.loads((runs[0].path / "versions.json").read_text()),
        own.loc[own["model"] == NETWORK, "seconds"],
    )
    machine = f"Machine: {versions['machine']}; torch {versions['torch']}"
    lines += ["", f"{machine}; training took {seconds.min():.0f} to {seconds.max():.0f} s a network."]
    readme = options.study / "README.md"
    text = readme.read_text()
    head, tail = text[: text.index(START) + len(START)], text[text.index(END, text.index(START)) :]
    found = "\n".join(lines)
    readme.write_text(f"{head}\n{found}\n{tail}")
    print(found)


if __name__ == "__main__":
    main()
