"""What tests of figures and pages build on: made-up results, and what a figure, a terminal and TensorBoard show."""

import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from rich.console import Console
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from clm_dl.experiment.run_files import results_of
from clm_dl.visual.results import Results


def results_with(task: Any, config: Mapping[str, Any], metrics: Mapping[str, Any], **known: Any) -> Results:
    """What is shown of a finished run that answers one question; `scores` and what else is `known` of it."""
    status = {"state": "finished", "reason": None}
    known = {"status": status, "timing": {"network": 1.5}, "cards": [], "backtest": None} | known
    [results] = results_of(task, Path(config["paths"]["output_dir"]), config, metrics, **known)
    return results


def lines_of(figure: Figure) -> dict[str, list[list[float]]]:
    """Name -> points of every line that the legend names; what has no name counts on from 0."""
    found, number = {}, 0
    for line in figure.axes[0].lines:
        name = line.get_label()
        if name.startswith("_"):
            name, number = str(number), number + 1
        found[name] = np.round(line.get_xydata(), 9).tolist()
    return found


def bars_of(figure: Figure) -> dict[str, list[float]]:
    """Name -> heights of the bars of each series."""
    axes = figure.axes[0]
    heights = [[bar.get_height() for bar in series] for series in axes.containers]
    return dict(zip(axes.get_legend_handles_labels()[1], heights, strict=True))


def events_of(folder: Path) -> EventAccumulator:
    """All that TensorBoard's files in `folder` hold."""
    return EventAccumulator(str(folder), dict.fromkeys(("scalars", "images", "histograms", "tensors"), 0)).Reload()


def printed(call: Callable[[Console], None], width: int = 100) -> str:
    """What `call` prints on a terminal of that width."""
    console = Console(width=width, record=True, file=io.StringIO())
    call(console)
    return console.export_text()
