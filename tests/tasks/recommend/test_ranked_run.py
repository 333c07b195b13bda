"""A recommendation run: its files and figures, one seed one result, resume, the fresh process, and no way for the
future to get in.
"""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from clm_dl.data.open import open_store
from clm_dl.data.ranking.protocols import build_ranking
from clm_dl.experiment.rescoring import own_cases
from clm_dl.experiment.scoring import run_metrics
from clm_dl.run import Run, load_run
from clm_dl.tasks.module import SequenceTask

FILES = (
    "metrics.json",
    "scores.parquet",
    "config.yaml",
    "timing.json",
    "versions.json",
    "vocabulary.json",
    "schema.json",
    "items.parquet",
)
MODELS = {"network", "popular", "repeat"}
METRICS = {"hr@10", "ndcg@10", "mrr", "map@10", "recall@10", "precision@10", "coverage@10", "novelty@10"}


def figure(run: Run, model: str, metric: str = "ndcg@10", split: str = "test") -> float:
    value: float = run.metrics["split"][split]["overall"][model][metric]["value"]
    return value


# --- what a run leaves


def test_has_every_file(ranked_run: Run) -> None:
    for name in (
        *FILES,
        "report.html",
        "model_card.md",
        "checkpoints/model.ckpt",
        "checkpoints/best.ckpt",
        "checkpoints/last.ckpt",
    ):
        assert (ranked_run.path / name).stat().st_size > 0, name
    assert list(ranked_run.path.glob("events.out.tfevents.*"))
    assert ranked_run.status == {"version": 1, "state": "finished", "reason": None}
    assert "${" not in (ranked_run.path / "config.yaml").read_text()


def test_the_network_learns_what_popularity_cannot(ranked_run: Run) -> None:
    assert figure(ranked_run, "network") > 0.8
    assert figure(ranked_run, "popular") < 0.25
    assert ranked_run.metrics["difference"]["test"]["network - popular"]["ndcg@10"]["low"] > 0.4
    assert ranked_run.metrics["best_model"] == {"name": "network", "chosen_on": "val"}
    assert figure(ranked_run, "network") <= ranked_run.metrics["reference"]["test"]["ceiling"]["ndcg@10"]


def test_a_short_list_over_a_small_catalogue(
    train_ranked: Callable[..., Run], ring_log: pd.DataFrame, tmp_path: Path
) -> None:
    """The list's length is the run's in validation, too: fewer items than ten are no hindrance."""
    path = tmp_path / "few.csv"
    ring_log.assign(sku="i" + (ring_log["sku"].str[1:].astype(int) % 6).astype(str)).to_csv(path, index=False)
    run = train_ranked(
        f"data.path={path}",
        "k=3",
        "policy.repeats=allow",
        "trainer.max_epochs=2",
        "baselines=[popular,blend]",
        "data.categorical=[]",
        "task.content.categorical=[]",
    )
    assert set(run.history["name"]) >= {"val/ndcg@3", "val/hr@3", "val/coverage@3"}
    assert len(run.catalogue) == 6
    assert 0 < figure(run, "network", "ndcg@3") <= 1
    assert run.metrics["best_baseline"]["name"] == "popular"  # the network is in the blend, which is none therefore
    assert figure(run, "blend", "ndcg@3", "val") > figure(run, "popular", "ndcg@3", "val")


@pytest.mark.parametrize("loss", ["softmax", "bpr"])
def test_only_a_softmax_gives_probabilities(train_ranked: Callable[..., Run], loss: str) -> None:
    run = train_ranked(f"task.loss.name={loss}", "trainer.max_epochs=1", "baselines=none", "bootstrap=5")
    first = run.scores[run.scores["rank"] == 1]
    assert first["probability"].between(0, 1).all() == (loss == "softmax")
    assert first["probability"].isna().all() == (loss == "bpr")
    assert (figure(run, "network", "ece@1") is None) == (loss == "bpr")


