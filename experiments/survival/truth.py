"""How far P(active) is from the true survival curve of simulated customers → truth.csv and a table in the study's
README.

python experiments/survival/truth.py RUNS… [--study FOLDER]
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from clm_dl.data.open import open_store
from clm_dl.data.simulator.truth import true_survival
from clm_dl.evaluation.calibration import ece
from clm_dl.experiment.rescoring import own_cases
from clm_dl.run import Run, load_run
from clm_dl.tasks.survival.metrics import restricted_mean

START, END = "<!-- truth: made by experiments/survival/truth.py -->", "<!-- end of truth -->"


def against_truth(run: Run) -> list[dict[str, object]]:
    """One row a model: mean absolute error of P(active) by horizon and of the expected lifetime; the truth itself gives
    its ECE.
    """
    store = open_store(run.config["data"], run.config["paths"])
    snapshots, task = own_cases(run.trained, store, run.metrics).snapshots, run.trained.task
    days = run.config["task"]["horizons_days"]
    test, table = snapshots.select(snapshots.split == "test"), task.read(run.scores, "test")
    assert np.array_equal(store.customer_ids[test.customer], table.customer), (
        "rows of the Scores table are not those of the snapshots"
    )
    truth_NS = true_survival(store, test, days)
    rows: list[dict[str, object]] = []
    for model, active_NS in {"truth": truth_NS, **table.active}.items():
        error_S, lifetime_N = np.abs(active_NS - truth_NS).mean(axis=0), restricted_mean(active_NS, days)
        row: dict[str, object] = {"seed": run.config["seed"], "model": model}
        row |= {f"MAE, {day:g} days": error for day, error in zip(days, error_S, strict=True)}
        row["MAE of remaining days"] = float(np.abs(lifetime_N - restricted_mean(truth_NS, days)).mean())
        row["ECE, worst"] = max(
            ece(label_N, active_N) for label_N, active_N in zip(table.label.T, active_NS.T, strict=True)
        )
        rows.append(row)
    return rows


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+", help="run directories, or folders above them")
    parser.add_argument("--study", type=Path, default=Path(__file__).parent)
    options = parser.parse_args(arguments)
    runs = [load_run(file.parent) for path in options.runs for file in sorted(path.glob("**/status.json"))]
    table = pd.DataFrame([row for run in runs for row in against_truth(run)]).round(5)
    table.to_csv(options.study / "truth.csv", index=False)
    columns = [name for name in table if name not in ("seed", "model")]
    lines = ["| model | seeds | " + " | ".join(columns) + " |", "|---" * (len(columns) + 2) + "|"]
    for model, part in table.groupby("model", sort=False):
        cells = [
            f"{part[name].mean():.4f}" + (f" ± {part[name].std():.4f}" if part[name].std() > 0 else "")
            for name in columns
        ]
        lines.append(f"| {model} | {len(part)} | " + " | ".join(cells) + " |")
    readme = options.study / "README.md"
    text, found = readme.read_text(), "\n".join(lines)
    readme.write_text(f"{text[: text.index(START) + len(START)]}\n{found}\n{text[text.index(END) :]}")
    print(found)


if __name__ == "__main__":
    main()
