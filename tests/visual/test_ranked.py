"""Reports of ranked runs: every figure, the protocol and policy, cards that tell the truth, TensorBoard read back."""

import io
import json
import re

import numpy as np
import pandas as pd
import pytest
from clm_dl.visual.tensorboard_ranked import item_table, write_final_ranked
from rich.console import Console
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.utils.tensorboard import SummaryWriter

from clm_dl.run import load_run
from clm_dl.tasks.recommend.cards import card_text, sample_cards
from clm_dl.tasks.recommend.figures import ranked_figures
from clm_dl.visual.card import model_card
from clm_dl.visual.html import render_report
from clm_dl.visual.terminal import difference_lines, print_comparison, print_runs
from clm_dl.visual.text import best_value, number

MODELS = {"network": 1.5, "repeat": 1.0, "popular": 0.2}


def printed(call, width: int = 100) -> str:
    console = Console(width=width, record=True, file=io.StringIO())
    call(console)
    return console.export_text()


def figure(run, model: str, metric: str, part: str = "overall") -> dict:
    return run.metrics["split"]["test"][part][model][metric]


def test_terminal_shows_every_figure_and_part_in_100_columns(make_ranked_run):
    run = load_run(make_ranked_run(models=MODELS | {"recent_popular": 0.3}))
    text = printed(lambda console: print_comparison(run.metrics, console))
    assert "…" not in text
    for metric in ("hr@10", "ndcg@10", "mrr", "recall@10"):
        found = figure(run, "network", metric)
        assert f"{number(found['value'])} {number(found['low'])}–{number(found['high'])}" in text
    assert number(figure(run, "network", "coverage@10")["value"]) in text
    assert number(figure(run, "popular", "ndcg@10", "new")["value"]) in text
    assert re.search(r"all items +repeats +customer +cold items +few events", text)
    assert "NDCG@10" in difference_lines(run.metrics)[1]
    assert "network − repeat (best baseline on validation), paired:" in text


def test_the_best_model_stands_beside_the_network(make_ranked_run):
    metrics = load_run(make_ranked_run(models={"network": 0.5, "blend": 4.0, "repeat": 1.0, "popular": 0.1})).metrics
    metrics["best_baseline"] = {"name": "repeat", "chosen_on": "val"}  # as where the blend has the network in it
    assert [line.split(",")[0] for line in difference_lines(metrics)[::2]] == [
        "network − repeat (best baseline on validation)",
        "blend − repeat (best baseline on validation)",
    ]


def test_report_is_complete_and_self_contained(make_ranked_run):
    folder = make_ranked_run(repeats="remove")
    run, page = load_run(folder), render_report([folder])
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
        run.metrics["fingerprint"],
        "new to the customer",
        "6 cold",
        number(figure(run, "network", "auc", "cold_items")["value"]),
        "cannot exceed " + number(run.metrics["reference"]["test"]["ceiling"]["ndcg@10"]),
        "Recommended by network",
        "chosen on validation",
    ):
        assert text in page


def test_only_judging_metrics_have_a_best():
    assert best_value("ndcg@10", [0.1, None, 0.3]) == 0.3
    assert best_value("ece@1", [0.1, 0.3]) == 0.1
    assert best_value("popularity@10", [0.1, 0.3]) is None
    assert best_value("ndcg@10", [None]) is None


def test_lists_of_another_length(make_ranked_run):
    page = render_report([make_ranked_run(k=5)])
    assert "NDCG@5" in page
    assert "@10" not in page


def test_runs_of_both_families_are_compared_apart(make_ranked_run, make_run):
    folders = [
        make_ranked_run("a"),
        make_ranked_run("b", seed=1),
        make_ranked_run("c", encoder={"name": "gru"}),
        make_run("d"),
    ]
    page = render_report(folders)
    assert page.count("<h2>Comparison</h2>") == 2
    assert "NDCG@10 − its best baseline" in page
    assert "AUC − its best baseline" in page
    text = printed(lambda console: print_runs([load_run(folder) for folder in folders], console), width=160)
    assert re.search(r"encoder.name=sasrec +network +2 ", text)


def test_model_card(make_ranked_run):
    folder = make_ranked_run()
    card, run = model_card(folder), load_run(folder)
    titles = [line[3:] for line in card.splitlines() if line.startswith("## ")]
    assert titles[:5] == ["Data", "Protocol", "Policy", "Split", "Test metrics"]
    assert titles[-1] == "Limits"
    assert f"| network | {number(figure(run, 'network', 'hr@10')['value'])} [" in card
    assert f"{run.metrics['smallest_detectable_difference']['ndcg@10']:.4f}"[1:] in card


