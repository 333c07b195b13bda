"""Scores of ranked tasks and their metrics.json: rows, parts, figures against plain Python, pairing, references."""

import json
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from support import metrics_of, task_of

from clm_dl.data.ranking.catalogue import Catalogue
from clm_dl.retrieval import take_ragged
from clm_dl.tasks.recommend.ranks import AMONG, Ranks, rank
from clm_dl.tasks.recommend.scores import history_length, ranked_rows
from clm_dl.tasks.recommend.slates import coverage, slate_metrics

V, K = 30, 5
PARTS = ("overall", "repeats", "new", "cold_items", "few_events")
ACCURACY = {"hr@5", "recall@5", "precision@5", "ndcg@5", "mrr", "map@5", "hit@1", "auc"}
LISTS = {"novelty@5", "diversity@5", "popularity@5", "repeat_ratio@5", "coverage@5", "ece@1"}


def make_catalogue(**options) -> Catalogue:
    rng = np.random.default_rng(0)
    content = {"categorical": {"genre": rng.integers(-1, 4, V).astype(np.int32)}, "values": {"genre": list("abcd")}}
    content |= {"numeric": pd.DataFrame(index=range(V)), "vectors": np.zeros((V, 0), np.float32)} | options
    count = np.append(rng.integers(1, 50, V - 4), [0] * 4)
    return Catalogue(item_ids=np.array([f"i{code}" for code in range(V)], object), count=count, **content)


