"""The commands on a recommendation run: predict, embed, evaluate, report; in processes of their own where the process
matters.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from clm_dl import embed as embed_command
from clm_dl import evaluate as evaluate_command
from clm_dl import predict as predict_command
from clm_dl import report as report_command
from clm_dl.run import Run, load_run

Capture = pytest.CaptureFixture[str]
BIN = Path(sys.executable).parent


@pytest.fixture(scope="module")
def trained(ranked_run: Run, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A copy of the run, to write into."""
    return ranked_run.save(tmp_path_factory.mktemp("cli") / "run")


def test_predict_writes_lists(
    call: Callable[..., str], trained: Run, ring_csv: Path, ring_log: pd.DataFrame, tmp_path: Path
) -> None:
    words = [
        f"run={trained.path}",
        f"input={ring_csv}",
        "cutoff=2021-06-01",
        "k=3",
        "where={dept: [toys, food]}",
        "output=out/lists.parquet",
    ]
    printed = call(BIN / "clm-predict", *words, cwd=tmp_path)
    lists, known = (
        pd.read_parquet(tmp_path / "out" / "lists.parquet"),
        set(ring_log.loc[ring_log["ts"] < "2021-06-01", "cust"]),
    )
    assert f"{len(known)} customers, {3 * len(known)} recommendations: out/lists.parquet" in printed
    assert set(lists["customer_id"]) == known
    expected = trained.recommend(ring_log, cutoff="2021-06-01", k=3, where={"dept": ["toys", "food"]})
    pd.testing.assert_frame_equal(lists.drop(columns="score"), expected.drop(columns="score"))
    np.testing.assert_allclose(lists["score"], expected["score"], atol=1e-5)


def test_customers_without_anything_left_are_counted(
    trained: Run, ring_log: pd.DataFrame, here: Callable[..., None], capsys: Capture, tmp_path: Path
) -> None:
    dept = set(ring_log.loc[ring_log["dept"] == "food", "sku"])
    full = pd.DataFrame({"cust": "007", "ts": pd.Timestamp("2021-05-01"), "sku": sorted(dept)})
    full = full.assign(basket="b", dept="food", spend=1.0, region="north")
    pd.concat([ring_log, full]).to_csv(tmp_path / "log.csv", index=False)
    words = [f"run={trained.path}", "input=log.csv", "cutoff=2021-06-01", "where={dept: food}", "output=a.parquet"]
    here(predict_command.main, *words, "customers=[007,c001]", "k=1")
    printed = capsys.readouterr().out
    assert "1 of 2 customers have no list: nothing is left to recommend to them" in printed
    assert "1 customers, 1 recommendations" in printed


def test_predict_says_when_no_item_is_known(
    trained: Run, ring_log: pd.DataFrame, here: Callable[..., None], capsys: Capture, tmp_path: Path
) -> None:
    ring_log.assign(sku="old-" + ring_log["sku"]).to_csv(tmp_path / "foreign.csv", index=False)
    here(predict_command.main, f"run={trained.path}", "input=foreign.csv", "k=2", "output=lists.parquet")
    assert "no item of these histories is in the run's catalogue" in capsys.readouterr().out


def test_a_run_without_a_network_recommends_by_its_best_baseline_and_embeds_nobody(
    train_ranked: Callable[..., Run], ring_log: pd.DataFrame, here: Callable[..., None], capsys: Capture, tmp_path: Path
) -> None:
    run = train_ranked("encoder=none", "baselines=[popular]")
    here(predict_command.main, f"run={run.path}", "k=2", "output=lists.parquet")
    assert pd.read_parquet(tmp_path / "lists.parquet").groupby("customer_id").size().eq(2).all()
    assert "note: " not in capsys.readouterr().out
    ring_log.assign(sku="old-" + ring_log["sku"]).to_csv(tmp_path / "foreign.csv", index=False)
    here(predict_command.main, f"run={run.path}", "input=foreign.csv", "output=foreign.parquet")
    said = capsys.readouterr().out
    assert "note: 100% of the items of these histories are not in the run's catalogue, such as 'old-i" in said
    for main, *words in ((predict_command.main, "model=network"), (embed_command.main,)):
        with pytest.raises(SystemExit):
            here(main, f"run={run.path}", *words)
        assert "was made with encoder=none, so there is no network to use" in capsys.readouterr().err


