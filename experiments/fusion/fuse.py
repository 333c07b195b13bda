"""Joint against late fusion: runs of run.sh → results.csv (a line a seed and model) and the tables in README.md.

python experiments/fusion/fuse.py RUNS, the folder of run.sh: joint/SEED and alone/SEED

Late fusion weighs the logits of two models that know nothing of each other by a logistic regression on the snapshots of
the newest validation cutoff. Differences are paired over seeds and customers: a resample draws both.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.special import logit
from sklearn.linear_model import LogisticRegression

from clm_dl.evaluation.bootstrap import Bootstrap, Measure, bootstrap
from clm_dl.evaluation.metric import NETWORK
from clm_dl.run import load_run
from clm_dl.tasks.churn.metrics import binary_measure
from clm_dl.tasks.churn.scores import read_scores

START, END = "<!-- results: made by experiments/fusion/fuse.py -->", "<!-- end of results -->"
JOINT, ALONE, LATE = (
    "network, features at its head (joint)",
    "network, sequence alone",
    "sequence network + LightGBM (late)",
)
METRICS = {"auroc": "AUC", "auprc": "PR-AUC", "log_loss": "log loss", "ece": "ECE"}
PAIRS = [(JOINT, ALONE), (JOINT, LATE), (JOINT, "lightgbm"), (LATE, "lightgbm"), (LATE, ALONE)]


def measure(joint: pd.DataFrame, alone: pd.DataFrame) -> Measure:
    """The figures of every model on the test snapshots."""
    one, two = (
        {split: read_scores(scores if split == "test" else _newest(scores), split) for split in ("val", "test")}
        for scores in (joint, alone)
    )
    for split in ("val", "test"):
        assert np.array_equal(one[split].customer, two[split].customer)
    x = {
        split: logit(np.column_stack([two[split].score[NETWORK], one[split].score["lightgbm"]]))
        for split in ("val", "test")
    }
    late = LogisticRegression(C=np.inf).fit(x["val"], one["val"].label).predict_proba(x["test"])[:, 1]
    test = one["test"]
    found = {JOINT: test.score[NETWORK], LATE: late, ALONE: two["test"].score[NETWORK]}
    found |= {name: score for name, score in test.score.items() if name != NETWORK}
    return binary_measure(test, found, threshold=0.5)


def _newest(scores: pd.DataFrame) -> pd.DataFrame:
    """The newest validation cutoff, on which every model was calibrated."""
    val = scores[scores["split"] == "val"]
    return val[val["cutoff"] == val["cutoff"].max()]


def difference(boots: Sequence[Bootstrap], one: str, other: str, metric: str) -> str:
    """Mean over seeds of `one` minus `other` with its 95 % interval over customers and seeds."""
    place, k = boots[0].models.index, boots[0].metrics.index(metric)
    value_S, found_RS = (
        np.stack(
            [getattr(boot, name)[..., place(one), k] - getattr(boot, name)[..., place(other), k] for boot in boots],
            axis=-1,
        )
        for name in ("value", "resampled")
    )
    drawn_RS = np.random.default_rng(0).integers(found_RS.shape[1], size=found_RS.shape)
    low, high = np.quantile(np.take_along_axis(found_RS, drawn_RS, axis=1).mean(1), [0.025, 0.975])
    return f"{value_S.mean():+.4f} [{low:+.4f}, {high:+.4f}]"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path)
    parser.add_argument("--study", type=Path, default=Path(__file__).parent, help="folder of results.csv and README.md")
    options = parser.parse_args(arguments)
    boots, rows = [], []
    for folder in sorted(path for path in (options.runs / "joint").iterdir() if path.name.isdigit()):
        joint, alone = (load_run(path).scores for path in (folder, options.runs / "alone" / folder.name))
        boot = bootstrap(measure(joint, alone), resamples=1000)
        boots.append(boot)
        rows += [
            {"seed": int(folder.name), "model": name} | {m: round(boot.interval(name, m)["value"], 6) for m in METRICS}
            for name in boot.models
        ]
    table = pd.DataFrame(rows)
    table.to_csv(options.study / "results.csv", index=False)
    lines = [
        f"Test, mean ± sd of {len(boots)} seeds:",
        "",
        f"| model | {' | '.join(METRICS.values())} |",
        "|---" * (len(METRICS) + 1) + "|",
    ]
    for name, part in table.groupby("model", sort=False):
        lines.append(
            f"| {name} | " + " | ".join(f"{part[m].mean():.4f} ± {part[m].std(ddof=1):.4f}" for m in METRICS) + " |"
        )
    lines += [
        "",
        "Differences, paired over seeds and customers (1,000 resamples, 95 %):",
        "",
        "| difference | AUC | log loss |",
        "|---|---|---|",
    ]
    for one, other in PAIRS:
        lines.append(
            f"| {one} − {other} | {difference(boots, one, other, 'auroc')} | "
            f"{difference(boots, one, other, 'log_loss')} |"
        )
    readme = options.study / "README.md"
    text = readme.read_text()
    readme.write_text("\n".join([text[: text.index(START) + len(START)], "", *lines, text[text.index(END) :]]))
    print("\n".join(lines))


if __name__ == "__main__":
    main()
