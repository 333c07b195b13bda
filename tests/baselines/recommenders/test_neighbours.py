"""Ratings predicted from neighbours: the literature's worked example, plain Python, bad input."""

from pathlib import Path

import numpy as np
import pytest
from scipy import sparse

from clm_dl.baselines.recommenders.neighbours import UserKNN, corated_similarity, row_similarity
from clm_dl.data.store.files import write_store
from clm_dl.data.store.store import EventStore, Field


def write(path: Path, ratings: np.ndarray) -> EventStore:
    """Customers c0, c1, … and items i0, i1, …; NaN is not rated."""
    customer, item = np.nonzero(~np.isnan(ratings))
    return write_store(
        path,
        customer_ids=np.array([f"c{number}" for number in range(len(ratings))], dtype=object),
        offsets=np.searchsorted(customer, np.arange(len(ratings) + 1)),
        time=np.arange(len(item)),
        columns={"item": item, "stars": ratings[customer, item]},
        fields=[Field("item", "categorical", "item"), Field("stars", "numeric")],
        dictionaries={"item": np.array([f"i{number}" for number in range(ratings.shape[1])], dtype=object)},
        end=len(item),
        fingerprint="ratings",
    )


def test_golden_similarity_and_predictions(tmp_path: Path) -> None:
    a, b = (sparse.csr_array(np.array([row], dtype=np.float64)) for row in ((4, 5, 5), (3, 4, 4)))
    ones = sparse.csr_array(np.ones((1, 3)))
    assert row_similarity(a, b, "cosine")[0, 0] == pytest.approx(0.9996, abs=5e-5)
    assert corated_similarity(a, ones, b, ones, "cosine")[0][0, 0] == pytest.approx(0.9996, abs=5e-5)
    store = write(tmp_path / "store", np.array([[4, 5, np.nan], [3, 4, 4]]))
    model = UserKNN().fit(store, store.end)
    assert model.predict_rating(["c0"], ["i2"], rating="stars", centred=False) == pytest.approx(4.0)
    assert model.predict_rating(["c0"], ["i2"], rating="stars") == pytest.approx(5.0)


@pytest.mark.parametrize("similarity", ["cosine", "pearson"])
@pytest.mark.parametrize("centred", [True, False])
def test_predictions_against_plain_python(tmp_path: Path, similarity: str, centred: bool) -> None:
    rng = np.random.default_rng(0)
    ratings = np.where(rng.random((12, 8)) < 0.6, rng.integers(1, 6, (12, 8)), np.nan)
    store = write(tmp_path / "store", ratings)
    pairs = [(customer, item) for customer in range(12) for item in range(8)]
    found = (
        UserKNN(similarity=similarity, shrink=1.0)
        .fit(store, store.end)
        .predict_rating(
            [f"c{customer}" for customer, _ in pairs],
            [f"i{item}" for _, item in pairs],
            rating="stars",
            centred=centred,
        )
    )
    expected = []
    for customer, item in pairs:
        own = ratings[customer].copy()
        own[item] = np.nan
        near = []
        for other in range(12):
            both = ~np.isnan(own) & ~np.isnan(ratings[other])
            if other == customer or np.isnan(ratings[other, item]) or not both.any():
                continue
            x, y = own[both], ratings[other, both]
            if similarity == "pearson":
                x, y = x - x.mean(), y - y.mean()
            scale = np.sqrt((x @ x) * (y @ y))
            value = x @ y / scale * len(x) / (len(x) + 1) if scale > 1e-9 else 0
            near.append((value, ratings[other, item] - (ratings[other, both].mean() if centred else 0)))
        near = [pair for pair in near if pair[0] > 1e-9]
        total = sum(value for value, _ in near)
        mean = np.nanmean(own) if (~np.isnan(own)).any() else np.nan
        base = mean if centred or not near else 0
        expected.append(base + sum(value * deviation for value, deviation in near) / total if near else mean)
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_only_the_nearest_count(tmp_path: Path) -> None:
    store = write(tmp_path / "store", np.array([[5, 1, np.nan], [5, 1, 4], [4, 1, 2], [1, 5, 1]]))
    found = [
        UserKNN(k=k).fit(store, store.end).predict_rating(["c0"], ["i2"], rating="stars", centred=False)[0]
        for k in (1, 2, 3)
    ]
    assert found[0] == 4
    assert found[0] > found[1] > found[2]


def test_without_a_neighbour_the_mean_and_without_ratings_nothing(tmp_path: Path) -> None:
    store = write(tmp_path / "store", np.array([[2, 4, np.nan], [np.nan, np.nan, 5]]))
    found = UserKNN().fit(store, store.end).predict_rating(["c0", "c1"], ["i2", "i2"], rating="stars")
    assert found[0] == 3
    assert np.isnan(found[1])


def test_bad_input_is_one_sentence(tmp_path: Path) -> None:
    store = write(tmp_path / "store", np.array([[2.0, 4.0]]))
    model = UserKNN().fit(store, store.end)
    with pytest.raises(ValueError, match="customer 'c7' is not in the log: give ids that it has"):
        model.predict_rating(["c7"], ["i0"], rating="stars")
    with pytest.raises(ValueError, match="item 'i9' is not in the log: give ids that it has"):
        model.predict_rating(["c0"], ["i9"], rating="stars")
    with pytest.raises(ValueError, match="no numeric field 'amount' to predict: the store has stars"):
        model.predict_rating(["c0"], ["i0"])
