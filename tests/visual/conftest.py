"""Run directories around Scores tables of made-up models: churn, and a ranked task."""

import json

import numpy as np
import pytest
import yaml
from clm_dl.tasks.churn.summary import summarise
from clm_dl.tasks.recommend.summary import summarise_ranking

from clm_dl.data.ranking.catalogue import Catalogue
from clm_dl.data.ranking.protocols import Ranking, build_ranking
from clm_dl.data.store.files import write_store
from clm_dl.data.store.store import EventStore, Field
from clm_dl.retrieval import take_ragged
from clm_dl.tasks.recommend.cards import sample_cards
from clm_dl.tasks.recommend.ranks import AMONG, rank, seen_items
from clm_dl.tasks.recommend.scores import ranked_scores


@pytest.fixture
def make_run(make_scores, tmp_path):
    """A finished run directory with the files that reports read."""

    def make(name: str = "run", models: dict[str, float | None] | None = None, fingerprint: str = "abc", **settings):
        folder = tmp_path / name
        folder.mkdir()
        scores = make_scores({"network": 0.1, "logistic": 0.5, "base_rate": None} if models is None else models)
        scores.to_parquet(folder / "scores.parquet")
        counts = {"rows_in": 5, "kept": 4, "quarantined": 1, "duplicates": 0, "customers": 120, "events": 4}
        metrics = summarise(scores, fingerprint=fingerprint, data_counts=counts, resamples=40)
        snapshots = {"horizon_days": 28, "gap_days": 7, "active_days": 56, "recent_days": None}
        config = {"seed": 0, "encoder": {"name": "lstm"}, "labels": {"name": "no_event"}, "snapshots": snapshots}
        config |= {"data": {"name": "events", "path": "log.csv"}, "paths": {"output_dir": str(folder)}} | settings
        write_run(folder, config, metrics)
        return folder

    return make


MODELS = {"network": 1.5, "repeat": 1.0, "popular": 0.2}  # how far the scores point at the targets


@pytest.fixture(scope="session")
def shop(tmp_path_factory) -> tuple[EventStore, Ranking, Catalogue]:
    """80 customers, 42 items in 3 departments, 3 or 12 events each, two items never sold before the last day; leave one
    out.
    """
    rng = np.random.default_rng(0)
    num, num_items = 80, 42
    offsets = np.concatenate([[0], np.cumsum(np.where(np.arange(num) < 10, 3, 12))])
    item = np.minimum(rng.geometric(0.08, offsets[-1]) - 1, num_items - 3)
    item[offsets[20:26] - 1] = [40, 41] * 3
    day = np.concatenate([np.arange(length) for length in np.diff(offsets)])
    fields = [Field("item", "categorical", "item"), Field("dept", "categorical")]
    store = write_store(
        tmp_path_factory.mktemp("store") / "shop",
        customer_ids=np.array([f"c{i:02d}" for i in range(num)], dtype=object),
        offsets=offsets,
        time=day * 86_400_000_000 + 1_600_000_000_000_000,
        columns={"item": item, "dept": item % 3},
        fields=fields,
        dictionaries={"item": [f"item <{i}>" for i in range(num_items)], "dept": ["food", "toys", "garden"]},
        end=1_700_000_000_000_000,
        fingerprint="shop",
    )
    ranking = build_ranking(store, protocol={"name": "leave_one_out", "min_events": 3}, unit="line")
    return store, ranking, Catalogue.from_store(store, ranking.training_rows, categorical=["dept"])


@pytest.fixture
def make_ranked_run(shop, tmp_path):
    """A finished ranked run directory; `models` is name -> how far its scores point at the targets."""
    store, ranking, catalogue = shop

    def make(
        name: str = "ranked",
        models: dict[str, float] = MODELS,
        *,
        seed: int = 0,
        repeats: str = "allow",
        k: int = 10,
        fingerprint: str = "",
        **settings,
    ):
        folder = tmp_path / name
        folder.mkdir()
        held_out = np.flatnonzero(ranking.snapshots.split != "train")
        targets = take_ragged((ranking.target_offsets, ranking.targets), held_out)
        seen = seen_items(store.column("item"), ranking.snapshots.start[held_out], ranking.snapshots.stop[held_out])
        is_target = np.zeros((len(ranking.snapshots), len(catalogue.count)))
        is_target[np.repeat(np.arange(len(is_target)), np.diff(ranking.target_offsets)), ranking.targets] = 1.0
        rng, ranks = np.random.default_rng(seed), {}
        for model, signal in models.items():
            score = signal * is_target + rng.standard_normal(is_target.shape)
            for among in AMONG:
                ranks[model, among] = rank(
                    lambda index, score=score: score[index],
                    held_out,
                    targets=targets,
                    seen=seen,
                    num_items=len(catalogue.count),
                    k=k,
                    repeats=repeats,
                    among=among,
                )
        scores = ranked_scores(store, ranking, ranks, catalogue=catalogue, task="next_item", unit="line")
        counts = {"rows_in": 960, "kept": 960, "quarantined": 0, "duplicates": 0, "customers": 80, "events": 960}
        metrics = summarise_ranking(
            scores,
            task="next_item",
            fingerprint=fingerprint or ranking.fingerprint(store),
            data_counts=counts,
            catalogue=catalogue,
            k=k,
            protocol={"name": "leave_one_out", "min_events": 3},
            policy={"repeats": repeats},
            counts=ranking.counts,
            resamples=40,
        )
        config = {
            "seed": seed,
            "encoder": {"name": "sasrec"},
            "data": {"name": "sequences", "path": "log.txt"},
            "k": k,
        } | settings
        config["paths"] = {"output_dir": str(folder)}
        scores.to_parquet(folder / "scores.parquet")
        catalogue.to_frame().to_parquet(folder / "items.parquet")
        write_run(folder, config, metrics)
        cards = sample_cards(scores, store, ranking.snapshots, model=next(iter(models)), num=3)
        (folder / "cards.json").write_text(json.dumps(cards))
        return folder

    return make


def write_run(folder, config, metrics):
    (folder / "config.yaml").write_text(yaml.safe_dump({"task": {"name": metrics["task"]}} | config))
    (folder / "metrics.json").write_text(json.dumps(metrics))
    (folder / "timing.json").write_text(json.dumps({"network": 1.5}))
    (folder / "status.json").write_text(json.dumps({"version": 1, "state": "finished", "reason": None}))
