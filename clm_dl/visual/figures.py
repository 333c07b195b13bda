"""Figures in the house style, in colours that colour-blind readers can tell apart (Okabe and Ito 2008).

No window owns them. The first models get colours, in the order given; the rest is grey.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

Values = Mapping[str, NDArray[Any]]
Corner = Literal["upper left", "upper right", "lower left", "lower right"]
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00")
GREY, DARK = "#BBBBBB", "#333333"
CURVES = len(COLORS)  # models drawn as curves; the tables have them all


def interval_figure(found: Mapping[str, Mapping[str, Any]], metric: str, title: str) -> Figure:
    """One dot and its 95 % interval a model; `found`: model -> metric -> {"value", "low", "high"}, the first on top."""
    known = {name: part[metric] for name, part in found.items() if part[metric]["low"] is not None}
    figure, axes = empty_figure(title, title, "", height=0.9 + 0.32 * max(len(known), 1))
    for row, (_, part) in enumerate(known.items()):
        color = COLORS[row] if row < len(COLORS) else GREY
        axes.plot([part["low"], part["high"]], [row, row], color=color, linewidth=2, solid_capstyle="round")
        axes.plot(part["value"], row, marker="o", markersize=5, color=color)
    axes.set_yticks(range(len(known)), list(known))
    axes.set_ylim(len(known) - 0.5, -0.5)
    axes.grid(axis="y", visible=False)
    return figure


def empty_figure(title: str, x: str, y: str, height: float = 3.9) -> tuple[Figure, Axes]:
    """A figure in the house style, with its axes."""
    figure = Figure(figsize=(5.2, height), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.set_title(title, fontsize=11, loc="left", fontweight="bold", color=DARK)
    axes.set_xlabel(x, fontsize=9, color=DARK)
    axes.set_ylabel(y, fontsize=9, color=DARK)
    house_style(axes)
    return figure, axes


def house_style(axes: Axes) -> None:
    """Quiet ticks, grid and frame."""
    axes.tick_params(labelsize=8, color=GREY, labelcolor=DARK)
    axes.grid(color="#E8E8E8", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(GREY)


def styles(values: Values) -> Iterator[tuple[str, NDArray[Any], dict[str, Any]]]:
    """(name, values, line style) of each model: colours for the first, grey for the rest."""
    for row, (name, value) in enumerate(values.items()):
        color = COLORS[row] if row < len(COLORS) else GREY
        yield name, value, {"color": color, "linewidth": 2.2 if row == 0 else 1.3, "zorder": 20 - row}


def legend(figure: Figure, axes: Axes, where: Corner) -> Figure:
    """Add the legend where a line has a name."""
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc=where, fontsize=7.5, frameon=True, framealpha=0.85, edgecolor="none")
    return figure
