"""model_card.md: what a run was trained on, whom it scores, how well, what its test set could show, where it stops."""

from __future__ import annotations

from collections.abc import Sequence

from clm_dl.evaluation.metric import NETWORK, UNDEFINED
from clm_dl.visual.facts import calibration_lines
from clm_dl.visual.results import Results
from clm_dl.visual.tables import present
from clm_dl.visual.terminal import difference_lines
from clm_dl.visual.text import with_interval


def model_card(questions: Sequence[Results], task: str) -> str:
    """The model card of a run of `task`, as Markdown; each of its questions has sections of its own."""
    parts = [f"# Model card: {task}, {_encoder(questions[0])}"]
    for results in questions:
        remark = f" ({results.task.name})" if results.several else ""
        parts += ["\n".join([f"## {name}{remark}", "", *lines]) for name, lines in _sections(results).items()]
    return "\n\n".join(parts) + "\n"


def _sections(results: Results) -> dict[str, list[str]]:
    metrics, lines = results.metrics, [line.strip() for line in difference_lines(results)]
    return {
        **results.pages.setup(metrics, results.config),
        **calibration_lines(metrics),
        "Test metrics": _markdown_tables(results),
        "Against the best baseline": lines or ["No network in this run, so no difference."],
        **results.pages.limits(metrics),
    }


def _markdown_tables(results: Results) -> list[str]:
    test, known = results.metrics["split"]["test"], results.known
    lines = []
    for part, title in results.pages.filled(test).items():  # a table of customers has no time, so nobody is recent
        models = test[part]
        columns = present(known.table, models)
        heads = " | ".join(metric.title for metric in columns)
        lines += ["", f"{title.capitalize()} (95 % intervals):", "", f"| model | {heads} |"]
        lines += ["|---" * (len(columns) + 1) + "|"]
        for name in known.ordered(models):
            cells = [with_interval(models[name].get(metric.name, UNDEFINED), metric.digits) for metric in columns]
            lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines[1:]


def _encoder(results: Results) -> str:
    if NETWORK not in results.overall:
        return "baselines only"
    if results.config["data"]["name"] == "table":
        return "perceptrons that share weights, on binned columns"
    return str((results.config.get("encoder") or {}).get("name"))
