"""TwoStage: better than its members, no look at what is measured or at the target's time, order of all items, features,
errors.
"""

from dataclasses import replace

import numpy as np
import pytest

from clm_dl.baselines.recommenders.candidates import collect
from clm_dl.baselines.recommenders.two_stage import TwoStage
from clm_dl.data.snapshots.snapshots import Snapshots

DAY = 86_400_000_000
SMALL = {"depth": 5, "n_estimators": 30, "min_child_samples": 20}


@pytest.fixture(scope="module")
def fitted(world, members):
    return world.fit(TwoStage(**SMALL), members)


def test_better_than_each_member_on_validation_and_test(world, members, fitted):
    for split in ("val", "test"):
        assert world.ndcg(fitted, split) > max(world.ndcg(member, split) for member in members.values()) + 0.05


@pytest.fixture(scope="module")
def alternating(make_world):
    """(world, member): customers alternate between two items; the member ranks both first, whichever came last."""
    rng = np.random.default_rng(0)
    pairs = [rng.permutation(40)[:2].tolist() for _ in range(300)]
    world = make_world([(pair * 6)[: rng.integers(7, 12)] for pair in pairs])
    pair_NV = np.zeros((len(world.ranking.snapshots), 40), dtype=np.float32)
    for n, customer in enumerate(world.ranking.snapshots.customer):
        pair_NV[n, pairs[customer]] = 1
    return world, {"pair": lambda index: pair_NV[index]}


def test_learns_from_the_history_what_the_members_do_not_say(alternating):
    world, member = alternating
    fitted = world.fit(TwoStage(**SMALL), member, repeats="allow")
    index = world.ranking.select("test")
    target = world.ranking.targets[world.ranking.target_offsets[index]]
    assert (member["pair"](index).argmax(axis=1) == target).mean() < 0.7
    assert (fitted(index).argmax(axis=1) == target).mean() > 0.95
    assert max(fitted.importance_, key=fitted.importance_.get) == "days since bought"


def test_items_that_are_no_candidate_come_after_all_candidates_by_mean_score(world, members, fitted):
    index = world.ranking.select("test")[:50]
    scores = fitted(index)
    candidates = collect(members, index, removed=world.seen, num_items=40, depth=5)
    everything = collect(members, index, removed=world.seen, num_items=40, depth=40)
    assert scores.dtype == np.float32
    assert np.isfinite(scores).all()
    for row in range(len(index)):
        chosen = candidates.item[row][candidates.valid[row]]
        free, mean = (
            everything.item[row][everything.valid[row]],
            everything.score[row][everything.valid[row]].mean(axis=1),
        )
        rest = ~np.isin(free, chosen)
        assert scores[row, chosen].min() > scores[row, free[rest]].max()
        np.testing.assert_array_equal(np.argsort(scores[row, free[rest]]), np.argsort(mean[rest]))


def test_blocks_of_any_size_are_equal(world, fitted, monkeypatch):
    index = world.ranking.select("val")[:40]
    whole = fitted(index)
    monkeypatch.setattr("clm_dl.baselines.recommenders.candidates.BLOCK_BYTES", 4 * 40 * 3 * 7)
    np.testing.assert_array_equal(fitted(index), whole)
    np.testing.assert_array_equal(fitted(index[::-1]), whole[::-1])


def test_validation_scores_of_a_customer_ignore_its_own_validation_target(world, members, fitted):
    place = np.flatnonzero(np.diff(world.ranking.target_offsets))
    snapshots = world.ranking.snapshots
    own = (snapshots.split[place] == "val") & (snapshots.customer[place] == 120)
    targets = world.ranking.targets.copy()
    targets[own] = (targets[own] + 1) % 40
    changed = replace(world, ranking=replace(world.ranking, targets=targets))
    after = changed.fit(TwoStage(**SMALL), members)
    for split, equal in (("val", True), ("test", False)):
        row = np.flatnonzero((snapshots.split == split) & (snapshots.customer == 120))
        assert np.array_equal(after(row), fitted(row)) == equal


def test_same_seed_same_scores_other_seed_others(world, members, fitted):
    index = world.ranking.select("test")[:10]
    np.testing.assert_array_equal(world.fit(TwoStage(**SMALL), members)(index), fitted(index))
    assert not np.array_equal(world.fit(TwoStage(**SMALL, seed=1), members)(index), fitted(index))


