"""A study's runs → results.csv (one line a run and model) and the table in its README, between the two result markers.

python experiments/summarise.py experiments/STUDY RUNS… [--baselines lightgbm logistic]
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from clm_dl.metrics.compare import Group, group_runs, paired_difference
from clm_dl.run import Run, load_run

METRICS = {"auroc": 4, "auprc": 3, "auprc_stay": 3, "log_loss": 4, "brier": 4, "ece": 4, "lift@10": 2}
START, END = "<!-- results: made by experiments/summarise.py -->", "<!-- end of results -->"


def results(runs: Sequence[Run]) -> pd.DataFrame:
    """One row a run and model: test metrics of all snapshots, and the AUC of the recently active."""
    rows = []
    for run in runs:
        test = run.metrics["split"]["test"]
        for model, values in test["overall"].items():
            row = {"encoder": run.config["encoder"]["name"], "seed": run.config["seed"], "model": model}
            row |= {name: values[name]["value"] for name in METRICS} | {"auroc_recent": test["recent"][model]["auroc"]["value"]}
            rows.append(row | {"seconds": json.loads((run.path / "timing.json").read_text()).get("network")})
    return pd.DataFrame(rows).round(6)


def markdown(groups: Sequence[Group], table: pd.DataFrame, baselines: Sequence[str]) -> str:
    """Mean ± sd over seeds of every model, and the paired differences of the networks."""
    lines = ["| model | seeds | " + " | ".join(METRICS) + " | AUC, recently active |", "|---" * (len(METRICS) + 3) + "|"]
    networks = table[table["model"] == "network"].assign(model=lambda frame: frame["encoder"])
    others = table[table["model"] != "network"].drop_duplicates(["model", "seed"])
    for name, part in pd.concat([networks, others]).groupby("model", sort=False):
        cells = []
        for metric, digits in {**METRICS, "auroc_recent": 4}.items():
            deviation = part[metric].std(ddof=1)
            spread = f" ± {deviation:.{digits}f}" if deviation > 0 else ""
            cells.append(f"{part[metric].mean():.{digits}f}{spread}")
        lines.append(f"| {name} | {len(part)} | " + " | ".join(cells) + " |")
    lines += ["", "Differences on test, paired over seeds and customers (1,000 resamples, 95 %):", ""]
    lines += ["| difference | AUC | log loss |", "|---|---|---|"]
    for group in groups:
        name = group.runs[0].config["encoder"]["name"]
        for baseline in baselines:
            found = paired_difference(group, groups[0], other_model=baseline)
            assert found is not None
            cells = [f"{found[m]['value']:+.4f} [{found[m]['low']:+.4f}, {found[m]['high']:+.4f}]" for m in ("auroc", "log_loss")]
            lines.append(f"| {name} − {baseline} | " + " | ".join(cells) + " |")
    versions = json.loads((groups[0].runs[0].path / "versions.json").read_text())
    seconds = table.loc[table["model"] == "network", "seconds"]
    lines += [
        "",
        f"Machine: {versions['machine']}; torch {versions['torch']}; training took {seconds.min():.0f} to {seconds.max():.0f} s a network.",
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", type=Path)
    parser.add_argument("runs", type=Path, nargs="+", help="run directories, or folders above them")
    parser.add_argument("--baselines", nargs="+", default=["lightgbm", "logistic"])
    options = parser.parse_args()
    runs = [load_run(file.parent) for path in options.runs for file in sorted(path.glob("**/status.json"))]
    runs = [run for run in runs if run.status["state"] == "finished"]
    table = results(runs)
    table.to_csv(options.study / "results.csv", index=False)
    groups = [group for group in group_runs(runs) if group.model == "network"]
    readme = options.study / "README.md"
    text = readme.read_text()
    head, tail = text[: text.index(START) + len(START)], text[text.index(END) :]
    readme.write_text(f"{head}\n{markdown(groups, table, options.baselines)}\n{tail}")
    print(markdown(groups, table, options.baselines))


if __name__ == "__main__":
    main()
