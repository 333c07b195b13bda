"""What is shown of a run that recommends: every figure, protocol and policy, cards, TensorBoard read back."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from shown import events_of, printed, results_with
from support import config_of, metrics_of
from torch.utils.tensorboard import SummaryWriter

from clm_dl.data.store.store import EventStore
from clm_dl.experiment.settings import read_task
from clm_dl.run import Run
from clm_dl.tasks.recommend.cards import card_text, item_table
from clm_dl.visual.card import model_card
from clm_dl.visual.html import render_report
from clm_dl.visual.results import Results
from clm_dl.visual.tensorboard import write_results
from clm_dl.visual.terminal import difference_lines, print_comparison, print_runs
from clm_dl.visual.text import number

MODELS = {"network": 1.5, "repeat": 1.0, "popular": 0.2}


def figure(run: Run | Results, model: str, metric: str, part: str = "overall") -> dict[str, Any]:
    return run.metrics["split"]["test"][part][model][metric]


def test_terminal_shows_every_figure_and_part_in_100_columns(make_results: Callable[..., Results]) -> None:
    results = make_results(models=MODELS | {"recent_popular": 0.3})
    text = printed(lambda console: print_comparison([results], console))
    assert "…" not in text
    for metric in ("hr@10", "ndcg@10", "mrr", "recall@10"):
        found = figure(results, "network", metric)
        assert f"{number(found['value'])} {number(found['low'])}–{number(found['high'])}" in text
    assert number(figure(results, "network", "coverage@10")["value"]) in text
    assert number(figure(results, "popular", "ndcg@10", "new")["value"]) in text
    assert re.search(r"all items +repeats +customer +cold items +few events", text)
    assert "NDCG@10" in difference_lines(results)[1]
    assert "network − repeat (best baseline on validation), paired:" in text


def test_the_best_model_stands_beside_the_network(make_results: Callable[..., Results]) -> None:
    models = {"network": 0.5, "blend": 4.0, "repeat": 1.0, "popular": 0.1}
    results = make_results("baselines=[repeat,popular,blend]", models=models)  # the blend has the network in it
    assert [line.split(",")[0] for line in difference_lines(results) if " − " in line.split(",")[0]] == [
        "network − repeat (best baseline on validation)",
        "blend − repeat (best baseline on validation)",
    ]


def test_report_is_complete_and_self_contained(make_results: Callable[..., Results]) -> None:
    results = make_results("policy.repeats=remove")
    page = render_report([[results]])
    assert page.count("data:image/png;base64,") == 3
    assert not re.search(r"(src|href)=\"(?!data:)", page)
    assert "item &lt;" in page
    assert "item <" not in page
    assert page.count("network − popular") == 1
    for text in (
        "Leave one out: each customer&#39;s last line is test",
        "Repeats are removed",
        "Seen: every item in the snapshot&#39;s history",
        "by expectation",
        results.metrics["fingerprint"],
        "new to the customer",
        "6 cold",
        number(figure(results, "network", "auc", "cold_items")["value"]),
        "cannot exceed " + number(results.metrics["reference"]["test"]["ceiling"]["ndcg@10"]),
        "Recommended by network",
        "chosen on validation",
    ):
        assert text in page


def test_lists_of_another_length(make_results: Callable[..., Results]) -> None:
    page = render_report([[make_results("k=5")]])
    assert "NDCG@5" in page
    assert "@10" not in page


@pytest.mark.slow
def test_runs_that_have_no_figures_in_common_are_compared_apart(
    make_results: Callable[..., Results], make_scores: Callable[..., pd.DataFrame]
) -> None:
    config = config_of()
    task, scores = read_task(config), make_scores({"network": 0.1, "logistic": 0.5})
    runs = [make_results(name="a"), make_results(name="b", seed=1), make_results("encoder=gru", name="c")]
    runs.append(results_with(task, config, metrics_of(task, scores), scores=scores))
    page = render_report([[results] for results in runs])
    assert page.count("<h2>Comparison</h2>") == 2
    assert "NDCG@10 − its best baseline" in page
    assert "AUC − its best baseline" in page
    text = printed(lambda console: print_runs(runs, console), width=160)
    assert re.search(r"encoder.name=lstm +network +2 ", text)


def test_model_card(make_results: Callable[..., Results]) -> None:
    results = make_results()
    card = model_card([results], "next_item")
    titles = [line[3:] for line in card.splitlines() if line.startswith("## ")]
    assert titles[:5] == ["Data", "Protocol", "Policy", "Split", "Test metrics"]
    assert titles[-1] == "Limits"
    assert f"| network | {number(figure(results, 'network', 'hr@10')['value'])} [" in card
    assert f"{results.metrics['smallest_detectable_difference']['ndcg@10']:.4f}"[1:] in card


def test_tensorboard_is_read_back(make_results: Callable[..., Results], shop: EventStore, tmp_path: Path) -> None:
    results = make_results()
    catalogue = results.task.cases(shop).catalogue
    vectors = np.random.default_rng(0).normal(size=(len(catalogue.item_ids), 4))
    with SummaryWriter(str(tmp_path / "tb")) as writer:
        hparams = {"seed": 0, "encoder": {"name": "sasrec"}}
        write_results(writer, [results], hparams, ("items", vectors, item_table(catalogue)))
    events = events_of(tmp_path / "tb")
    (scalar,) = events.Scalars("test/ndcg@10")
    assert scalar.value == pytest.approx(figure(results, "network", "ndcg@10")["value"], rel=1e-6)
    assert {"test/coverage@10", "test_popular/ndcg@10"} <= set(events.Tags()["scalars"])
    assert "test/accuracy_against_coverage" in events.Tags()["images"]
    texts = [item.tensor_proto.string_val[0].decode() for item in events.Tensors("recommendations/text_summary")]
    assert texts == [card_text(card) for card in results.cards]
    assert len(texts) == 3
    assert b"encoder.name" in events.summary_metadata["_hparams_/session_start_info"].plugin_data.content
    (projected,) = (tmp_path / "tb").glob("**/metadata.tsv")
    rows = projected.read_text().splitlines()
    assert rows[0] == "item_id\tdept\tcount"
    assert rows[1].split("\t")[1] == "food"
    assert len(rows) == 1 + len(catalogue.item_ids)


def test_a_finished_run_has_the_values_of_its_metrics_as_tags(ranked_run: Run) -> None:
    events = events_of(ranked_run.path)
    shown = ("hr@10", "ndcg@10", "mrr", "recall@10", "coverage@10")
    for name in ranked_run.metrics["split"]["test"]["overall"]:
        for metric in shown:
            (scalar,) = events.Scalars(f"test/{metric}" if name == "network" else f"test_{name}/{metric}")
            assert scalar.value == pytest.approx(figure(ranked_run, name, metric)["value"], rel=1e-6)
    assert {"val/ndcg@10", "val/hr@10", "val/coverage@10", "train/loss"} < set(events.Tags()["scalars"])
    assert len(events.Tags()["images"]) == 3


def test_figures_show_the_metrics_and_how_deep_the_targets_lie(make_results: Callable[..., Results]) -> None:
    results = make_results()
    drawn = results.pages.figures(results.metrics, results.test, list(MODELS))
    intervals, against, depth = (figure.axes[0] for _, figure in drawn.values())
    ndcg = {name: figure(results, name, "ndcg@10") for name in MODELS}
    ends = [line.get_xdata().tolist() for line in intervals.lines]
    assert ends == [part for found in ndcg.values() for part in ([found["low"], found["high"]], [found["value"]])]
    assert [text.get_text() for text in intervals.get_yticklabels()] == list(MODELS)
    points = {text.get_text(): text.xy for text in against.texts}
    assert points == {name: (figure(results, name, "coverage@10")["value"], ndcg[name]["value"]) for name in MODELS}
    for line in depth.lines[: len(MODELS)]:
        place, share = line.get_xydata().T
        assert share[place <= 10].max(initial=0) == pytest.approx(figure(results, line.get_label(), "hr@10")["value"])
        assert share[-1] == 1
    assert depth.lines[-1].get_xdata() == [10, 10]


def test_without_network_or_validation_models(make_results: Callable[..., Results]) -> None:
    results = replace(make_results(models={"popular": 0.5}), cards=[])
    page = render_report([[results]])
    assert "Paired differences" not in page
    assert "Recommendation cards" not in page
    assert "Undefined: fewer than two models" in model_card([results], "next_item")
    assert "popular" in printed(lambda console: print_comparison([results], console))