def test_the_time_of_the_target_is_not_looked_at(alternating):
    """Leave-one-out: the cutoff is the time of the target, so moving it changes nothing; in a split by time, days count
    from it.
    """
    world, member = alternating
    snapshots = world.ranking.snapshots
    moved = replace(snapshots, cutoff=snapshots.cutoff + np.random.default_rng(0).integers(0, 9, len(snapshots)) * DAY)
    index = world.ranking.select("test")
    for positional in (True, False):
        scores = []
        for given in (snapshots, moved):
            changed = replace(world, ranking=replace(world.ranking, snapshots=given, positional=positional))
            scores.append(changed.fit(TwoStage(**SMALL), member, repeats="allow")(index))
        assert np.array_equal(*scores) == positional


def snapshots_of(store, stop):
    num = len(stop)
    start = np.asarray(store.offsets[:-1])
    return Snapshots(
        customer=np.arange(num),
        cutoff=np.full(num, 20 * DAY),
        split=np.full(num, "predict"),
        label=np.zeros(num),
        start=start,
        stop=start + stop,
        recent=np.ones(num, bool),
        horizon_days=0.0,
        gap_days=0.0,
    )


def test_features_of_the_history_against_a_plain_reference_and_in_another_log(make_world, lines_store):
    """Counts and days since the last purchase; another log has other codes and items that the fitted one lacks."""
    rng = np.random.default_rng(0)
    histories = [rng.integers(0, 12, rng.integers(5, 12)).tolist() for _ in range(60)]
    world = make_world(histories)
    member = world.member(lambda customer: customer >= 0, seed=0)
    model = world.fit(TwoStage(**SMALL), {"one": member}, repeats="allow")
    model.positional_ = False  # as after a split in time: days count from the cutoff
    stop = np.array([len(items) - 2 for items in histories])
    candidates = collect({"one": member}, np.arange(60), removed=None, num_items=40, depth=8)
    ids = ["new", *[f"i{code:02d}" for code in range(12)][::-1]]
    other = lines_store([[12 - code for code in items] for items in histories], ids)
    for store in (world.store, other):
        table = model._features(candidates, store, snapshots_of(store, stop))
        row, column = np.nonzero(candidates.valid)
        for values, n, item in zip(table, row, candidates.item[row, column], strict=True):
            history = histories[n][: stop[n]]
            days = 20 - max((day for day, code in enumerate(history) if code == item), default=np.nan)
            np.testing.assert_allclose(values[4:], [history.count(item), days, np.log1p(stop[n])], rtol=1e-6)
    training = [code for items in histories for code in items[:-2]]
    counts = np.array([training.count(item) for item in candidates.item[row, column]])
    np.testing.assert_allclose(table[:, 2], np.log1p(counts), rtol=1e-6)
    lines = [(code, day) for items in histories for day, code in enumerate(items[:-2])]
    newest = max(day for _, day in lines)
    share = {day: 0.5 ** ((newest - day) / 28) for _, day in lines}
    decayed = [sum(share[day] for code, day in lines if code == item) for item in candidates.item[row, column]]
    np.testing.assert_allclose(table[:, 3], np.log1p(decayed), rtol=1e-6)


def test_a_fitted_model_ranks_another_log(world, members, fitted):
    index = world.ranking.select("test")
    snapshots = world.ranking.snapshots.select(index)
    moved = {name: (lambda rows, member=member: member(index[rows])) for name, member in members.items()}
    offsets, items = world.seen
    seen = (
        np.concatenate([[0], np.cumsum(np.diff(offsets)[index])]),
        np.concatenate([items[offsets[n] : offsets[n + 1]] for n in index]),
    )
    other = fitted.scorer(moved, seen, world.store, snapshots, repeats="remove")
    np.testing.assert_array_equal(other(np.arange(len(index))), fitted(index))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"members": ["even", "network"]}, "no scores of 'network'"),
        ({"folds": 1}, "folds must be at least 2"),
        ({"folds": 500}, "folds=500 needs as many validation customers, got 300"),
    ],
)
def test_bad_options_are_one_sentence(world, members, options, sentence):
    with pytest.raises(ValueError, match=sentence):
        world.fit(TwoStage(**options), members)


def test_no_candidate_is_a_target(world):
    targets = np.zeros((len(world.ranking.snapshots), 40), dtype=np.float32)
    place = np.repeat(np.arange(len(targets)), np.diff(world.ranking.target_offsets))
    targets[place, world.ranking.targets] = -1  # the worst of all
    with pytest.raises(ValueError, match="raise depth"):
        world.fit(TwoStage(depth=1), {"wrong": lambda index: targets[index]})
