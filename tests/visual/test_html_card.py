"""report.html and model_card.md: self-contained, complete, honest about what cannot be paired."""

import json
import re
from html.parser import HTMLParser

import pytest

from clm_dl.visual.card import model_card
from clm_dl.visual.html import render_report


class Balance(HTMLParser):
    """Fails on a tag that is closed out of order or never."""

    def __init__(self):
        super().__init__()
        self.open = []

    def handle_starttag(self, tag, attrs):
        if tag not in {"meta", "img", "br"}:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_one_run(make_run):
    folder = make_run()
    page = render_report([folder])
    balance = Balance()
    balance.feed(page)
    assert balance.open == []
    assert page.count("data:image/png;base64,") == 7
    assert not re.search(r"(src|href)=\"(?!data:)", page)
    for text in (
        "network − logistic",
        "2020-05-15",
        "horizon_days: 28",
        "[cutoff + 7 days, cutoff + 35 days)",
        "1 quarantined",
        "Before calibration",
    ):
        assert text in page


def test_names_are_escaped(make_run):
    assert "<script>" not in render_report([make_run(data={"name": "events", "path": "<script>alert(1)</script>"})])


def test_without_network_or_validation(make_run):
    folder = make_run(models={"base_rate": None})
    assert "Paired differences" not in render_report([folder])
    assert "Undefined: fewer than two models" in model_card(folder)


def test_many_runs_and_a_failed_one(make_run, tmp_path):
    folders = [
        make_run("a"),
        make_run("b", seed=1),
        make_run("c", encoder={"name": "gru"}),
        make_run("d", fingerprint="other"),
    ]
    failed = make_run("e")
    (failed / "metrics.json").unlink()
    page = render_report([*folders, failed])
    assert "nothing paired can be said" in page
    assert "e (finished)" in page
    assert "nothing paired can be said" not in render_report(folders[:3])
    with pytest.raises(ValueError, match="no run with metrics"):
        render_report([failed])


def test_model_card_has_its_sections_and_figures(make_run):
    folder = make_run()
    card = model_card(folder)
    metrics = json.loads((folder / "metrics.json").read_text())
    titles = [line[3:] for line in card.splitlines() if line.startswith("## ")]
    assert titles[:4] == ["Data", "Population and label", "Split", "Test metrics"]
    assert titles[-1] == "Limits"
    assert f"{metrics['smallest_detectable_difference']['auroc']:.4f}"[1:] in card
    assert "5 rows read, 4 kept, 1 quarantined" in card
    assert (
        f"| network | {metrics['split']['test']['overall']['network']['auroc']['value']:.3f}".replace("| 0.", "| .")
        in card
    )
