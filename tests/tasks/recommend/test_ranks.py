"""Ranks and metrics against plain Python over every order of the ties, ir-measures, blocks, policies and parts."""

import itertools
import math

import numpy as np
import pytest
import torch
from ir_measures import AP, RR, P, Qrel, R, ScoredDoc, Success, iter_calc, nDCG

from clm_dl.tasks.recommend.accuracy import snapshot_metrics
from clm_dl.tasks.recommend.ranks import rank, seen_items

NAMES = ("hr@{k}", "recall@{k}", "precision@{k}", "ndcg@{k}", "mrr", "map@{k}", "hit@1", "auc")


def ragged(parts: list[list[int]]) -> tuple[np.ndarray, np.ndarray]:
    return np.append(0, np.cumsum([len(part) for part in parts])), np.array(
        [i for part in parts for i in part], dtype=np.int64
    )


def brute(score: list[float], targets: list[int], candidates: list[int], k: int) -> list[float]:
    """The metrics of one snapshot in the order of NAMES, averaged over every order of the tied candidates."""
    levels = sorted({score[i] for i in candidates}, reverse=True)
    tied = [[i for i in candidates if score[i] == level] for level in levels]
    rows = []
    for orders in itertools.product(*map(itertools.permutations, tied)):
        place = [n for n, item in enumerate(itertools.chain(*orders), start=1) if item in targets]
        inside, best = [n for n in place if n <= k], min(k, len(targets))
        ideal = sum(1 / math.log2(1 + n) for n in range(1, best + 1))
        rows.append(
            [
                len(inside) > 0,
                len(inside) / len(targets),
                len(inside) / k,
                sum(1 / math.log2(1 + n) for n in inside) / ideal,
                1 / place[0] if place else 0,
                sum((count + 1) / n for count, n in enumerate(inside)) / best,
                1 in place,
                sum(1 - (n - 1) / max(len(candidates) - 1, 1) for n in place) / len(targets),
            ]
        )
    return np.mean(rows, axis=0).tolist()


def ask(score: np.ndarray, targets: list[list[int]], seen: list[list[int]], **options):
    return rank(
        lambda index: score[index],
        np.arange(len(score)),
        targets=ragged(targets),
        seen=ragged(seen),
        num_items=score.shape[1],
        **options,
    )


def metrics(ranks, k: int) -> dict[str, np.ndarray]:
    return snapshot_metrics(
        ranks.target_offsets, ranks.above, ranks.ties, ranks.candidates, num_items=ranks.num_items, k=k
    )


@pytest.fixture
def small():
    """60 snapshots × 7 items whose scores often tie, some −inf; 0 to 3 targets, 0 to 3 seen items, which may be
    targets.
    """
    rng = np.random.default_rng(0)
    score = rng.integers(0, 3, (60, 7)).astype(np.float64)
    score[rng.random(score.shape) < 0.1] = -np.inf
    targets, seen = ([rng.permutation(7)[: rng.integers(0, 4)].tolist() for _ in range(60)] for _ in range(2))
    return score, targets, seen


@pytest.mark.parametrize("k", [1, 2, 5])
@pytest.mark.parametrize(
    ("repeats", "among"), [("remove", "catalogue"), ("allow", "catalogue"), ("remove", "repeats"), ("allow", "new")]
)
def test_equal_to_plain_python_over_every_order_of_ties(small, k, repeats, among):
    score, targets, seen = small
    ranks = ask(score, targets, seen, k=k, repeats=repeats, among=among)
    found = metrics(ranks, k)
    assert tuple(found) == tuple(name.format(k=k) for name in NAMES)
    for n, (row, wanted, known) in enumerate(zip(score.tolist(), targets, seen, strict=True)):
        candidates = list(range(7))
        if among == "repeats":
            candidates, wanted = known, [i for i in wanted if i in known]
        elif among == "new" or repeats == "remove":
            candidates = [i for i in candidates if i not in known]
            wanted = [i for i in wanted if among == "catalogue" or i in candidates]
        assert ranks.candidates[n] == len(candidates)
        values = [value[n] for value in found.values()]
        if wanted:
            np.testing.assert_allclose(values, brute(row, wanted, candidates, k), atol=1e-12)
        else:
            assert np.isnan(values).all()
        best = sorted((i for i in candidates if row[i] > -np.inf), key=lambda i: (-row[i], i))[:k]
        assert ranks.top[n].tolist() == best + [-1] * (k - len(best))
        assert ranks.top_repeat[n].tolist() == [i in known for i in best] + [False] * (k - len(best))


def test_equal_to_ir_measures_without_ties():
    rng = np.random.default_rng(1)
    score = rng.permuted(np.tile(np.arange(200.0), (80, 1)), axis=1)
    targets = [rng.permutation(200)[: rng.integers(1, 30)].tolist() for _ in range(80)]
    found = metrics(ask(score, targets, [[]] * 80, repeats="allow"), 10)
    qrels = [Qrel(str(n), str(item), 1) for n, items in enumerate(targets) for item in items]
    run = [ScoredDoc(str(n), str(item), value) for n, row in enumerate(score) for item, value in enumerate(row)]
    pairs = {
        "hr@10": Success @ 10,
        "recall@10": R @ 10,
        "precision@10": P @ 10,
        "ndcg@10": nDCG @ 10,
        "mrr": RR,
        "hit@1": Success @ 1,
    }
    theirs = {
        (result.query_id, result.measure): result.value for result in iter_calc([*pairs.values(), AP @ 10], qrels, run)
    }
    for name, measure in pairs.items():
        np.testing.assert_allclose(found[name], [theirs[str(n), measure] for n in range(80)], atol=1e-6, err_msg=name)
    # theirs divides by all targets, ours by those that fit in the list
    fits = np.array([len(items) / min(len(items), 10) for items in targets])
    np.testing.assert_allclose(found["map@10"], fits * [theirs[str(n), AP @ 10] for n in range(80)], atol=1e-6)