@pytest.mark.slow
@pytest.mark.parametrize("repeats", ["remove", "allow"])
def test_the_curve_of_training_is_the_figure_of_the_run(
    train_ranked: Callable[..., Run], ring_log: pd.DataFrame, tmp_path: Path, repeats: str
) -> None:
    """What training watches is what is reported of validation: the same lists under the same policy of repeats."""
    path = tmp_path / "few.csv"
    ring_log.assign(sku="i" + (ring_log["sku"].str[1:].astype(int) % 12).astype(str)).to_csv(path, index=False)
    few = (f"data.path={path}", "data.categorical=[]", "task.content.categorical=[]", "baselines=none", "bootstrap=5")
    barely = ("task.optimizer.lr=0.0001", "trainer.max_epochs=2")  # scores are noise: any other list ranks otherwise
    run = train_ranked(*few, *barely, f"policy.repeats={repeats}")
    curve = run.history.query("name == 'val/ndcg@10'")
    assert len(curve) == 2
    assert figure(run, "network", split="val") == pytest.approx(curve["value"].max(), rel=1e-5)
    if repeats == "remove":
        assert run.metrics["reference"]["val"]["unreachable"] > 10  # the policy does matter to this log


def test_metrics_have_their_shape(ranked_run: Run, ring_log: pd.DataFrame) -> None:
    metrics = json.loads((ranked_run.path / "metrics.json").read_text())
    assert metrics["task"] == "next_item"
    assert len(metrics["fingerprint"]) == 32
    assert metrics["protocol"]["name"] == "leave_one_out"
    assert metrics["policy"] == {"repeats": "remove"}
    for split in ("test", "val"):
        parts = metrics["split"][split]
        assert {"overall", "repeats", "new", "cold_items", "few_events", "per_cutoff"} == set(parts)
        for models in (parts["overall"], parts["new"]):
            assert set(models) == MODELS
            assert all(
                {"value", "low", "high"} == set(found) for figures in models.values() for found in figures.values()
            )
        for figures in parts["overall"].values():
            assert set(figures) >= METRICS
            assert figures["ndcg@10"]["low"] <= figures["ndcg@10"]["value"] <= figures["ndcg@10"]["high"]
    difference = metrics["difference"]["test"]["network - popular"]["ndcg@10"]
    assert difference["value"] == pytest.approx(figure(ranked_run, "network") - figure(ranked_run, "popular"))
    data = metrics["data"]
    assert data["rows_in"] == data["kept"] == data["events"] == len(ring_log)
    assert data["snapshots"] == {"train": 120, "val": 120, "test": 120}


def test_scores_have_their_columns_and_every_model_the_same_targets(ranked_run: Run) -> None:
    scores = ranked_run.scores
    columns = [
        "customer_id",
        "cutoff",
        "split",
        "model",
        "task",
        "horizon",
        "among",
        "rank",
        "item_id",
        "score",
        "label",
        "above",
        "ties",
    ]
    assert set(columns) <= set(scores.columns)
    assert set(scores["model"]) == MODELS
    assert set(scores["split"]) == {"val", "test"}
    listed = scores[(scores["among"] == "catalogue") & scores["rank"].notna()]
    sizes = listed.groupby(["model", "split", "customer_id"])["rank"].agg(["min", "max", "size"])
    assert (sizes == [1, 10, 10]).all(axis=None)
    wanted = scores[(scores["among"] == "catalogue") & (scores["label"] == 1)]
    keys = [
        part[["customer_id", "cutoff", "split", "item_id"]].reset_index(drop=True)
        for _, part in wanted.groupby("model")
    ]
    assert len(keys[0]) == 240
    for other in keys[1:]:
        pd.testing.assert_frame_equal(keys[0], other)


def test_targets_are_the_last_lines_and_lists_hold_nothing_seen(ranked_run: Run, ring_log: pd.DataFrame) -> None:
    lines = ring_log.sort_values(["cust", "ts"])
    scores = ranked_run.scores[ranked_run.scores["model"] == "network"]
    for split, back in (("test", 1), ("val", 2)):
        target = scores[(scores["split"] == split) & (scores["label"] == 1) & (scores["among"] == "catalogue")]
        last = lines.groupby("cust").nth(-back).set_index("cust")["sku"]
        assert target.set_index("customer_id")["item_id"].to_dict() == last.to_dict()
        rest = lines.groupby("cust").head(-back).groupby("cust")["sku"].agg(set)
        listed = scores[(scores["split"] == split) & scores["rank"].notna()]
        assert not any(
            item in rest[customer] for customer, item in zip(listed["customer_id"], listed["item_id"], strict=True)
        )


def test_the_scores_table_gives_the_metrics_again(ranked_run: Run) -> None:
    trained, metrics, config = load_run(ranked_run.path).trained, ranked_run.metrics, ranked_run.config
    cases = own_cases(trained, open_store(config["data"], config["paths"]), metrics)
    options = {"resamples": config["bootstrap"], "seed": config["seed"]}
    assert run_metrics(trained.task, ranked_run.scores, [cases], metrics["data"], **options) == metrics


