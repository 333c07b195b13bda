"""Each question alone against all from one encoder → results.csv and the tables in the study's README.

python experiments/multitask/table.py RUNS [--study FOLDER]     RUNS holds a folder an arm with a run a seed
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from clm_dl.evaluation.comparison import Group, paired_difference
from clm_dl.evaluation.metric import NETWORK
from clm_dl.experiment.run_files import read_results
from clm_dl.visual.results import Results

START, END = "<!-- results: made by experiments/multitask/table.py -->", "<!-- end of results -->"
METRICS = {
    "churn": ("auroc", "log_loss", "ece"),
    "survival": ("c_index", "ibs", "log_loss"),
    "value": ("gini", "spearman", "decile_mape", "mae"),
}
CHOSEN = {"churn": "log_loss", "survival": "log_loss", "value": "gini"}  # the validation figure beside them
NAMES = {
    "alone": "alone",
    "alone_wider": "alone, LSTM of 32",
    "fixed": "all, fixed weights",
    "uncertainty": "all, uncertainty weighting",
    "without_next_event": "all but the next event, fixed weights",
    "uncertainty_without_next_event": "all but the next event, uncertainty weighting",
    "uncertainty_wider": "all, uncertainty weighting, LSTM of 32",
}
PAIRS = (
    ("fixed", "alone"),
    ("uncertainty", "alone"),
    ("uncertainty", "fixed"),
    ("without_next_event", "alone"),
    ("uncertainty_without_next_event", "alone"),
    ("uncertainty_wider", "alone_wider"),
    ("fixed", "without_next_event"),
    ("uncertainty", "uncertainty_without_next_event"),
)


def arms(folder: Path) -> dict[str, dict[str, Group]]:
    """Question -> arm -> its runs, a seed each; an arm is a folder, of runs that were asked one question with `alone`
    for its name.
    """
    found: dict[str, dict[str, list[Results]]] = {}
    for file in sorted(folder.glob("*/*/metrics.json")):
        questions = read_results(file.parent)
        name = file.parent.parent.name
        arm = name if len(questions) > 1 else name.replace(questions[0].task.name, "alone")
        for part in questions:
            found.setdefault(part.task.name, {}).setdefault(arm, []).append(part)
    return {
        question: {arm: Group(arm, tuple(by_arm[arm]), NETWORK) for arm in NAMES if arm in by_arm}
        for question, by_arm in sorted(found.items())
    }


def results(found: dict[str, dict[str, Group]]) -> pd.DataFrame:
    """One row a question, arm and seed, with the figures of the network on test and its main one on validation."""
    rows = []
    for question, groups in found.items():
        for arm, group in groups.items():
            for run in group.runs:
                split = run.metrics["split"]
                row: dict[str, object] = {"question": question, "arm": arm, "seed": run.config["seed"]}
                row |= {metric: split["test"]["overall"][NETWORK][metric]["value"] for metric in METRICS[question]}
                row["validation"] = split["val"]["overall"][NETWORK][CHOSEN[question]]["value"]
                rows.append(row | {"seconds": run.timing[NETWORK]})
    return pd.DataFrame(rows).round(6)


def markdown(found: dict[str, dict[str, Group]], table: pd.DataFrame) -> list[str]:
    """Per question the means over seeds, then the paired differences with their verdicts."""
    lines = []
    for question, groups in found.items():
        columns = [*METRICS[question], "validation", "seconds"]
        titles = [f"{CHOSEN[question]}, validation" if name == "validation" else name for name in columns]
        lines += [
            "",
            f"**{question}**",
            "",
            "| network | seeds | " + " | ".join(titles) + " |",
            "|---" * (len(columns) + 2) + "|",
        ]
        for arm in groups:
            part = table[(table["question"] == question) & (table["arm"] == arm)]
            cells = [_mean(part[name], 0 if name == "seconds" else 2 if name == "mae" else 4) for name in columns]
            lines.append(f"| {NAMES[arm]} | {len(part)} | " + " | ".join(cells) + " |")
        lines += [
            "",
            "| difference | " + " | ".join(METRICS[question]) + " |",
            "|---" * (len(METRICS[question]) + 1) + "|",
        ]
        for one, other in PAIRS:
            if one in groups and other in groups:
                paired, known = paired_difference(groups[one], groups[other]), groups[one].runs[0].known
                assert paired is not None, f"{one} and {other} scored other snapshots"
                cells = [
                    "{value:+.4f} [{low:+.4f}, {high:+.4f}] {0}".format(known[m].verdict(paired[m]), **paired[m])
                    for m in METRICS[question]
                ]
                lines.append(f"| {NAMES[one]} − {NAMES[other]} | " + " | ".join(cells) + " |")
    return lines


def _mean(values: pd.Series, digits: int) -> str:
    return f"{values.mean():.{digits}f}" + (f" ± {values.std():.{digits}f}" if len(values) > 1 else "")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path)
    parser.add_argument("--study", type=Path, default=Path(__file__).parent)
    options = parser.parse_args(arguments)
    found = arms(options.runs)
    table = results(found)
    table.to_csv(options.study / "results.csv", index=False)
    readme = options.study / "README.md"
    text, lines = readme.read_text(), "\n".join(markdown(found, table))
    readme.write_text(f"{text[: text.index(START) + len(START)]}\n{lines}\n{text[text.index(END) :]}")
    print(lines)


if __name__ == "__main__":
    main()