def test_cards_say_what_was_bought_listed_and_bought_next(make_ranked_run, shop):
    store, ranking, catalogue = shop
    run = load_run(make_ranked_run(models={"network": 2.0}))
    names = [f"Title {code}" for code in range(len(catalogue.item_ids))]
    cards = sample_cards(run.scores, store, ranking.snapshots, model="network", names=names, num=40, seed=3)
    assert cards == sample_cards(run.scores, store, ranking.snapshots, model="network", names=names, num=40, seed=3)
    assert len({card["customer"] for card in cards}) == 40
    hits = 0
    for card in cards:
        customer = int(card["customer"][1:])
        bought = [
            f"Title {code}" for code in store.column("item")[store.offsets[customer] : store.offsets[customer + 1]]
        ]
        assert [wanted["item"] for wanted in card["next"]] == bought[-1:]
        assert card["bought"][-1] == bought[-2]
        assert set(card["bought"]) <= set(bought[:-1])
        assert len(card["list"]) == 10
        assert all(listed["before"] == (listed["item"] in bought[:-1]) for listed in card["list"])
        (wanted,) = card["next"]
        assert [place for place, listed in enumerate(card["list"], 1) if listed["hit"]] == [wanted["place"]] * (
            wanted["place"] <= 10
        )
        hits += wanted["place"] <= 10
        assert ("bought next**" in card_text(card)) == (wanted["place"] <= 10)
    assert 0 < hits < 40
    removed = load_run(make_ranked_run("b", models={"network": 2.0}, repeats="remove"))
    texts = [
        card_text(card) for card in sample_cards(removed.scores, store, ranking.snapshots, model="network", num=40)
    ]
    assert any("not listed by the policy" in text for text in texts)
    assert not any("(bought before)" in text for text in texts)


def test_tensorboard_is_read_back(make_ranked_run, shop, tmp_path):
    run, (_, _, catalogue) = load_run(make_ranked_run()), shop
    vectors = np.random.default_rng(0).normal(size=(len(catalogue.item_ids), 4))
    with SummaryWriter(str(tmp_path / "tb")) as writer:
        write_final_ranked(
            writer,
            run.scores,
            run.metrics,
            {"seed": 0, "encoder": {"name": "sasrec"}},
            item_vectors=vectors,
            item_metadata=item_table(catalogue),
            cards=["**first**", "second"],
        )
    events = EventAccumulator(str(tmp_path / "tb"), size_guidance={"scalars": 0, "images": 0, "tensors": 0}).Reload()
    (scalar,) = events.Scalars("test/ndcg@10")
    assert scalar.value == pytest.approx(figure(run, "network", "ndcg@10")["value"], rel=1e-6)
    assert {"test/coverage@10", "test_popular/ndcg@10"} <= set(events.Tags()["scalars"])
    assert "test/accuracy_against_coverage" in events.Tags()["images"]
    assert [item.tensor_proto.string_val[0] for item in events.Tensors("recommendations/text_summary")] == [
        b"**first**",
        b"second",
    ]
    assert b"encoder.name" in events.summary_metadata["_hparams_/session_start_info"].plugin_data.content
    (projected,) = (tmp_path / "tb").glob("**/metadata.tsv")
    rows = projected.read_text().splitlines()
    assert rows[0] == "item_id\tdept\tcount"
    assert rows[1].split("\t")[1] == "food"
    assert len(rows) == 1 + len(catalogue.item_ids)


def test_a_finished_run_has_the_values_of_its_metrics_as_tags(ranked_run):
    events = EventAccumulator(str(ranked_run.path), size_guidance={"scalars": 0, "images": 0}).Reload()
    shown = ("hr@10", "ndcg@10", "mrr", "recall@10", "coverage@10")
    for name in ranked_run.metrics["split"]["test"]["overall"]:
        for metric in shown:
            (scalar,) = events.Scalars(f"test/{metric}" if name == "network" else f"test_{name}/{metric}")
            assert scalar.value == pytest.approx(figure(ranked_run, name, metric)["value"], rel=1e-6)
    assert {"val/ndcg@10", "val/hr@10", "val/coverage@10", "train/loss"} < set(events.Tags()["scalars"])
    assert len(events.Tags()["images"]) == 3


def test_figures_show_the_metrics_and_how_deep_the_targets_lie(make_ranked_run):
    run = load_run(make_ranked_run())
    drawn = ranked_figures(run.scores, run.metrics, list(MODELS))
    intervals, against, depth = (drawn[name].axes[0] for name in drawn)
    ndcg = {name: figure(run, name, "ndcg@10") for name in MODELS}
    ends = [line.get_xdata().tolist() for line in intervals.lines]
    assert ends == [part for found in ndcg.values() for part in ([found["low"], found["high"]], [found["value"]])]
    assert [text.get_text() for text in intervals.get_yticklabels()] == list(MODELS)
    points = {text.get_text(): text.xy for text in against.texts}
    assert points == {name: (figure(run, name, "coverage@10")["value"], ndcg[name]["value"]) for name in MODELS}
    for line in depth.lines[: len(MODELS)]:
        place, share = line.get_xydata().T
        assert share[place <= 10].max(initial=0) == pytest.approx(figure(run, line.get_label(), "hr@10")["value"])
        assert share[-1] == 1
    assert depth.lines[-1].get_xdata() == [10, 10]


def test_rare_categories_share_a_colour(shop):
    catalogue = shop[2]
    many = pd.DataFrame(
        {
            "item_id": [str(i) for i in range(200)],
            "count": 1,
            "brand": ["big"] * 100 + [f"b{i}" for i in range(99)] + [None],
        }
    )
    shown = item_table(type(catalogue).from_frame(many))["brand"]
    assert shown.nunique() == 50
    assert (shown == "big").sum() == 100
    assert shown.iloc[-1] == "missing"


def test_without_network_or_validation_models(make_ranked_run):
    folder = make_ranked_run(models={"popular": 0.5})
    (folder / "cards.json").unlink()
    page = render_report([folder])
    assert "Paired differences" not in page
    assert "Recommendation cards" not in page
    assert "Undefined: fewer than two models" in model_card(folder)
    metrics = json.loads((folder / "metrics.json").read_text())
    assert "popular" in printed(lambda console: print_comparison(metrics, console))