# --- one seed, one result


@pytest.mark.slow
def test_same_seed_same_metrics_bit_for_bit_and_another_seed_others(train_ranked: Callable[..., Run]) -> None:
    quick = ("trainer.max_epochs=2", "task.dropout=0.3")
    one, two, other = train_ranked(*quick), train_ranked(*quick), train_ranked(*quick, "seed=1")
    assert one.path != two.path
    assert (one.path / "metrics.json").read_bytes() == (two.path / "metrics.json").read_bytes()
    assert one.scores.equals(two.scores)
    assert other.metrics["fingerprint"] == one.metrics["fingerprint"]
    assert figure(other, "network") != figure(one, "network")
    assert figure(other, "popular") == figure(one, "popular")


def test_resumed_run_equals_the_uninterrupted_one(
    train_ranked: Callable[..., Run], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    long = ("trainer.max_epochs=3", "task.dropout=0.3", "baselines=none", f"paths.output_dir={tmp_path / 'run'}")
    step = SequenceTask.training_step

    def interrupted(task: SequenceTask, batch: Any, batch_idx: int) -> torch.Tensor:
        if task.current_epoch == 1 and batch_idx == 3:
            raise RuntimeError("power cut")
        return step(task, batch, batch_idx)

    with monkeypatch.context() as patch:
        patch.setattr(SequenceTask, "training_step", interrupted)
        with pytest.raises(RuntimeError, match="power cut"):
            train_ranked(*long)
    assert load_run(tmp_path / "run").status["state"] == "failed"
    resumed = train_ranked(*long, f"ckpt={tmp_path / 'run' / 'checkpoints' / 'last.ckpt'}")
    straight = train_ranked(*long[:-1])
    assert resumed.metrics == straight.metrics
    assert resumed.scores.equals(straight.scores)


def test_a_run_may_be_trained_again_into_its_folder(train_ranked: Callable[..., Run], tmp_path: Path) -> None:
    folder = f"paths.output_dir={tmp_path / 'run'}"
    first = train_ranked("trainer.max_epochs=2", "baselines=none", folder)
    (first.path / "evaluation.json").write_text("{}")
    curve = len(first.history.query("name == 'val/ndcg@10'"))
    second = train_ranked("trainer.max_epochs=1", "baselines=[popular]", "overwrite=true", folder)
    assert second.status["state"] == "finished"
    assert set(second.scores["model"]) == {"network", "popular"}
    assert curve == 2
    assert len(second.history.query("name == 'val/ndcg@10'")) == 1  # nothing of the first is left
    assert not (second.path / "evaluation.json").exists()
    third = train_ranked("encoder=none", "baselines=[popular]", "overwrite=true", folder)
    assert not (third.path / "checkpoints" / "model.ckpt").exists()
    assert set(third.scores["model"]) == {"popular"}


def test_baselines_alone(train_ranked: Callable[..., Run]) -> None:
    run = train_ranked("encoder=none", "baselines=[popular,markov,blend]")
    assert set(run.scores["model"]) == {"popular", "markov", "blend"}
    assert figure(run, "markov") > 0.9
    assert run.metrics["best_baseline"]["name"] in ("markov", "blend")
    assert len(run.catalogue) == 60
    best = run.recommend(cutoff="2021-06-01", model=run.metrics["best_model"]["name"])
    pd.testing.assert_frame_equal(run.recommend(cutoff="2021-06-01"), best)
    for asked in (run.embed, lambda: run.recommend(cutoff="2021-06-01", model="network")):
        with pytest.raises(ValueError, match="encoder=none, so there is no network"):
            asked()


@pytest.mark.parametrize("repeats", ["remove", "allow"])
def test_a_hybrid_of_one_recommender_ranks_as_it_does(
    train_ranked: Callable[..., Run], ring_log: pd.DataFrame, tmp_path: Path, repeats: str
) -> None:
    """So hybrids know the policy: one that takes repeats for forbidden would rank them last."""
    path = tmp_path / "few.csv"
    ring_log.assign(sku="i" + (ring_log["sku"].str[1:].astype(int) % 12).astype(str)).to_csv(path, index=False)
    few = (f"data.path={path}", "data.categorical=[]", "task.content.categorical=[]", "encoder=none", "bootstrap=5")
    scores = train_ranked(*few, "baselines=[repeat,blend,rrf]", f"policy.repeats={repeats}").scores
    scores = scores[(scores["among"] == "catalogue") & (scores["label"] == 1)].sort_values(["split", "customer_id"])
    found = {model: part[["item_id", "above", "ties"]].to_numpy().tolist() for model, part in scores.groupby("model")}
    assert scores["repeat"].sum() > 30
    assert found["blend"] == found["rrf"] == found["repeat"]


def test_scores_too_many_to_be_kept_rank_the_same(
    train_ranked: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ("encoder=none", "baselines=[popular,markov,blend]")
    kept = train_ranked(*options).scores
    monkeypatch.setattr("clm_dl.tasks.recommend.scorers.KEPT_BYTES", 1 << 12)
    pd.testing.assert_frame_equal(train_ranked(*options).scores, kept)


PROTOCOLS = [("protocol=leave_one_out",), ("protocol=global_time",), ("protocol=rolling", "snapshots.horizon_days=21")]


@pytest.mark.slow
@pytest.mark.parametrize("protocol", PROTOCOLS, ids=lambda protocol: protocol[0])
def test_orders_under_every_protocol(
    train_ranked: Callable[..., Run], tmp_path: Path, protocol: tuple[str, ...]
) -> None:
    """Order tokens with the sequence group as it comes: its history features are for heads and must not stand in the
    way.
    """
    options = ("task=next_order", "sequence=order", "trainer.max_epochs=2", "policy.repeats=allow", *protocol)
    closed = ("data.close_orders=true", f"paths.data_dir={tmp_path}")  # two lines an order, a minute apart
    run = train_ranked(*options, *closed)
    assert figure(run, "network", "hr@10") > 0
    assert run.metrics["reference"]["test"]["targets"] > run.metrics["reference"]["test"]["snapshots"]
    dates = run.metrics["split"]["test"]["per_cutoff"]
    assert bool(dates) == ("protocol=rolling" in protocol)
    assert set(run.recommend(cutoff="2021-06-01")["rank"]) == set(range(1, 11))


# --- a checkpoint is data


def test_model_checkpoint_is_plain_data(ranked_run: Run) -> None:
    checkpoint = torch.load(ranked_run.path / "checkpoints" / "model.ckpt", weights_only=True)
    json.dumps({key: value for key, value in checkpoint.items() if key != "state_dict"})
    assert checkpoint["task"] == "next_item"
    assert len(checkpoint["vocabulary"]["fields"]["item"]) == 60


def test_lists_come_out_again_elsewhere(ranked_run: Run, tmp_path: Path) -> None:
    """As of a customer's test cutoff the loaded network gives the list that stands in scores.parquet (a fresh process:
    test_cli_ranked).
    """
    moved = load_run(ranked_run.save(tmp_path / "moved").path)
    listed = ranked_run.scores.query("model == 'network' and split == 'test' and rank.notna()")
    for customer in ("c000", "c077"):
        expected = listed[listed["customer_id"] == customer].sort_values("rank")
        found = moved.recommend(cutoff=expected["cutoff"].iloc[0], customers=[customer])
        assert found["item_id"].tolist() == expected["item_id"].tolist()
        np.testing.assert_allclose(found["score"], expected["score"], atol=1e-5)


# --- leakage


def test_no_recommender_is_told_when_the_target_is_bought(
    train_ranked: Callable[..., Run], ring_log: pd.DataFrame, tmp_path: Path
) -> None:
    """Leave-one-out: the customers' last lines happen days to weeks later, and not a score of test moves."""
    options = ("encoder=none", "policy.repeats=allow", "baselines=[recent_popular,repeat,two_stage]", "bootstrap=5")
    options += ("data.categorical=[]", "task.content.categorical=[]")
    log = ring_log.sort_values(["cust", "ts"]).reset_index(drop=True)
    log["sku"] = "i" + (log["sku"].str[1:].astype(int) % 12).astype(str)  # so few that customers come back to them
    moved, last = log.copy(), log.groupby("cust").tail(1).index
    moved.loc[last, "ts"] += pd.to_timedelta(np.random.default_rng(0).integers(3, 40, len(last)), unit="D")
    found = []
    for name, frame in (("as_it_is", log), ("moved", moved)):
        frame.to_csv(tmp_path / f"{name}.csv", index=False)
        found.append(train_ranked(*options, f"data.path={tmp_path / name}.csv").scores)
    parts = {"rank.notna()": ["rank", "item_id", "score"], "label == 1": ["item_id", "above", "ties"]}
    for model in ("recent_popular", "repeat", "two_stage"):  # those that look at the time of what was bought
        for asked, columns in parts.items():
            part = f"split == 'test' and among == 'catalogue' and model == '{model}' and {asked}"
            keys = ["customer_id", columns[0]]
            ours, theirs = (scores.query(part).sort_values(keys).set_index("customer_id")[columns] for scores in found)
            assert ours.index.nunique() == 120
            pd.testing.assert_frame_equal(ours, theirs, obj=f"{model}, {asked}")


def test_training_and_validation_see_nothing_after_the_validation_window(
    train_ranked: Callable[..., Run], ring_log: pd.DataFrame, tmp_path: Path
) -> None:
    """Other items, amounts and departments after the test date: weights, catalogue and validation stay as they are."""
    limit = pd.Timestamp("2021-08-01")
    options = ("protocol=global_time", "protocol.val=2021-06-01", "protocol.test=2021-08-01", "trainer.max_epochs=2")
    baselines = "baselines=[popular,repeat,markov]"
    run = train_ranked(*options, baselines)
    changed, rng = ring_log.copy(), np.random.default_rng(0)
    late = (changed["ts"] >= limit).to_numpy()
    assert 200 < late.sum() < len(changed) - 200
    assert changed.loc[~late, "sku"].nunique() == 60
    changed.loc[late, "sku"] = rng.choice([f"i{code:02d}" for code in range(12)], late.sum())  # other counts, too
    changed.loc[late, "spend"] = rng.permutation(changed.loc[late, "spend"].to_numpy())
    changed["dept"] = [["food", "toys", "garden"][int(item[1:]) % 3] for item in changed["sku"]]
    changed.to_csv(tmp_path / "log.csv", index=False)
    other = train_ranked(*options, baselines, f"data.path={tmp_path / 'log.csv'}")
    assert other.vocabulary.to_json() == run.vocabulary.to_json()
    assert other.schema == run.schema
    assert other.catalogue.to_frame().equals(run.catalogue.to_frame())
    for name, tensor in run.checkpoint["state_dict"].items():
        assert torch.equal(tensor, other.checkpoint["state_dict"][name]), name
    one, two = (found.scores[found.scores["split"] == "val"].reset_index(drop=True) for found in (run, other))
    pd.testing.assert_frame_equal(one, two)
    assert other.metrics["split"]["val"] == run.metrics["split"]["val"]
    assert other.metrics["fingerprint"] != run.metrics["fingerprint"]
    listed = [found.scores.query("split == 'test' and rank.notna()") for found in (run, other)]
    lists = [
        part[["model", "customer_id", "rank", "item_id", "score"]].sort_values(["model", "customer_id", "rank"])
        for part in listed
    ]
    np.testing.assert_array_equal(
        lists[0].to_numpy(), lists[1].to_numpy()
    )  # who is right has changed, not what was recommended
    assert figure(other, "network") != figure(run, "network")


@pytest.mark.parametrize(
    ("field", "message"), [("stop", "has its target in its history"), ("training_stop", "in the training rows")]
)
def test_a_planted_leak_stops_the_experiment(
    train_ranked: Callable[..., Run], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, field: str, message: str
) -> None:
    def leaky(*args: Any, **kwargs: Any) -> Any:
        ranking = build_ranking(*args, **kwargs)
        if field == "training_stop":
            return replace(ranking, training_stop=ranking.training_stop + 1)
        test = ranking.snapshots.split == "test"
        return replace(ranking, snapshots=replace(ranking.snapshots, stop=ranking.snapshots.stop + test))

    monkeypatch.setattr("clm_dl.tasks.recommend.task.build_ranking", leaky)
    with pytest.raises(ValueError, match=f"leak: the .* snapshot of customer c.* {message}"):
        train_ranked(f"paths.output_dir={tmp_path / 'run'}")
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_content_is_left_out_aloud_where_a_log_says_nothing_of_its_items(train_ranked: Callable[..., Run]) -> None:
    bare = ["encoder=none", "data.categorical=[]", "task.content.categorical=[]"]
    said: list[str] = []
    found = train_ranked(*bare, "baselines=all", log=said.append)
    models = set(found.metrics["split"]["test"]["overall"])
    assert {"popular", "als", "bpr", "two_stage", "rrf"} <= models
    assert "content" not in models
    assert any("baseline content is left out: " in text and "no field that describes items" in text for text in said)
    with pytest.raises(ValueError, match="no field that describes items"):
        train_ranked(*bare, "baselines=[content]")