class World:
    """80 customers, each at two validation and two test cutoffs, with 1 to 6 seen lines and 1 to 3 targets; scores
    favour the targets.
    """

    def __init__(self) -> None:
        rng = np.random.default_rng(1)
        num = 80 * 4
        day = pd.to_datetime(["2021-03-01", "2021-03-15", "2021-05-01", "2021-05-15"]).as_unit("us").astype(np.int64)
        length = np.tile(rng.integers(1, 7, 80), 4)
        start = np.tile(np.arange(80) * 6, 4)
        self.store = SimpleNamespace(customer_ids=np.arange(500, 580), order_start=np.arange(480) % 2 == 0)
        self.snapshots = SimpleNamespace(
            customer=np.tile(np.arange(80), 4),
            cutoff=np.repeat(day.to_numpy(), 80),
            split=np.repeat(["val", "test"], 160),
            start=start,
            stop=start + length,
            horizon_days=14.0,
        )
        self.targets = self.ragged([rng.permutation(V)[: rng.integers(1, 4)] for _ in range(num)])
        self.seen = self.ragged([np.unique(rng.integers(0, V, n)) for n in length])
        self.noise = rng.standard_normal((num, V))
        self.relevant = np.zeros((num, V))
        self.relevant[np.repeat(np.arange(num), np.diff(self.targets[0])), self.targets[1]] = 1
        self.catalogue = make_catalogue()

    @staticmethod
    def ragged(parts: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        return np.append(0, np.cumsum([len(part) for part in parts])), np.concatenate(parts)

    def ranks(
        self,
        strength: float,
        *,
        among: str = "catalogue",
        repeats: str = "allow",
        index: np.ndarray | None = None,
        **options,
    ):
        index = np.arange(320) if index is None else index
        score = np.round(strength * self.relevant + self.noise, 1)
        kept = {"targets": take_ragged(self.targets, index), "seen": take_ragged(self.seen, index)}
        return rank(lambda rows: score[rows], index, num_items=V, k=K, among=among, repeats=repeats, **kept, **options)

    def rows(self, ranks: Ranks, model: str, among: str = "catalogue", unit: str = "line") -> pd.DataFrame:
        history = history_length(self.store, self.snapshots.start, self.snapshots.stop, unit)
        names = {"model": model, "among": among, "task": "next_order"}
        return ranked_rows(self.store, self.snapshots, ranks, history, catalogue=self.catalogue, **names)

    def scores(self, models: dict[str, float], among: tuple[str, ...] = AMONG, **options) -> pd.DataFrame:
        parts = [
            self.rows(self.ranks(value, among=part, **options), name, part)
            for name, value in models.items()
            for part in among
        ]
        return pd.concat(parts, ignore_index=True)

    def summary(self, scores: pd.DataFrame, *overrides: str, resamples: int = 200) -> dict[str, Any]:
        task = task_of("task=next_order", "protocol=rolling", "policy.repeats=allow", f"k={K}", *overrides)
        task.catalogue, cases = self.catalogue, [SimpleNamespace(counts={"no_history": 3})]
        return metrics_of(task, scores, cases=cases, counts={"rows_in": 9, "kept": 9}, resamples=resamples)


@pytest.fixture(scope="module")
def world() -> World:
    return World()


@pytest.fixture(scope="module")
def scores(world) -> pd.DataFrame:
    return world.scores({"popular": 0.0, "network": 2.0, "repeat": 1.0}, softmax=True)


@pytest.fixture(scope="module")
def metrics(world, scores):
    return world.summary(scores)


def test_rows_hold_the_list_and_every_target_once(world, scores):
    part = scores[(scores["model"] == "network") & (scores["among"] == "catalogue")]
    ranks = world.ranks(2.0)
    key = ["customer_id", "cutoff", "item_id"]
    assert not part.duplicated(key).any()
    assert part["label"].sum() == len(world.targets[1])
    listed = part[part["rank"].notna()].sort_values(["cutoff", "customer_id", "rank"])
    assert listed["item_id"].tolist() == [f"i{item}" for item in ranks.top.ravel()]
    np.testing.assert_allclose(listed["score"], ranks.top_score.ravel())
    assert (part["rank"].notna() | (part["label"] == 1)).all()
    assert (part["above"].notna() == (part["label"] == 1)).all()
    assert (part["above"].max(), part["candidates"].unique().tolist()) == (ranks.above.max(), [V])
    place = listed[(listed["label"] == 1) & (listed["ties"] == 1)]
    assert (place["rank"] == place["above"] + 1).all()
    codes = part["item_id"].str[1:].astype(int)
    assert (part["cold"] == (codes >= V - 4)).all()
    seen = {(n, item) for n in range(320) for item in world.seen[1][world.seen[0][n] : world.seen[0][n + 1]]}
    snapshot = (part["customer_id"] - 500 + 80 * pd.factorize(part["cutoff"], sort=True)[0]).tolist()
    assert part["repeat"].tolist() == [pair in seen for pair in zip(snapshot, codes, strict=True)]
    assert (part["probability"].notna() == (part["rank"] == 1)).all()


def test_rows_of_repeats_and_new_are_targets_alone(world, scores):
    for among in ("repeats", "new"):
        part = scores[(scores["among"] == among) & (scores["model"] == "repeat")]
        assert len(part) > 0
        assert (part["label"] == 1).all()
        assert (part["repeat"] == (among == "repeats")).all()
        assert part["rank"].isna().all()


def test_history_counts_lines_or_orders(world, scores):
    orders = world.rows(world.ranks(1.0), "a", unit="order")
    lines = scores[(scores["model"] == "network") & (scores["among"] == "catalogue")].drop_duplicates(["customer_id"])
    length = (world.snapshots.stop - world.snapshots.start)[:80]
    assert lines.sort_values("customer_id")["history"].tolist() == length.tolist()
    first = orders.drop_duplicates("customer_id").sort_values("customer_id")
    assert first["history"].tolist() == ((length + 1) // 2).tolist()  # every other line begins an order


def test_shape(world, metrics):
    assert (metrics["task"], metrics["fingerprint"], metrics["policy"]["repeats"]) == ("next_order", "abc", "allow")
    assert metrics["data"] == {"rows_in": 9, "kept": 9, "snapshots": {"test": 160, "val": 160}}
    for split, dates in (("val", {"2021-03-01", "2021-03-15"}), ("test", {"2021-05-01", "2021-05-15"})):
        parts = metrics["split"][split]
        assert set(parts) == {*PARTS, "per_cutoff"}
        assert set(parts["per_cutoff"]) == dates
        for name, part in {name: parts[name] for name in PARTS}.items():
            assert list(part) == ["network", "popular", "repeat"]
            for found in part.values():
                assert set(found) == (ACCURACY | LISTS if name in ("overall", "few_events") else ACCURACY)
                for metric, figures in found.items():
                    if metric in ("coverage@5", "ece@1"):
                        assert (figures["low"], figures["high"]) == (None, None)
                        assert 0 < figures["value"] <= 1
                    else:
                        assert figures["low"] <= figures["value"] <= figures["high"]
    assert set(metrics["difference"]) == {"test", "test_repeats", "test_new", "test_cold_items", "test_few_events"}
    assert set(metrics["difference"]["test"]) == {"network - popular", "network - repeat"}


def test_figures_equal_plain_python(world, metrics):
    score = np.round(2.0 * world.relevant + world.noise, 1)
    hits = {"overall": [], "new": [], "repeats": [], "cold_items": [], "few_events": [], "2021-05-01": []}
    for n in range(160, 320):
        targets, seen = (set(part[1][part[0][n] : part[0][n + 1]].tolist()) for part in (world.targets, world.seen))
        groups = {
            "overall": (range(V), targets),
            "new": (set(range(V)) - seen, targets - seen),
            "repeats": (seen, targets & seen),
        }
        groups["cold_items"] = (range(V), {item for item in targets if item >= V - 4})
        if world.snapshots.stop[n] - world.snapshots.start[n] <= 2:
            groups["few_events"] = groups["overall"]
        if n < 240:
            groups["2021-05-01"] = groups["overall"]
        for name, (candidates, wanted) in groups.items():
            if wanted:  # expectation of recall: share of each target's tied places that lie in the list
                values = np.array([score[n, item] for item in candidates])
                above = np.array([(values > score[n, item]).sum() for item in wanted])
                ties = np.array([(values == score[n, item]).sum() for item in wanted])
                hits[name].append(np.clip((K - above) / ties, 0, 1).mean())
    found = metrics["split"]["test"]
    for name, values in hits.items():
        part = found["per_cutoff"][name] if name.startswith("2021") else found[name]
        assert part["network"]["recall@5"]["value"] == pytest.approx(np.mean(values)), name
    first = {model: found["overall"][model]["ndcg@5"]["value"] for model in ("network", "popular")}
    assert metrics["difference"]["test"]["network - popular"]["ndcg@5"]["value"] == pytest.approx(
        first["network"] - first["popular"]
    )


def test_intervals_draw_customers(world, scores):
    """The 95 % interval is about ±1.96 standard errors of the mean over customers; pairing removes what is shared."""
    metrics = world.summary(scores, resamples=2000)
    part = scores[(scores["model"] == "network") & (scores["among"] == "catalogue") & (scores["split"] == "test")]
    targets = part[part["label"] == 1]
    inside = ((K - targets["above"]) / targets["ties"]).clip(0, 1).astype(float)
    mean = inside.groupby([targets["customer_id"], targets["cutoff"]]).mean().groupby("customer_id").mean()
    figures = metrics["split"]["test"]["overall"]["network"]["recall@5"]
    assert figures["value"] == pytest.approx(mean.mean())
    assert figures["high"] - figures["low"] == pytest.approx(2 * 1.96 * mean.std() / np.sqrt(80), rel=0.1)
    same = world.scores({"network": 1.0, "twin": 1.0}, ("catalogue",))
    assert world.summary(same)["difference"]["test"]["network - twin"]["mrr"] == {"value": 0.0, "low": 0.0, "high": 0.0}


def test_a_customer_brings_all_its_snapshots(world, scores):
    """The same again at a second cutoff is no news: the intervals are those of the first alone, not narrower by √2."""
    once = scores[scores["cutoff"].isin(pd.to_datetime(["2021-03-01", "2021-05-01"], utc=True))]
    twice = pd.concat([once, once.assign(cutoff=once["cutoff"] + pd.Timedelta(days=14))])
    single, double = (world.summary(table) for table in (once, twice))
    assert double["data"]["snapshots"] == {"test": 160, "val": 160}
    for model in ("network", "popular", "repeat"):
        for part in ("overall", "new", "few_events"):
            for metric in ("ndcg@5", "mrr"):
                ours, theirs = (found["split"]["test"][part][model][metric] for found in (single, double))
                assert ours["low"] < ours["value"] < ours["high"]
                assert theirs == pytest.approx(ours, rel=1e-9), (model, part, metric)
    ours, theirs = (found["difference"]["test"]["network - popular"]["ndcg@5"] for found in (single, double))
    assert theirs == pytest.approx(ours, rel=1e-9)


def test_row_order_changes_nothing(world, scores, metrics):
    mixed = world.summary(scores.sample(frac=1, random_state=0))
    assert json.dumps(mixed, sort_keys=True) == json.dumps(metrics, sort_keys=True)


def test_best_models_are_chosen_on_validation(world):
    validation, test = np.arange(160), np.arange(160, 320)
    signal = {"network": (1.0, 1.0), "repeat": (1.5, 0.5), "popular": (0.0, 3.0), "blend": (3.0, 2.0)}
    tables = [
        world.rows(world.ranks(strength, index=index), name)
        for name, strengths in signal.items()
        for strength, index in zip(strengths, (validation, test), strict=True)
    ]
    metrics = world.summary(pd.concat(tables), "baselines=[repeat,popular,blend]")
    assert metrics["best_model"] == {"name": "blend", "chosen_on": "val"}
    assert metrics["best_baseline"] == {"name": "repeat", "chosen_on": "val"}
    assert "blend - repeat" in metrics["difference"]["test"]
    smallest = metrics["smallest_detectable_difference"]
    assert smallest["between"] == "network - repeat"
    assert 0 < smallest["ndcg@5"] < 0.2
    assert metrics["split"]["test"]["repeats"] == {}
    assert "test_repeats" not in metrics["difference"]


def test_reference_floor_and_ceiling(world):
    scores = world.scores({"popular": 0.0, "constant": 0.0}, ("catalogue",), repeats="remove")
    metrics = world.summary(scores, "policy.repeats=remove")
    found = metrics["reference"]["test"]
    index = np.arange(160, 320)
    targets, seen = take_ragged(world.targets, index), take_ragged(world.seen, index)
    constant = rank(lambda rows: np.zeros((len(rows), V)), index, targets=targets, seen=seen, num_items=V, k=K)
    assert found["unreachable"] == found["repeats"] == constant.target_repeat.sum() > 0
    flat = world.summary(world.rows(constant, "constant"))["split"]["test"]["overall"]["constant"]
    perfect = rank(lambda rows: world.relevant[rows], index, targets=targets, seen=seen, num_items=V, k=K)
    best = world.summary(world.rows(perfect, "perfect"))["split"]["test"]["overall"]["perfect"]
    for metric in ("hr@5", "recall@5", "ndcg@5", "mrr", "map@5"):
        assert found["floor"][metric] == pytest.approx(flat[metric]["value"])
        assert found["ceiling"][metric] == pytest.approx(best[metric]["value"])
    assert 0 < found["ceiling"]["hr@5"] < 1
    assert (found["snapshots"], found["customers"], found["targets"]) == (160, 80, len(targets[1]))


def test_models_on_other_targets_are_refused(world, scores):
    broken = scores.drop(
        scores[(scores["model"] == "repeat") & (scores["label"] == 1) & (scores["split"] == "test")].index[0]
    )
    with pytest.raises(ValueError, match="network and repeat must be scored on the same test snapshots and targets"):
        world.summary(broken)


def test_figures_of_lists():
    catalogue = make_catalogue()
    top = np.array([[0, 1, 2, 3], [5, -1, -1, -1], [-1, -1, -1, -1]])
    repeat = np.array([[True, False, False, False], [True, False, False, False], [False] * 4])
    found = slate_metrics(top, repeat, catalogue, k=4)
    share = (catalogue.count + 1) / (catalogue.count.sum() + V)
    below = [(catalogue.count < count).sum() + (catalogue.count == count).sum() / 2 for count in catalogue.count]
    genre = catalogue.categorical["genre"]
    pairs = [(a, b) for a in range(4) for b in range(4) if a != b]
    np.testing.assert_allclose(found["novelty@4"], [-np.log2(share[:4]).mean(), -np.log2(share[5]), np.nan])
    np.testing.assert_allclose(found["popularity@4"], [np.mean(below[:4]) / V, below[5] / V, np.nan])
    np.testing.assert_allclose(found["repeat_ratio@4"], [0.25, 1.0, np.nan])
    alike = np.mean([genre[a] == genre[b] and genre[a] >= 0 for a, b in pairs])
    np.testing.assert_allclose(found["diversity@4"], [1 - alike, np.nan, np.nan])
    assert coverage(top, V) == 5 / V
    vectors = np.random.default_rng(2).standard_normal((V, 3)).astype(np.float32)
    vectors[2] = 0  # unknown: like nothing
    length = np.linalg.norm(vectors, axis=1)
    cosine = np.mean(
        [vectors[a] @ vectors[b] / (length[a] * length[b]) if length[a] * length[b] else 0 for a, b in pairs]
    )
    found = slate_metrics(top, repeat, make_catalogue(vectors=vectors), k=4)
    np.testing.assert_allclose(found["diversity@4"], [1 - cosine, np.nan, np.nan], rtol=1e-5)
    found = slate_metrics(top, repeat, make_catalogue(categorical={}, values={}), k=4)
    assert np.isnan(found["diversity@4"]).all()
