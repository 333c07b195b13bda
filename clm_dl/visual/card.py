"""model_card.md: what a run was trained on, who it scores, how well, what its test set could show, and where it stops."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from clm_dl.evaluation.splits import NETWORK
from clm_dl.run import Run, load_run
from clm_dl.visual.families import family
from clm_dl.visual.terminal import difference_lines
from clm_dl.visual.text import UNDEFINED, digits, with_interval


def model_card(folder: Path) -> str:
    """The model card of the run in `folder`, as Markdown."""
    run = load_run(folder)
    parts = [f"# Model card: {run.metrics['task']}, {_encoder(run)}"]
    for question in run.questions:
        remark = f" ({question.question})" if len(run.questions) > 1 else ""
        parts += ["\n".join([f"## {name}{remark}", "", *lines]) for name, lines in _sections(question).items()]
    return "\n\n".join(parts) + "\n"


def _sections(run: Run) -> dict[str, list[str]]:
    metrics, shown = run.metrics, family(run.metrics)
    return {
        **shown.setup(metrics, run.config),
        "Test metrics": _markdown_tables(metrics),
        "Against the best baseline": [line.strip() for line in difference_lines(metrics)]
        or ["No network in this run, so no difference."],
        **shown.limits(metrics),
    }


def _markdown_tables(metrics: Mapping[str, Any]) -> list[str]:
    shown, test = family(metrics), metrics["split"]["test"]
    lines = []
    for part, title in shown.filled(test).items():  # a table of customers has no time, so nobody is recent
        models = test[part]
        columns = shown.present(shown.columns, models)
        lines += ["", f"{title.capitalize()} (95 % intervals):", "", f"| model | {' | '.join(columns.values())} |"]
        lines += ["|---" * (len(columns) + 1) + "|"]
        for name in shown.ordered(models):
            lines.append(
                f"| {name} | {' | '.join(with_interval(models[name].get(m, UNDEFINED), digits(m)) for m in columns)} |"
            )
    return lines[1:]


def _encoder(run: Run) -> str:
    if NETWORK not in run.metrics["split"]["test"]["overall"]:
        return "baselines only"
    if run.config["data"]["name"] == "table":
        return "multilayer perceptron"
    return str((run.config.get("encoder") or {}).get("name"))
