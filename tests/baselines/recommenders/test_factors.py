"""ALS and BPR: planted groups, customers that were never trained on, the closed form of ALS, threads, a missing
package.
"""

import sys

import implicit.utils
import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from clm_dl.baselines.recommenders.factors import ALS, BPR

MODELS = [lambda **options: ALS(factors=8, **options), lambda **options: BPR(factors=8, learning_rate=0.05, **options)]
IDS = [f"i{code:02d}" for code in range(20)]


@pytest.fixture(scope="module")
def groups(lines_store):
    """100 customers; even ones buy items 0 to 9, odd ones 10 to 19, six each."""
    rng = np.random.default_rng(0)
    return lines_store([(rng.permutation(10)[:6] + 10 * (n % 2)).tolist() for n in range(100)], IDS)


def ask(model, store):
    start, stop = np.asarray(store.offsets[:-1]), np.asarray(store.offsets[1:])
    return model.scores(store, start, stop, np.full(len(start), store.end))


@pytest.mark.parametrize("make", MODELS, ids=["als", "bpr"])
def test_new_items_of_the_own_group_come_first(groups, make):
    model = make().fit(groups, groups.end)
    scores = ask(model, groups)
    assert scores.shape == (100, 20)
    assert scores.dtype == np.float32
    found = model.recommend([f"c{n}" for n in range(100)], k=4)
    group = found["item_id"].str[1:].astype(int) >= 10
    assert (group == found["customer_id"].str[1:].astype(int) % 2).mean() > 0.97


@pytest.mark.parametrize("make", MODELS, ids=["als", "bpr"])
def test_customers_of_another_log_need_no_training(groups, lines_store, make):
    model = make().fit(groups, groups.end)
    other = lines_store(
        [[3, 2, 0], [1, 0]], ["i19", "i12", "i02", "i05"]
    )  # codes of its own: (i05, i02, i19) and (i12, i19)
    scores = ask(model, other)
    assert scores[1, 10:].mean() > scores[1, :10].mean()
    again = lines_store([[0, 1, 2]], ["i05", "i02", "i19"])
    np.testing.assert_allclose(ask(model, again)[0], scores[0], atol=1e-5)


@pytest.mark.parametrize("make", MODELS, ids=["als", "bpr"])
def test_same_seed_same_scores_on_any_number_of_blas_threads(groups, make, monkeypatch):
    monkeypatch.setattr(implicit.utils, "_checked_blas_config", False)  # so that it would warn again
    with threadpool_limits(2, "blas"):
        first = ask(make().fit(groups, groups.end), groups)
    np.testing.assert_array_equal(first, ask(make().fit(groups, groups.end), groups))
    assert not np.allclose(first, ask(make(seed=1).fit(groups, groups.end), groups))


def test_als_solves_the_weighted_least_squares_of_the_history(groups, lines_store):
    model = ALS(factors=4, alpha=3.0, regularization=2.0).fit(groups, groups.end)
    y_VD = model.item_factors_.astype(np.float64)
    count_V = np.zeros(20)
    count_V[[7, 1, 4]] = 2, 1, 1
    weight_V = np.where(count_V > 0, 3.0 * count_V, 1)
    vector_D = np.linalg.solve((y_VD.T * weight_V) @ y_VD + 2.0 * np.eye(4), (y_VD.T * weight_V) @ (count_V > 0))
    scores = ask(model, lines_store([[7, 1, 4, 7]], IDS))[0]
    np.testing.assert_allclose(scores, y_VD @ vector_D, atol=1e-4)


@pytest.mark.parametrize(
    ("model", "module"), [(ALS(), "implicit.cpu.als"), (BPR(), "implicit.cpu.bpr")], ids=["als", "bpr"]
)
def test_missing_package_names_the_extra(groups, model, module, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=r"pip install 'clm-dl\[recommend\]'"):
        model.fit(groups, groups.end)
