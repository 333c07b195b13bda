"""The terminal comparison: 100 columns, network first, no cut figures."""

from collections.abc import Callable

from shown import printed

from clm_dl.visual.results import Results
from clm_dl.visual.terminal import difference_lines, print_comparison, print_runs
from clm_dl.visual.text import number


def test_comparison_fits_and_shows_every_figure(make_results: Callable[..., Results]) -> None:
    results = make_results()
    text = printed(lambda console: print_comparison([results], console))
    assert "…" not in text
    rows = [line.split()[0] for line in text.splitlines() if line.strip()]
    assert rows.index("network") < rows.index("logistic") < rows.index("base_rate")
    auc = results.overall["network"]["auroc"]
    assert f"{number(auc['value'])} {number(auc['low'])}–{number(auc['high'])}" in text
    assert "recently active" in text
    assert "network − logistic (best baseline on validation), paired:" in text


def test_a_verdict_of_one_seed_says_what_it_covers(make_results: Callable[..., Results]) -> None:
    sure = difference_lines(make_results(models={"network": 0.1, "logistic": 3.0}))
    assert "better with this seed" in sure[1]
    assert "not the seed of training" in sure[-1]
    assert "better," not in sure[1]
    tied = difference_lines(make_results(models={"network": None, "logistic": None}))
    assert all("a tie" in part for part in tied[1].split(";"))
    assert not any("seed" in line for line in tied)


def test_without_a_network_there_is_no_difference(make_results: Callable[..., Results]) -> None:
    results = make_results(models={"logistic": 0.5, "base_rate": None})
    assert difference_lines(results) == []
    assert "logistic" in printed(lambda console: print_comparison([results], console))


def test_runs_with_other_snapshots_are_not_compared(make_results: Callable[..., Results]) -> None:
    runs = [make_results(name="a"), make_results("encoder=gru", name="b")]
    runs.append(make_results("encoder=rnn", name="c", fingerprint="other"))
    text = printed(lambda console: print_runs(runs, console), width=140)
    assert text.count("other snapshots") == 1
    assert ".000 [.000, .000]" in text