def test_embed_writes_customers_and_items(
    trained: Run, here: Callable[..., None], capsys: Capture, tmp_path: Path
) -> None:
    here(
        embed_command.main,
        f"run={trained.path}",
        "cutoff=2021-06-01",
        "output=customers.parquet",
        "item_output=out/items.parquet",
    )
    customers, items = (
        pd.read_parquet(tmp_path / "customers.parquet"),
        pd.read_parquet(tmp_path / "out" / "items.parquet"),
    )
    assert list(items.columns) == ["item_id", *(f"z{d}" for d in range(16))]
    assert items["item_id"].tolist() == trained.catalogue.item_ids.tolist()
    assert list(customers.columns)[2:] == list(items.columns)[1:]
    assert "60 items: out/items.parquet" in capsys.readouterr().out


def test_evaluate_ranks_the_network_again_and_slices(call: Callable[..., str], trained: Run, tmp_path: Path) -> None:
    printed = call(BIN / "clm-evaluate", f"run={trained.path}", "bootstrap=20", "slices=[region]", cwd=tmp_path)
    evaluation = json.loads((trained.path / "evaluation.json").read_text())
    assert set(evaluation) == {"all", "region=north", "region=south"}
    for model, figures in trained.metrics["split"]["test"]["overall"].items():
        again = evaluation["all"]["split"]["test"]["overall"][model]
        for name in ("ndcg@10", "hr@10", "coverage@10"):
            assert again[name]["value"] == pytest.approx(figures[name]["value"], abs=1e-6)
    parts = [evaluation[f"region={region}"] for region in ("north", "south")]
    assert [part["reference"]["test"]["customers"] for part in parts] == [60, 60]
    mean = np.mean([part["split"]["test"]["overall"]["network"]["ndcg@10"]["value"] for part in parts])
    assert mean == pytest.approx(evaluation["all"]["split"]["test"]["overall"]["network"]["ndcg@10"]["value"])
    for text in ("region = north", "region = south", "NDCG@10", "popular", "evaluation:"):
        assert text in printed
    assert "by cutoff" not in printed  # leave one out has as many cutoffs as customers


def test_evaluate_shows_each_cutoff(
    train_ranked: Callable[..., Run], here: Callable[..., None], capsys: Capture
) -> None:
    rolling = [
        "protocol=rolling",
        "snapshots.horizon_days=21",
        "snapshots.val=[2021-05-01]",
        "snapshots.test=[2021-06-01,2021-06-15]",
    ]
    run = train_ranked("encoder=none", "baselines=[popular,repeat,blend]", *rolling)
    here(evaluate_command.main, f"run={run.path}", "bootstrap=20")
    printed = capsys.readouterr().out
    assert "NDCG@10 by cutoff" in printed
    assert "2021-06-01" in printed
    assert "2021-06-15" in printed
    evaluation = json.loads((run.path / "evaluation.json").read_text())["all"]
    assert evaluation["split"]["test"]["overall"]["blend"]["ndcg@10"]["value"] == pytest.approx(
        run.metrics["split"]["test"]["overall"]["blend"]["ndcg@10"]["value"]
    )
    assert evaluation["best_baseline"] == run.metrics["best_baseline"]


def test_evaluate_refuses_a_log_that_changed(
    ranked_run: Run, ring_log: pd.DataFrame, here: Callable[..., None], capsys: Capture, tmp_path: Path
) -> None:
    copy = ranked_run.save(tmp_path / "copy")
    (copy.path / "manifest.json").unlink()  # its config.yaml is changed on purpose
    for number, changed in enumerate((ring_log.assign(sku=ring_log["sku"].iloc[::-1].to_numpy()), ring_log.iloc[1:])):
        changed.to_csv(tmp_path / f"{number}.csv", index=False)
        config = (copy.path / "config.yaml").read_text()
        (copy.path / "config.yaml").write_text(
            config.replace(ranked_run.config["data"]["path"], str(tmp_path / f"{number}.csv"))
        )
        with pytest.raises(SystemExit) as error:
            here(evaluate_command.main, f"run={copy.path}", "bootstrap=20")
        assert error.value.code == 2
        assert (
            "cannot be made again: its log or labels changed since it was trained; train anew"
            in capsys.readouterr().err
        )
        (copy.path / "config.yaml").write_text(config)
    assert not (copy.path / "evaluation.json").exists()


