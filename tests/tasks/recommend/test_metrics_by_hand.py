"""metrics.json of a ranked task by hand: Scores of two models on four snapshots and ten items, worked out on paper."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from support import metrics_of, task_of

from clm_dl.data.ranking.catalogue import Catalogue

FIRST, SECOND = "2021-05-01", "2021-05-15"
ASKED = {  # customer and test cutoff: length of history, targets, and the list of the network
    ("ann", FIRST): (2, ["i1"], ["i1", "i2"]),
    ("bob", FIRST): (3, ["i2"], ["i0", "i3"]),
    ("ann", SECOND): (3, ["i0"], ["i5", "i6"]),
    ("cid", SECOND): (1, ["i4", "i9"], ["i0", "i4"]),
}
PLACES = {  # (items above, items that tie, itself among them) of each target, in the order of ASKED
    "network": [(0, 1), (1, 2), (3, 1), (1, 1), (5, 1)],
    "popular": [(1, 1), (2, 1), (0, 1), (4, 1), (9, 1)],
}


def hand_made() -> pd.DataFrame:
    """Two models on four test snapshots of three customers, ten items; bob's target is a repeat, cid's i9 is cold."""
    columns = ["customer_id", "cutoff", "split", "model", "among", "rank"]
    columns += ["item_id", "label", "above", "ties", "candidates", "repeat"]
    rows: list[tuple] = []
    for model, places in PLACES.items():
        above = 1 if model == "network" else 0  # of its one validation target
        rows.append(("ann", "2021-03-01", "val", model, "catalogue", None, "i1", 1.0, above, 1, 10, False))
        left = iter(places)
        for (customer, cutoff), (_, targets, listed) in ASKED.items():
            key, again = (customer, cutoff, "test", model), customer == "bob"
            listed = listed if model == "network" else ["i0", "i1"]
            for item in targets:
                (above, ties), place = next(left), listed.index(item) + 1 if item in listed else None
                rows.append((*key, "catalogue", place, item, 1.0, above, ties, 10, again))
                among, *numbers = ("repeats", 0, 1, 3) if again else ("new", above // 2, ties, 6)  # half are repeats
                rows.append((*key, among, None, item, 1.0, *numbers, again))
            rows += [
                (*key, "catalogue", place, item, 0.0, None, None, 10, again and item == "i0")
                for place, item in enumerate(listed, start=1)
                if item not in targets
            ]
    table = pd.DataFrame(rows, columns=columns).astype(dict.fromkeys(("rank", "above", "ties"), "Int64"))
    lengths = {key: length for key, (length, _, _) in ASKED.items()}
    table["history"] = [lengths.get(key, 4) for key in zip(table["customer_id"], table["cutoff"], strict=True)]
    table["cutoff"] = pd.to_datetime(table["cutoff"], utc=True)
    table["probability"] = np.where((table["rank"] == 1).fillna(False) & (table["model"] == "network"), 0.5, np.nan)
    return table.assign(task="next_item", horizon=0.0, score=0.0, cold=table["item_id"] == "i9")


@pytest.fixture(scope="module")
def by_hand() -> dict[str, Any]:
    """Its metrics; shares of the training lines, one added to each item, are 32, 16, 3, 2, …, 2 and 1 in 64."""
    count = np.array([32, 16, 3, 2, 2, 2, 2, 2, 2, 1]) - 1
    task = task_of("task=next_item", "sequence=line", "protocol=rolling", "policy.repeats=allow", "k=2")
    task.catalogue = Catalogue(
        item_ids=np.array([f"i{code}" for code in range(10)], object),
        count=count,
        categorical={},
        values={},
        numeric=pd.DataFrame(index=range(10)),
        vectors=np.zeros((10, 0), np.float32),
    )
    return metrics_of(task, hand_made(), cases=[SimpleNamespace(counts={})], counts={"events": 9}, resamples=20)


def values(figures: dict[str, dict[str, float]]) -> dict[str, float]:
    return {metric: found["value"] for metric, found in figures.items()}


GAIN = 1 / np.log2(3)  # of the second place; of the first 1
BY_HAND = {  # ann, bob, ann again, cid: who ranks its target first, second or third, fourth, second and sixth
    "hr@2": [1, 1 / 2, 0, 1],
    "recall@2": [1, 1 / 2, 0, 1 / 2],
    "precision@2": [1 / 2, 1 / 4, 0, 1 / 2],
    "ndcg@2": [1, GAIN / 2, 0, GAIN / (1 + GAIN)],
    "mrr": [1, (1 / 2 + 1 / 3) / 2, 1 / 4, 1 / 2],
    "map@2": [1, 1 / 4, 0, 1 / 4],
    "hit@1": [1, 0, 0, 0],
    "auc": [1, 1 - 1.5 / 9, 1 - 3 / 9, 1 - (1 + 5) / 2 / 9],
}


def test_accuracy_by_hand(by_hand: dict[str, Any]) -> None:
    found = by_hand["split"]["test"]
    for metric, each in BY_HAND.items():
        for part, rows in ((found["overall"], slice(None)), (found["few_events"], [0, 3])):
            assert part["network"][metric]["value"] == pytest.approx(np.mean(np.array(each)[rows])), metric
        for date, rows in ((FIRST, slice(0, 2)), (SECOND, slice(2, 4))):
            value = found["per_cutoff"][date]["network"][metric]["value"]
            assert value == pytest.approx(np.mean(each[rows])), (date, metric)
    popular = values(found["overall"]["popular"])
    assert popular["mrr"] == pytest.approx((1 / 2 + 1 / 3 + 1 + 1 / 5) / 4)
    assert popular["recall@2"] == pytest.approx((1 + 0 + 1 + 0) / 4)
    difference = by_hand["difference"]["test"]
    assert difference["network - popular"]["mrr"]["value"] == pytest.approx(np.mean(BY_HAND["mrr"]) - popular["mrr"])
    assert difference["popular - network"]["mrr"]["value"] == pytest.approx(popular["mrr"] - np.mean(BY_HAND["mrr"]))


def test_parts_by_hand(by_hand: dict[str, Any]) -> None:
    found = by_hand["split"]["test"]
    cold = dict.fromkeys(BY_HAND, 0.0) | {"mrr": 1 / 6, "auc": 1 - 5 / 9}
    assert values(found["cold_items"]["network"]) == pytest.approx(cold)
    repeats = dict.fromkeys(cold, 1.0) | {"precision@2": 1 / 2}  # bob's, the first of three
    assert values(found["repeats"]["network"]) == pytest.approx(repeats)
    new = values(found["new"]["network"])  # ann's is first, then second of six; cid's are first and third
    assert new["mrr"] == pytest.approx((1 + 1 / 2 + 1) / 3)
    assert new["recall@2"] == pytest.approx((1 + 1 + 1 / 2) / 3)
    assert new["auc"] == pytest.approx((1 + (1 - 1 / 5) + (1 - (0 + 2) / 2 / 5)) / 3)


def test_lists_by_hand(by_hand: dict[str, Any]) -> None:
    network, popular = (values(by_hand["split"]["test"]["overall"][model]) for model in ("network", "popular"))
    assert (network["coverage@2"], popular["coverage@2"]) == (0.7, 0.2)
    assert (popular["novelty@2"], popular["popularity@2"]) == pytest.approx(((1 + 2) / 2, (0.95 + 0.85) / 2))
    assert (network["repeat_ratio@2"], popular["repeat_ratio@2"]) == (1 / 8, 1 / 8)
    assert network["ece@1"] == pytest.approx(abs(1 / 2 - 1 / 4))  # half sure of each first item, and right once in four
    assert (popular["ece@1"], popular["diversity@2"]) == (None, None)
    assert values(by_hand["split"]["test"]["few_events"]["network"])["coverage@2"] == 0.4


def test_reference_and_choice_by_hand(by_hand: dict[str, Any]) -> None:
    found = by_hand["reference"]["test"]
    counts = {"snapshots": 4, "customers": 3, "targets": 5, "unreachable": 0, "repeats": 1, "cold": 1}
    assert {name: found[name] for name in counts} == counts
    hit, hit_of_two = 2 / 10, 1 - (8 * 7) / (10 * 9)
    assert found["floor"]["hr@2"] == pytest.approx((3 * hit + hit_of_two) / 4)
    place = np.arange(1, 11)
    mrr, mrr_of_two = (1 / 10 / place).sum(), ((10 - place) / 45 / place).sum()  # 10 − place of 45 pairs begin there
    assert found["floor"]["mrr"] == pytest.approx((3 * mrr + mrr_of_two) / 4)
    ceiling = dict.fromkeys(BY_HAND, 1.0) | {"precision@2": (3 / 2 + 1) / 4, "auc": (3 + 1 - 1 / 2 / 9) / 4}
    assert found["ceiling"] == pytest.approx(ceiling)
    assert by_hand["data"]["snapshots"] == {"test": 4, "val": 1}
    popular = {"name": "popular", "chosen_on": "val"}  # though the network is better on test
    assert by_hand["best_model"] == by_hand["best_baseline"] == popular
    assert by_hand["smallest_detectable_difference"]["between"] == "network - popular"
