"""Figures that every task has."""

from shown import lines_of

from clm_dl.visual.figures import interval_figure


def test_interval_figure_shows_every_model_with_an_interval_the_first_on_top():
    known = {"network": (0.8, 0.7, 0.9), "logistic": (0.6, 0.5, 0.75)}
    found = {name: {"auroc": dict(zip(("value", "low", "high"), ends, strict=True))} for name, ends in known.items()}
    found["alone"] = {"auroc": {"value": 0.5, "low": None, "high": None}}
    figure = interval_figure(found, "auroc", "AUC")
    drawn = list(lines_of(figure).values())
    assert drawn == [[[0.7, 0], [0.9, 0]], [[0.8, 0]], [[0.5, 1], [0.75, 1]], [[0.6, 1]]]
    axes = figure.axes[0]
    assert [text.get_text() for text in axes.get_yticklabels()] == ["network", "logistic"]
    bottom, top = axes.get_ylim()
    assert bottom > top