def test_report_shows_both_families(
    ranked_run: Run, run: Run, here: Callable[..., None], capsys: Capture, tmp_path: Path
) -> None:
    here(report_command.main, f"runs=[{ranked_run.path},{run.path}]", "output=report.html")
    html, printed = (tmp_path / "report.html").read_text(), capsys.readouterr().out
    assert "2 of 2 runs finished" in printed
    for text in ("NDCG@10", "AUC"):
        assert text in html
        assert text in printed


@pytest.mark.parametrize(
    ("command", "words", "message"),
    [
        (predict_command, ["k=61"], "k must be from 1 to the 60 items"),
        (predict_command, ["where={dept: toyz}"], "did you mean 'toys'"),
        (predict_command, ["k=abc"], "k is the length of a list and must be an integer, got 'abc'"),
        (predict_command, ["where=dept"], "where must name columns and their values"),
        (predict_command, ["customers=nobody"], "customer 'nobody' has no event before the cutoff"),
        (predict_command, ["model=popluar"], "did you mean 'popular'"),
        (predict_command, ["k=3", "output=."], "is a folder: give the path of a file to write"),
        (predict_command, ["customers=[nobody]"], "customer 'nobody' has no event before the cutoff"),
        (
            evaluate_command,
            ["slices=[regoin]", "bootstrap=5"],
            "no customer attribute 'regoin' to slice by (did you mean 'region'?)",
        ),
    ],
)
def test_one_sentence_for_what_cannot_be(
    trained: Run,
    here: Callable[..., None],
    capsys: Capture,
    tmp_path: Path,
    command: Any,
    words: list[str],
    message: str,
) -> None:
    with pytest.raises(SystemExit) as error:
        here(command.main, f"run={trained.path}", *words)
    assert error.value.code == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("error: ")
    assert message in line
    assert not list(tmp_path.iterdir())


def test_lists_and_item_vectors_are_for_runs_that_rank(run: Run, here: Callable[..., None], capsys: Capture) -> None:
    for main, word, message in (
        (predict_command.main, "k=3", "k is for runs that recommend"),
        (embed_command.main, "item_output=items.parquet", "ranks no items"),
    ):
        with pytest.raises(SystemExit) as error:
            here(main, f"run={run.path}", word)
        assert error.value.code == 2
        assert message in capsys.readouterr().err


# --- several processes


@pytest.mark.slow
def test_two_processes_train_one_run(call: Callable[..., str], ring_words: list[str], tmp_path: Path) -> None:
    words = [*ring_words, "trainer.max_epochs=3"]
    single = call(BIN / "clm-train", *words, "paths.output_dir=single", cwd=tmp_path)
    ddp = [
        "trainer=ddp",
        "trainer.accelerator=cpu",
        "trainer.devices=2",
        "trainer.enable_progress_bar=false",
        "task.batch_size=8",
    ]
    double = call(BIN / "clm-train", *words, *ddp, "paths.output_dir=double", cwd=tmp_path)
    assert single.count("tensorboard --logdir") == double.count("tensorboard --logdir") == 1
    one, two = load_run(tmp_path / "single"), load_run(tmp_path / "double")
    assert two.status["state"] == "finished"
    assert two.metrics["fingerprint"] == one.metrics["fingerprint"]
    assert one.scores["label"].sum() == two.scores["label"].sum()  # every target of every model once
    values = [run.metrics["split"]["test"]["overall"]["network"]["ndcg@10"]["value"] for run in (one, two)]
    assert values[0] == pytest.approx(values[1], abs=0.2)
    rows = [run.scores.loc[run.scores["model"] == "network", ["customer_id", "cutoff", "among"]] for run in (one, two)]
    assert rows[0].drop_duplicates().reset_index(drop=True).equals(rows[1].drop_duplicates().reset_index(drop=True))
    validated = two.metrics["split"]["val"]["overall"]["network"]  # by one process, of what both answered
    for metric in ("ndcg@10", "hr@10", "coverage@10"):
        curve = two.history.loc[two.history["name"] == f"val/{metric}", "value"].to_numpy()
        best = two.history.loc[two.history["name"] == "val/ndcg@10", "value"].to_numpy().argmax()
        assert curve[best] == pytest.approx(validated[metric]["value"], rel=1e-5), metric
    assert len(list(two.path.glob("events.out.tfevents.*"))) == len(list(one.path.glob("events.out.tfevents.*")))
