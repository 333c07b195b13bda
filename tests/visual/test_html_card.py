"""report.html and model_card.md: self-contained, complete, honest about what cannot be paired."""

import re
from collections.abc import Callable
from html.parser import HTMLParser

from clm_dl.visual.card import model_card
from clm_dl.visual.html import render_report
from clm_dl.visual.results import Results

SURE = {"network": 0.1, "logistic": 3.0}  # model -> noise


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


def test_one_run(make_results: Callable[..., Results]) -> None:
    page = render_report([[make_results()]])
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


def test_a_verdict_of_one_seed_says_what_it_covers(make_results: Callable[..., Results]) -> None:
    one, other = ([make_results(f"seed={seed}", name=str(seed), models=SURE)] for seed in (0, 1))
    for text in (render_report([one]), model_card(one, "churn")):
        assert "better with this seed" in text
        assert not re.search(r"better(?! with this seed)[<;,]", text.partition("<body>")[2] or text)
        assert "not the seed of training" in text
    several = render_report([one, other]).partition("<section>")[0]  # the comparison, over seeds and customers
    assert '<span class="tag better">better</span>' in several


def test_names_are_escaped(make_results: Callable[..., Results]) -> None:
    assert "<script>" not in render_report([[make_results("data.path='<script>alert(1)</script>'")]])


def test_without_network_or_validation(make_results: Callable[..., Results]) -> None:
    results = make_results(models={"base_rate": None})
    assert "Paired differences" not in render_report([[results]])
    assert "Undefined: fewer than two models" in model_card([results], "churn")


def test_many_runs_and_a_failed_one(make_results: Callable[..., Results]) -> None:
    runs = [[make_results(name="a")], [make_results("seed=1", name="b")], [make_results("encoder=gru", name="c")]]
    foreign = [make_results(name="d", fingerprint="other")]
    page = render_report([*runs, foreign], left_out=["e (failed)"])
    assert "nothing paired can be said" in page
    assert "e (failed)" in page
    page = render_report(runs)
    assert "nothing paired can be said" not in page
    assert "(failed)" not in page


def test_model_card_has_its_sections_and_figures(make_results: Callable[..., Results]) -> None:
    results = make_results()
    card, metrics = model_card([results], "churn"), results.metrics
    titles = [line[3:] for line in card.splitlines() if line.startswith("## ")]
    assert titles[:4] == ["Data", "Population and label", "Split", "Test metrics"]
    assert titles[-1] == "Limits"
    assert f"{metrics['smallest_detectable_difference']['auroc']:.4f}"[1:] in card
    assert "5 rows read, 4 kept, 1 quarantined" in card
    assert (
        f"| network | {metrics['split']['test']['overall']['network']['auroc']['value']:.3f}".replace("| 0.", "| .")
        in card
    )
