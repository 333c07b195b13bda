"""Top-k lists, the item index, and its export."""

import sys

import numpy as np
import pytest
import torch

import clm_dl.retrieval as retrieval
from clm_dl.retrieval import ItemIndex, take_ragged, top_k


def listed(score: np.ndarray, k: int, removed: set[int] = frozenset()) -> list[int]:
    """Plain Python: best first, equal scores by code."""
    return sorted(
        (i for i in range(len(score)) if i not in removed and score[i] > -np.inf), key=lambda i: (-score[i], i)
    )[:k]


@pytest.mark.parametrize("kind", [np.asarray, torch.as_tensor])
@pytest.mark.parametrize("levels", [2, 5, 10**6])
def test_top_k_lists_equal_scores_by_code(kind, levels):
    rng = np.random.default_rng(levels)
    score = rng.integers(0, levels, (50, 30)).astype(np.float32)
    score[::7, 5:] = -np.inf
    before = score.copy()
    lengths = rng.integers(0, 12, 50)
    offsets, removed = np.append(0, np.cumsum(lengths)), np.concatenate([rng.permutation(30)[:n] for n in lengths])
    for k in (1, 7, 30):
        item, value = top_k(kind(score), k, removed=(offsets, removed))
        for row in range(50):
            expect = listed(score[row], k, set(removed[offsets[row] : offsets[row + 1]]))
            assert item[row].tolist() == expect + [-1] * (k - len(expect))
            np.testing.assert_array_equal(value[row], [*score[row, expect], *[np.nan] * (k - len(expect))])
    np.testing.assert_array_equal(score, before)


def test_top_k_of_read_only_scores():
    item, _ = top_k(np.broadcast_to([1.0, 3.0, 2.0], (2, 3)), 2)
    assert item.tolist() == [[1, 2], [1, 2]]


def test_top_k_refuses_what_it_cannot_list():
    with pytest.raises(ValueError, match="k must be from 1 to the 3 items of the catalogue, got 4"):
        top_k(np.zeros((1, 3)), 4)
    with pytest.raises(ValueError, match="got NaN in 1 of 2 rows"):
        top_k(np.array([[0.0, 1.0, 2.0], [0.0, np.nan, 5.0]]), 1)


def test_take_ragged():
    ragged = np.array([0, 2, 2, 5]), np.array([7, 8, 1, 2, 3])
    offsets, items = take_ragged(ragged, np.array([2, 1, 0, 2]))
    assert (offsets.tolist(), items.tolist()) == ([0, 3, 3, 5, 8], [1, 2, 3, 7, 8, 1, 2, 3])


@pytest.fixture
def vectors() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((40, 6)).astype(np.float32)


@pytest.fixture
def names() -> list[str]:
    return [f"item {code:02d}" for code in range(40)]


def similarities(a: np.ndarray, b: np.ndarray, similarity: str) -> np.ndarray:
    cosine = similarity == "cosine"
    return a @ b.T / (np.outer(np.linalg.norm(a, axis=1), np.linalg.norm(b, axis=1)) if cosine else 1)


@pytest.mark.parametrize("similarity", ["dot", "cosine"])
def test_search_is_exact_in_blocks_of_any_size(vectors, names, similarity, monkeypatch):
    z = np.random.default_rng(1).standard_normal((25, 6)).astype(np.float32)
    seen = np.arange(26) * 2, np.random.default_rng(2).integers(0, 40, 50)
    index = ItemIndex(vectors, names, similarity=similarity)
    score = similarities(z, vectors, similarity)
    for cells in (1, 100, 1 << 23):
        monkeypatch.setattr(retrieval, "BLOCK_CELLS", cells)
        item, value = index.search(z, 5, seen=seen)
        assert item.tolist() == [listed(score[row], 5, set(seen[1][2 * row : 2 * row + 2])) for row in range(25)]
        np.testing.assert_allclose(value, np.take_along_axis(score, item, 1), rtol=1e-5)
    assert index.search(z[:0], 5)[0].shape == (0, 5)


def test_similar_leaves_the_item_itself_out(vectors, names):
    found = ItemIndex(vectors, names, similarity="cosine").similar(["item 03", "item 11"], k=4)
    cosine = similarities(vectors, vectors, "cosine")
    expect = [names[i] for code in (3, 11) for i in listed(cosine[code], 4, {code})]
    assert found["similar_id"].tolist() == expect
    assert found["item_id"].tolist() == ["item 03"] * 4 + ["item 11"] * 4
    assert found["rank"].tolist() == [1, 2, 3, 4] * 2


def test_audience_lists_the_nearest_customers(vectors, names):
    z = np.random.default_rng(3).standard_normal((9, 6)).astype(np.float32)
    ids = np.arange(100, 109)
    found = ItemIndex(vectors, names).audience(["item 05"], z, ids, k=3)
    assert found["customer_id"].tolist() == (100 + np.argsort(-(z @ vectors[5]))[:3]).tolist()
    assert found.columns.tolist() == ["item_id", "rank", "customer_id", "score"]


def test_bad_questions_in_one_sentence(vectors, names):
    index = ItemIndex(vectors, names)
    with pytest.raises(
        ValueError, match=r"no item 'itm 07' among the 40 items of the catalogue; the nearest is 'item 07'"
    ):
        index.similar(["item 01", "itm 07"])
    with pytest.raises(ValueError, match="k must be from 1 to the 40 items"):
        index.search(vectors, 41)
    with pytest.raises(ValueError, match="k must be from 1 to the 2 customers, got 10"):
        index.audience(["item 01"], vectors[:2], ["a", "b"])
    with pytest.raises(ValueError, match="40 vectors for 39 items"):
        ItemIndex(vectors, names[:39])
    with pytest.raises(ValueError, match="similarity must be dot or cosine, got 'l2'"):
        ItemIndex(vectors, names, similarity="l2")
    with pytest.raises(ValueError, match="exported to faiss or usearch, got 'annoy'"):
        index.export("annoy", "x")


def test_items_are_named_as_text_one_or_many(vectors):
    index = ItemIndex(vectors, range(40))
    assert (
        index.codes("7").tolist()
        == index.codes(7).tolist()
        == index.codes([7]).tolist()
        == index.codes(["7"]).tolist()
        == [7]
    )
    with pytest.raises(ValueError, match="no item '99'"):
        index.similar("99")


def test_export_finds_the_same_items(vectors, names, tmp_path):
    import faiss
    from usearch.index import Index

    index = ItemIndex(vectors, names, similarity="cosine")
    for engine in ("faiss", "usearch"):
        index.export(engine, tmp_path / engine)
    z = np.random.default_rng(4).standard_normal((5, 6)).astype(np.float32)
    z /= np.linalg.norm(z, axis=1, keepdims=True)
    expect = index.search(z, 3)[0]
    np.testing.assert_array_equal(faiss.read_index(str(tmp_path / "faiss")).search(z, 3)[1], expect)
    np.testing.assert_array_equal(Index.restore(str(tmp_path / "usearch")).search(z, 3, exact=True).keys, expect)


def test_export_names_the_missing_extra(vectors, names, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(ImportError, match="export to faiss needs the extra retrieval"):
        ItemIndex(vectors, names).export("faiss", tmp_path / "x")
