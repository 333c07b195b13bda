"""Hybrids: weights, scales and ranks against plain references, no look at what is measured, candidates' NDCG."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import rankdata

from clm_dl.baselines.recommenders.candidates import (
    allowed,
    collect,
    competition_rank,
    ndcg_at,
    split_folds,
    standardise,
)
from clm_dl.baselines.recommenders.hybrid import Hybrid

METHODS = ("blend", "rrf")


def seen_by(world, n):
    offsets, items = world.seen
    return set(items[offsets[n] : offsets[n + 1]].tolist())


# --- the combination


@pytest.mark.parametrize("method", METHODS)
def test_better_than_each_member_and_blind_to_noise(world, members, method):
    hybrid = world.fit(Hybrid(method=method, constant=5.0), members)  # ranks of 40 items
    assert sum(hybrid.weights_.values()) == pytest.approx(1)
    assert hybrid.weights_["noise"] < 0.15 < min(hybrid.weights_["even"], hybrid.weights_["odd"])
    for split in ("val", "test"):
        assert world.ndcg(hybrid, split) > max(world.ndcg(member, split) for member in members.values()) + 0.05


@pytest.mark.parametrize("method", METHODS)
def test_scores_are_the_weighted_sum_of_a_plain_reference(world, members, method):
    hybrid = world.fit(Hybrid(method=method), members)
    index = world.ranking.select("test")[[5, 0, 77]]
    scores = hybrid(index)
    assert scores.dtype == np.float32
    for row, n in enumerate(index.tolist()):
        items = [item for item in range(scores.shape[1]) if item not in seen_by(world, n)]
        expected = np.zeros(len(items))
        for name, weight in hybrid.weights_.items():
            own = members[name](np.array([n]))[0, items].astype(np.float64)
            part = (own - own.mean()) / own.std() if method == "blend" else 1 / (60 + rankdata(-own, method="min"))
            expected += weight * part
        np.testing.assert_allclose(scores[row, items], expected, atol=1e-5)


@pytest.mark.parametrize("method", METHODS)
def test_a_single_member_keeps_its_order(world, members, method):
    hybrid = world.fit(Hybrid(["even"], method=method), members)
    index = world.ranking.select("test")
    free = standardise(members["even"], index, np.ones((len(index), 40), bool))
    for row, n in enumerate(index[:20].tolist()):
        items = [item for item in range(40) if item not in seen_by(world, n)]
        np.testing.assert_array_equal(np.argsort(-hybrid(index)[row, items]), np.argsort(-free[row, items]))


@pytest.mark.parametrize("method", METHODS)
def test_validation_scores_of_a_fold_ignore_its_own_validation_targets(world, members, method):
    """Give one fold targets that the noise ranks first: the weights for test move, its own validation scores stay bit
    for bit.
    """
    before = world.fit(Hybrid(method=method, constant=5.0), members)
    ranking = world.ranking
    val = ranking.select("val")
    row = val[split_folds(ranking.snapshots.customer[val], 5, 0) == 2]
    free = standardise(members["noise"], row, allowed(row, world.seen, 40))
    targets = ranking.targets.copy()
    targets[ranking.target_offsets[row]] = free.argmax(axis=1)
    after = replace(world, ranking=replace(ranking, targets=targets)).fit(Hybrid(method=method, constant=5.0), members)
    assert after.weights_["noise"] > before.weights_["noise"]
    np.testing.assert_array_equal(after(row), before(row))


def test_repeats_allowed_or_removed_decide_the_weights(make_world):
    """Customers who buy one item over and over: who knows it gets all the weight when repeats are allowed and none when
    removed.
    """
    rng = np.random.default_rng(0)
    world = make_world(
        [[code] * 6 + [(code + 1) % 40] * 2 if n % 2 else [code] * 8 for n, code in enumerate(rng.integers(0, 40, 200))]
    )
    last = np.asarray(world.store.column("item"))[world.ranking.snapshots.stop - 1]
    own, following = (np.eye(40, dtype=np.float32)[(last + step) % 40] for step in (0, 1))
    members = {"repeat": lambda index: own[index], "next": lambda index: following[index]}
    assert world.fit(Hybrid(), members, repeats="allow").weights_["repeat"] > 0.5
    assert world.fit(Hybrid(), members, repeats="remove").weights_ == {"repeat": 0, "next": 1}


def test_the_same_combination_of_other_scorers(world, members):
    hybrid = world.fit(Hybrid(method="rrf"), members)
    index = world.ranking.select("test")
    snapshots = world.ranking.snapshots.select(index)
    moved = {name: (lambda rows, member=member: member(index[rows])) for name, member in reversed(members.items())}
    offsets, items = world.seen
    seen = (
        np.concatenate([[0], np.cumsum(np.diff(offsets)[index])]),
        np.concatenate([items[offsets[n] : offsets[n + 1]] for n in index]),
    )
    other = hybrid.scorer(moved, seen, world.store, snapshots, repeats="remove")
    np.testing.assert_array_equal(other(np.arange(len(index))), hybrid(index))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"members": ["even", "network"]}, "no scores of 'network'"),
        ({"method": "blent"}, "did you mean 'blend'"),
        ({"folds": 1}, "folds must be at least 2"),
        ({"folds": 500}, "folds=500 needs as many validation customers, got 300"),
    ],
)
def test_bad_options_are_one_sentence(world, members, options, sentence):
    with pytest.raises(ValueError, match=sentence):
        world.fit(Hybrid(**options), members)


def test_nothing_to_combine(world):
    with pytest.raises(ValueError, match="at least one other model"):
        world.fit(Hybrid(), {})


# --- what it is built on


def test_the_snapshots_of_a_customer_share_a_fold():
    customer = np.random.default_rng(0).permutation(np.repeat(np.arange(30, 60), 4))
    fold = split_folds(customer, 5, 0)
    assert [len(set(fold[customer == code])) for code in range(30, 60)] == [1] * 30
    assert np.bincount(fold).tolist() == [24] * 5


def test_minus_infinity_is_the_lowest_of_the_rest(world):
    score = np.array([[3.0, -np.inf, 1.0, 2.0, 9.0]], dtype=np.float32)
    z = standardise(lambda index: score[index], np.array([0]), np.array([[True, True, True, True, False]]))
    np.testing.assert_allclose(z, [[1.2247449, -1.2247449, -1.2247449, 0, -1.2247449]], atol=1e-6)
    assert score[0, 4] == 9  # the member's own array is left alone


def test_constant_members_say_nothing(world):
    z = standardise(lambda index: np.full((len(index), 40), 7.3, np.float32), np.arange(4), np.ones((4, 40), bool))
    np.testing.assert_allclose(z, 0, atol=1e-4)


def test_rank_counts_strictly_higher_scores():
    score = np.random.default_rng(0).integers(0, 6, (50, 17)).astype(np.float32)
    np.testing.assert_array_equal(competition_rank(score), rankdata(-score, method="min", axis=1))


def test_candidates_are_each_members_best_unseen_items_once(world, members, monkeypatch):
    index = world.ranking.select("val")[::7]
    whole = collect(members, index, removed=world.seen, num_items=40, depth=4)
    monkeypatch.setattr("clm_dl.baselines.recommenders.candidates.BLOCK_BYTES", 4 * 40 * 3 * 5)
    blockwise = collect(members, index, removed=world.seen, num_items=40, depth=4)
    hits = whole.hits((world.ranking.target_offsets, world.ranking.targets), index)
    for row, n in enumerate(index.tolist()):
        best: set[int] = set()
        for member in members.values():
            order = np.argsort(-member(np.array([n]))[0])
            best |= set([item for item in order.tolist() if item not in seen_by(world, n)][:4])
        assert (
            sorted(best)
            == whole.item[row][whole.valid[row]].tolist()
            == blockwise.item[row][blockwise.valid[row]].tolist()
        )
        target = world.ranking.targets[world.ranking.target_offsets[n]]
        assert whole.item[row][hits[row]].tolist() == [target] * (target in best)


def test_seen_items_are_no_candidates_however_many_are_asked_for(world, members):
    index = world.ranking.select("val")[::7]
    found = collect(members, index, removed=world.seen, num_items=40, depth=40)
    for row, n in enumerate(index.tolist()):
        assert found.item[row][found.valid[row]].tolist() == sorted(set(range(40)) - seen_by(world, n))


def test_ndcg_expects_over_ties_like_shuffled_orders():
    rng = np.random.default_rng(0)
    score, hits = rng.integers(0, 4, (6, 12)).astype(np.float32), rng.random((6, 12)) < 0.25
    num_targets = hits.sum(axis=1) + 2  # two are no candidates
    found = ndcg_at(5, score, hits, num_targets)
    gain = np.append(1 / np.log2(np.arange(2, 7)), np.zeros(7))
    drawn = [
        gain[np.argsort(np.lexsort((rng.random(score.shape), -score), axis=1), axis=1)] * hits for _ in range(4000)
    ]
    ideal = np.array([gain[: min(number, 5)].sum() for number in num_targets])
    np.testing.assert_allclose(found, np.mean(drawn, axis=0).sum(axis=1) / ideal, atol=0.02)
