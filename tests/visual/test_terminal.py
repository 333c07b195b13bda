"""The terminal comparison: 100 columns, network first, no cut figures."""

import io
import json

import pytest
from rich.console import Console

from clm_dl.run import load_run
from clm_dl.visual.terminal import difference_lines, print_comparison, print_runs
from clm_dl.visual.text import number, signed, verdict, with_interval


def printed(call, width: int = 100) -> str:
    console = Console(width=width, record=True, file=io.StringIO())
    call(console)
    return console.export_text()


def test_comparison_fits_and_shows_every_figure(make_run):
    metrics = json.loads((make_run() / "metrics.json").read_text())
    text = printed(lambda console: print_comparison(metrics, console))
    assert "…" not in text
    rows = [line.split()[0] for line in text.splitlines() if line.strip()]
    assert rows.index("network") < rows.index("logistic") < rows.index("base_rate")
    auc = metrics["split"]["test"]["overall"]["network"]["auroc"]
    assert f"{number(auc['value'])} {number(auc['low'])}–{number(auc['high'])}" in text
    assert "recently active" in text
    assert "network − logistic (best baseline on validation), paired:" in text


def test_without_a_network_there_is_no_difference(make_run):
    metrics = json.loads((make_run(models={"logistic": 0.5, "base_rate": None}) / "metrics.json").read_text())
    assert difference_lines(metrics) == []
    assert "logistic" in printed(lambda console: print_comparison(metrics, console))


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [
        (0.8574, 3, ".857"),
        (1.2166, 2, "1.22"),
        (-0.0042, 3, "−.004"),
        (-0.0001, 3, ".000"),
        (None, 3, "–"),
        (1.0, 3, "1.000"),
    ],
)
def test_number(value, digits, text):
    assert number(value, digits) == text


def test_intervals_and_verdicts():
    found = {"value": 0.857, "low": 0.849, "high": 0.865}
    assert with_interval(found) == ".857 [.849, .865]"
    assert signed({"value": 0.004, "low": -0.001, "high": 0.009}) == "+.0040 [−.0010, +.0090]"
    below, above, around = ({"low": low, "high": high} for low, high in ((-2, -1), (1, 2), (-1, 1)))
    assert [verdict(part, "auroc") for part in (below, above, around)] == ["worse", "better", "a tie"]
    assert [verdict(part, "log_loss") for part in (below, above, around)] == ["better", "worse", "a tie"]
    assert verdict({"low": None, "high": None}, "auroc") == "undefined"


def test_runs_with_other_snapshots_are_not_compared(make_run):
    folders = [
        make_run("a"),
        make_run("b", encoder={"name": "gru"}),
        make_run("c", fingerprint="other", encoder={"name": "rnn"}),
    ]
    text = printed(lambda console: print_runs([load_run(folder) for folder in folders], console), width=140)
    assert text.count("other snapshots") == 1
    assert ".000 [.000, .000]" in text