def test_mrr_of_many_tied_targets_is_within_its_bound():
    """The first of t targets among n tied places lies at x with probability C(n − x, t − 1) / C(n, t)."""
    for n, t, above in ((40, 3, 0), (500, 2, 3), (3000, 5, 0), (3000, 2, 700)):
        exact = sum(math.comb(n - x, t - 1) / math.comb(n, t) / (above + x) for x in range(1, n - t + 2))
        offsets, ties = np.array([0, t]), np.full(t, n)
        found = snapshot_metrics(offsets, np.full(t, above), ties, np.array([n + above]), num_items=n + above)["mrr"][0]
        assert found == pytest.approx(exact, rel=1e-10 if n <= 64 else 1e-4)


def test_blocks_of_any_size_and_kinds_of_scores_are_equal(small):
    score, targets, seen = small
    whole = ask(score, targets, seen, k=3, softmax=True)
    for block_bytes in (1, 1000, 3000):
        part = ask(score, targets, seen, k=3, softmax=True, block_bytes=block_bytes)
        for name, value in vars(whole).items():
            np.testing.assert_allclose(getattr(part, name), value, rtol=1e-12, err_msg=name)
    for kind in (
        torch.as_tensor(score),
        torch.as_tensor(score).float(),
        torch.as_tensor(score).bfloat16(),
        score.astype(np.float32),
    ):
        other = ask(kind, targets, seen, k=3)
        assert (other.above == whole.above).all()
        assert (other.top == whole.top).all()


def test_the_scorer_keeps_its_scores_and_order_of_snapshots_is_free(small):
    score, targets, seen = small
    rows, asked = np.tile(score[0], (60, 1)), []

    def scorer(index: np.ndarray) -> np.ndarray:
        asked.extend(index)
        return rows[: len(index)]

    ranks = rank(scorer, np.arange(100, 160), targets=ragged(targets), seen=ragged(seen), num_items=7, k=3)
    assert sorted(asked) == list(range(100, 160))
    np.testing.assert_array_equal(rows, np.tile(score[0], (60, 1)))
    expect = ask(rows, targets, seen, k=3)
    assert (ranks.above == expect.above).all()


def test_a_removed_target_is_a_miss(small):
    score, _, _ = small
    ranks = ask(score[:1], [[2]], [[2, 4]], k=3)
    assert (ranks.above[0], ranks.ties[0], ranks.target_repeat[0]) == (7, 1, True)
    assert {name: value[0] for name, value in metrics(ranks, 3).items()} == {name.format(k=3): 0.0 for name in NAMES}
    assert ask(score[:1], [[2]], [[2, 4]], k=3, repeats="allow").above[0] < 7


def test_probability_of_the_first_item_is_over_the_candidates():
    score = np.log([[0.5, 0.3, 0.2], [0.1, 0.1, 0.8]]) + 3.0
    ranks = ask(score, [[1], [0]], [[0], []], k=1, softmax=True)
    np.testing.assert_allclose(ranks.probability, [0.3 / 0.5, 0.8])


def test_bad_scores_and_policies(small):
    score, targets, seen = small
    broken = score.copy()
    broken[3, 2] = np.nan
    seen[3] = []
    with pytest.raises(ValueError, match="scores must be numbers, got NaN"):
        ask(broken, targets, seen, k=3)
    with pytest.raises(ValueError, match=r"scores must be snapshots × items = \(60, 7\), got \(60, 6\)"):
        rank(
            lambda index: score[index, :6], np.arange(60), targets=ragged(targets), seen=ragged(seen), num_items=7, k=3
        )
    with pytest.raises(ValueError, match="k must be from 1 to the 7 items of the catalogue, got 8"):
        ask(score, targets, seen, k=8)
    with pytest.raises(ValueError, match=r"policy\.repeats must be remove or allow, got 'maybe'"):
        ask(score, targets, seen, k=3, repeats="maybe")


def test_seen_items_are_distinct_and_known(monkeypatch):
    item = np.array([3, 1, 3, -1, 0, -1, 2, 2], dtype=np.int32)
    start, stop = np.array([0, 0, 4, 5, 3, 6]), np.array([3, 5, 4, 6, 8, 8])
    for lines in (1, 4, 1 << 22):
        monkeypatch.setattr("clm_dl.tasks.recommend.ranks.LINES", lines)
        offsets, items = seen_items(item, start, stop)
        parts = [items[low:high].tolist() for low, high in itertools.pairwise(offsets)]
        assert parts == [[1, 3], [0, 1, 3], [], [], [0, 2], [2]]
    assert [len(part) for part in seen_items(item, start[:0], stop[:0])] == [1, 0]
